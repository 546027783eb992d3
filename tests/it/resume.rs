//! Resuming after a kill: long reports continue after the last confirmed rows, and a mail that kills the process is tried
//! only a few times.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{
    ca::Ca,
    delivery::{mailbox, rows},
    process::{Running, ndjson},
    reports::{Batch, essences},
    wait::{LONG, eventually},
    workplace::{Workplace, imaps, with},
};

fn lines(workplace: &Workplace) -> usize {
    fs::read_to_string(workplace.path("kept.ndjson")).unwrap_or_default().lines().count()
}

fn kill(running: Running) {
    running.signal(Signal::KILL);
    running.finish();
}

#[test]
fn a_long_report_resumes_after_confirmed_rows_when_killed() {
    let (ca, batch) = (Ca::new(), Batch::generate(71, 1, 20_000..=20_000, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    // A kill costs at least the events of one second.
    let slow = json!({"type": "file", "path": workplace.path("kept.ndjson"), "rate_limit_num": 2_500});
    let config = workplace.config(imaps(&dovecot, &ca), slow);
    let running = workplace.shipper(&["run", "--config"], &config).start();
    eventually(LONG, "half of the rows are there", || (lines(&workplace) > 10_000).then_some(()));
    kill(running);
    let before = lines(&workplace);
    assert_eq!(dovecot.mailbox().count("INBOX"), 1);

    workplace.once(&config).exits(0);
    let events = ndjson(&workplace.read("kept.ndjson"));
    let again = rows(&events).count() - batch.row_count();
    assert!(before > 10_000 && again < 8_000, "{again} of {before} rows were told again");
    let mut ids = std::collections::BTreeSet::new();
    let once = rows(&events).filter(|event| ids.insert(event["event_id"].to_string()));
    assert_eq!(essences(once), batch.essences());
    let report = events.iter().find(|event| event["event_type"] == "report").unwrap();
    assert_eq!((&report["outcome"], &report["rows"]), (&json!("shipped"), &json!(20_000)));
    assert_eq!(dovecot.mailbox().count("Processed"), 1);
}

/// Regression: progress was recorded by the name of the sink, so that the new file got only the remaining rows.
#[test]
fn a_long_report_restarts_for_another_file_under_the_same_sink_name() {
    let (ca, batch) = (Ca::new(), Batch::generate(74, 1, 8_000..=8_000, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let slow = |name| json!({"type": "file", "path": workplace.path(name), "rate_limit_num": 1_000});
    let config = workplace.config(imaps(&dovecot, &ca), slow("kept.ndjson"));
    let running = workplace.shipper(&["run", "--config"], &config).start();
    eventually(LONG, "some of the rows are there", || (lines(&workplace) > 3_000).then_some(()));
    kill(running);

    let other = json!({"type": "file", "path": workplace.path("other.ndjson")});
    workplace.once(&with(config, json!({"sinks": {"out": other}}))).exits(0);
    assert_eq!(essences(rows(&ndjson(&workplace.read("other.ndjson")))), batch.essences());
}

/// Rows that one sink received are not progress of another.
#[test]
fn a_long_report_restarts_for_an_added_sink() {
    let (ca, batch) = (Ca::new(), Batch::generate(72, 1, 8_000..=8_000, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let slow = json!({"type": "file", "path": workplace.path("kept.ndjson"), "rate_limit_num": 1_000});
    let config = workplace.config(imaps(&dovecot, &ca), slow);
    let running = workplace.shipper(&["run", "--config"], &config).start();
    eventually(LONG, "some of the rows are there", || (lines(&workplace) > 3_000).then_some(()));
    kill(running);

    let file = |name| json!({"type": "file", "path": workplace.path(name)});
    let both = with(config, json!({"sinks": {"out": file("kept.ndjson"), "more": file("more.ndjson")}}));
    workplace.once(&both).exits(0);
    assert_eq!(essences(rows(&ndjson(&workplace.read("more.ndjson")))), batch.essences());
}

#[test]
fn a_mail_that_crashes_the_process_max_attempts_times_is_quarantined() {
    // Parsing this mail takes long enough for the kill to hit it; no mail is known that kills the process by itself.
    let (ca, batch) = (Ca::new(), Batch::generate(73, 1, 20_000..=20_000, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let sink = json!({"type": "file", "path": workplace.path("kept.ndjson")});
    let config = with(workplace.config(imaps(&dovecot, &ca), sink), json!({"max_attempts": 2}));
    let is_read = || fs::read(workplace.path("data/reading")).is_ok_and(|journal| journal.first() == Some(&1));
    for counted in [false, true] {
        let running = workplace.shipper(&["run", "--config"], &config).start();
        let says = || running.stderr().contains("crashed while it was reading");
        eventually(LONG, "the last death is counted", || (!counted || says()).then_some(()));
        eventually(LONG, "the mail is being read", || is_read().then_some(()));
        kill(running);
        assert_eq!((dovecot.mailbox().count("INBOX"), lines(&workplace)), (1, 0));
    }
    let other = Batch::generate(74, 1, 3..=3, 0);
    dovecot.mailbox().deliver("INBOX", &other.mails[0]);
    workplace.once(&config).exits(0).says(&["attempts_exhausted", "max_attempts (2)"]);
    let counts = ["INBOX", "Unreadable", "Processed"].map(|folder| dovecot.mailbox().count(folder));
    assert_eq!(counts, [0, 1, 1]);
    let events = ndjson(&workplace.read("kept.ndjson"));
    assert_eq!(essences(rows(&events)), other.essences());
    let error = events.iter().find(|event| event["event_type"] == "ingest_error").unwrap();
    assert_eq!(error["reason"], "attempts_exhausted");
}

/// Many reporters have sent different reports with the same report id; one that is not shipped would be lost.
#[test]
fn a_reused_report_id_is_shipped_and_marked() {
    let ca = Ca::new();
    let batch = Batch::generate(75, 1, 3..=3, 0);
    let mut others = Vec::new();
    for rows in [1, 2] {
        let mut other = batch.reports[0].clone();
        other.rows.truncate(rows);
        others.push(other.mail_in(other.reporter.container, 900 + rows));
    }
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let sink = json!({"type": "file", "path": workplace.path("kept.ndjson")});
    let config = workplace.config(imaps(&dovecot, &ca), sink);
    // One arrives in the same run, one in a later run.
    dovecot.mailbox().deliver("INBOX", &others[0]);
    workplace.once(&config).exits(0);
    dovecot.mailbox().deliver("INBOX", &others[1]);
    workplace.once(&config).exits(0);
    let events = ndjson(&workplace.read("kept.ndjson"));
    let marked = |event: &&serde_json::Value| event["parse_warnings"].to_string().contains("report_id_reused");
    assert_eq!((rows(&events).count(), rows(&events).filter(marked).count()), (6, 3));
    let outcomes: Vec<_> = events.iter().filter(|event| event["event_type"] == "report").collect();
    assert_eq!(outcomes.iter().filter(|event| event["outcome"] == "shipped").count(), 3);
    assert_eq!(outcomes.iter().filter(|event| marked(event)).count(), 2);
}
