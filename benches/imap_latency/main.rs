//! How much longer the program takes than the least that any IMAP client could do, over a long way.
//!
//! 2,000 mails lie in a Dovecot behind a relay that delays each direction by 25 ms. Compared are
//! * a whole session that logs in, selects, and fetches and moves all mails with one `UID FETCH` and one `UID MOVE` that are
//!   sent together, with a whole `run --once`, from the start of the process to its end; and
//! * these two commands alone, with the part of the run that fetches, ships and archives: from the first command after the
//!   mails were listed to the end of the last.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "it measures, and says what")]

#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../../tests/it/support/mod.rs"]
mod support;

mod client;
mod delay;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use client::{Took, fetch_and_move};
use support::{
    ca::Ca,
    delivery,
    dovecot::Dovecot,
    reports::Batch,
    workplace::{Workplace, imaps, with},
};

const MAILS: usize = 2_000;
const EACH_WAY: Duration = Duration::from_millis(25);
const ROUNDS: usize = 5;

fn main() {
    let batch = Batch::generate(1, MAILS, 1..=1, 0);
    let (mut whole, mut part) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let (least, program) = (least(&batch), program(&batch));
        whole.push(ratio("whole session", round, least.session, program.session));
        part.push(ratio("fetched and moved", round, least.two_commands, program.two_commands));
    }
    println!(
        "{MAILS} mails, {EACH_WAY:?} each way: median ratio {:.2} of whole sessions, {:.2} of what follows the list",
        median(whole),
        median(part)
    );
}

fn ratio(what: &str, round: usize, least: Duration, program: Duration) -> f64 {
    let ratio = program.as_secs_f64() / least.as_secs_f64();
    println!("round {round}, {what}: the least {least:.2?}, the program {program:.2?}, ratio {ratio:.2}");
    ratio
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

fn mailbox(batch: &Batch) -> (Ca, Dovecot, u16) {
    let ca = Ca::new();
    let dovecot = delivery::mailbox(&ca, batch);
    for folder in ["Processed", "Unreadable"] {
        dovecot.mailbox().create_folder(folder);
    }
    let port = delay::delaying(dovecot.imaps_port, EACH_WAY);
    (ca, dovecot, port)
}

fn least(batch: &Batch) -> Took {
    let (ca, dovecot, port) = mailbox(batch);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let took = runtime.block_on(fetch_and_move(port, &ca));
    delivery::assert_all_archived(&dovecot, batch);
    took
}

fn program(batch: &Batch) -> Took {
    let (ca, dovecot, port) = mailbox(batch);
    let place = Workplace::new();
    let sink = json!({"type": "file", "path": place.path("out.ndjson")});
    let source = with(imaps(&dovecot, &ca), json!({"port": port}));
    let run = place.shipper(&["run", "--once", "--log-level", "debug", "--config"], &place.config(source, sink));
    let begin = Instant::now();
    let finished = run.exits(0);
    let session = begin.elapsed();
    delivery::assert_all_archived(&dovecot, batch);
    assert_eq!(place.read("out.ndjson").lines().count(), batch.event_count());
    let (listed, done) = (said(&finished.stderr, "listed INBOX"), said(&finished.stderr, "looked through INBOX"));
    Took { session, two_commands: done.duration_since(listed).unsigned_abs() }
}

/// When the log says so.
fn said(log: &str, message: &str) -> Timestamp {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.into_iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("{message}: {log}"));
    line["timestamp"].as_str().unwrap().parse().unwrap()
}
