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
    cutter::Cutter,
    delivery::{assert_all_archived, assert_rows, mailbox, rows, times_told},
    dovecot::Dovecot,
    http_receiver::{Answer, HttpReceiver, Received},
    http2_receiver::{Http2Receiver, Reaction},
    idp::{CLIENT_ID, CLIENT_SECRET, Idp},
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

/// As Fluent Bit's `http` input, which answers 201 to an array.
#[test]
fn a_compressed_array_is_sent_as_configured() {
    for compression in ["gzip", "zstd"] {
        let batch = Batch::generate(302, 4, 1..=20, 0);
        let receiver = HttpReceiver::start(|_, _| Answer::Status(201));
        let more = json!({"encoding": {"codec": "array"}, "compression": compression, "method": "put"});
        let (workplace, _ca, _dovecot, config) = shipping(&batch, &receiver.url("/"), more);
        workplace.once(&config).exits(0);
        assert_taken_once(&batch, &receiver);
        for request in &receiver.state().requests {
            assert!(request.line.starts_with("PUT / "));
            assert_eq!(request.headers["content-type"], "application/json");
            assert_eq!(request.headers["content-encoding"], compression);
            assert!(serde_json::from_slice::<Vec<Value>>(&request.body).is_ok());
        }
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

/// Fluent Bit answers 503 while its buffer is full.
#[test]
fn a_full_receiver_is_tried_again_no_sooner_than_it_asks() {
    let batch = Batch::generate(314, 6, 1..=10, 0);
    let receiver = HttpReceiver::start(|number, _| match number {
        1 => Answer::Status(503),
        2 => Answer::Raw("HTTP/1.1 503 Full\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n".into()),
        _ => Answer::Status(201),
    });
    let (workplace, _ca, dovecot, config) = shipping(&batch, &receiver.url("/"), json!({}));
    workplace.once(&config).exits(0).says(&["503"]);
    assert_taken_once(&batch, &receiver);
    assert_all_archived(&dovecot, &batch);
}

/// The receiver has taken a batch, and says so after `request.timeout_secs`: it gets the batch twice.
#[test]
fn an_answer_after_the_timeout_is_a_repeat_under_the_same_event_id() {
    let batch = Batch::generate(315, 6, 5..=10, 0);
    let receiver = HttpReceiver::start(|number, _| match number {
        2 => Answer::Late(Duration::from_millis(1500), 200),
        _ => Answer::Status(200),
    });
    let more = json!({"request": {"timeout_secs": 1, "concurrency": 1}});
    let (workplace, _ca, dovecot, config) = shipping(&batch, &receiver.url("/"), more);
    workplace.once(&config).exits(0).says(&["request.timeout_secs"]);
    let repeated = || times_told(&receiver.state().taken).values().filter(|&&times| times == 2).count();
    eventually(LONG, "the late answer is out", || (repeated() > 0).then_some(()));
    assert_taken(&batch, &receiver);
    assert_all_archived(&dovecot, &batch);
}

/// Webhooks may answer 200 with an error in the body: the status decides, as docs/delivery.md says.
#[test]
fn a_success_is_not_withdrawn_by_its_body_nor_delayed_by_interim_responses() {
    let batch = Batch::generate(316, 6, 5..=10, 0);
    let answered = |head: &str, body: &str| {
        Answer::Raw(format!("{head}HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    };
    let receiver = HttpReceiver::start(move |number, _| match number % 2 {
        0 => answered("", r#"{"ok": false, "error": "invalid_payload"}"#),
        _ => answered("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", ""),
    });
    let (workplace, _ca, dovecot, config) = shipping(&batch, &receiver.url("/"), json!({}));
    let finished = workplace.once(&config).exits(0);
    assert!(!finished.stderr.contains("quarantined a mail"), "{}", finished.stderr);
    assert_rows(&batch, &answers_taken(&receiver));
    assert_all_archived(&dovecot, &batch);
}

/// Returns the events of all requests, of which each was answered with 200 in the end.
fn answers_taken(receiver: &HttpReceiver) -> Vec<Value> {
    receiver.state().requests.iter().flat_map(|request| request.events.clone()).collect()
}

/// Regression: the batch timed out with its response half read, and was sent again for ever.
#[test]
fn a_success_with_a_body_that_never_ends_counts_once() {
    let batch = Batch::generate(317, 4, 5..=10, 0);
    let receiver = HttpReceiver::start(|_, _| Answer::Endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
    let more = json!({"request": {"timeout_secs": 10}});
    let (workplace, _ca, dovecot, config) = shipping(&batch, &receiver.url("/"), more);
    let config = with(config, json!({"give_up_after": "30s"}));
    workplace.once(&config).exits(0);
    assert_taken_once(&batch, &receiver);
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn a_response_that_never_gets_to_its_status_is_a_failure() {
    let batch = Batch::generate(318, 4, 5..=10, 0);
    let receiver = HttpReceiver::start(|number, _| match number {
        1 => Answer::Endless("HTTP/1.1 500 Broken\r\nX-Endless: "),
        2 => Answer::Endless("HTTP/1.1 500 Broken\r\nTransfer-Encoding: chunked\r\n\r\n"),
        _ => Answer::Status(200),
    });
    let more = json!({"request": {"timeout_secs": 2}});
    let (workplace, _ca, dovecot, config) = shipping(&batch, &receiver.url("/"), more);
    workplace.once(&config).exits(0);
    assert_taken_once(&batch, &receiver);
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn connections_that_end_while_idle_or_in_the_middle_of_a_request_lose_nothing() {
    let batch = Batch::generate(319, 10, 5..=20, 0);
    let receiver = HttpReceiver::start(|number, _| match number % 2 {
        0 => Answer::Raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into()),
        _ => Answer::Status(200),
    });
    let cutter = Cutter::start(receiver.port, |connection| (connection % 2 == 0).then_some(3_000));
    let url = format!("http://127.0.0.1:{}/", cutter.port);
    let (workplace, _ca, dovecot, config) = shipping(&batch, &url, json!({"request": {"concurrency": 1}}));
    workplace.once(&config).exits(0).says(&["sink is failing", "sink recovered"]);
    assert_taken_once(&batch, &receiver);
    assert_all_archived(&dovecot, &batch);
}

/// Ships to a receiver of HTTP/2, in requests of ten events, up to four at a time.
fn shipped_over_http2(
    seed: u64,
    together: usize,
    script: impl Fn(usize) -> Reaction + Send + Sync + 'static,
) -> (Batch, Http2Receiver) {
    let (batch, ca) = (Batch::generate(seed, 20, 5..=20, 0), Ca::new());
    let receiver = Http2Receiver::start(&ca.server(), together, script);
    let request = json!({"timeout_secs": 2, "concurrency": 4});
    let more = json!({"tls": {"ca_file": ca.file()}, "batch": {"max_events": 10}, "request": request});
    let (workplace, _ca, dovecot, config) = shipping(&batch, &receiver.url(), more);
    workplace.once(&config).exits(0);
    assert_rows(&batch, &receiver.state().taken);
    assert_all_archived(&dovecot, &batch);
    (batch, receiver)
}

#[test]
fn http2_carries_several_requests_at_a_time_on_one_connection() {
    let (batch, receiver) = shipped_over_http2(331, 3, |_| Reaction::Status(200));
    let state = receiver.state();
    // Requests that start before the first handshake has ended open connections of their own.
    assert!((1..=3).contains(&state.connections), "{}", state.connections);
    assert!(state.requests >= batch.event_count() / 10 && state.most_in_flight >= 3, "{}", state.most_in_flight);
    assert!(times_told(&state.taken).values().all(|&times| times == 1), "told once");
}

/// Streams that are reset, and connections that end with GOAWAY while streams are in flight.
#[test]
fn http2_streams_that_end_without_a_response_are_sent_again() {
    let (_, receiver) = shipped_over_http2(332, 2, |number| match number {
        2 => Reaction::Reset { taken: false },
        4 | 5 => Reaction::Reset { taken: true },
        7 => Reaction::GoAway,
        10 => Reaction::LastOnes,
        12 => Reaction::Status(503),
        _ => Reaction::Status(200),
    });
    let state = receiver.state();
    assert!(state.connections >= 3, "a new one after each GOAWAY: {}", state.connections);
    assert!(times_told(&state.taken).values().any(|&times| times > 1), "what was taken before a reset is repeated");
}

/// Regression: requests were sent on the connection that does not answer any more until TCP gave it up, a quarter of an hour.
#[test]
fn an_http2_connection_that_falls_silent_is_replaced() {
    let (_, receiver) = shipped_over_http2(333, 1, |number| match number {
        2 => Reaction::Deaf,
        _ => Reaction::Status(200),
    });
    assert!(receiver.state().connections >= 2);
}

/// Starts a run whose secret is wrong, replaces it once the receiver has refused it, and waits for the end.
fn renewing(workplace: &Workplace, config: &Value, renew: impl FnOnce()) {
    let running = workplace.once(config).start();
    eventually(LONG, "the wrong secret is refused", || running.stderr().contains("sink is failing").then_some(()));
    renew();
    running.finish().exited(0);
}

#[test]
fn a_token_and_a_header_field_in_files_are_read_again() {
    let batch = Batch::generate(334, 4, 1..=5, 0);
    let folder = Workplace::new();
    let (token, key) = (folder.write("token", "0ld\n"), folder.write("key", "0ld-key\n"));
    let receiver = HttpReceiver::start(|_, received| {
        let is = |name: &str, value: &str| received.headers.get(name).is_some_and(|sent| sent == value);
        Answer::Status(if is("authorization", "Bearer n3w") && is("x-api-key", "n3w-key") { 200 } else { 403 })
    });
    let more = json!({
        "auth": {"strategy": "bearer", "token_file": token},
        "request": {"headers_file": {"X-Api-Key": key}},
    });
    let (workplace, _ca, _dovecot, config) = shipping(&batch, &receiver.url("/"), more);
    renewing(&workplace, &config, || {
        folder.write("token", "n3w\n");
        folder.write("key", "n3w-key\n");
    });
    assert_taken_once(&batch, &receiver);
}

#[test]
fn a_client_certificate_is_read_again() {
    let (batch, ca, other) = (Batch::generate(335, 4, 1..=5, 0), Ca::new(), Ca::new());
    let (wrong, right) = (other.client("shipper"), ca.client("shipper"));
    let receiver = HttpReceiver::with_tls(&ca.server(), Some(&ca.file()), |_, _| Answer::Status(200));
    let tls = json!({"ca_file": ca.file(), "crt_file": wrong.certificate, "key_file": wrong.key});
    let url = format!("https://localhost:{}/", receiver.port);
    let (workplace, _ca, _dovecot, config) = shipping(&batch, &url, json!({"tls": tls}));
    renewing(&workplace, &config, || {
        std::fs::copy(&right.key, &wrong.key).unwrap();
        std::fs::copy(&right.certificate, &wrong.certificate).unwrap();
    });
    assert_taken_once(&batch, &receiver);
}

/// Token endpoints are reached by the same client as receivers, and so through the same proxies.
#[test]
fn tokens_are_fetched_with_the_client_credentials_and_through_the_proxy() {
    let (batch, ca) = (Batch::generate(336, 3, 1..=5, 0), Ca::new());
    let idp = Idp::start(&ca.server(), "shipper");
    let receiver = HttpReceiver::start(|_, received| {
        let is_token = received.headers.get("authorization").is_some_and(|value| value.starts_with("Bearer eyJ0eXAi"));
        Answer::Status(if is_token { 200 } else { 401 })
    });
    let oauth = json!({
        "token_url": idp.token_url(), "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET,
        "tls": {"ca_file": ca.file()},
    });
    let (workplace, _ca, _dovecot, config) = shipping(&batch, &receiver.url("/"), json!({"oauth": oauth}));
    workplace.once(&config).exits(0);
    assert_taken_once(&batch, &receiver);

    let refusing = HttpReceiver::start(|_, _| Answer::Status(403));
    let (workplace, _ca, _dovecot, config) = shipping(&batch, &receiver.url("/"), json!({"oauth": oauth}));
    let config = with(config, json!({"give_up_after": "1s"}));
    let shipper = workplace.once(&config).env("HTTPS_PROXY", format!("http://localhost:{}", refusing.port));
    shipper.exits(75).says(&["no access token from localhost", "opened no tunnel"]);
    assert!(refusing.state().requests[0].line.starts_with("CONNECT localhost:"));
}
