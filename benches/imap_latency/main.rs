//! How much longer the program takes than the two commands that no IMAP client can do without, over a long way.
//!
//! 2,000 mails lie in a Dovecot behind a relay that delays each direction by 25 ms. Compared are one `UID FETCH` and one
//! `UID MOVE` of all of them, sent together in a session that is open, and a whole `run --once` that fetches, ships and
//! archives them, from the start of the process to its end.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "it measures, and says what")]

#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../../tests/it/support/mod.rs"]
mod support;

mod delay;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

use serde_json::json;

use support::{
    ca::Ca,
    delivery,
    dovecot::{Dovecot, PASSWORD, USER},
    reports::Batch,
    workplace::{Workplace, imaps, with},
};

const MAILS: usize = 2_000;
const EACH_WAY: Duration = Duration::from_millis(25);

fn main() {
    let batch = Batch::generate(1, MAILS, 1..=1, 0);
    let mut ratios = Vec::new();
    for round in 1..=3 {
        let (two_commands, program) = (two_commands(&batch), program(&batch));
        let ratio = program.as_secs_f64() / two_commands.as_secs_f64();
        println!("round {round}: two commands {two_commands:.2?}, the program {program:.2?}, ratio {ratio:.2}");
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("{MAILS} mails, {EACH_WAY:?} each way: median ratio {:.2}", ratios[1]);
}

fn mailbox(batch: &Batch) -> (Ca, Dovecot) {
    let ca = Ca::new();
    let dovecot = delivery::mailbox(&ca, batch);
    dovecot.mailbox().create_folder("Processed");
    (ca, dovecot)
}

fn two_commands(batch: &Batch) -> Duration {
    let (_ca, dovecot) = mailbox(batch);
    let port = delay::delaying(dovecot.imap_port, EACH_WAY);
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut write = stream.try_clone().unwrap();
    let mut read = BufReader::with_capacity(1 << 20, stream);
    let mut until = |tag: &str| -> Vec<u8> {
        let mut line = Vec::new();
        loop {
            line.clear();
            read.read_until(b'\n', &mut line).unwrap();
            assert!(!line.is_empty(), "Dovecot hung up before {tag}");
            if let Some(length) = literal(&line) {
                std::io::copy(&mut read.by_ref().take(length), &mut std::io::sink()).unwrap();
            } else if line.starts_with(tag.as_bytes()) {
                return line.clone();
            }
        }
    };
    write.write_all(format!("a LOGIN {USER} \"{PASSWORD}\"\r\nb SELECT INBOX\r\n").as_bytes()).unwrap();
    until("b OK");
    let begin = Instant::now();
    write.write_all(b"c UID FETCH 1:* BODY.PEEK[]\r\nd UID MOVE 1:* Processed\r\n").unwrap();
    until("d OK");
    let took = begin.elapsed();
    delivery::assert_all_archived(&dovecot, batch);
    took
}

/// The length of the literal that this line announces.
fn literal(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix("}\r\n")?;
    text.rsplit_once('{')?.1.parse().ok()
}

fn program(batch: &Batch) -> Duration {
    let (ca, dovecot) = mailbox(batch);
    let port = delay::delaying(dovecot.imaps_port, EACH_WAY);
    let place = Workplace::new();
    let sink = json!({"type": "file", "path": place.path("out.ndjson")});
    let run = place.once(&place.config(with(imaps(&dovecot, &ca), json!({"port": port})), sink));
    let begin = Instant::now();
    run.exits(0);
    let took = begin.elapsed();
    delivery::assert_all_archived(&dovecot, batch);
    assert_eq!(place.read("out.ndjson").lines().count(), batch.event_count());
    took
}
