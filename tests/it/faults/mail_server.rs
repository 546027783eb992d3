//! A mail server that goes away after mails were fetched and before they are moved.

use serde_json::json;

use crate::support::{
    ca::Ca,
    delivery::{assert_all_archived, assert_rows, mailbox, times_told},
    process::ndjson,
    reports::Batch,
    wait::{LONG, eventually},
    workplace::{Workplace, imaps},
};

#[test]
fn a_killed_mail_server_is_resumed_when_it_is_up() {
    let (ca, batch) = (Ca::new(), Batch::generate(56, 60, 5..=10, 4));
    let (mut dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let slow = json!({"type": "file", "path": workplace.path("kept.ndjson"), "rate_limit_num": 100});
    let running = workplace.once(&workplace.config(imaps(&dovecot, &ca), slow)).start();
    eventually(LONG, "some mails are archived", || (dovecot.mailbox().count("Processed") > 0).then_some(()));
    dovecot.kill();
    eventually(LONG, "the failure is said", || running.stderr().contains("retrying").then_some(()));
    dovecot.resume();
    running.finish().exited(0).says(&["reconnected to"]);
    let events = ndjson(&workplace.read("kept.ndjson"));
    assert_rows(&batch, &events);
    assert!(times_told(&events).values().all(|times| *times == 1), "no mail was read anew");
    // Dovecot copies, then removes: killed in between, it leaves mails in both folders, and they are moved again.
    let mut archived = dovecot.mailbox().mails("Processed");
    assert!(archived.len() >= batch.mails.len(), "the archive holds {} mails", archived.len());
    assert_eq!(dovecot.mailbox().names("INBOX"), Vec::<String>::new(), "left in INBOX");
    let mut mailed = batch.mails.clone();
    for mails in [&mut archived, &mut mailed] {
        mails.sort();
        mails.dedup();
    }
    assert!(archived == mailed, "the archive holds other mails than were sent");
}

#[test]
fn unmoved_mails_are_moved_by_the_next_run_without_reshipping() {
    let (ca, batch) = (Ca::new(), Batch::generate(60, 10, 5..=10, 4));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let sink = json!({"type": "file", "path": workplace.path("kept.ndjson")});
    let config = workplace.config(imaps(&dovecot, &ca), sink);
    dovecot.mailbox().create_folder("Processed");
    dovecot.mailbox().write_protect("Processed", true);
    let finished = workplace.once(&config).exits(75).says(&["can't be settled", "shipped and could not be moved"]);
    let mut logged = finished.stderr.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let ended = logged.find(|line| line["message"] == "run ended").unwrap();
    // Regression: it said 0 beside exit code 75.
    assert_eq!((&ended["left"], &ended["exit_code"]), (&json!(batch.mails.len()), &json!(75)));
    assert_rows(&batch, &ndjson(&workplace.read("kept.ndjson")));
    assert_eq!(dovecot.mailbox().count("INBOX"), batch.mails.len());

    dovecot.mailbox().write_protect("Processed", false);
    workplace.once(&config).exits(0);
    let events = ndjson(&workplace.read("kept.ndjson"));
    assert!(times_told(&events).values().all(|times| *times == 1), "shipped again");
    assert_all_archived(&dovecot, &batch);
}
