//! Events that a sink will never take, as no datagram can carry them: their mail is quarantined, and all others are shipped.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::to_both;
use crate::support::{
    ca::Ca,
    delivery::{assert_rows, deliver, events, rows},
    dovecot::Dovecot,
    peer::{Manner, Peer},
    process::ndjson,
    reports::{Batch, Container, Report, essences},
    rsyslog::Rsyslog,
    wait::{LONG, eventually},
    workplace::{Workplace, imaps, syslog_tcp, with},
};

/// The largest datagram, in bytes. Usual events are smaller than half of it; two of `large` are almost twice as large.
const LARGEST: u32 = 4_000;

fn syslog_udp(port: u16) -> Value {
    with(syslog_tcp(port), json!({"mode": "udp", "max_message_bytes": 8_000}))
}

/// A report of which two rows of five need a larger datagram.
fn large() -> Report {
    let mut report = Batch::generate(402, 1, 5..=5, 0).reports.remove(0);
    for index in [1, 3] {
        report.rows[index].header_from = format!("{}example.org", "long-label.".repeat(85));
    }
    report
}

/// A batch with the large report among the others.
fn batch() -> Batch {
    let mut batch = Batch::generate(401, 6, 3..=6, 0);
    batch.mails.insert(2, large().mail_in(Container::Gzip, 900));
    batch.reports.insert(2, large());
    batch
}

fn counts(dovecot: &Dovecot) -> [usize; 3] {
    ["INBOX", "Unreadable", "Processed"].map(|folder| dovecot.mailbox().count(folder))
}

fn errors(events: &[Value]) -> Vec<&Value> {
    events.iter().filter(|event| event["event_type"] == "ingest_error").collect()
}

fn kept(workplace: &Workplace) -> Vec<Value> {
    ndjson(&workplace.read("kept.ndjson"))
}

#[test]
fn mails_with_rows_too_large_for_a_datagram_are_quarantined_and_shipped_once_the_sink_takes_them() {
    let (ca, batch, workplace) = (Ca::new(), batch(), Workplace::new());
    let (dovecot, rsyslog) = (Dovecot::start(&ca.server()), Rsyslog::start(&ca));
    deliver(&dovecot, &batch.mails);
    let metrics = workplace.path("metrics");
    let config = to_both(&workplace, imaps(&dovecot, &ca), syslog_udp(rsyslog.udp_port));
    let config = with(config, json!({"give_up_after": "5s", "metrics_file": metrics}));
    let ended = workplace.once(&config).with_datagrams_up_to(LARGEST).run().exited(0).says(&[
        "sink_rejected: the sink siem rejected 2 of the mail's events: can't send a datagram of ",
        "max_message_bytes (8000)",
        "mode: tcp",
        "INBOX uid 3",
        "\"rejected\":1",
        "\"exit_code\":0",
    ]);
    assert_eq!(ended.stderr.matches("the sink rejected events of this mail").count(), 1, "{}", ended.stderr);
    assert_eq!(counts(&dovecot), [0, 1, 6]);
    let discarded = "dmarc_shipper_component_discarded_events_total{component_id=\"siem\",component_kind=\"sink\",\
                     component_type=\"syslog\",intentional=\"false\"} 2";
    let metrics = fs::read_to_string(metrics).unwrap();
    assert!(metrics.lines().any(|line| line == discarded), "{metrics}");
    // All rows of 6 reports, three of the large one, and 7 `report` events.
    let expected = batch.row_count() - 2 + 7;
    let received = events(&rsyslog.wait_for(expected));
    assert_eq!((received.len(), errors(&received).len()), (expected, 0));
    let kept_first = kept(&workplace);
    assert_rows(&batch, &kept_first);
    let told = errors(&kept_first);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["reason"], &told[0]["mail_uid"]), (&json!("sink_rejected"), &json!(3)));

    // The sink is mended, and the mail is put back.
    deliver(&dovecot, &dovecot.mailbox().mails("Unreadable"));
    let sinks = with(config["sinks"].clone(), json!({"siem": syslog_tcp(rsyslog.tcp_port)}));
    workplace.once(&with(config, json!({"sinks": sinks}))).exits(0);
    assert_eq!(counts(&dovecot), [0, 1, 7]);
    let received = events(&rsyslog.wait_for(expected + 6));
    let mut arrived = essences(rows(&received));
    arrived.dedup();
    assert_eq!(arrived.len(), batch.row_count(), "every row has arrived");
    let again = kept(&workplace);
    assert_eq!(rows(&again).count(), batch.row_count(), "the other sink gets no row twice");
}

/// Regression: the sink tried one datagram for ever, and every mail behind it waited.
#[test]
fn a_run_goes_on_after_a_row_that_no_datagram_can_carry() {
    let (ca, batch, workplace) = (Ca::new(), batch(), Workplace::new());
    let (dovecot, rsyslog) = (Dovecot::start(&ca.server()), Rsyslog::start(&ca));
    deliver(&dovecot, &batch.mails[2..3]);
    let source = with(imaps(&dovecot, &ca), json!({"poll_interval": "1s"}));
    let config = workplace.config(source, syslog_udp(rsyslog.udp_port));
    let running = workplace.shipper(&["run", "--config"], &config).with_datagrams_up_to(LARGEST).start();
    eventually(LONG, "the mail is quarantined", || (counts(&dovecot) == [0, 1, 0]).then_some(()));
    deliver(&dovecot, &batch.mails[3..]);
    eventually(LONG, "the others are archived", || (counts(&dovecot) == [0, 1, 4]).then_some(()));
    running.signal(Signal::TERM);
    running.finish().exited(0);
    let received = events(&rsyslog.received());
    assert_eq!(errors(&received).len(), 0, "the only sink is the one that rejected");
}

/// The second sink has confirmed nothing, so that the mail is not settled when the process is killed.
#[test]
fn a_kill_after_a_rejection_repeats_it_and_loses_nothing() {
    let (ca, batch, workplace) = (Ca::new(), batch(), Workplace::new());
    let (dovecot, rsyslog) = (Dovecot::start(&ca.server()), Rsyslog::start(&ca));
    deliver(&dovecot, &batch.mails);
    let (deaf, source) = (Peer::start(Manner::Deaf), imaps(&dovecot, &ca));
    let to = |other: Value| {
        let config = with(workplace.config(source.clone(), Value::Null), json!({"log": {"level": "debug"}}));
        with(config, json!({"sinks": {"other": other, "siem": syslog_udp(rsyslog.udp_port)}}))
    };
    let to_deaf = to(syslog_tcp(deaf.port));
    let running = workplace.shipper(&["run", "--config"], &to_deaf).with_datagrams_up_to(LARGEST).start();
    eventually(LONG, "events are rejected", || {
        (running.stderr().matches("rejected an event").count() == 2).then_some(())
    });
    rsyslog.wait_for(batch.event_count() - 2);
    running.signal(Signal::KILL);
    running.finish();
    assert_eq!(counts(&dovecot), [7, 0, 0]);
    let other = json!({"type": "file", "path": workplace.path("kept.ndjson")});
    workplace.once(&to(other)).with_datagrams_up_to(LARGEST).run().exited(0);
    assert_eq!(counts(&dovecot), [0, 1, 6]);
    let told = kept(&workplace);
    assert_rows(&batch, &told);
    assert_eq!(errors(&told).iter().map(|error| &error["reason"]).collect::<Vec<_>>(), ["sink_rejected"]);
}

#[test]
fn a_file_with_a_rejected_row_gives_65_and_is_shipped_with_reship() {
    let (ca, workplace) = (Ca::new(), Workplace::new());
    let rsyslog = Rsyslog::start(&ca);
    fs::create_dir(workplace.path("reports")).unwrap();
    workplace.write("reports/large.xml", large().xml());
    let source = json!({"type": "file", "path": workplace.path("reports")});
    let config = workplace.config(source, syslog_udp(rsyslog.udp_port));
    workplace.once(&config).with_datagrams_up_to(LARGEST).run().exited(65).says(&["sink_rejected", "large.xml"]);
    let list = workplace.shipper(&["ledger", "list", "--config"], &config).exits(0);
    assert_eq!(list.stdout, "", "no sink has all of it");
    workplace.once(&config).exits(0);
    rsyslog.wait_for(4);
    workplace.shipper(&["run", "--once", "--reship", "--config"], &config).exits(0);
    let received = events(&rsyslog.wait_for(4 + 6));
    assert_eq!(rows(&received).filter(|row| row["header_from"].as_str().unwrap().len() > 900).count(), 2);
}

#[test]
fn a_sink_that_is_not_required_rejects_and_the_mail_is_archived() {
    let (ca, batch, workplace) = (Ca::new(), batch(), Workplace::new());
    let (dovecot, rsyslog) = (Dovecot::start(&ca.server()), Rsyslog::start(&ca));
    deliver(&dovecot, &batch.mails);
    let siem = with(syslog_udp(rsyslog.udp_port), json!({"required": false}));
    let config = to_both(&workplace, imaps(&dovecot, &ca), siem);
    let ended = workplace.once(&config).with_datagrams_up_to(LARGEST).run().exited(0);
    ended.says(&[
        "an optional sink missed, rejected, or did not confirm events",
        "\"rejected\":2",
        "max_message_bytes (8000)",
    ]);
    assert_eq!(counts(&dovecot), [0, 0, 7]);
    assert_eq!(errors(&kept(&workplace)).len(), 0);
}
