//! Disks that become full, fail, and recover.

use rustix::process::Signal;
use serde_json::json;

use crate::support::{
    ca::Ca,
    delivery::{assert_all_archived, assert_rows, mailbox, times_told},
    disk::Disk,
    process::ndjson,
    reports::Batch,
    wait::{LONG, eventually},
    workplace::{Workplace, imaps, with},
};

#[test]
fn a_full_disk_blocks_mails_until_there_is_space() {
    let Some(disk) = Disk::mount(64) else { return };
    let (ca, batch) = (Ca::new(), Batch::generate(55, 40, 5..=10, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let sink = json!({"type": "file", "path": disk.path("kept.ndjson")});
    let running = workplace.once(&workplace.config(imaps(&dovecot, &ca), sink)).start();
    eventually(LONG, "the full disk is said", || running.stderr().contains("No space left").then_some(()));
    let settled = batch.mails.len() - dovecot.mailbox().count("INBOX");
    assert!(settled < batch.mails.len());
    disk.enlarge(10_240);
    running.finish().exited(0).says(&["sink recovered"]);
    let events = ndjson(&std::fs::read_to_string(disk.path("kept.ndjson")).unwrap());
    assert_rows(&batch, &events);
    assert!(times_told(&events).values().all(|times| *times == 1), "a write that failed is taken back");
    assert_all_archived(&dovecot, &batch);
}

/// A mail is moved only once its events are recorded in the ledger: otherwise a crash would ship all of them again.
#[test]
fn a_full_disk_under_the_ledger_blocks_mails_until_there_is_space() {
    let Some(disk) = Disk::mount(8_192) else { return };
    let (ca, batch) = (Ca::new(), Batch::generate(92, 20, 5..=10, 4));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let sink = json!({"type": "file", "path": workplace.path("kept.ndjson")});
    let config = with(workplace.config(imaps(&dovecot, &ca), sink), json!({"data_dir": disk.path("data")}));
    let empty = with(config.clone(), json!({"sources": {"none": {"type": "file", "path": workplace.path("none")}}}));
    std::fs::create_dir(workplace.path("none")).unwrap();
    workplace.once(&empty).exits(0);
    std::fs::write(disk.path("filler"), vec![0; 16 << 20]).ok();

    let running = workplace.once(&config).start();
    eventually(LONG, "the full disk is said", || running.stderr().contains("can't write the ledger").then_some(()));
    eventually(LONG, "all rows have arrived", || {
        let written = std::fs::read_to_string(workplace.path("kept.ndjson")).unwrap_or_default();
        (written.lines().count() == batch.event_count()).then_some(())
    });
    assert_eq!(dovecot.mailbox().count("INBOX"), batch.mails.len());
    std::fs::remove_file(disk.path("filler")).unwrap();
    running.finish().exited(0).says(&["ledger recovered"]);
    let events = ndjson(&workplace.read("kept.ndjson"));
    assert_rows(&batch, &events);
    assert!(times_told(&events).values().all(|times| *times == 1));
    assert_all_archived(&dovecot, &batch);
}

/// An administrator deletes the folder: its records are lost, but new ones are written from then on.
#[test]
fn a_deleted_data_dir_is_created_again_and_logged() {
    let (ca, batch) = (Ca::new(), Batch::generate(93, 8, 1..=5, 0));
    let (dovecot, workplace) = (crate::support::dovecot::Dovecot::start(&ca.server()), Workplace::new());
    let sink = json!({"type": "file", "path": workplace.path("kept.ndjson")});
    let source = with(imaps(&dovecot, &ca), json!({"poll_interval": "1s"}));
    let config = workplace.config(source, sink);
    let running = workplace.shipper(&["run", "--config"], &config).start();
    let archived = |mails: usize| {
        eventually(LONG, "the mails are archived", || (dovecot.mailbox().count("Processed") == mails).then_some(()));
    };
    batch.mails[..4].iter().for_each(|mail| dovecot.mailbox().deliver("INBOX", mail));
    archived(4);
    std::fs::remove_dir_all(workplace.path("data")).unwrap();
    batch.mails[4..].iter().for_each(|mail| dovecot.mailbox().deliver("INBOX", mail));
    archived(8);
    running.signal(Signal::TERM);
    running.finish().exited(0).says(&["was deleted"]);
    let ledger = workplace.shipper(&["ledger", "list", "--config"], &config).exits(0).events();
    assert_eq!(ledger.len(), 4, "those that came after it");
    assert_rows(&batch, &ndjson(&workplace.read("kept.ndjson")));
    assert_all_archived(&dovecot, &batch);
}
