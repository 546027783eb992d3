//! Observability: health endpoints, metrics, and the state that is left behind.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    ca::Ca,
    delivery::{assert_all_archived, mailbox},
    process::Shipper,
    reports::{Batch, Container, damaged},
    rsyslog::Rsyslog,
    server::free_port,
    wait::{LONG, eventually},
    workplace::{Workplace, imaps, stdout, syslog_tls, with},
};

/// Sends a GET; returns status and body.
fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Returns each series with its value.
fn series(exposition: &str) -> BTreeMap<String, f64> {
    let lines = exposition.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// Returns the value of the series with this name and all of these labels.
#[track_caller]
fn value(series: &BTreeMap<String, f64>, name: &str, labels: &[&str]) -> f64 {
    let name = format!("dmarc_shipper_{name}");
    let mut found = series.iter().filter(|(key, _)| {
        let (of, rest) = key.split_once('{').unwrap_or((key, ""));
        of == name && labels.iter().all(|label| rest.contains(label))
    });
    let (_, value) = found.next().unwrap_or_else(|| panic!("no {name} with {labels:?} in {series:#?}"));
    assert_eq!(found.next(), None, "more than one {name} with {labels:?}");
    *value
}

fn observed(workplace: &Workplace, source: Value, sink: Value, port: u16) -> Value {
    with(workplace.config(source, sink), json!({"api": {"address": format!("127.0.0.1:{port}")}}))
}

#[test]
fn metrics_count_received_and_delivered_events() {
    let (ca, batch, port) = (Ca::new(), Batch::generate(81, 12, 2..=6, 4), free_port());
    let (dovecot, rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    dovecot.mailbox().deliver("INBOX", &damaged(Container::Gzip, 900));
    let only_rows = json!({"type": "file", "path": workplace.path("rows.ndjson"), "events": ["dmarc_aggregate"], "required": false});
    let config = observed(&workplace, with(imaps(&dovecot, &ca), json!({"poll_interval": "1s"})), Value::Null, port);
    let config = with(config, json!({"sinks": {"siem": syslog_tls(rsyslog.tls_port, &ca), "rows": only_rows}}));
    let running = workplace.shipper(&["run", "--config"], &config).start();
    eventually(LONG, "the mails are moved", || (dovecot.mailbox().count("INBOX") == 0).then_some(()));
    rsyslog.wait_for(batch.event_count() + 2);

    // A damaged document yields a report event and an error event.
    let events = (batch.event_count() + 2) as f64;
    let all = eventually(LONG, "all of it is counted", || {
        let all = series(&get(port, "/metrics")?.1);
        (value(&all, "component_sent_events_total", &["component_id=\"siem\""]) == events).then_some(all)
    });
    let (rua, siem, rows) = ("component_id=\"rua\"", "component_id=\"siem\"", "component_id=\"rows\"");
    assert_eq!(
        value(&all, "component_received_events_total", &[rua, "component_type=\"imap\"", "component_kind=\"source\""]),
        events
    );
    assert_eq!(
        value(&all, "component_received_events_total", &[siem, "component_type=\"syslog\"", "component_kind=\"sink\""]),
        events
    );
    assert_eq!(value(&all, "rows_total", &[rua]), batch.row_count() as f64);
    assert_eq!(value(&all, "component_received_events_total", &[rows]), batch.row_count() as f64);
    assert_eq!(
        value(&all, "component_discarded_events_total", &[rows, "intentional=\"true\""]),
        events - batch.row_count() as f64
    );
    assert_eq!(value(&all, "mails_total", &[rua, "archived"]), 12.0);
    assert_eq!(value(&all, "mails_total", &[rua, "quarantined"]), 1.0);
    assert_eq!(value(&all, "documents_total", &["unreadable", "unknown"]), 1.0);
    let outcome = |word: &str| {
        all.iter().filter(|(key, _)| key.contains("documents_total") && key.contains(word)).map(|(_, n)| n).sum::<f64>()
    };
    assert_eq!(
        (outcome("shipped"), outcome("duplicate")),
        (batch.reports.len() as f64, 12.0 - batch.reports.len() as f64)
    );
    assert_eq!(value(&all, "ingest_errors_total", &[rua, "corrupt_gzip"]), 1.0);
    assert_eq!(value(&all, "component_errors_total", &[rua, "corrupt_gzip", "processing"]), 1.0);
    assert_eq!(
        value(&all, "component_sent_bytes_total", &[siem]),
        value(&all, "component_received_bytes_total", &[siem])
    );
    assert_eq!((value(&all, "buffer_size_bytes", &[siem]), value(&all, "buffer_size_events", &[siem])), (0.0, 0.0));
    assert_eq!(
        (value(&all, "mails_in_flight", &[rua]), value(&all, "oldest_mail_in_flight_age_seconds", &[rua])),
        (0.0, 0.0)
    );
    let now = jiff::Timestamp::now().as_second() as f64;
    for name in ["last_report_timestamp_seconds", "last_pass_timestamp_seconds"] {
        let told = value(&all, name, &[rua]);
        assert!(told <= now && told > now - 600.0, "{name}: {told}");
    }
    assert!(value(&all, "tls_certificate_expiry_timestamp_seconds", &[]) > now);
    assert!(value(&all, "ledger_size_bytes", &[]) > 0.0 && value(&all, "uptime_seconds", &[]) > 0.0);

    assert_eq!(get(port, "/readyz").unwrap(), (200, "{\"ready\":true,\"reasons\":[]}".into()));
    assert_eq!(get(port, "/livez").unwrap().0, 200);
    assert_eq!(get(port, "/nothing").unwrap().0, 404);
    let address = format!("127.0.0.1:{port}");
    Shipper::new(["health", "--address", &address]).exits(0);
    workplace.shipper(&["health", "--config"], &config).exits(0);
    running.signal(Signal::TERM);
    running.finish().exited(0);
    Shipper::new(["health", "--address", &address]).exits(69).says(&["the health check of"]);
}

#[test]
fn a_stuck_source_or_sink_fails_readyz_with_a_reason_but_not_livez() {
    let (ca, batch, port) = (Ca::new(), Batch::generate(82, 3, 1..=2, 0), free_port());
    let (mut dovecot, mut rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    rsyslog.halt();
    let source = with(imaps(&dovecot, &ca), json!({"poll_interval": "1s"}));
    let config = observed(&workplace, source, syslog_tls(rsyslog.tls_port, &ca), port);
    let config = with(config.clone(), json!({"api": {"address": config["api"]["address"], "stuck_after": "1s"}}));
    let running = workplace.shipper(&["run", "--config"], &config).start();
    let reason = |part: &str| {
        eventually(LONG, part, || {
            let (status, body) = get(port, "/readyz")?;
            (status == 503 && body.contains(part)).then_some(())
        });
    };
    reason("sink out has made no progress");
    reason("the sink out has confirmed nothing");
    assert_eq!((get(port, "/livez").unwrap().0, get(port, "/health").unwrap().0), (200, 200));
    rsyslog.resume();
    let ready = || eventually(LONG, "it is ready", || (get(port, "/readyz")?.0 == 200).then_some(()));
    ready();
    dovecot.kill();
    reason("source rua has made no progress");
    let all = series(&get(port, "/metrics").unwrap().1);
    assert!(value(&all, "component_errors_total", &["component_id=\"rua\"", "receiving"]) >= 1.0);
    assert!(value(&all, "component_errors_total", &["component_id=\"out\"", "sending"]) >= 1.0);
    dovecot.resume();
    ready();
    running.signal(Signal::TERM);
    running.finish().exited(0);
    assert_all_archived(&dovecot, &batch);
}

/// Regression: a source was considered stalled from one listing to the next, however many mails it handed over meanwhile.
#[test]
fn a_long_pass_stays_ready() {
    let (ca, batch, port) = (Ca::new(), Batch::generate(85, 60, 5..=5, 0), free_port());
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let slow = json!({"type": "file", "path": workplace.path("kept.ndjson"), "rate_limit_num": 20,
                      "buffer": {"max_size": "64KiB"}});
    let source = with(imaps(&dovecot, &ca), json!({"poll_interval": "1s"}));
    let config = with(
        observed(&workplace, source, slow, port),
        json!({"api": {"address": format!("127.0.0.1:{port}"), "stuck_after": "4s"}, "shutdown_timeout": "1s"}),
    );
    let running = workplace.shipper(&["run", "--config"], &config).start();
    eventually(LONG, "it is ready", || (get(port, "/readyz")?.0 == 200).then_some(()));
    let told = || std::fs::read_to_string(workplace.path("kept.ndjson")).unwrap_or_default().lines().count();
    while told() < 240 {
        let (status, body) = get(port, "/readyz").unwrap();
        assert_eq!(status, 200, "{body}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    running.signal(Signal::TERM);
    running.finish();
}

#[test]
fn a_draining_process_is_neither_ready_nor_healthy() {
    let (ca, batch, port) = (Ca::new(), Batch::generate(83, 20, 5..=5, 0), free_port());
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let slow = json!({"type": "file", "path": workplace.path("kept.ndjson"), "rate_limit_num": 1});
    let config = observed(&workplace, imaps(&dovecot, &ca), slow, port);
    let running = workplace.shipper(&["run", "--config"], &config).start();
    let written = || std::fs::metadata(workplace.path("kept.ndjson")).is_ok_and(|file| file.len() > 0);
    eventually(LONG, "it is in the middle of a mail", || written().then_some(()));
    running.signal(Signal::TERM);
    eventually(LONG, "it says that it drains", || {
        let (status, body) = get(port, "/readyz")?;
        (status == 503 && body.contains("draining")).then_some(())
    });
    assert_eq!(get(port, "/health").unwrap(), (503, "{\"ok\":false}".into()));
    workplace.shipper(&["health", "--config"], &config).exits(69).says(&["503"]);
    running.signal(Signal::TERM);
    running.finish().exited(75);
}

#[test]
fn a_single_run_writes_metrics_file_and_logs_a_summary() {
    let (ca, batch) = (Ca::new(), Batch::generate(84, 5, 1..=3, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let file = workplace.path("dmarc_shipper.prom");
    let config = with(workplace.config(imaps(&dovecot, &ca), stdout()), json!({"metrics_file": file}));
    let finished = workplace.once(&config).exits(0);
    let all = series(&workplace.read("dmarc_shipper.prom"));
    assert_eq!((value(&all, "run_exit_code", &[]), value(&all, "mails_total", &["archived"])), (0.0, 5.0));
    assert!(
        value(&all, "run_last_success_timestamp_seconds", &[]) > 0.0 && value(&all, "run_duration_seconds", &[]) > 0.0
    );
    let last: Value = serde_json::from_str(finished.stderr.lines().last().unwrap()).unwrap();
    let told = ["message", "mails", "rows", "exit_code", "left"].map(|key| last[key].clone());
    assert_eq!(told, [json!("run ended"), json!(5), json!(batch.row_count()), json!(0), json!(0)]);
}

#[test]
fn health_tries_every_address_of_the_host_name() {
    for (listens, asked) in [
        ("127.0.0.1", ["both.example", "localhost", "127.0.0.1", "0.0.0.0"]),
        ("[::1]", ["both.example", "six.example", "[::1]", "[::]"]),
    ] {
        let (workplace, port) = (Workplace::new(), free_port());
        let hosts = workplace.write("hosts", "127.0.0.1 localhost both.example\n::1 six.example both.example\n");
        let health = |name| Shipper::with_hosts(&hosts, ["health", "--address", &format!("{name}:{port}")]);
        let inbox = json!({"type": "file", "path": workplace.path("")});
        let config = observed(&workplace, inbox, stdout(), port);
        let config = with(config, json!({"api": {"address": format!("{listens}:{port}")}}));
        let running = workplace.shipper(&["run", "--config"], &config).start();
        eventually(LONG, "it listens", || running.stderr().contains("serving /livez").then_some(()));
        asked.into_iter().for_each(|name| drop(health(name).exits(0)));
        workplace.shipper(&["health", "--config"], &config).exits(0);
        running.signal(Signal::TERM);
        running.finish();
        asked.into_iter().for_each(|name| drop(health(name).exits(69).says(&["the health check of"])));
        health("nowhere.invalid").exits(69).says(&["can't resolve", "nowhere.invalid"]);
    }
}

#[test]
fn an_api_address_in_use_or_invalid_is_reported() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let workplace = Workplace::new();
    let config = workplace.config(json!({"type": "file", "path": workplace.path("in")}), stdout());
    let at = |address: &str| with(config.clone(), json!({"api": {"address": address}}));
    workplace.shipper(&["run", "--config"], &at(&address)).exits(69).says(&["can't listen on", "api.address"]);
    workplace.shipper(&["run", "--config"], &at("localhost")).exits(78).says(&["api.address", "0.0.0.0:9598"]);
    workplace.shipper(&["health", "--config"], &config).exits(78).says(&["api.address"]);
}

/// Returns the number of open sockets of a process.
fn sockets(process: u32) -> usize {
    let opened = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    // A socket that is closed meanwhile is not counted.
    opened
        .filter(|entry| {
            let target = entry.as_ref().ok().and_then(|entry| std::fs::read_link(entry.path()).ok());
            target.is_some_and(|target| target.to_string_lossy().starts_with("socket:"))
        })
        .count()
}

#[test]
fn slow_http_clients_cannot_exhaust_memory_or_descriptors() {
    let (ca, batch, port) = (Ca::new(), Batch::generate(87, 8, 1..=5, 0), free_port());
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let config = observed(&workplace, with(imaps(&dovecot, &ca), json!({"poll_interval": "1s"})), stdout(), port);
    let file = workplace.write("config.json", config.to_string()).display().to_string();
    let running = Shipper::ulimited("-n 256", ["run", "--config", &file]).start();
    eventually(LONG, "it answers and delivers", || {
        (get(port, "/livez")?.0 == 200 && dovecot.mailbox().count("Processed") == batch.mails.len()).then_some(())
    });
    let before = running.peak_memory();
    let field = format!("X-A: {}\r\n", "a".repeat(8_000));
    let clients: Vec<TcpStream> = (0..400)
        .map(|_| {
            let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            client.set_write_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
            write!(client, "GET /livez HTTP/1.1\r\nHost: x\r\n").ok();
            // The server may have closed the connection in favour of newer ones, or because its header is too long.
            (0..30).all(|_| client.write_all(field.as_bytes()).is_ok());
            client
        })
        .collect();
    // An eighth of 256 for clients, and some for the mailbox, the listener and the runtime.
    let opened = sockets(running.id());
    assert!(opened <= 32 + 10, "{opened} sockets");
    assert_eq!(get(port, "/livez").unwrap().0, 200, "who asks in one go is answered at once");
    assert!(get(port, "/metrics").unwrap().1.contains("dmarc_shipper_"));
    dovecot.mailbox().deliver("INBOX", &Batch::generate(88, 1, 1..=5, 0).mails[0]);
    eventually(LONG, "it goes on delivering", || {
        (dovecot.mailbox().count("Processed") == batch.mails.len() + 1).then_some(())
    });
    let grown = running.peak_memory().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB more than before");
    drop(clients);
    running.signal(Signal::TERM);
    running.finish().exited(0);
}

#[test]
fn idle_and_answered_http_clients_are_disconnected() {
    let (workplace, port) = (Workplace::new(), free_port());
    let inbox = workplace.path("inbox");
    std::fs::create_dir(&inbox).unwrap();
    let config = observed(&workplace, json!({"type": "file", "path": inbox}), stdout(), port);
    let running = workplace.shipper(&["run", "--config"], &config).start();
    eventually(LONG, "it answers", || get(port, "/livez"));
    for said in ["", "GET /livez HTTP/1.1\r\nHo", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client.write_all(said.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.contains("200 OK"), said.ends_with("\r\n\r\n"), "{said:?}: {answer}");
    }
    running.signal(Signal::TERM);
    running.finish().exited(0);
}
