//! The `http` sink against a receiver that refuses, throttles, delays, cuts and lies, and through a proxy.

use std::{
    collections::BTreeSet,
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    ca::Ca,
    delivery::{assert_all_archived, assert_rows, mailbox, rows, times_told},
    dovecot::Dovecot,
    http_receiver::{Answer, HttpReceiver, Received},
    reports::Batch,
    wait::{LONG, eventually},
    workplace::{Workplace, imaps, with},
};

/// Starts a mailbox with reports, and returns it with a configuration that ships them to this URL.
fn shipping(batch: &Batch, url: &str, more: Value) -> (Workplace, Ca, Dovecot, Value) {
    let (workplace, ca) = (Workplace::new(), Ca::new());
    let dovecot = mailbox(&ca, batch);
    let sink = with(json!({"type": "http", "uri": url, "batch": {"max_events": 20}}), more);
    let config = workplace.config(imaps(&dovecot, &ca), sink);
    (workplace, ca, dovecot, config)
}

/// Each row has been taken once, under an `event_id` of its own.
#[track_caller]
fn assert_taken_once(batch: &Batch, receiver: &HttpReceiver) {
    let taken = receiver.state().taken.clone();
    assert_rows(batch, &taken);
    assert!(times_told(&taken).values().all(|&times| times == 1), "told once");
}

/// Each row has been taken, and repeats have the same `event_id`.
#[track_caller]
fn assert_taken(batch: &Batch, receiver: &HttpReceiver) {
    assert_rows(batch, &receiver.state().taken);
}

#[test]
fn events_are_posted_as_ndjson_and_mails_archived_after_the_response() {
    let batch = Batch::generate(301, 12, 1..=20, 0);
    let receiver = HttpReceiver::start(|_, _| Answer::Status(204));
    let (workplace, _ca, dovecot, config) = shipping(&batch, &receiver.url("/ingest?tenant=a"), json!({}));
    workplace.once(&config).exits(0);
    assert_taken_once(&batch, &receiver);
    assert_all_archived(&dovecot, &batch);
    let state = receiver.state();
    for request in &state.requests {
        assert_eq!(request.line, "POST /ingest?tenant=a HTTP/1.1");
        assert_eq!(request.headers["content-type"], "application/x-ndjson");
        assert!((1..=20).contains(&request.events.len()), "{}", request.events.len());
        assert!(request.body.ends_with(b"}\n"));
    }
    let connections: BTreeSet<_> = state.requests.iter().map(|request| request.connection).collect();
    assert!(connections.len() <= 4 && state.requests.len() > 4, "{connections:?} of {}", state.requests.len());
}

#[test]
fn an_array_and_gzip_are_sent_as_configured() {
    let batch = Batch::generate(302, 4, 1..=20, 0);
    let receiver = HttpReceiver::start(|_, _| Answer::Status(200));
    let more = json!({"encoding": {"codec": "array"}, "compression": "gzip", "method": "put"});
    let (workplace, _ca, _dovecot, config) = shipping(&batch, &receiver.url("/"), more);
    workplace.once(&config).exits(0);
    assert_taken_once(&batch, &receiver);
    for request in &receiver.state().requests {
        assert!(request.line.starts_with("PUT / "));
        assert_eq!(request.headers["content-type"], "application/json");
        assert_eq!(request.headers["content-encoding"], "gzip");
        assert!(serde_json::from_slice::<Vec<Value>>(&request.body).is_ok());
    }
}

/// Answers like a busy or broken receiver, each in turn, and 200 in between.
#[test]
fn a_receiver_that_throttles_fails_cuts_and_answers_late_loses_nothing() {
    let batch = Batch::generate(303, 12, 1..=20, 0);
    let receiver = HttpReceiver::start(|number, _| match number {
        1 => Answer::Status(503),
        3 => Answer::Raw("HTTP/1.1 429 Slow down\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n".into()),
        4 => Answer::Cut,
        6 => Answer::Raw("HTTP/1.1 2".into()),
        7 => Answer::Raw("SSH-2.0-OpenSSH_9.2\r\n".into()),
        9 => Answer::Late(Duration::from_millis(1500), 200),
        10 => Answer::Status(500),
        11 => Answer::Status(408),
        _ => Answer::Status(200),
    });
    let more = json!({"request": {"timeout_secs": 1, "concurrency": 2}});
    let (workplace, _ca, dovecot, config) = shipping(&batch, &receiver.url("/"), more);
    workplace.once(&config).exits(0);
    assert_taken(&batch, &receiver);
    assert_all_archived(&dovecot, &batch);
}

/// The status is the receiver's word. What follows it may be cut off, or longer than the client reads.
#[test]
fn a_success_counts_whatever_body_comes_with_it() {
    let batch = Batch::generate(304, 6, 1..=10, 0);
    let receiver = HttpReceiver::start(|number, _| match number {
        1 => Answer::Raw("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\ncut off".into()),
        2 => Answer::Raw(format!("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n{}", "x".repeat(200_000))),
        _ => Answer::Status(202),
    });
    let more = json!({"batch": {"max_events": 5}});
    let (workplace, _ca, dovecot, config) = shipping(&batch, &receiver.url("/"), more);
    workplace.once(&config).exits(0);
    assert_taken_once(&batch, &receiver);
    assert_all_archived(&dovecot, &batch);
}

fn has_row(received: &Received, event_id: &str) -> bool {
    received.events.iter().any(|event| event["event_id"] == event_id)
}

/// Returns the `event_id` of one row of the batch, as shipped to another place.
fn one_row(workplace: &Workplace, config: &Value) -> Value {
    let sink = json!({"type": "file", "path": workplace.path("first.ndjson")});
    let other = with(config.clone(), json!({"data_dir": workplace.path("other"), "sinks": {"out": sink}}));
    let keep = json!({"sources": {"rua": with(other["sources"]["rua"].clone(), json!({"archive_folder": null}))}});
    workplace.once(&with(other, keep)).exits(0);
    let events = crate::support::process::ndjson(&workplace.read("first.ndjson"));
    rows(&events).nth(7).unwrap().clone()
}

#[test]
fn one_event_that_is_refused_quarantines_its_mail_and_all_others_arrive() {
    let batch = Batch::generate(305, 6, 10..=20, 0);
    let bad: Arc<std::sync::OnceLock<String>> = Arc::default();
    let known = bad.clone();
    let receiver = HttpReceiver::start(move |_, received| match known.get() {
        Some(bad) if has_row(received, bad) => {
            let body = "the field count\tis\nno number";
            Answer::Raw(format!("HTTP/1.1 400 Bad\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
        }
        _ => Answer::Status(200),
    });
    let (workplace, _ca, dovecot, config) = shipping(&batch, &receiver.url("/"), json!({}));
    let row = one_row(&workplace, &config);
    bad.set(row["event_id"].as_str().unwrap().to_owned()).unwrap();
    let finished = workplace.once(&config).exits(0);
    let taken = receiver.state().taken.clone();
    assert_eq!(rows(&taken).count(), batch.row_count() - 1);
    let mailbox = dovecot.mailbox();
    assert_eq!((mailbox.count("INBOX"), mailbox.count("Processed"), mailbox.count("Unreadable")), (0, 5, 1));
    finished.says(&["sink_rejected", "400", "the field count is no number"]);
}

#[test]
fn with_retry_a_refused_event_stays_until_the_receiver_takes_it() {
    let batch = Batch::generate(306, 2, 5..=10, 0);
    let is_strict = Arc::new(AtomicBool::new(true));
    let strict = is_strict.clone();
    let receiver = HttpReceiver::start(move |_, _| match strict.load(Relaxed) {
        true => Answer::Status(400),
        false => Answer::Status(200),
    });
    let (workplace, _ca, dovecot, config) = shipping(&batch, &receiver.url("/"), json!({"on_rejected": "retry"}));
    let config = with(config, json!({"give_up_after": "2s"}));
    workplace.once(&config).exits(75).says(&["400"]);
    assert_eq!(dovecot.mailbox().count("INBOX"), 2);
    is_strict.store(false, Relaxed);
    workplace.once(&config).exits(0);
    assert_taken_once(&batch, &receiver);
}

/// A wrong path or credential refuses everything: nothing may be quarantined for it.
#[test]
fn a_receiver_that_refuses_everything_leaves_all_mails_in_place() {
    for (status, advice) in
        [(400, "no event has been accepted yet"), (401, "check auth"), (404, "check uri"), (302, "redirects")]
    {
        let batch = Batch::generate(307, 2, 3..=5, 0);
        let receiver = HttpReceiver::start(move |_, _| Answer::Status(status));
        let (workplace, _ca, dovecot, config) = shipping(&batch, &receiver.url("/"), json!({}));
        let config = with(config, json!({"give_up_after": "1s"}));
        workplace.once(&config).exits(75).says(&[advice]);
        assert_eq!(dovecot.mailbox().count("INBOX"), 2, "{status}");
    }
}

#[test]
fn a_batch_that_is_too_large_for_the_receiver_is_sent_in_parts() {
    let batch = Batch::generate(308, 6, 10..=20, 0);
    let receiver = HttpReceiver::start(|_, received| Answer::Status(if received.events.len() > 3 { 413 } else { 200 }));
    let (workplace, _ca, dovecot, config) = shipping(&batch, &receiver.url("/"), json!({}));
    workplace.once(&config).exits(0);
    assert_taken_once(&batch, &receiver);
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn credentials_are_read_again_and_never_logged() {
    let batch = Batch::generate(309, 4, 1..=5, 0);
    let workplace = Workplace::new();
    let password = workplace.write("password", "s3cret-old\n");
    let renewed = password.clone();
    let receiver = HttpReceiver::start(move |_, received| {
        // "user:s3cret-new" in base64.
        match received.headers.get("authorization").map(String::as_str) {
            Some("Basic dXNlcjpzM2NyZXQtbmV3") if received.headers["x-tenant"] == "k3y" => Answer::Status(200),
            _ => {
                std::fs::write(&renewed, "s3cret-new\n").unwrap();
                Answer::Status(401)
            }
        }
    });
    let more = json!({
        "auth": {"strategy": "basic", "user": "user", "password_file": password},
        "request": {"headers": {"X-Tenant": "k3y"}},
    });
    let (workplace, _ca, _dovecot, config) = shipping(&batch, &receiver.url("/"), more);
    let finished = workplace.once(&config).exits(0);
    assert_taken_once(&batch, &receiver);
    for secret in ["s3cret", "k3y", "dXNlcjp"] {
        assert!(!finished.stderr.contains(secret), "{}", finished.stderr);
    }
}

#[test]
fn tls_with_a_client_certificate_and_a_bearer_token() {
    let (batch, ca) = (Batch::generate(310, 4, 1..=5, 0), Ca::new());
    let (server, client) = (ca.server(), ca.client("shipper"));
    let receiver = HttpReceiver::with_tls(&server, Some(&ca.file()), |_, received| {
        let is_known = received.headers.get("authorization").is_some_and(|value| value == "Bearer t0ken");
        Answer::Status(if is_known { 200 } else { 403 })
    });
    let url = format!("https://localhost:{}/", receiver.port);
    let certificates = json!({"ca_file": ca.file(), "crt_file": client.certificate, "key_file": client.key});
    let more = json!({"tls": certificates, "auth": {"strategy": "bearer", "token": "t0ken"}});
    let (workplace, _ca, _dovecot, config) = shipping(&batch, &url, more);
    workplace.once(&config).exits(0);
    assert_taken_once(&batch, &receiver);

    let untrusted = with(config, json!({"data_dir": workplace.path("new"), "give_up_after": "1s"}));
    let tls = json!({"sinks": {"out": with(untrusted["sinks"]["out"].clone(), json!({"tls": {"ca_file": null}}))}});
    batch.mails.iter().for_each(|mail| _dovecot.mailbox().deliver("INBOX", mail));
    workplace.once(&with(untrusted, tls)).exits(75).says(&["is not signed by a trusted authority"]);
}

#[test]
fn requests_go_through_the_proxy_of_the_environment() {
    let batch = Batch::generate(311, 3, 1..=5, 0);
    let proxy = HttpReceiver::start(|_, _| Answer::Status(200));
    let (workplace, _ca, _dovecot, config) = shipping(&batch, "http://siem.example/ingest", json!({}));
    let shipper = workplace.once(&config).env("HTTP_PROXY", format!("http://u:p@localhost:{}", proxy.port));
    shipper.exits(0);
    assert_taken_once(&batch, &proxy);
    let state = proxy.state();
    assert_eq!(state.requests[0].line, "POST http://siem.example/ingest HTTP/1.1");
    assert_eq!(state.requests[0].headers["proxy-authorization"], "Basic dTpw");
    drop(state);

    let refusing = HttpReceiver::start(|_, _| Answer::Status(403));
    let (workplace, _ca, _dovecot, config) = shipping(&batch, "https://siem.example/ingest", json!({}));
    let config = with(config, json!({"give_up_after": "1s"}));
    let shipper = workplace.once(&config).env("HTTPS_PROXY", format!("http://localhost:{}", refusing.port));
    shipper.exits(75).says(&["the proxy localhost", "opened no tunnel"]);
    assert_eq!(refusing.state().requests[0].line, "CONNECT siem.example:443 HTTP/1.1");
}

/// The shipper is killed in full flow, again and again; what the receiver has taken twice has the same `event_id`.
#[test]
fn a_kill_in_full_flow_loses_nothing() {
    let batch = Batch::generate(312, 40, 5..=20, 0);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let receiver = HttpReceiver::start(move |_, _| {
        counted.fetch_add(1, Relaxed);
        Answer::Late(Duration::from_millis(20), 200)
    });
    let (workplace, _ca, dovecot, config) = shipping(&batch, &receiver.url("/"), json!({}));
    for after in [1, 4, 9] {
        calls.store(0, Relaxed);
        let running = workplace.once(&config).start();
        eventually(LONG, "requests are under way", || (calls.load(Relaxed) >= after).then_some(()));
        running.signal(Signal::KILL);
        running.finish();
    }
    workplace.once(&config).exits(0);
    assert_taken(&batch, &receiver);
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn check_sends_a_probe_and_names_what_is_wrong() {
    let batch = Batch::generate(313, 1, 1..=1, 0);
    let receiver = HttpReceiver::start(|_, _| Answer::Status(200));
    let (workplace, _ca, _dovecot, config) = shipping(&batch, &receiver.url("/"), json!({}));
    workplace.shipper(&["check", "--config"], &config).exits(0);
    assert_eq!(receiver.state().taken[0]["event_type"], "probe");

    let gone = HttpReceiver::start(|_, _| Answer::Status(404));
    let (workplace, _ca, _dovecot, config) = shipping(&batch, &gone.url("/"), json!({}));
    let finished = workplace.shipper(&["check", "--config"], &config).run();
    assert!(finished.stdout.contains("404 Not Found; check uri and method"), "{}", finished.stdout);
}
