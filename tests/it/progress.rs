//! The progress bar, which long operations show on a terminal only.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::support::{
    ca::Ca,
    delivery::mailbox,
    process::Shipper,
    reports::Batch,
    terminal::Terminal,
    wait::{LONG, eventually},
    workplace::{Workplace, imaps, with},
};

/// Returns the lines that remain on a terminal: without overwritten text and control sequences.
fn lines(terminal: &Terminal) -> Vec<String> {
    let text = terminal.text();
    let lines = text.split("\r\n").map(|line| line.rsplit(['\r', '\u{1b}']).next().unwrap());
    lines.map(|line| line.trim_start_matches("[2K").to_owned()).collect()
}

/// Returns a configuration that archives mails slowly enough for a progress bar to appear.
fn slow(workplace: &Workplace, source: Value) -> Value {
    let sink = json!({"type": "file", "path": workplace.path("kept.ndjson"), "rate_limit_num": 20});
    with(workplace.config(source, sink), json!({"log": {"format": "json"}}))
}

#[test]
fn the_progress_bar_counts_mails_below_the_log() {
    let (ca, batch) = (Ca::new(), Batch::generate(71, 30, 2..=2, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let config = slow(&workplace, imaps(&dovecot, &ca));
    let terminal = Terminal::open();
    workplace.once(&config).on_terminal(&terminal).exits(0);
    let text =
        eventually(LONG, "all of it is there", || Some(terminal.text()).filter(|text| text.contains("exit_code")));
    assert!(text.contains("of 30 mails, ") && !text.contains("0/30"), "{text:?}");
    let mut logged = 0;
    for line in lines(&terminal).iter().filter(|line| line.contains("DMARC_SCRIPT")) {
        let record: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?} of {text:?}"));
        logged += usize::from(record["level"] == "info");
    }
    assert!(logged > 1, "{text:?}");
}

#[test]
fn no_progress_bar_without_a_terminal() {
    let (ca, batch) = (Ca::new(), Batch::generate(72, 30, 2..=2, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let run = workplace.once(&slow(&workplace, imaps(&dovecot, &ca))).exits(0);
    assert!(run.stderr.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{}", run.stderr);
}

#[test]
fn parse_shows_progress_on_stderr_only() {
    let batch = Batch::generate(73, 1, 3..=3, 0);
    let terminal = Terminal::open();
    let (reader, mut writer) = io::pipe().unwrap();
    let running = Shipper::new(["parse", "-"]).stdin_from(reader).on_terminal(&terminal).start();
    eventually(LONG, "the bar is there", || terminal.text().contains("0 files, 0 rows").then_some(()));
    writer.write_all(&batch.mails[0]).unwrap();
    drop(writer);
    let events = running.finish().exited(0).events();
    assert_eq!(events.len(), batch.event_count());
}
