//! State of one round through a folder: batches to fetch, failed mails, and pending actions. No I/O.

use std::collections::{BTreeMap, HashMap, VecDeque};

use jiff::Timestamp;

use super::{
    bodies::{BATCH_BYTES, BATCH_MAILS},
    fault::Fault,
    fetch::{Candidate, SIZED_AT_ONCE},
    owed::Owed,
    settle::Action,
    suspects::{Judged, MOST_AT_FAULT, Suspects},
};
use crate::{
    source::Pass,
    trouble::{Reason, Trouble},
};

/// Number of groups into which a failed batch is split, to find the mail at fault.
const PARTS: usize = 8;

/// Maximum number of expired logins in one pass that are not blamed on a mail: enough for a pass of a week, with tokens of
/// an hour.
const LOGINS: u32 = 200;

#[derive(Debug)]
pub struct Round {
    pub listed: bool,
    /// Fault because of which the rest of the folder can't be read.
    pub failed: Option<Fault>,
    /// UIDs whose size isn't known yet.
    bare: VecDeque<u32>,
    sized: VecDeque<Candidate>,
    /// Mails that may have caused an earlier stall, by the time of that; fetched after those above. With their sizes, if
    /// known.
    last: BTreeMap<Timestamp, Vec<(u32, Option<u64>)>>,
    /// Parts of failed batches, fetched separately to find the mail at fault.
    apart: VecDeque<Vec<Candidate>>,
    pub suspects: Suspects,
    /// Mails to be handed over unread, and the reason.
    unfetchable: VecDeque<(Candidate, Trouble)>,
    at_fault: u32,
    pub owed: Owed,
    logins: u32,
    pub pass: Pass,
    pub tally: Tally,
}

/// Number of mails by outcome, for the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub archived: u64,
    pub quarantined: u64,
    pub deleted: u64,
    /// Handled, and left in the folder as configured.
    pub kept: u64,
    /// Not handled this time.
    pub left: u64,
}

/// Mails to fetch with one command, or a single one that is not to be fetched.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    pub mails: Vec<Candidate>,
    pub refused: Option<Trouble>,
}

impl Batch {
    /// Returns the bytes to reserve in the intake's budget; 1 for a mail that is not fetched.
    pub fn bytes(&self) -> u64 {
        if self.refused.is_some() { 1 } else { self.mails.iter().map(|mail| mail.size).sum() }
    }
}

impl Round {
    /// `max_attempts`: how often a mail is fetched on its own before it is given up.
    pub fn new(max_attempts: u32) -> Self {
        Self {
            listed: false,
            failed: None,
            bare: VecDeque::new(),
            sized: VecDeque::new(),
            last: BTreeMap::new(),
            apart: VecDeque::new(),
            suspects: Suspects::new(max_attempts),
            unfetchable: VecDeque::new(),
            at_fault: 0,
            logins: 0,
            owed: Owed::default(),
            pass: Pass::default(),
            tally: Tally::default(),
        }
    }

    pub fn list(&mut self, uids: Vec<u32>, sizes: &HashMap<u32, u64>) {
        self.listed = true;
        for uid in uids {
            match sizes.get(&uid) {
                Some(&size) => self.sized.push_back(Candidate { uid, size }),
                None => self.bare.push_back(uid),
            }
        }
    }

    /// Adds a mail that may have caused a stall of an earlier pass at `since`: it is fetched after all mails that did not.
    pub fn list_last(&mut self, since: Timestamp, uid: u32, size: Option<u64>) {
        self.last.entry(since).or_default().push((uid, size));
    }

    /// True if sizes are to be requested; not while there are other mails to fetch.
    pub fn wants_sizes(&self) -> bool {
        !self.bare.is_empty() && self.sized.is_empty()
    }

    /// Returns the next UIDs whose sizes are to be requested.
    pub fn next_to_size(&mut self) -> Option<Vec<u32>> {
        if !self.wants_sizes() {
            return None;
        }
        Some(self.bare.drain(..SIZED_AT_ONCE.min(self.bare.len())).collect())
    }

    pub fn size(&mut self, mails: Vec<Candidate>) {
        self.sized.extend(mails);
    }

    /// Puts back UIDs whose sizes did not arrive, to be requested again.
    pub fn unsize(&mut self, uids: Vec<u32>) {
        uids.into_iter().rev().for_each(|uid| self.bare.push_front(uid));
    }

    pub fn next_batch(&mut self, budget_bytes: u64, mail_bytes: u64) -> Option<Batch> {
        if let Some((mail, trouble)) = self.unfetchable.pop_front() {
            return Some(Batch { mails: vec![mail], refused: Some(trouble) });
        }
        let room = BATCH_BYTES.min(budget_bytes / 4);
        let is_through = self.apart.is_empty() && self.sized.is_empty() && self.bare.is_empty();
        if let Some((_, mails)) = is_through.then(|| self.last.pop_first()).flatten() {
            for (uid, size) in mails {
                match size {
                    Some(size) => self.sized.push_back(Candidate { uid, size }),
                    None => self.bare.push_back(uid),
                }
            }
        } else if is_through {
            self.apart.extend(self.suspects.next().map(|mail| vec![mail]));
        }
        if let Some(mails) = self.apart.pop_front() {
            let refused = mails.iter().find_map(|mail| too_large(mail, mail_bytes));
            return Some(Batch { mails, refused });
        }
        let first = self.sized.pop_front()?;
        if let Some(trouble) = too_large(&first, mail_bytes) {
            return Some(Batch { mails: vec![first], refused: Some(trouble) });
        }
        let mut bytes = first.size;
        let mut mails = vec![first];
        while let Some(next) = self.sized.front() {
            bytes = bytes.saturating_add(next.size);
            if mails.len() == BATCH_MAILS || bytes > room || next.size > mail_bytes {
                break;
            }
            mails.extend(self.sized.pop_front());
        }
        Some(Batch { mails, refused: None })
    }

    /// Puts back a batch that was not started, or was interrupted through no fault of its own: its mails are the next
    /// again.
    pub fn put_back(&mut self, batch: Batch) {
        if let (Some(trouble), [mail]) = (batch.refused, &batch.mails[..]) {
            return self.unfetchable.push_front((*mail, trouble));
        }
        match batch.mails[..] {
            [mail] if self.suspects.is_suspect(mail.uid) => self.suspects.put_back(mail),
            [mail] => self.apart.push_front(vec![mail]),
            _ => batch.mails.into_iter().rev().for_each(|mail| self.sized.push_front(mail)),
        }
    }

    /// Splits the mails of a failed batch that did not arrive; one or more of them are at fault. The next in UID order is
    /// fetched on its own, as most servers send mails in that order.
    pub fn retry_apart(&mut self, mut mails: Vec<Candidate>) {
        if mails.is_empty() {
            return;
        }
        mails.sort_unstable_by_key(|mail| mail.uid);
        let (next, others) = mails.split_at(1);
        self.apart.push_back(next.to_vec());
        self.apart.extend(others.chunks(others.len().div_ceil(PARTS).max(1)).map(<[Candidate]>::to_vec));
    }

    /// Retries `mail` with the size that the server announced.
    pub fn resize(&mut self, mail: Candidate, announced: u64) {
        self.apart.push_back(vec![Candidate { size: announced, ..mail }]);
    }

    /// Counts a login that expired during a fetch. False if that has happened implausibly often, and a mail may be to
    /// blame.
    pub fn excuse(&mut self) -> bool {
        self.logins += 1;
        self.logins <= LOGINS
    }

    /// Decides on the mails that were tried `max_attempts` times, when nothing else is left to fetch or under way: those
    /// at fault are handed over unread, those that the server is to blame for are left. Returns the number of each, and
    /// the error of the last one that was left.
    pub fn judge(&mut self) -> (usize, usize, String) {
        let (mut convicted, mut left, mut reason) = (0, 0, String::new());
        for judged in self.suspects.judge() {
            match judged {
                Judged::Mail { mail, attempts, why } if self.at_fault < MOST_AT_FAULT => {
                    self.at_fault += 1;
                    convicted += 1;
                    let what = format!("the mail did not come in {attempts} attempts (max_attempts): {why}");
                    self.unfetchable.push_back((mail, Trouble::new(Reason::AttemptsExhausted, what)));
                }
                Judged::Mail { why, .. } | Judged::Server { why } => {
                    left += 1;
                    reason = why;
                }
            }
        }
        self.pass.unsettled += left as u64;
        (convicted, left, reason)
    }

    /// True if nothing is left to fetch but mails that [`judge`](Self::judge) is to decide on.
    pub fn is_for_judging(&self) -> bool {
        self.listed && self.queues_are_empty() && self.unfetchable.is_empty() && self.suspects.are_for_judging()
    }

    /// Ends the round because the rest of the folder can't be read for now. Pending actions are left to a later round.
    pub fn fail(&mut self, fault: Fault) {
        self.forget_due();
        self.cut_short();
        self.failed = Some(fault);
    }

    /// Drops pending actions that can't be carried out any more: the mails are shipped, and a later round settles them.
    pub fn forget_due(&mut self) {
        self.pass.unsettled += self.owed.forget() as u64;
    }

    /// Drops all mails that are not fetched yet.
    pub fn cut_short(&mut self) {
        self.listed = true;
        self.bare.clear();
        self.sized.clear();
        self.last.clear();
        self.apart.clear();
        self.suspects.clear();
        self.unfetchable.clear();
    }

    pub fn has_more(&self) -> bool {
        !(self.listed && self.queues_are_empty() && self.unfetchable.is_empty() && self.suspects.is_empty())
    }

    fn queues_are_empty(&self) -> bool {
        self.bare.is_empty() && self.sized.is_empty() && self.apart.is_empty() && self.last.is_empty()
    }

    /// Records that `uid` was settled.
    pub fn settle(&mut self, uid: u32) {
        let Some(action) = self.owed.done(uid) else { return };
        self.pass.settled += 1;
        match action {
            Action::Archive => self.tally.archived += 1,
            Action::Quarantine => self.tally.quarantined += 1,
            Action::Delete => self.tally.deleted += 1,
            Action::Stay(_) => self.tally.kept += 1,
        }
    }

    /// Records that `uid` could not be settled; returns its action, which is still to be carried out.
    pub fn fail_to_settle(&mut self, uid: u32) -> Option<Action> {
        let action = self.owed.done(uid)?;
        self.pass.unsettled += 1;
        Some(action)
    }
}

fn too_large(mail: &Candidate, mail_bytes: u64) -> Option<Trouble> {
    let what = || format!("the mail's size of {} bytes", mail.size);
    (mail.size > mail_bytes).then(|| Trouble::over(Reason::MailTooLarge, what(), "limits.mail_bytes", mail_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mails(sizes: &[u64]) -> Vec<Candidate> {
        (1..).zip(sizes).map(|(uid, &size)| Candidate { uid, size }).collect()
    }

    fn round(sizes: &[u64]) -> Round {
        let mut round = Round::new(3);
        round.list(Vec::new(), &HashMap::new());
        round.size(mails(sizes));
        round
    }

    fn batches(round: &mut Round, budget: u64, mail_bytes: u64) -> Vec<Vec<u32>> {
        std::iter::from_fn(|| round.next_batch(budget, mail_bytes))
            .map(|batch| batch.mails.iter().map(|mail| mail.uid).collect())
            .collect()
    }

    #[test]
    fn batches_stay_below_a_quarter_of_the_budget_unless_one_mail_is_larger() {
        assert_eq!(batches(&mut round(&[50, 50, 50, 300, 10]), 400, 1000), [vec![1, 2], vec![3], vec![4], vec![5]]);
    }

    #[test]
    fn a_batch_holds_two_thousand_mails_at_most() {
        let lengths: Vec<usize> = batches(&mut round(&[1; 5000]), 1 << 30, 1000).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2000, 2000, 1000]);
    }

    #[test]
    fn a_batch_that_was_not_begun_is_the_next_again() {
        let mut round = round(&[50, 50, 50]);
        let batch = round.next_batch(400, 1000).unwrap();
        round.put_back(batch);
        assert_eq!(batches(&mut round, 400, 1000), [vec![1, 2], vec![3]]);
    }

    #[test]
    fn a_mail_over_the_limit_is_refused_by_itself() {
        let mut round = round(&[10, 2000, 10]);
        assert_eq!(round.next_batch(400, 1000).unwrap().refused, None);
        let refused = round.next_batch(400, 1000).unwrap();
        assert_eq!((refused.mails[0].uid, refused.bytes()), (2, 1));
        assert_eq!(refused.refused.unwrap().limit.unwrap().setting, "limits.mail_bytes");
    }

    #[test]
    fn mails_of_a_failed_batch_come_in_parts_before_others_and_the_next_in_turn_alone() {
        let mut round = round(&[10, 10]);
        round.retry_apart((10..40).rev().map(|uid| Candidate { uid, size: 1 }).collect());
        let parts = batches(&mut round, 400, 1000);
        assert_eq!((&parts[0], &parts[1], parts.last().unwrap()), (&vec![10], &vec![11, 12, 13, 14], &vec![1, 2]));
        assert_eq!(parts[..parts.len() - 1].concat(), (10..40).collect::<Vec<u32>>());
    }

    #[test]
    fn the_mail_at_fault_is_found_in_few_steps_wherever_it_is() {
        for culprit in [1, 2, 777, 1999, 2000] {
            let mut round = round(&[1; 2000]);
            let (mut failed, mut came) = (0, 0);
            while let Some(batch) = round.next_batch(1 << 30, 1000) {
                let place = batch.mails.iter().position(|mail| mail.uid == culprit);
                came += place.unwrap_or(batch.mails.len());
                match place {
                    Some(_) if batch.mails.len() == 1 => break,
                    // Worst case: no mail of the batch arrives, in whatever order the server sends them.
                    Some(_) => (failed, came) = (failed + 1, came - place.unwrap_or_default()),
                    None => continue,
                }
                round.retry_apart(batch.mails);
            }
            assert!(failed <= 5, "{culprit}: {failed} sessions, {came} mails");
        }
    }

    #[test]
    fn a_mail_that_fails_is_tried_again_after_all_others_and_then_handed_over_unread() {
        let mut round = round(&[10, 10]);
        let mail = round.next_batch(4, 1000).unwrap().mails[0];
        round.suspects.accuse(mail, "lost".into());
        assert_eq!(round.next_batch(4, 1000).unwrap().mails[0].uid, 2);
        round.suspects.came(2);
        for _ in 1..3 {
            let again = round.next_batch(4, 1000).unwrap();
            assert_eq!((again.mails[0].uid, again.refused), (1, None));
            round.suspects.accuse(again.mails[0], "lost".into());
        }
        assert!(round.next_batch(4, 1000).is_none() && round.is_for_judging());
        assert_eq!(round.judge(), (1, 0, String::new()));
        let refused = round.next_batch(4, 1000).unwrap();
        assert_eq!(refused.refused.unwrap().reason, Reason::AttemptsExhausted);
        assert!(!round.has_more());
    }

    #[test]
    fn mails_of_a_standstill_come_after_all_others_those_of_the_oldest_first() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut round = Round::new(3);
        round.list(vec![5, 6], &HashMap::from([(5, 10)]));
        round.list_last(at(2), 1, Some(10));
        round.list_last(at(1), 2, Some(10));
        round.list_last(at(1), 3, None);
        round.list_last(at(1), 4, Some(10));
        let mut came = Vec::new();
        while round.has_more() {
            came.extend(batches(&mut round, 400, 1000));
            if let Some(uids) = round.next_to_size() {
                round.size(uids.into_iter().map(|uid| Candidate { uid, size: 10 }).collect());
            }
        }
        assert_eq!(came, [vec![5], vec![6], vec![2, 4], vec![3], vec![1]]);
    }

    #[test]
    fn no_more_than_ten_mails_are_at_fault_in_one_round() {
        let mut round = round(&[]);
        for uid in 1..=30 {
            for _ in 0..3 {
                round.suspects.accuse(Candidate { uid, size: 10 }, "lost".into());
                round.suspects.next();
            }
            round.suspects.came(99);
        }
        assert_eq!(round.judge(), (10, 20, "lost".into()));
        assert_eq!(round.pass.unsettled, 20);
    }
}
