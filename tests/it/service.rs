//! `run` as a service (without `--once`): restarts of servers, signals, and reload.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    ca::Ca,
    delivery::{assert_all_archived, assert_complete, assert_rows, deliver, events, mailbox, rows, told_once},
    dovecot::Dovecot,
    process::{Running, ndjson},
    reports::{Batch, essences},
    rsyslog::Rsyslog,
    server::free_port,
    wait::{LONG, eventually},
    workplace::{Workplace, imaps, stdout, syslog_tcp, syslog_tls, with},
};

/// Returns a source with the shortest poll interval, one second.
fn polled(dovecot: &Dovecot, ca: &Ca) -> Value {
    with(imaps(dovecot, ca), json!({"poll_interval": "1s"}))
}

fn until_archived(dovecot: &Dovecot, mails: usize) {
    eventually(LONG, "the mails are archived", || (dovecot.mailbox().count("Processed") == mails).then_some(()));
}

fn until_said(running: &Running, words: &str) {
    eventually(LONG, &format!("the program says {words:?}"), || running.stderr().contains(words).then_some(()));
}

#[test]
fn new_mail_is_shipped_and_sigterm_shuts_down_gracefully() {
    for signal in [Signal::TERM, Signal::INT] {
        let (ca, batch) = (Ca::new(), Batch::generate(51, 4, 1..=5, 0));
        let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
        dovecot.mailbox().deliver("INBOX", &batch.mails[0]);
        let config = workplace.config(polled(&dovecot, &ca), stdout());
        let running = workplace.shipper(&["run", "--config"], &config).start();
        until_archived(&dovecot, 1);
        batch.mails[1..].iter().for_each(|mail| dovecot.mailbox().deliver("INBOX", mail));
        until_archived(&dovecot, 4);
        running.signal(signal);
        let finished = running.finish().exited(0);
        assert_eq!(essences(rows(&finished.events())), batch.essences());
        assert!(!finished.stderr.contains("stopping before all events were confirmed"), "{}", finished.stderr);
        assert_all_archived(&dovecot, &batch);
    }
}

#[test]
fn sigterm_while_the_receiver_is_down_leaves_the_mails_and_exits_with_75() {
    let (ca, batch) = (Ca::new(), Batch::generate(52, 5, 1..=5, 0));
    let (dovecot, mut rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    rsyslog.halt();
    let sinks = json!({"siem": syslog_tls(rsyslog.tls_port, &ca), "out": stdout()});
    let config = with(
        workplace.config(polled(&dovecot, &ca), stdout()),
        json!({"sinks": sinks, "shutdown_timeout": "2s", "give_up_after": "1d"}),
    );
    let running = workplace.shipper(&["run", "--config"], &config).start();
    // The other sink has received all events, so the mails only wait for this one.
    eventually(LONG, "everything is in flight", || {
        (running.stdout().lines().count() == batch.event_count()).then_some(())
    });
    until_said(&running, "can't connect");
    running.signal(Signal::TERM);
    running.finish().exited(75).says(&["stopping before all events were confirmed"]);
    assert_eq!((dovecot.mailbox().count("INBOX"), dovecot.mailbox().count("Processed")), (batch.mails.len(), 0));
}

#[test]
fn a_single_run_waits_for_a_receiver_that_restarts() {
    let (ca, batch) = (Ca::new(), Batch::generate(53, 5, 1..=5, 0));
    let (dovecot, mut rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    rsyslog.halt();
    let running = workplace.once(&workplace.config(imaps(&dovecot, &ca), syslog_tcp(rsyslog.tcp_port))).start();
    until_said(&running, "can't connect");
    rsyslog.resume();
    running.finish().exited(0);
    assert_complete(&batch, &rsyslog.wait_for(batch.event_count()));
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn nothing_is_lost_when_the_receiver_restarts() {
    let (ca, batch) = (Ca::new(), Batch::generate(54, 40, 5..=10, 0));
    let (dovecot, mut rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    // Data that rsyslog's kernel has and rsyslog has not read is lost with it; only `strict` detects that.
    let sink = with(syslog_tcp(rsyslog.tcp_port), json!({"rate_limit_num": 100, "acknowledgements": "strict"}));
    let running = workplace.once(&workplace.config(imaps(&dovecot, &ca), sink)).start();
    rsyslog.wait_for(50);
    rsyslog.halt();
    assert!(dovecot.mailbox().count("INBOX") > 0, "the run was over before the receiver went away");
    rsyslog.resume();
    running.finish().exited(0);
    assert_eq!(told_once(&events(&rsyslog.received())), batch.essences());
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn a_mail_is_archived_only_after_both_sinks_have_it() {
    let (ca, batch) = (Ca::new(), Batch::generate(55, 6, 1..=5, 0));
    let (dovecot, mut rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    rsyslog.halt();
    let kept = json!({"type": "file", "path": workplace.path("kept.ndjson")});
    let sinks = json!({"siem": syslog_tls(rsyslog.tls_port, &ca), "kept": kept});
    let config = with(workplace.config(imaps(&dovecot, &ca), stdout()), json!({"sinks": sinks}));
    let running = workplace.once(&config).start();
    let in_file = || std::fs::read_to_string(workplace.path("kept.ndjson")).unwrap_or_default().lines().count();
    eventually(LONG, "the file has everything", || (in_file() == batch.event_count()).then_some(()));
    until_said(&running, "can't connect");
    assert_eq!(dovecot.mailbox().count("INBOX"), batch.mails.len());
    rsyslog.resume();
    running.finish().exited(0);
    assert_complete(&batch, &rsyslog.wait_for(batch.event_count()));
    assert_eq!(essences(rows(&ndjson(&workplace.read("kept.ndjson")))), batch.essences());
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn a_sink_that_is_not_required_blocks_nothing() {
    let (ca, batch) = (Ca::new(), Batch::generate(56, 6, 1..=5, 0));
    let (dovecot, mut rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    rsyslog.halt();
    let optional = with(syslog_tls(rsyslog.tls_port, &ca), json!({"required": false}));
    let config = with(
        workplace.config(imaps(&dovecot, &ca), stdout()),
        json!({"sinks": {"siem": optional, "out": stdout()}, "shutdown_timeout": "1s"}),
    );
    let finished = workplace.once(&config).exits(0);
    assert_eq!(essences(rows(&finished.events())), batch.essences());
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn sighup_reloads_the_configuration_without_loss() {
    let (ca, batch) = (Ca::new(), Batch::generate(57, 12, 5..=10, 0));
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    let file = |name: &str| json!({"type": "file", "path": workplace.path(name), "rate_limit_num": 50});
    let config = workplace.config(polled(&dovecot, &ca), file("old.ndjson"));
    batch.mails[..8].iter().for_each(|mail| dovecot.mailbox().deliver("INBOX", mail));
    let running = workplace.shipper(&["run", "--config"], &config).start();
    eventually(LONG, "it is at work", || workplace.path("old.ndjson").exists().then_some(()));
    // The file of this sink is the same as in the running configuration.
    let both = with(
        config,
        json!({"sinks": {"old": file("old.ndjson"), "new": file("new.ndjson")}, "log": {"level": "debug"}}),
    );
    workplace.write("config.json", both.to_string());
    running.signal(Signal::HUP);
    until_said(&running, "\"reloaded\"");
    batch.mails[8..].iter().for_each(|mail| dovecot.mailbox().deliver("INBOX", mail));
    until_archived(&dovecot, 12);
    running.signal(Signal::TERM);
    let finished = running.finish().exited(0).says(&["\"level\":\"debug\""]);
    let told = |name: &str| essences(rows(&ndjson(&workplace.read(name))));
    assert_eq!(told("old.ndjson"), batch.essences(), "nothing was lost, nor told twice: {}", finished.stderr);
    assert!(batch.mails[8..].len() <= told("new.ndjson").len());
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn sighup_with_an_invalid_configuration_keeps_the_old_one() {
    let (ca, batch) = (Ca::new(), Batch::generate(58, 3, 1..=5, 0));
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    let config = workplace.config(polled(&dovecot, &ca), stdout());
    let running = workplace.shipper(&["run", "--config"], &config).start();
    eventually(LONG, "it has logged in", || dovecot.log().contains("Login: user=").then_some(()));
    let elsewhere = with(config.clone(), json!({"data_dir": workplace.path("elsewhere")}));
    let cases = [
        ("{\"sources\": 7", "config.json"),
        (&with(config.clone(), json!({"sinks": {"out": {"type": "stdin"}}})).to_string(), "sinks.out.type"),
        (&elsewhere.to_string(), "data_dir can't be changed"),
    ];
    for (number, (text, words)) in (1..).zip(cases) {
        workplace.write("config.json", text);
        running.signal(Signal::HUP);
        eventually(LONG, "the refusal is said", || {
            (running.stderr().matches("keeping the current one").count() == number).then_some(())
        });
        until_said(&running, words);
    }
    batch.mails.iter().for_each(|mail| dovecot.mailbox().deliver("INBOX", mail));
    until_archived(&dovecot, 3);
    running.signal(Signal::TERM);
    assert_eq!(essences(rows(&running.finish().exited(0).events())), batch.essences());
}

/// Regression: the log said that the old configuration stays in use, but it did not.
#[test]
fn a_second_sighup_with_an_invalid_configuration_keeps_the_reload() {
    let (ca, batch) = (Ca::new(), Batch::generate(60, 9, 5..=10, 0));
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    deliver(&dovecot, &batch.mails[..8]);
    let file = |name: &str| json!({"type": "file", "path": workplace.path(name), "rate_limit_num": 20});
    let config = workplace.config(polled(&dovecot, &ca), file("old.ndjson"));
    let running = workplace.shipper(&["run", "--config"], &config).start();
    eventually(LONG, "it is at work", || workplace.path("old.ndjson").exists().then_some(()));
    workplace.write("config.json", with(config, json!({"sinks": {"out": file("new.ndjson")}})).to_string());
    running.signal(Signal::HUP);
    until_said(&running, "reloading: finishing what is in flight");
    workplace.write("config.json", "{\"sources\": 7");
    running.signal(Signal::HUP);
    until_said(&running, "reloading with the last valid one");
    until_said(&running, "\"reloaded\"");
    deliver(&dovecot, &batch.mails[8..]);
    until_archived(&dovecot, 9);
    running.signal(Signal::TERM);
    let finished = running.finish().exited(0);
    assert!(!finished.stderr.contains("keeping the current one"), "{}", finished.stderr);
    let told = ["old.ndjson", "new.ndjson"].map(|name| ndjson(&workplace.read(name))).concat();
    assert_rows(&batch, &told);
}

/// Regression: the mails waited for shutdown_timeout, although the sink could not be reached.
#[test]
fn sighup_with_a_corrected_sink_address_takes_effect_at_once() {
    let (ca, batch) = (Ca::new(), Batch::generate(66, 12, 5..=10, 0));
    for size in ["1MiB", "64KiB"] {
        let (dovecot, rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
        let kept = json!({"type": "file", "path": workplace.path("kept.ndjson")});
        let to = |port: u16, also: u16| {
            let siem = with(syslog_tcp(port), json!({"buffer": {"max_size": size}}));
            let also = with(syslog_tcp(also), json!({"required": false}));
            let config = workplace.config(polled(&dovecot, &ca), stdout());
            with(config, json!({"sinks": {"kept": kept, "siem": siem, "also": also}, "shutdown_timeout": "10m"}))
        };
        let running = workplace.shipper(&["run", "--config"], &to(free_port(), free_port())).start();
        eventually(LONG, "both fail", || (running.stderr().matches("can't connect").count() > 1).then_some(()));
        eventually(LONG, "the other sink is at work", || workplace.path("kept.ndjson").exists().then_some(()));
        workplace.write("config.json", to(rsyslog.tcp_port, free_port()).to_string());
        running.signal(Signal::HUP);
        until_archived(&dovecot, batch.mails.len());
        running.signal(Signal::TERM);
        until_said(&running, "asked to stop");
        running.signal(Signal::TERM);
        running
            .finish()
            .says(&["reloading without the mails that wait for an unreachable or stalled sink", "\"reloaded\""]);
        assert_eq!(told_once(&events(&rsyslog.received())), batch.essences());
        // Events that arrived before may be repeated, with the same ids.
        let kept = ndjson(&workplace.read("kept.ndjson"));
        assert_eq!(told_once(&kept), batch.essences());
    }
}

#[test]
fn sighup_with_a_corrected_source_address_takes_effect_at_once() {
    let (ca, batch) = (Ca::new(), Batch::generate(67, 4, 1..=5, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    // A server that accepts connections, and never answers.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = |port: u16| {
        let source =
            with(polled(&dovecot, &ca), json!({"port": port, "connect_timeout": "10m", "read_timeout": "10m"}));
        with(workplace.config(source, stdout()), json!({"shutdown_timeout": "10m"}))
    };
    let running = workplace.shipper(&["run", "--config"], &at(deaf.local_addr().unwrap().port())).start();
    let _held = deaf.accept().unwrap();
    workplace.write("config.json", at(dovecot.imaps_port).to_string());
    running.signal(Signal::HUP);
    until_archived(&dovecot, batch.mails.len());
    running.signal(Signal::TERM);
    assert_eq!(essences(rows(&running.finish().exited(0).events())), batch.essences());
}

/// Regression: the process ended with exit code 65.
#[test]
fn sighup_works_after_a_partially_read_file() {
    let workplace = Workplace::new();
    let source =
        json!({"type": "file", "path": workplace.write("report.xml.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00garbage")});
    let config = workplace.config(source, stdout());
    let running = workplace.shipper(&["run", "--config"], &config).start();
    eventually(LONG, "it is told", || running.stdout().contains("ingest_error").then_some(()));
    running.signal(Signal::HUP);
    until_said(&running, "\"reloaded\"");
    running.signal(Signal::TERM);
    running.finish();
}

/// Regression: the process continued, with the configuration file as it was at that time.
#[test]
fn sighup_after_sigterm_changes_nothing() {
    let (ca, batch) = (Ca::new(), Batch::generate(61, 8, 5..=10, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let slow = json!({"type": "file", "path": workplace.path("out.ndjson"), "rate_limit_num": 20});
    let config = workplace.config(polled(&dovecot, &ca), slow);
    let running = workplace.shipper(&["run", "--config"], &config).start();
    eventually(LONG, "it is at work", || workplace.path("out.ndjson").exists().then_some(()));
    running.signal(Signal::TERM);
    until_said(&running, "asked to stop");
    running.signal(Signal::HUP);
    let finished = running.finish().exited(0);
    assert!(!finished.stderr.contains("reloading"), "{}", finished.stderr);
    // Ships the mails that were not read before the signal.
    workplace.once(&config).exits(0);
    assert_rows(&batch, &ndjson(&workplace.read("out.ndjson")));
}

#[test]
fn sighup_ends_a_single_pass_gracefully() {
    let (ca, batch) = (Ca::new(), Batch::generate(59, 30, 5..=10, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let slow = json!({"type": "file", "path": workplace.path("kept.ndjson"), "rate_limit_num": 20});
    let config = with(workplace.config(imaps(&dovecot, &ca), slow), json!({"shutdown_timeout": "1s"}));
    let running = workplace.once(&config).start();
    eventually(LONG, "it is at work", || workplace.path("kept.ndjson").exists().then_some(()));
    running.signal(Signal::HUP);
    running.finish().exited(75).says(&["SIGHUP"]);
}
