//! Jumps of the wall clock while the program runs.

use std::{fs, path::PathBuf};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{
    ca::Ca,
    delivery::{assert_all_archived, rows},
    dovecot::Dovecot,
    process::ndjson,
    reports::{Batch, essences},
    wait::{LONG, eventually},
    workplace::{Workplace, imaps, with},
};

/// Path of libfaketime, which is in a folder named after the architecture.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).filter(|library| library.exists());
    found.next().expect("libfaketime is missing: run tests/install-servers.sh")
}

/// Intervals must be measured by monotonic timers, and entries of the ledger must survive a wrong clock that is years
/// ahead.
#[test]
fn clock_jumps_lose_and_repeat_nothing() {
    let (ca, batch) = (Ca::new(), Batch::generate(91, 16, 1..=5, 4));
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    // No certificate is valid in all of these years.
    let plain = json!({"port": dovecot.imap_port, "security": "none", "tls": null, "poll_interval": "1s"});
    let sink = json!({"type": "file", "path": workplace.path("kept.ndjson")});
    let config = workplace.config(with(imaps(&dovecot, &ca), plain), sink);
    let clock = workplace.write("clock", "+0");
    let skewed = |arguments: &[&str]| {
        workplace
            .shipper(arguments, &config)
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", &clock)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    };
    let running = skewed(&["run", "--config"]).start();
    let mut archived = 0;
    for (jump, mails) in ["+0", "-1y", "+10y", "+0"].iter().zip(batch.mails.chunks(4)) {
        workplace.write("clock", jump);
        mails.iter().for_each(|mail| dovecot.mailbox().deliver("INBOX", mail));
        archived += mails.len();
        eventually(LONG, &format!("all is archived at {jump}"), || {
            (dovecot.mailbox().count("Processed") == archived).then_some(())
        });
    }
    running.signal(Signal::TERM);
    running.finish().exited(0);

    // At its end, a run removes expired entries from the ledger.
    workplace.write("clock", "+10y");
    skewed(&["run", "--once", "--config"]).exits(0);
    workplace.write("clock", "+0");
    batch.mails.iter().for_each(|mail| dovecot.mailbox().deliver("INBOX", mail));
    skewed(&["run", "--once", "--config"]).exits(0);
    let events = ndjson(&workplace.read("kept.ndjson"));
    let told = essences(rows(&events));
    assert!(
        told == batch.essences(),
        "{} rows of {} were told, though the same mails came again",
        told.len(),
        batch.row_count()
    );
    let years: std::collections::BTreeSet<_> =
        rows(&events).map(|event| event["ingest_timestamp"].as_str().unwrap()[..4].to_owned()).collect();
    assert!(years.len() >= 3, "the clock has not jumped: {years:?}");
    let twice = Batch { mails: [batch.mails.clone(), batch.mails].concat(), reports: batch.reports };
    assert_all_archived(&dovecot, &twice);
}
