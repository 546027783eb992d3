//! Mails that failed when fetched on their own: decides whether the mail or the server is at fault. No I/O.
//!
//! Such a mail is retried after all others, each time in a session that has just worked. The mail is at fault if others
//! arrived meanwhile, or if it is the only one that does not arrive. If several don't, and none arrived since the first of
//! them failed, the server is at fault.

use std::collections::{BTreeMap, VecDeque};

use crate::source::imap::commands::search::Candidate;

/// Maximum number of mails at fault in one pass; further ones are left for the next pass.
pub const MOST_AT_FAULT: u32 = 10;

#[derive(Debug)]
pub struct Suspects {
    max_attempts: u32,
    /// Number of mails that have arrived so far.
    arrived: u64,
    records: BTreeMap<u32, Record>,
    /// Mails to retry.
    waiting: VecDeque<Candidate>,
    /// Mails that were tried `max_attempts` times.
    tried: Vec<Candidate>,
}

#[derive(Debug, Clone)]
struct Record {
    attempts: u32,
    /// Number of mails that had arrived when this one first failed.
    arrived_before: u64,
    /// Error of the last attempt.
    why: String,
}

/// Decision on a mail that is given up.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// The mail is at fault, after `attempts` attempts; `why` is the error of the last one.
    Mail { mail: Candidate, attempts: u32, why: String },
    /// The server is at fault; nothing is known of the mail but the error of the last attempt.
    Server { why: String },
}

impl Suspects {
    pub fn new(max_attempts: u32) -> Self {
        Self { max_attempts, arrived: 0, records: BTreeMap::new(), waiting: VecDeque::new(), tried: Vec::new() }
    }

    pub fn arrived(&mut self, uid: u32) {
        self.arrived += 1;
        self.records.remove(&uid);
    }

    /// Records a failed attempt to fetch `mail` on its own.
    pub fn record_failure(&mut self, mail: Candidate, why: String) {
        let arrived_before = self.arrived;
        let record = self.records.entry(mail.uid).or_insert(Record { attempts: 0, arrived_before, why: String::new() });
        record.attempts += 1;
        record.why = why;
        if record.attempts < self.max_attempts {
            self.waiting.push_back(mail);
        } else {
            self.tried.push(mail);
        }
    }

    /// Returns the next mail to retry.
    pub fn next(&mut self) -> Option<Candidate> {
        self.waiting.pop_front()
    }

    /// Puts back a mail from [`next`](Self::next) that was not tried.
    pub fn put_back(&mut self, mail: Candidate) {
        self.waiting.push_front(mail);
    }

    pub fn is_suspect(&self, uid: u32) -> bool {
        self.records.contains_key(&uid)
    }

    /// True if the mails are more likely at fault than the server: they are few, and others have arrived.
    pub fn are_likely(&self) -> bool {
        self.arrived > 0 && self.records.len() <= MOST_AT_FAULT as usize
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.tried.is_empty()
    }

    /// True if all mails were tried `max_attempts` times.
    pub fn are_all_tried(&self) -> bool {
        self.waiting.is_empty() && !self.tried.is_empty()
    }

    /// Decides on all mails that were tried often enough. Must be called when nothing else is left to fetch.
    pub fn decide(&mut self) -> Vec<Decision> {
        let is_only_one = self.tried.len() == 1 && self.waiting.is_empty();
        let arrived = self.arrived;
        std::mem::take(&mut self.tried)
            .into_iter()
            .map(|mail| match self.records.remove(&mail.uid) {
                Some(Record { attempts, arrived_before, why }) if is_only_one || arrived > arrived_before => {
                    Decision::Mail { mail, attempts, why }
                }
                record => Decision::Server { why: record.map(|record| record.why).unwrap_or_default() },
            })
            .collect()
    }

    pub fn clear(&mut self) {
        *self = Self::new(self.max_attempts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(uid: u32) -> Candidate {
        Candidate { uid, size: 10 }
    }

    /// Retries all waiting mails until none is left, and returns the UIDs of those at fault.
    fn at_fault(mut suspects: Suspects) -> Vec<u32> {
        while let Some(mail) = suspects.next() {
            suspects.record_failure(mail, "lost".into());
        }
        let decisions = suspects.decide().into_iter();
        assert!(suspects.is_empty());
        decisions
            .filter_map(|decisions| match decisions {
                Decision::Mail { mail, attempts: 3, .. } => Some(mail.uid),
                Decision::Mail { attempts, .. } => panic!("{attempts} attempts"),
                Decision::Server { .. } => None,
            })
            .collect()
    }

    #[test]
    fn a_mail_is_at_fault_when_others_arrived_since_it_first_failed() {
        let mut suspects = Suspects::new(3);
        suspects.record_failure(mail(1), "lost".into());
        suspects.arrived(2);
        suspects.record_failure(mail(3), "lost".into());
        suspects.arrived(4);
        assert_eq!(at_fault(suspects), [1, 3]);
    }

    #[test]
    fn the_only_mail_that_does_not_arrive_is_at_fault() {
        let mut suspects = Suspects::new(3);
        suspects.record_failure(mail(1), "lost".into());
        assert_eq!(at_fault(suspects), [1]);
    }

    #[test]
    fn the_server_is_at_fault_when_no_mail_arrives_any_more() {
        let mut suspects = Suspects::new(3);
        suspects.arrived(1);
        suspects.record_failure(mail(2), "lost".into());
        suspects.record_failure(mail(3), "lost".into());
        assert_eq!(at_fault(suspects), [0; 0]);
    }

    #[test]
    fn a_mail_that_arrived_in_the_end_is_no_suspect() {
        let mut suspects = Suspects::new(3);
        suspects.record_failure(mail(1), "lost".into());
        let again = suspects.next().unwrap();
        suspects.arrived(again.uid);
        assert!(suspects.is_empty() && !suspects.is_suspect(1));
    }
}
