//! Measures the latency of the program over a distant network, compared with the fastest that any IMAP client can be.
//!
//! 2,000 mails are in a Dovecot behind a relay that delays each direction by 25 ms. The comparisons are
//! * a whole session that logs in, selects, and fetches and moves all mails with one `UID FETCH` and one `UID MOVE`, which
//!   are pipelined, with that of a `run --once`; both as measured by the relay, from the connection to the client's last
//!   byte. The time of the process from its start to its end is printed, too;
//! * these two commands alone, with the part of the run that fetches, ships and archives: from the first command after the
//!   mails were listed to the end of the last; and
//! * the cost of the network in either session: the time without a delay is subtracted. The rest is work, of which the
//!   program has more: it parses the mails, and records what it has shipped.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "it measures, and says what")]

#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../../tests/it/support/mod.rs"]
mod support;

mod client;
mod delay;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use client::fetch_and_move;
use delay::Relay;
use support::{
    ca::Ca,
    delivery,
    dovecot::{Dovecot, Options},
    reports::Batch,
    workplace::{Workplace, imaps, with},
};

const MAILS: usize = 2_000;
const EACH_WAY: Duration = Duration::from_millis(25);
const ROUNDS: usize = 9;

fn main() {
    let batch = Batch::generate(1, MAILS, 1..=1, 0);
    let [near, far] = [Duration::ZERO, EACH_WAY].map(|each_way| Both::measured(&batch, each_way));
    let whole = ratio("whole sessions", far.session);
    let part = ratio("fetched and moved", far.two_commands);
    ratio("with the start and the end of the process", far.process);
    let way = [0, 1].map(|side| far.session[side].saturating_sub(near.session[side]));
    println!(
        "{MAILS} mails, {EACH_WAY:?} each way: ratio {whole:.2} of whole sessions, {part:.2} of what follows the list, {:.2} of what \
         the way costs",
        ratio("the way's part", way)
    );
}

/// Durations of one session.
struct Took {
    session: Duration,
    /// Time from the first command for mails to the end of the last.
    two_commands: Duration,
    /// Time from the start of a process to its end; for the baseline, which has no process, the time of its session.
    process: Duration,
}

/// Medians of the baseline and of the program.
struct Both {
    session: [Duration; 2],
    two_commands: [Duration; 2],
    process: [Duration; 2],
}

impl Both {
    fn measured(batch: &Batch, each_way: Duration) -> Self {
        let rounds: Vec<[Took; 2]> = (0..ROUNDS).map(|_| [least(batch, each_way), program(batch, each_way)]).collect();
        let medians = |of: fn(&Took) -> Duration| {
            [0, 1].map(|side| {
                let mut all: Vec<Duration> = rounds.iter().map(|round| of(&round[side])).collect();
                all.sort_unstable();
                println!("{} with {each_way:?} each way: {all:.0?}", ["the least", "the program"][side]);
                all[ROUNDS / 2]
            })
        };
        Self {
            session: medians(|took| took.session),
            two_commands: medians(|took| took.two_commands),
            process: medians(|took| took.process),
        }
    }
}

fn ratio(what: &str, [least, program]: [Duration; 2]) -> f64 {
    println!("{what}: the least {least:.0?}, the program {program:.0?}");
    program.as_secs_f64() / least.as_secs_f64()
}

fn mailbox(batch: &Batch, each_way: Duration) -> (Ca, Dovecot, Relay) {
    let ca = Ca::new();
    // Without Dovecot's record of all commands (rawlog), which the tests read.
    let unrecorded = Options { extra: "protocol imap {\n  rawlog_dir =\n}\n".into(), ..Options::default() };
    let dovecot = Dovecot::with(&ca.server(), &unrecorded);
    delivery::deliver(&dovecot, &batch.mails);
    for folder in ["Processed", "Unreadable"] {
        dovecot.mailbox().create_folder(folder);
    }
    let relay = Relay::delaying(dovecot.imaps_port, each_way);
    (ca, dovecot, relay)
}

fn least(batch: &Batch, each_way: Duration) -> Took {
    let (ca, dovecot, relay) = mailbox(batch, each_way);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let two_commands = runtime.block_on(fetch_and_move(relay.port, &ca));
    let session = relay.session();
    delivery::assert_all_archived(&dovecot, batch);
    Took { session, two_commands, process: session }
}

fn program(batch: &Batch, each_way: Duration) -> Took {
    let (ca, dovecot, relay) = mailbox(batch, each_way);
    let place = Workplace::new();
    let sink = json!({"type": "file", "path": place.path("out.ndjson")});
    let source = with(imaps(&dovecot, &ca), json!({"port": relay.port}));
    let run = place.shipper(&["run", "--once", "--log-level", "debug", "--config"], &place.config(source, sink));
    let begin = Instant::now();
    let finished = run.exits(0);
    let process = begin.elapsed();
    let session = relay.session();
    delivery::assert_all_archived(&dovecot, batch);
    assert_eq!(place.read("out.ndjson").lines().count(), batch.event_count());
    let (listed, done) = (said(&finished.stderr, "listed INBOX"), said(&finished.stderr, "looked through INBOX"));
    Took { session, two_commands: done.duration_since(listed).unsigned_abs(), process }
}

/// Returns the time at which this message was logged.
fn said(log: &str, message: &str) -> Timestamp {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.into_iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("{message}: {log}"));
    line["timestamp"].as_str().unwrap().parse().unwrap()
}
