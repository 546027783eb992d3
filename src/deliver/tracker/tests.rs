use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

type Mails = Tracker<u32, &'static str>;

/// Claims a document for every sink; no sink has any rows of it.
fn claim(tracker: &mut Mails, mail: u32, document: &'static str) -> Claim {
    let claims: Vec<_> = (0..tracker.confirmed.len()).map(|sink| tracker.claim(mail, &document, sink, 0)).collect();
    assert!(claims.iter().all(|claim| *claim == claims[0]));
    claims[0]
}

#[test]
fn mail_settles_only_when_every_required_sink_has_confirmed_it() {
    let mut tracker = Mails::new(&[true; 2]);
    tracker.open(1);
    assert_eq!(claim(&mut tracker, 1, "d"), Claim::Mine);
    tracker.document_read(1, &"d", &vec![3, 5]);
    tracker.confirm(0, 3);
    tracker.confirm(1, 5);
    assert_eq!(tracker.settled(), [], "it is still being read");
    tracker.mail_read(1, vec![4, 6]);
    tracker.confirm(0, 4);
    assert_eq!(tracker.settled(), [], "the second sink is behind");
    tracker.confirm(1, 6);
    assert_eq!(tracker.settled(), [Settled::Arrived(1)]);
    assert_eq!(tracker.settled(), [], "a mail is told once");
}

#[test]
fn mail_without_events_settles_at_once() {
    let mut tracker = Mails::new(&[true]);
    tracker.open(1);
    tracker.mail_read(1, vec![0]);
    assert_eq!(tracker.settled(), [Settled::Arrived(1)]);
}

#[test]
fn second_mail_with_the_same_document_waits_for_the_first_ones_confirmation() {
    let mut tracker = Mails::new(&[true]);
    tracker.open(1);
    claim(&mut tracker, 1, "d");
    tracker.open(2);
    assert_eq!(claim(&mut tracker, 2, "d"), Claim::InFlight);
    tracker.mail_read(2, vec![0]);
    assert_eq!(tracker.settled(), [], "the document is still being read");
    tracker.document_read(1, &"d", &vec![7]);
    tracker.mail_read(1, vec![7]);
    tracker.confirm(0, 6);
    assert_eq!(tracker.settled(), []);
    tracker.confirm(0, 7);
    assert_eq!(tracker.settled(), [Settled::Arrived(1), Settled::Arrived(2)]);
}

#[test]
fn two_mails_that_wait_for_each_others_documents_both_settle() {
    let mut tracker = Mails::new(&[true]);
    tracker.open(1);
    tracker.open(2);
    claim(&mut tracker, 1, "a");
    claim(&mut tracker, 2, "b");
    claim(&mut tracker, 1, "b");
    claim(&mut tracker, 2, "a");
    tracker.document_read(1, &"a", &vec![1]);
    tracker.document_read(2, &"b", &vec![2]);
    tracker.mail_read(1, vec![1]);
    tracker.mail_read(2, vec![2]);
    tracker.confirm(0, 2);
    assert_eq!(tracker.settled(), [Settled::Arrived(1), Settled::Arrived(2)]);
}

#[test]
fn what_goes_to_an_optional_sink_has_arrived_and_stays_claimed_until_the_ledger_knows_it() {
    let mut tracker = Mails::new(&[false]);
    tracker.open(1);
    claim(&mut tracker, 1, "d");
    tracker.document_read(1, &"d", &vec![7]);
    tracker.mail_read(1, vec![7]);
    assert_eq!(tracker.settled(), [Settled::Arrived(1)]);
    assert!(tracker.is_in_flight(&"d"));
    tracker.forget(1);
    assert!(!tracker.is_in_flight(&"d"));
}

#[test]
fn who_waits_for_an_abandoned_mail_is_left_for_later_and_the_document_is_free_again() {
    let mut tracker = Mails::new(&[true]);
    tracker.open(1);
    claim(&mut tracker, 1, "d");
    tracker.open(2);
    claim(&mut tracker, 2, "d");
    tracker.mail_read(2, vec![0]);
    tracker.abandon(1);
    assert_eq!(tracker.settled(), [Settled::Abandoned(2)]);
    tracker.open(3);
    assert_eq!(claim(&mut tracker, 3, "d"), Claim::Mine);
}

/// Regression: the second mail would have been archived, and the ledger would have recorded the document as shipped,
/// although a reader that failed had shipped only its beginning.
#[test]
fn who_waits_for_a_document_that_was_left_half_way_is_left_for_later() {
    let mut tracker = Mails::new(&[true]);
    tracker.open(1);
    claim(&mut tracker, 1, "d");
    tracker.open(2);
    claim(&mut tracker, 2, "d");
    tracker.mail_read(2, vec![0]);
    tracker.mail_read(1, vec![3]);
    tracker.confirm(0, 3);
    assert_eq!(tracker.settled(), [Settled::Arrived(1), Settled::Abandoned(2)]);
    assert!(!tracker.is_in_flight(&"d"));
}

#[test]
fn rows_of_a_long_document_make_progress_at_each_sink_by_itself() {
    let mut tracker = Mails::new(&[true, true, false]);
    tracker.open(1);
    claim(&mut tracker, 1, "d");
    tracker.rows_read(1, &"d", 1000, &vec![1000, 900, 1]);
    tracker.rows_read(1, &"d", 2000, &vec![2000, 1800, 2]);
    tracker.rows_read(1, &"d", 3000, &vec![3000, 2700, 3]);
    let progress = |sink, rows| Progress { mail: 1, document: "d", sink, rows };
    tracker.confirm(0, 3000);
    assert_eq!(tracker.progress(), [progress(0, 3000)]);
    tracker.confirm(1, 2699);
    assert_eq!(tracker.progress(), [progress(1, 2000)]);
    assert_eq!(tracker.progress(), [], "told once");
    tracker.confirm(1, 2700);
    assert_eq!(tracker.progress(), [progress(1, 3000)]);
}

/// Regression: a sink that had 5,000 rows before a kill would have been sent 4,000 of them again after the next one.
#[test]
fn progress_of_a_sink_never_goes_back_while_rows_are_read_for_another() {
    let mut tracker = Mails::new(&[true; 2]);
    tracker.open(1);
    tracker.claim(1, &"d", 0, 0);
    tracker.claim(1, &"d", 1, 1500);
    tracker.rows_read(1, &"d", 1000, &vec![1000, 0]);
    tracker.confirm(0, 1000);
    assert_eq!(tracker.progress(), [Progress { mail: 1, document: "d", sink: 0, rows: 1000 }]);
    tracker.rows_read(1, &"d", 2000, &vec![2000, 500]);
    tracker.confirm(1, 500);
    assert_eq!(tracker.progress(), [Progress { mail: 1, document: "d", sink: 1, rows: 2000 }]);
}

#[test]
fn two_mails_that_bring_one_document_to_different_sinks_wait_for_their_own_sink_only() {
    let mut tracker = Mails::new(&[true; 2]);
    for mail in [1, 2] {
        tracker.open(mail);
    }
    assert_eq!(tracker.claim(1, &"d", 0, 0), Claim::Mine);
    assert_eq!(tracker.claim(2, &"d", 1, 0), Claim::Mine);
    tracker.document_read(1, &"d", &vec![5, 0]);
    tracker.document_read(2, &"d", &vec![0, 5]);
    tracker.mail_read(1, vec![5, 0]);
    tracker.mail_read(2, vec![0, 5]);
    tracker.confirm(1, 5);
    assert_eq!(tracker.settled(), [Settled::Arrived(2)]);
    tracker.forget(2);
    assert!(tracker.is_claimed(&"d", 0) && !tracker.is_claimed(&"d", 1));
    tracker.confirm(0, 5);
    assert_eq!(tracker.settled(), [Settled::Arrived(1)]);
}

#[test]
fn a_document_that_is_free_again_makes_no_progress() {
    let read = |tracker: &mut Mails, mail| {
        tracker.mail_read(mail, vec![9]);
    };
    for end in [Tracker::abandon as fn(&mut Mails, u32), read] {
        let mut tracker = Mails::new(&[true]);
        tracker.open(1);
        claim(&mut tracker, 1, "d");
        tracker.rows_read(1, &"d", 1000, &vec![5]);
        end(&mut tracker, 1);
        tracker.confirm(0, 9);
        assert_eq!(tracker.progress(), []);
    }
}

#[test]
fn a_mail_with_a_rejected_event_is_settled_after_its_report_and_its_delivery_stays_incomplete() {
    let mut tracker = Mails::new(&[true; 2]);
    tracker.open(1);
    claim(&mut tracker, 1, "d");
    tracker.document_read(1, &"d", &vec![3, 3]);
    tracker.mail_read(1, vec![3, 3]);
    assert!(tracker.reject(0, 1, Some(&"d"), 2));
    assert!(tracker.reject(0, 1, Some(&"d"), 1));
    tracker.confirm(0, 3);
    assert_eq!(tracker.settled(), [], "the other sink is behind");
    tracker.confirm(1, 3);
    assert_eq!(tracker.settled(), [Settled::Rejected(1)]);
    assert_eq!(tracker.settled(), [], "it is told once");
    assert_eq!(tracker.rejected(1), [Rejected { sink: 0, document: Some("d"), events: 3 }]);
    tracker.reported(1, vec![0, 4]);
    assert_eq!(tracker.settled(), [], "its report has not arrived");
    assert!(!tracker.reject(1, 1, Some(&"d"), 1), "a rejected report is not reported");
    tracker.confirm(1, 4);
    assert_eq!(tracker.settled(), [Settled::Arrived(1)]);
    assert_eq!(tracker.rejected(1).len(), 1);
}

#[test]
fn what_an_optional_sink_rejects_holds_no_mail_up() {
    let mut tracker = Mails::new(&[false]);
    tracker.open(1);
    claim(&mut tracker, 1, "d");
    tracker.document_read(1, &"d", &vec![1]);
    tracker.mail_read(1, vec![1]);
    assert!(!tracker.reject(0, 1, Some(&"d"), 1));
    assert_eq!(tracker.settled(), [Settled::Arrived(1)]);
}

#[test]
fn who_waits_for_a_delivery_with_a_rejected_event_is_rejected_too_whichever_mail_is_settled_first() {
    for owner_first in [true, false] {
        let mut tracker = Mails::new(&[true]);
        for mail in [1, 2] {
            tracker.open(mail);
            claim(&mut tracker, mail, "d");
        }
        tracker.document_read(1, &"d", &vec![1]);
        assert!(tracker.reject(0, 1, Some(&"d"), 1));
        tracker.mail_read(1, vec![1]);
        tracker.confirm(0, 1);
        if owner_first {
            assert_eq!(tracker.settled(), [Settled::Rejected(1)]);
            tracker.reported(1, vec![0]);
            assert_eq!(tracker.settled(), [Settled::Arrived(1)]);
            tracker.forget(1);
        }
        tracker.mail_read(2, vec![0]);
        assert!(tracker.settled().contains(&Settled::Rejected(2)), "{owner_first}");
        assert_eq!(tracker.rejected(2), [Rejected { sink: 0, document: Some("d"), events: 1 }]);
    }
}

/// A process that is killed has to find the rejected row before the rows that it does not send again.
#[test]
fn progress_does_not_pass_a_rejected_row() {
    let mut tracker = Mails::new(&[true; 2]);
    tracker.open(1);
    claim(&mut tracker, 1, "d");
    for rows in [1000, 2000] {
        tracker.rows_read(1, &"d", rows, &vec![rows, rows]);
    }
    tracker.confirm(0, 1000);
    assert_eq!(tracker.progress(), [Progress { mail: 1, document: "d", sink: 0, rows: 1000 }]);
    assert!(tracker.reject(0, 1, Some(&"d"), 1));
    tracker.confirm(0, 2000);
    tracker.confirm(1, 2000);
    assert_eq!(tracker.progress(), [Progress { mail: 1, document: "d", sink: 1, rows: 2000 }]);
}

/// One step of a random history. The mails share a small set of documents, so that they collide.
#[derive(Debug, Clone)]
enum Step {
    Open,
    Claim(usize, u8),
    Rows(usize, u8),
    Close(usize),
    /// Closed with its last document incomplete.
    Fail(usize),
    Abandon(usize),
    Confirm(usize, u64),
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Open),
        4 => (0..8usize, 0..5u8).prop_map(|(mail, document)| Step::Claim(mail, document)),
        4 => (0..8usize, 1..4u8).prop_map(|(mail, rows)| Step::Rows(mail, rows)),
        3 => (0..8usize).prop_map(Step::Close),
        1 => (0..8usize).prop_map(Step::Fail),
        1 => (0..8usize).prop_map(Step::Abandon),
        4 => (0..2usize, 1..6u64).prop_map(|(sink, by)| Step::Confirm(sink, by)),
        3 => Just(Step::Commit),
    ]
}

/// Expected state of a mail that is being read: the documents that it needs, and its events' numbers by sink.
#[derive(Default)]
struct Known {
    needs: HashSet<u8>,
    last: Vec<u64>,
    open_document: Option<u8>,
}

proptest! {
    #[test]
    fn never_settles_before_every_event_of_every_document_in_it_is_confirmed(
        steps in prop::collection::vec(step(), 1..200)
    ) {
        let mut tracker: Tracker<usize, u8> = Tracker::new(&[true; 2]);
        let (mut numbers, mut confirmed) = (vec![0u64; 2], vec![0u64; 2]);
        let mut reading: Vec<(usize, Known)> = Vec::new();
        let mut closed: HashMap<usize, Known> = HashMap::new();
        // The last number of each document's rows, as shipped by the mail that owned it.
        let mut shipped: HashMap<u8, Vec<u64>> = HashMap::new();
        let mut committed: HashSet<u8> = HashSet::new();
        let mut next = 0;
        for step in steps {
            match step {
                Step::Open => {
                    tracker.open(next);
                    reading.push((next, Known { last: vec![0; 2], ..Known::default() }));
                    next += 1;
                }
                Step::Claim(at, document) if !reading.is_empty() => {
                    let at = at % reading.len();
                    let (mail, known) = &mut reading[at];
                    if let Some(done) = known.open_document.take() {
                        tracker.document_read(*mail, &done, &numbers);
                    }
                    known.needs.insert(document);
                    if !committed.contains(&document) && [0, 1].map(|sink| tracker.claim(*mail, &document, sink, 0)) == [Claim::Mine; 2] {
                        known.open_document = Some(document);
                        shipped.insert(document, vec![0; 2]);
                    }
                }
                Step::Rows(at, rows) if !reading.is_empty() => {
                    let at = at % reading.len();
                    for number in &mut numbers {
                        *number += u64::from(rows);
                    }
                    let known = &mut reading[at].1;
                    known.last = numbers.clone();
                    if let Some(document) = known.open_document {
                        shipped.insert(document, numbers.clone());
                    }
                }
                Step::Close(at) if !reading.is_empty() => {
                    let (mail, mut known) = reading.remove(at % reading.len());
                    if let Some(done) = known.open_document.take() {
                        tracker.document_read(mail, &done, &numbers);
                    }
                    tracker.mail_read(mail, numbers.clone());
                    closed.insert(mail, known);
                }
                Step::Fail(at) if !reading.is_empty() => {
                    let (mail, mut known) = reading.remove(at % reading.len());
                    if let Some(half) = known.open_document.take() {
                        // It must not wait for its own incomplete document.
                        known.needs.remove(&half);
                        shipped.insert(half, vec![u64::MAX; 2]);
                    }
                    tracker.mail_read(mail, numbers.clone());
                    closed.insert(mail, known);
                }
                Step::Abandon(at) if !reading.is_empty() => {
                    let (mail, _) = reading.remove(at % reading.len());
                    tracker.abandon(mail);
                }
                Step::Confirm(sink, by) => {
                    confirmed[sink] = (confirmed[sink] + by).min(numbers[sink]);
                    tracker.confirm(sink, confirmed[sink]);
                }
                Step::Commit => {
                    for settled in tracker.settled() {
                        match settled {
                            Settled::Arrived(mail) => {
                                let known = closed.remove(&mail).expect("settled once, and only after it was closed");
                                for sink in 0..2 {
                                    prop_assert!(known.last[sink] <= confirmed[sink]);
                                    for document in &known.needs {
                                        prop_assert!(shipped[document][sink] <= confirmed[sink]);
                                    }
                                }
                                committed.extend(&known.needs);
                                tracker.forget(mail);
                            }
                            Settled::Rejected(_) => prop_assert!(false, "nothing was rejected"),
                            Settled::Abandoned(mail) => {
                                prop_assert!(closed.remove(&mail).is_some());
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        // No deadlock: after everything is read and confirmed, every mail is settled.
        for (mail, known) in reading.drain(..) {
            tracker.mail_read(mail, numbers.clone());
            closed.insert(mail, known);
        }
        for (sink, last) in numbers.iter().enumerate() {
            tracker.confirm(sink, *last);
        }
        let mut rounds = 0;
        while tracker.mails() > 0 && rounds < 100 {
            for settled in tracker.settled() {
                if let Settled::Arrived(mail) = settled {
                    tracker.forget(mail);
                }
            }
            rounds += 1;
        }
        prop_assert_eq!(tracker.mails(), 0);
    }
}
