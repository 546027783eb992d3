//! Measures the peak memory of the program for a folder of 100,000 mails, and the length of the command lines that it
//! sends.
//!
//! Every second mail was deleted, so that no two UIDs are consecutive and UID sets can't be written as ranges. The mails
//! are in a Dovecot; `run --once` fetches, ships and archives all of them.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "it measures, and says what")]

#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../../tests/it/support/mod.rs"]
mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::json;

use support::{
    ca::Ca,
    dovecot::Dovecot,
    imap::Imap,
    reports::Batch,
    workplace::{Workplace, imaps},
};

const MAILS: usize = 100_000;
/// Memory limit of a small container.
const MOST_KIB: u64 = 64 << 10;
/// Line length that servers should accept (RFC 7162 section 4).
const MOST_OCTETS: usize = 8_000;

fn main() {
    let ca = Ca::new();
    let dovecot = Dovecot::start(&ca.server());
    fill(&dovecot);
    let place = Workplace::new();
    let sink = json!({"type": "file", "path": place.path("out.ndjson")});
    let config = place.write("config.json", place.config(imaps(&dovecot, &ca), sink).to_string());
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();

    let before = dovecot.commands().len();
    let begin = Instant::now();
    let mut run = Command::new(env!("CARGO_BIN_EXE_dmarc-shipper"));
    run.args(["run", "--once", "--log-level", "warn", "--config"]).arg(config).stdin(Stdio::null());
    let peak = peak_kib(&mut run.spawn().unwrap());
    let took = begin.elapsed();

    let lines: Vec<usize> = dovecot.commands()[before..].iter().map(String::len).collect();
    let longest = lines.iter().max().unwrap();
    println!(
        "{MAILS} mails in {took:.0?}: at most {} MiB of memory; {} commands, the longest of {longest} octets",
        peak >> 10,
        lines.len()
    );
    // One row event and one report event per mail.
    assert_eq!(place.read("out.ndjson").lines().count(), 2 * MAILS);
    assert_eq!((dovecot.mailbox().count("INBOX"), dovecot.mailbox().count("Processed")), (0, MAILS));
    assert!(peak < MOST_KIB, "{peak} KiB");
    assert!(*longest <= MOST_OCTETS, "{longest} octets");
}

/// Delivers twice as many mails, and deletes every second one.
fn fill(dovecot: &Dovecot) {
    let mailbox = dovecot.mailbox();
    for seed in 0..MAILS / 1000 {
        for mail in Batch::generate(2 * seed as u64, 1000, 1..=1, 0).mails {
            mailbox.deliver("INBOX", &mail);
            mailbox.deliver("INBOX", b"Subject: deleted\r\n\r\n");
        }
    }
    let mut client = Imap::connect(dovecot.imap_port);
    client.login();
    client.does("SELECT INBOX");
    for first in (2..=2 * MAILS).step_by(2000) {
        let set: Vec<String> = (first..first + 2000).step_by(2).map(|uid| uid.to_string()).collect();
        client.does(&format!("UID STORE {} +FLAGS.SILENT (\\Deleted)", set.join(",")));
    }
    client.does("EXPUNGE");
    client.does("LOGOUT");
    assert_eq!(mailbox.count("INBOX"), MAILS);
}

/// Returns the peak memory of a run, which must exit with success.
fn peak_kib(run: &mut Child) -> u64 {
    let mut peak = 0;
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", run.id())).unwrap_or_default();
        let told =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map(|told| told.trim().trim_end_matches(" kB"));
        peak = told.and_then(|kib| kib.parse().ok()).unwrap_or(0).max(peak);
        if let Some(ended) = run.try_wait().unwrap() {
            assert!(ended.success(), "{ended}");
            return peak;
        }
        sleep(Duration::from_millis(20));
    }
}
