//! The `forward` sink against the server of @fluent-org/logger, and a receiver that refuses, cuts, delays and lies.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    ca::Ca,
    cutter::Cutter,
    delivery::{assert_all_archived, assert_rows, mailbox, times_told},
    dovecot::Dovecot,
    forward_receiver::{Answer, FluentServer, ForwardReceiver},
    process::ndjson,
    reports::Batch,
    wait::{LONG, eventually},
    workplace::{Workplace, imaps, with},
};

fn forward(port: u16, more: Value) -> Value {
    let sink = json!({"type": "forward", "mode": "tcp", "endpoints": [format!("localhost:{port}")]});
    with(with(sink, json!({"batch": {"max_events": 20}})), more)
}

/// Starts a mailbox with reports, and returns it with a configuration that ships them to `sink`.
fn shipping(batch: &Batch, sink: Value) -> (Workplace, Ca, Dovecot, Value) {
    let (workplace, ca) = (Workplace::new(), Ca::new());
    let dovecot = mailbox(&ca, batch);
    let config = workplace.config(imaps(&dovecot, &ca), sink);
    (workplace, ca, dovecot, config)
}

#[track_caller]
fn assert_taken_once(batch: &Batch, receiver: &ForwardReceiver) {
    let taken = receiver.state().taken.clone();
    assert_rows(batch, &taken);
    assert!(times_told(&taken).values().all(|&times| times == 1), "told once");
}

/// Ships the same fixtures to a file and to the server: records are the events, key by key, and types are kept.
#[test]
fn records_equal_the_events_and_have_their_time_and_tag() {
    let workplace = Workplace::new();
    let server = FluentServer::start(workplace.path("").as_path(), None, None);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/report");
    let (file, path) = (json!({"type": "file", "path": workplace.path("events.ndjson")}), json!(fixtures));
    let config = json!({
        "data_dir": workplace.path("data"),
        "sources": {"rua": {"type": "file", "path": path}},
        "sinks": {"file": file, "out": forward(server.port, json!({"compression": "gzip"}))},
    });
    workplace.once(&config).run();
    let events = ndjson(&workplace.read("events.ndjson"));
    let entries = server.entries(events.len());
    assert!(events.len() > 50 && entries.len() == events.len(), "{} of {}", entries.len(), events.len());
    for entry in &entries {
        let record = &entry["record"];
        let event = events.iter().find(|event| *event == record);
        let event = event.unwrap_or_else(|| panic!("{record:#} is no event of the file"));
        assert_eq!(entry["tag"], format!("dmarc.{}", event["event_type"].as_str().unwrap()));
        let told: jiff::Timestamp = event["ingest_timestamp"].as_str().unwrap().parse().unwrap();
        assert_eq!(entry["seconds"], told.as_second());
    }
}

#[test]
fn a_shared_key_and_a_user_are_proved_over_tls_and_wrong_ones_are_named() {
    let batch = Batch::generate(321, 6, 1..=10, 0);
    let (ca, folder) = (Ca::new(), Workplace::new());
    let users = json!({"shipper": "pa55word"});
    let security = json!({"serverHostname": "collector", "sharedKey": "k3y", "authorize": true, "userDict": users});
    let server = FluentServer::start(&folder.path(""), Some(&ca.server()), Some(security));
    let key = folder.write("key", "k3y\n");
    let known = json!({
        "mode": "tls", "tls": {"ca_file": ca.file()},
        "shared_key_file": key, "user": "shipper", "password": "pa55word",
    });
    let (workplace, _ca, dovecot, config) = shipping(&batch, forward(server.port, known.clone()));
    workplace.once(&config).exits(0);
    let entries = server.entries(batch.event_count());
    assert_rows(&batch, &entries.iter().map(|entry| entry["record"].clone()).collect::<Vec<_>>());
    assert_all_archived(&dovecot, &batch);

    for (wrong, words) in [
        (json!({"shared_key_file": null, "shared_key": "wr0ng"}), "shared_key"),
        (json!({"password": "wr0ng"}), "password"),
    ] {
        let (workplace, _ca, dovecot, config) = shipping(&batch, forward(server.port, with(known.clone(), wrong)));
        let finished = workplace.once(&with(config, json!({"give_up_after": "1s"}))).exits(75).says(&[words]);
        for secret in ["k3y", "pa55word", "wr0ng"] {
            assert!(!finished.stderr.contains(secret), "{}", finished.stderr);
        }
        assert_eq!(dovecot.mailbox().count("INBOX"), batch.mails.len());
    }
}

#[test]
fn a_receiver_that_refuses_cuts_delays_and_lies_loses_nothing() {
    let batch = Batch::generate(322, 16, 5..=20, 0);
    let receiver = ForwardReceiver::start(|number, _| match number {
        1 | 8 => Answer::Nack,
        3 => Answer::WrongAck,
        5 => Answer::Cut,
        7 => Answer::Late(Duration::from_millis(1_500)),
        10 => Answer::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        12 => Answer::Raw(vec![0xdd, 0xff, 0xff, 0xff, 0xff]),
        13 | 15 => Answer::AckAndClose,
        _ => Answer::Ack,
    });
    let sink = forward(receiver.port, json!({"request": {"timeout_secs": 1, "concurrency": 2}}));
    let (workplace, _ca, dovecot, config) = shipping(&batch, sink);
    workplace.once(&config).exits(0);
    assert_rows(&batch, &receiver.state().taken);
    assert_all_archived(&dovecot, &batch);
}

/// Receivers close idle connections; the next chunk must not wait for a retry, or count as a failure.
#[test]
fn a_connection_that_ended_while_idle_is_replaced_without_a_failure() {
    let batch = Batch::generate(323, 10, 5..=20, 0);
    let receiver = ForwardReceiver::start(|_, _| Answer::AckAndClose);
    let (workplace, _ca, _dovecot, config) = shipping(&batch, forward(receiver.port, json!({})));
    let finished = workplace.once(&config).exits(0);
    assert_taken_once(&batch, &receiver);
    assert!(!finished.stderr.contains("lost the connection"), "{}", finished.stderr);
}

#[test]
fn the_next_endpoint_is_used_while_the_first_is_away() {
    let batch = Batch::generate(324, 6, 5..=20, 0);
    let receiver = ForwardReceiver::start(|_, _| Answer::Ack);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoints = json!({"endpoints": [closed.to_string(), format!("localhost:{}", receiver.port)]});
    let (workplace, _ca, dovecot, config) = shipping(&batch, forward(0, endpoints));
    workplace.once(&config).exits(0);
    assert_taken_once(&batch, &receiver);
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn chunks_go_over_a_unix_socket_on_few_connections_with_the_configured_tag() {
    let batch = Batch::generate(325, 12, 5..=20, 0);
    let folder = Workplace::new();
    let socket = folder.path("fluent.sock");
    let receiver = ForwardReceiver::at(&socket, |_, _| Answer::Ack);
    let more =
        json!({"endpoints": [format!("unix:{}", socket.display())], "tag": "dmarc", "request": {"concurrency": 2}});
    let (workplace, _ca, _dovecot, config) = shipping(&batch, forward(0, more));
    workplace.once(&config).exits(0);
    assert_taken_once(&batch, &receiver);
    let state = receiver.state();
    assert!(
        state.chunks.iter().all(|chunk| chunk.tag == "dmarc" && chunk.compressed.is_none() && chunk.connection <= 2)
    );
    assert!(state.chunks.iter().all(|chunk| (1..=20).contains(&chunk.entries.len())));
    assert!(state.chunks.len() > 4);
}

#[test]
fn a_kill_in_full_flow_loses_nothing() {
    let batch = Batch::generate(326, 40, 5..=20, 0);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let receiver = ForwardReceiver::start(move |_, _| {
        counted.fetch_add(1, Relaxed);
        Answer::Late(Duration::from_millis(20))
    });
    let (workplace, _ca, dovecot, config) = shipping(&batch, forward(receiver.port, json!({})));
    for after in [1, 4, 9] {
        calls.store(0, Relaxed);
        let running = workplace.once(&config).start();
        eventually(LONG, "chunks are under way", || (calls.load(Relaxed) >= after).then_some(()));
        running.signal(Signal::KILL);
        running.finish();
    }
    workplace.once(&config).exits(0);
    assert_rows(&batch, &receiver.state().taken);
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn check_sends_a_probe_that_is_acknowledged() {
    let batch = Batch::generate(327, 1, 1..=1, 0);
    let receiver = ForwardReceiver::start(|_, _| Answer::Ack);
    let (workplace, _ca, _dovecot, config) = shipping(&batch, forward(receiver.port, json!({})));
    workplace.shipper(&["check", "--config"], &config).exits(0);
    assert_eq!(receiver.state().taken[0]["event_type"], "probe");
}

#[test]
fn chunks_are_compressed_as_configured() {
    for compression in ["gzip", "zstd"] {
        let batch = Batch::generate(328, 4, 5..=10, 0);
        let receiver = ForwardReceiver::start(|_, _| Answer::Ack);
        let sink = forward(receiver.port, json!({"compression": compression}));
        let (workplace, _ca, _dovecot, config) = shipping(&batch, sink);
        workplace.once(&config).exits(0);
        assert_taken_once(&batch, &receiver);
        assert!(receiver.state().chunks.iter().all(|chunk| chunk.compressed.as_deref() == Some(compression)));
    }
}

/// Vector reads nothing from a connection on which it has not acknowledged a chunk yet: others carry the next ones.
#[test]
fn while_a_chunk_waits_for_its_acknowledgement_others_go_over_other_connections() {
    let batch = Batch::generate(329, 12, 5..=20, 0);
    let waiting = Arc::new(AtomicUsize::new(0));
    let counted = waiting.clone();
    let receiver = ForwardReceiver::start(move |_, _| {
        counted.fetch_add(1, Relaxed);
        eventually(LONG, "three chunks wait", || (counted.load(Relaxed) >= 3).then_some(()));
        Answer::Ack
    });
    let more = json!({"request": {"concurrency": 3}, "batch": {"max_events": 20}});
    let (workplace, _ca, dovecot, config) = shipping(&batch, forward(receiver.port, more));
    workplace.once(&config).exits(0);
    assert_taken_once(&batch, &receiver);
    assert_all_archived(&dovecot, &batch);
    assert!(receiver.state().chunks.iter().all(|chunk| chunk.connection <= 3), "connections are kept");
}

#[test]
fn an_acknowledgement_after_the_timeout_is_a_repeat_under_the_same_event_id() {
    let batch = Batch::generate(337, 6, 5..=10, 0);
    let receiver = ForwardReceiver::start(|number, _| match number {
        2 => Answer::Late(Duration::from_millis(1_500)),
        _ => Answer::Ack,
    });
    let sink = forward(receiver.port, json!({"request": {"timeout_secs": 1, "concurrency": 1}}));
    let (workplace, _ca, dovecot, config) = shipping(&batch, sink);
    workplace.once(&config).exits(0).says(&["request.timeout_secs"]);
    let repeated = || times_told(&receiver.state().taken).values().filter(|&&times| times == 2).count();
    eventually(LONG, "the late acknowledgement is out", || (repeated() > 0).then_some(()));
    assert_rows(&batch, &receiver.state().taken);
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn chunks_cut_off_in_the_middle_and_answers_without_an_end_lose_nothing() {
    let batch = Batch::generate(338, 12, 5..=20, 0);
    let receiver = ForwardReceiver::start(|number, _| match number {
        // A text of 1 MiB, of which 20 KiB come.
        2 => Answer::Raw([&[0xdb, 0, 0x10, 0, 0][..], &[b'x'; 20 << 10]].concat()),
        // Half an acknowledgement.
        4 => Answer::Raw(vec![0x81, 0xa3, b'a', b'c']),
        _ => Answer::Ack,
    });
    let cutter = Cutter::start(receiver.port, |connection| (connection % 2 == 0).then_some(5_000));
    let sink = forward(cutter.port, json!({"request": {"concurrency": 1}}));
    let (workplace, _ca, dovecot, config) = shipping(&batch, sink);
    workplace.once(&config).exits(0).says(&["sink is failing", "sink recovered"]);
    assert_taken_once(&batch, &receiver);
    assert_all_archived(&dovecot, &batch);
}

/// Fluent Bit closes the connection after PING if the key is wrong.
#[test]
fn a_connection_closed_after_ping_names_the_shared_key() {
    let batch = Batch::generate(339, 1, 1..=1, 0);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // ["HELO", {"nonce": "n"}]
            let helo = [&[0x92, 0xa4][..], b"HELO", &[0x81, 0xa5], b"nonce", &[0xa1], b"n"].concat();
            std::io::Write::write_all(&mut stream, &helo).unwrap();
            let ping = rmpv::decode::read_value(&mut stream).unwrap();
            let parts = ping.as_array().unwrap();
            assert!(parts.len() == 6 && parts.iter().all(rmpv::Value::is_str), "{ping}");
        }
    });
    let (workplace, _ca, _dovecot, config) = shipping(&batch, forward(port, json!({"shared_key": "wr0ng"})));
    workplace.once(&with(config, json!({"give_up_after": "1s"}))).exits(75).says(&["check shared_key"]);
}

/// Starts a run whose secret is wrong, replaces it once the receiver has refused it, and waits for the end.
fn renewing(workplace: &Workplace, config: &Value, renew: impl FnOnce()) {
    let running = workplace.once(config).start();
    eventually(LONG, "the wrong secret is refused", || running.stderr().contains("sink is failing").then_some(()));
    renew();
    running.finish().exited(0);
}

#[test]
fn the_shared_key_and_the_password_are_read_again() {
    let batch = Batch::generate(340, 4, 1..=5, 0);
    let folder = Workplace::new();
    let users = json!({"shipper": "pa55word"});
    let security = json!({"serverHostname": "collector", "sharedKey": "k3y", "authorize": true, "userDict": users});
    let server = FluentServer::start(&folder.path(""), None, Some(security));
    let (key, password) = (folder.write("key", "0ld\n"), folder.write("password", "0ld\n"));
    let sink = json!({"shared_key_file": key, "user": "shipper", "password_file": password});
    let (workplace, _ca, dovecot, config) = shipping(&batch, forward(server.port, sink));
    renewing(&workplace, &config, || {
        folder.write("key", "k3y\n");
        folder.write("password", "pa55word\n");
    });
    server.entries(batch.event_count());
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn a_client_certificate_is_read_again() {
    let (batch, ca, other) = (Batch::generate(341, 4, 1..=5, 0), Ca::new(), Ca::new());
    let (wrong, right) = (other.client("shipper"), ca.client("shipper"));
    let receiver = ForwardReceiver::with_tls(&ca.server(), &ca.file(), |_, _| Answer::Ack);
    let tls = json!({"ca_file": ca.file(), "crt_file": wrong.certificate, "key_file": wrong.key});
    let sink = forward(receiver.port, json!({"mode": "tls", "tls": tls}));
    let (workplace, _ca, _dovecot, config) = shipping(&batch, sink);
    renewing(&workplace, &config, || {
        std::fs::copy(&right.key, &wrong.key).unwrap();
        std::fs::copy(&right.certificate, &wrong.certificate).unwrap();
    });
    assert_taken_once(&batch, &receiver);
}
