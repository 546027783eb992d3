//! Assertions about a batch that was shipped.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    ca::Ca,
    dovecot::Dovecot,
    received::Received,
    reports::{Batch, Essence, essences},
};

/// Starts a Dovecot whose mailbox contains the batch.
pub fn mailbox(ca: &Ca, batch: &Batch) -> Dovecot {
    let dovecot = Dovecot::start(&ca.server());
    deliver(&dovecot, &batch.mails);
    dovecot
}

pub fn deliver(dovecot: &Dovecot, mails: &[Vec<u8>]) {
    for mail in mails {
        dovecot.mailbox().deliver("INBOX", mail);
    }
}

pub fn events(received: &[Received]) -> Vec<Value> {
    received.iter().map(Received::event).collect()
}

pub fn rows(events: &[Value]) -> impl Iterator<Item = &Value> {
    events.iter().filter(|event| event["event_type"] == "dmarc_aggregate")
}

/// Returns how often each row was shipped, by its `event_id`.
pub fn times_told(events: &[Value]) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for event in rows(events) {
        *told.entry(event["event_id"].to_string()).or_default() += 1;
    }
    told
}

/// Returns the content of the rows, each once, even if a row was shipped again with the same id.
#[track_caller]
pub fn told_once(events: &[Value]) -> Vec<Essence> {
    let mut seen = BTreeSet::new();
    essences(rows(events).filter(|event| seen.insert(event["event_id"].to_string())))
}

/// Fails unless exactly the rows of the batch are there; repeated rows must have the same id.
#[track_caller]
pub fn assert_rows(batch: &Batch, events: &[Value]) {
    assert!(told_once(events) == batch.essences(), "rows are missing, or there are others");
}

/// Fails unless every row of the batch has arrived, once.
#[track_caller]
pub fn assert_complete(batch: &Batch, received: &[Received]) {
    let events = events(received);
    assert_eq!(essences(rows(&events)), batch.essences());
    let ids: BTreeSet<String> = rows(&events).map(|event| event["event_id"].to_string()).collect();
    assert_eq!(ids.len(), batch.row_count(), "two rows have one id");
}

#[track_caller]
pub fn assert_all_archived(dovecot: &Dovecot, batch: &Batch) {
    assert_eq!(dovecot.mailbox().names("INBOX"), Vec::<String>::new(), "left in INBOX");
    assert_eq!(dovecot.mailbox().names("Unreadable"), Vec::<String>::new(), "in quarantine");
    let (mut archived, mut mailed) = (dovecot.mailbox().mails("Processed"), batch.mails.clone());
    archived.sort();
    mailed.sort();
    assert!(archived == mailed, "the archive holds {} mails, or others than were mailed", archived.len());
}
