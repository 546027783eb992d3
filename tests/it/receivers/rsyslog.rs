//! Runs `examples/rsyslog` in a real rsyslog.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::example::{adapted, ship, written};
use crate::support::{
    ca::Ca,
    rsyslog::unconfined,
    server::{Server, accepting, free_port, installed},
    wait::{LONG, eventually},
    workplace::{syslog_tcp, syslog_tls, with},
};

#[test]
fn the_tls_example_writes_the_events_that_were_sent() {
    let (ca, folder, port) = (Ca::new(), tempfile::tempdir().unwrap(), free_port());
    let _rsyslog = start(&folder, &tls_example(&ca, folder.path(), port), &[port]);
    let told = ship(syslog_tls(port, &ca));
    assert_eq!(written(folder.path(), "events.ndjson", told.len()), told, "types and arrays are kept");
    let rejected: Vec<Value> = told.into_iter().filter(|event| event["disposition"] == "reject").collect();
    assert!(!rejected.is_empty());
    assert_eq!(written(folder.path(), "rejected.ndjson", rejected.len()), rejected);
    assert!(!folder.path().join("unparsed.log").exists());
}

#[test]
fn the_elasticsearch_example_sends_each_event_under_its_id() {
    let (ca, folder, port) = (Ca::new(), tempfile::tempdir().unwrap(), free_port());
    let elasticsearch = Elasticsearch::start();
    let bulk = adapted(
        "rsyslog/elasticsearch.conf",
        &[
            ("elasticsearch.example.com", "127.0.0.1"),
            ("\"9200\"", &format!("\"{}\"", elasticsearch.port)),
            ("/var/log/dmarc", folder.path().to_str().unwrap()),
        ],
    );
    let tls = tls_example(&ca, folder.path(), port);
    let parsed = "if $parsesuccess == \"OK\" then {";
    assert!(tls.contains(parsed));
    let config = bulk + &tls.replace(parsed, &format!("{parsed}\n      call dmarc-elasticsearch"));
    let _rsyslog = start(&folder, &config, &[port]);
    let told = ship(syslog_tls(port, &ca));
    let expected: Vec<(Value, Value)> = told
        .into_iter()
        .map(|event| (json!({"index": {"_index": "dmarc-events", "_id": event["event_id"]}}), event))
        .collect();
    assert_eq!(elasticsearch.wait_for(expected.len()), expected);
}

#[test]
fn the_filter_of_dmarc_ingest_accepts_old_and_new_frames() {
    for format in ["rfc3164", "rfc5424"] {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let log = folder.path().join("dmarc.log");
        let config = adapted(
            "rsyslog/dmarc-ingest.conf",
            &[
                ("port=\"514\"", &format!("port=\"{port}\" address=\"127.0.0.1\"")),
                ("/var/log/dmarc.log", log.to_str().unwrap()),
            ],
        );
        let _rsyslog = start(&folder, &config, &[port]);
        let told = ship(with(syslog_tcp(port), json!({"format": format})));
        assert_eq!(written(folder.path(), "dmarc.log", told.len()), told, "{format}");
    }
}

fn tls_example(ca: &Ca, folder: &Path, port: u16) -> String {
    let identity = ca.server();
    let day = "%timegenerated:::date-year%-%timegenerated:::date-month%-%timegenerated:::date-day%";
    adapted(
        "rsyslog/dmarc-tls.conf",
        &[
            ("/etc/rsyslog.d/tls/ca.pem", ca.file().to_str().unwrap()),
            ("/etc/rsyslog.d/tls/server.crt", identity.certificate.to_str().unwrap()),
            ("/etc/rsyslog.d/tls/server.key", identity.key.to_str().unwrap()),
            ("port=\"6514\"", &format!("port=\"{port}\" address=\"127.0.0.1\"")),
            // Fixed file name instead of one per day, so that a test at midnight finds the file.
            (day, "events"),
            ("/var/log/dmarc", folder.to_str().unwrap()),
        ],
    )
}

/// Starts rsyslog with this configuration, and waits until it listens on the ports.
fn start(folder: &TempDir, config: &str, ports: &[u16]) -> Server {
    let path = |name: &str| folder.path().join(name);
    let work = format!("global(workDirectory=\"{}\")\n", folder.path().display());
    fs::write(path("rsyslog.conf"), work + config).unwrap();
    Server::start(
        "rsyslogd",
        &unconfined(&installed("rsyslogd")),
        &path("rsyslog.log"),
        |command| {
            command.arg("-n").arg("-f").arg(path("rsyslog.conf")).arg("-i").arg(path("rsyslog.pid"));
        },
        || accepting(Ipv4Addr::LOCALHOST.into(), ports),
    )
}

/// Fake Elasticsearch that accepts bulk requests and records their pairs of lines.
struct Elasticsearch {
    port: u16,
    pairs: Arc<Mutex<Vec<(Value, Value)>>>,
}

impl Elasticsearch {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (port, pairs) = (listener.local_addr().unwrap().port(), Arc::default());
        let kept = Arc::clone(&pairs);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || serve(BufReader::new(stream), &kept));
            }
        });
        Self { port, pairs }
    }

    #[track_caller]
    fn wait_for(&self, count: usize) -> Vec<(Value, Value)> {
        eventually(LONG, &format!("{count} documents in bulk requests"), || {
            Some(self.pairs.lock().unwrap().clone()).filter(|pairs| pairs.len() >= count)
        })
    }
}

/// Answers requests until the client closes the connection.
fn serve(mut stream: BufReader<std::net::TcpStream>, kept: &Mutex<Vec<(Value, Value)>>) {
    loop {
        let (mut length, mut line) = (0, String::new());
        while line.trim_end() != "" || line.is_empty() {
            line.clear();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        let lines: Vec<Value> = String::from_utf8(body).unwrap().lines().map(|line| line.parse().unwrap()).collect();
        kept.lock().unwrap().extend(lines.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())));
        let answer = r#"{"took":1,"errors":false,"items":[]}"#;
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", answer.len());
        stream.get_mut().write_all((head + answer).as_bytes()).unwrap();
    }
}
