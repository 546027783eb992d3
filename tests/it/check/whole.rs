//! The report of `check` as a whole: its format, its output stream, a check beside a running instance, and interruption.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::Findings;
use crate::{
    source_imap::scripted::{Act, Scripted},
    support::{
        ca::Ca,
        delivery::mailbox,
        dovecot::{Dovecot, USER},
        peer::{Manner, Peer},
        process::ndjson,
        reports::Batch,
        rsyslog::Rsyslog,
        server::free_port,
        wait::{LONG, eventually},
        workplace::{Workplace, imaps, stdout, syslog_tcp, syslog_tls, with},
    },
};

/// Masks ports, dates, ids and the path of the workplace, which differ from run to run.
fn blurred(report: &str, workplace: &Workplace) -> String {
    let own = workplace.path("").display().to_string();
    let report = report.replace(own.trim_end_matches('/'), "/place").replace("TLS 1.2", "TLS 1.3");
    let is_id = |word: &str| word.len() == 32 && word.chars().all(|c| c.is_ascii_hexdigit());
    let words = report.split(' ').map(|word| if is_id(word) { "ID" } else { word });
    let (mut blurred, mut digits) = (String::new(), String::new());
    for c in words.collect::<Vec<_>>().join(" ").chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        // Addresses, exit codes and counts are kept.
        blurred += if digits.len() > 3 { "#" } else { &digits };
        digits.clear();
        blurred.push(c);
    }
    blurred
}

#[test]
fn the_report_covers_all_parts_and_exits_with_the_worst_code() {
    let (ca, workplace) = (Ca::new(), Workplace::new());
    let (dovecot, rsyslog) = (Dovecot::start(&ca.server()), Rsyslog::start(&ca));
    dovecot.mailbox().create_folder("Processed");
    let sources = json!({
        "rua": with(imaps(&dovecot, &ca), json!({"host": "127.0.0.1", "quarantine_folder": null, "without_report": "archive"})),
        "ruf": with(imaps(&dovecot, &ca), json!({"host": "127.0.0.1", "password": "wrong", "archive_folder": null})),
        "files": {"type": "file", "path": workplace.path("gone")},
    });
    let sinks = json!({
        "siem": with(syslog_tls(rsyslog.tls_port, &ca), json!({"address": format!("127.0.0.1:{}", rsyslog.tls_port)})),
        "away": with(syslog_tcp(free_port()), json!({"required": false})),
        "kept": {"type": "file", "path": workplace.path("kept.json")},
    });
    let config = with(workplace.config(json!({}), json!({})), json!({"sources": sources, "sinks": sinks}));
    let finished = workplace.shipper(&["check", "--config"], &config).exits(77);
    let report = blurred(&finished.stdout, &workplace);
    let wanted = format!(
        "data_dir /place/data
  ok      folder             /place/data would be created: /place can be written to
  ok      files              none yet
  ok      instance           none is running
source files (file, /place/gone)
  FAILED  file               can't read /place/gone: No such file or directory (os error 2); check the path, and that its volume is mounted
source rua (imap, 127.0.0.1:#)
  ok      name               127.0.0.1 resolves to 127.0.0.1
  ok      connection         127.0.0.1:#
  ok      encryption         TLS 1.3; the certificate is valid until #-01-01
  ok      login              {USER}, by PLAIN
  ok      capabilities       MOVE UIDPLUS IDLE NAMESPACE
  ok      folder INBOX       0 mails, UIDVALIDITY #; the account has all required rights
  ok      archive_folder     Processed, 0 mails; mails may be moved there
source ruf (imap, 127.0.0.1:#)
  ok      name               127.0.0.1 resolves to 127.0.0.1
  ok      connection         127.0.0.1:#
  ok      encryption         TLS 1.3; the certificate is valid until #-01-01
  FAILED  login              127.0.0.1 refused the login of {USER}: [AUTHENTICATIONFAILED] Authentication failed.; check user and password, or try auth: login
  skipped capabilities       needs: login
  skipped folder INBOX       needs: login
  skipped quarantine_folder  needs: login
sink away (syslog, tcp, 127.0.0.1:#, not required)
  ok      name               127.0.0.1 resolves to 127.0.0.1
  FAILED  connection         can't connect to 127.0.0.1:#: 127.0.0.1: Connection refused (os error 111); check host and port, whether the server is running, and whether a firewall blocks the connection
  skipped probe              needs: connection
sink kept (file, /place/kept.json)
  ok      folder             /place can be written to
  ok      file               /place/kept.json would be created
  ok      probe              event ID was written to disk in a test file beside today's, which was deleted again
sink siem (syslog, tls, 127.0.0.1:#)
  ok      name               127.0.0.1 resolves to 127.0.0.1
  ok      connection         127.0.0.1:#
  ok      encryption         TLS 1.3; the certificate is valid until #-01-01; the server requests a client certificate (tls.crt_file is not set), and may reject the connection only when an event is sent
  ok      probe              event ID was acknowledged by the receiver's TCP stack; look at the receiver to see whether it was stored
3 failed, 4 skipped; exit code 77
"
    );
    assert_eq!(report, wanted);
    assert!(!finished.stderr.contains("correct horse") && !finished.stdout.contains("correct horse"));
}

#[test]
fn the_report_goes_to_stderr_if_a_probe_goes_to_stdout() {
    let workplace = Workplace::new();
    let source = json!({"type": "file", "path": workplace.write("report.xml", "<feedback/>")});
    let sink = with(stdout(), json!({"events": ["dmarc_aggregate"]}));
    let config = workplace.config(source, sink);
    let finished = workplace.shipper(&["check", "--config"], &config).exits(0);
    let events = finished.events();
    assert_eq!((events.len(), &events[0]["event_type"]), (1, &json!("probe")));
    let id = events[0]["event_id"].as_str().unwrap().to_owned();
    let finished =
        finished.says(&["sink out (stdout)", &format!("event {id} was written to stdout"), "all checks passed"]);
    drop(finished);
    let finished = workplace.shipper(&["check", "--no-probe", "--config"], &config).exits(0);
    assert!(finished.stdout.contains("skipped probe"), "{}", finished.stdout);
    workplace
        .shipper(&["check", "--config"], &config)
        .with_stdout_closed()
        .exits(74)
        .says(&["the reader of stdout has closed it"]);
}

#[test]
fn check_accepts_from_and_to_like_run() {
    let (ca, workplace) = (Ca::new(), Workplace::new());
    let (dovecot, rsyslog) = (Dovecot::start(&ca.server()), Rsyslog::start(&ca));
    let from =
        format!("imaps://{USER}@localhost:{}/INBOX?archive=Done&ca_file={}", dovecot.imaps_port, ca.file().display());
    let to = format!("syslog+tls://localhost:{}?ca_file={}", rsyslog.tls_port, ca.file().display());
    let shipper = crate::support::process::Shipper::new(["check", "--format", "json", "--from", &from, "--to", &to]);
    let found =
        Findings::of(&shipper.env("DMARC_SHIPPER_PASSWORD", "correct horse").within(&workplace.path("")).exits(0));
    found.has("imap", "archive_folder", "ok", &["Done does not exist and can be created"]);
    found.has("syslog", "probe", "ok", &["was acknowledged by"]);
}

#[test]
fn a_running_instance_is_noted_and_not_disturbed() {
    let (ca, batch) = (Ca::new(), Batch::generate(91, 6, 1..=3, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let kept = json!({"type": "file", "path": workplace.path("kept.json")});
    let config = workplace.config(with(imaps(&dovecot, &ca), json!({"poll_interval": "1s"})), kept);
    let running = workplace.shipper(&["run", "--config"], &config).start();
    let shipped = || std::fs::read_to_string(workplace.path("kept.json")).unwrap_or_default();
    eventually(LONG, "the first mails are shipped", || (!shipped().is_empty()).then_some(()));
    for _ in 0..5 {
        let found = super::check(&workplace, &config, &[], 0);
        found.has("", "instance", "note", &["process ", "is running"]);
        found.has("out", "probe", "ok", &["written to disk"]);
    }
    eventually(LONG, "the mails are archived", || {
        (dovecot.mailbox().count("Processed") == batch.mails.len()).then_some(())
    });
    running.signal(Signal::TERM);
    let finished = running.finish().exited(0);
    for complaint in ["moved, deleted or changed", "cut off", "trying again"] {
        assert!(!finished.stderr.contains(complaint), "{}", finished.stderr);
    }
    let events: Vec<Value> = ndjson(&shipped());
    assert_eq!(events.len(), batch.event_count());
}

/// A signal ends the check even if a server never answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_check_and_skips_the_remaining_steps() {
    let (server, workplace) = (Scripted::start(0, |_, _| Act::Silent).await, Workplace::new());
    let source = json!({"type": "imap", "host": "127.0.0.1", "port": server.port, "security": "none", "user": "u", "password": "p"});
    let deaf = Peer::start(Manner::Deaf);
    let config = workplace.config(source, with(syslog_tcp(deaf.port), json!({"acknowledgements": "strict"})));
    for signal in [Signal::INT, Signal::TERM] {
        let running = workplace.shipper(&["check", "--config"], &config).start();
        eventually(LONG, "it waits for the server", || running.stdout().contains("encryption").then_some(()));
        running.signal(signal);
        let finished = running.finish().exited(75);
        assert!(finished.stdout.contains("skipped login              interrupted"), "{}", finished.stdout);
        assert!(finished.stdout.contains("skipped probe              interrupted"), "{}", finished.stdout);
        // The signal may come before the sink's connection is open.
        let ended = ["no failures, 4 skipped\n", "no failures, 5 skipped\n"].map(|end| finished.stdout.ends_with(end));
        assert!(ended.contains(&true), "{}", finished.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_costs_only_its_timeout() {
    let (server, workplace) = (Scripted::start(0, |_, _| Act::Silent).await, Workplace::new());
    let source = json!({
        "type": "imap", "host": "127.0.0.1", "port": server.port, "security": "none", "user": "u", "password": "p",
        "read_timeout": "1s",
    });
    let found = super::check(&workplace, &workplace.config(source, stdout()), &["--no-probe"], 69);
    found.has("rua", "greeting", "failed", &["sent nothing for 1s", "read_timeout"]);
}
