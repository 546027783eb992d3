//! Disks that fill up, go away, and come back.

use serde_json::json;

use crate::support::{
    ca::Ca,
    delivery::{assert_all_archived, assert_rows, mailbox, times_told},
    disk::Disk,
    process::ndjson,
    reports::Batch,
    wait::{LONG, eventually},
    workplace::{Workplace, imaps},
};

#[test]
fn a_full_disk_holds_mails_back_until_there_is_room() {
    let Some(disk) = Disk::mount(64) else { return };
    let (ca, batch) = (Ca::new(), Batch::generate(55, 40, 5..=10, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let sink = json!({"type": "file", "path": disk.path("kept.ndjson")});
    let running = workplace.once(&workplace.config(imaps(&dovecot, &ca), sink)).start();
    eventually(LONG, "the full disk is said", || running.stderr().contains("No space left").then_some(()));
    let settled = batch.mails.len() - dovecot.mailbox().count("INBOX");
    assert!(settled < batch.mails.len());
    disk.enlarge(10_240);
    running.finish().exited(0).says(&["works again"]);
    let events = ndjson(&std::fs::read_to_string(disk.path("kept.ndjson")).unwrap());
    assert_rows(&batch, &events);
    assert!(times_told(&events).values().all(|times| *times == 1), "a write that failed is taken back");
    assert_all_archived(&dovecot, &batch);
}
