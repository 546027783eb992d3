//! One pass through a folder: which mails to fetch, in which batches, and which of them failed. No I/O.

use std::collections::{BTreeMap, HashMap, VecDeque};

use jiff::Timestamp;

use super::{
    bisect::{Decision, MOST_AT_FAULT, Suspects},
    settle_queue::Action,
};
use crate::{
    source::{
        Pass,
        imap::{
            commands::{
                fetch::{BATCH_BYTES, BATCH_MAILS},
                search::{Candidate, SIZED_AT_ONCE},
            },
            error::Fault,
        },
    },
    trouble::{Reason, Trouble},
};

/// Number of groups into which a failed batch is split, to find the mail at fault.
const PARTS: usize = 8;

/// Maximum number of expired logins in one pass that are not blamed on a mail: enough for a pass of a week, with tokens of
/// an hour.
const LOGINS: u32 = 200;

#[derive(Debug)]
pub struct FolderPass {
    pub listed: bool,
    /// Fault because of which the rest of the folder can't be read.
    pub failed: Option<Fault>,
    /// UIDs whose size isn't known yet.
    unsized_uids: VecDeque<u32>,
    /// UIDs whose sizes are being requested.
    sizing: Vec<u32>,
    sized: VecDeque<Candidate>,
    /// Mails that may have caused an earlier stall, by the time of that; fetched after those above. With their sizes, if
    /// known.
    after_others: BTreeMap<Timestamp, Vec<(u32, Option<u64>)>>,
    /// Parts of failed batches, fetched separately to find the mail at fault.
    apart: VecDeque<Vec<Candidate>>,
    pub suspects: Suspects,
    /// Mails to be handed over unread, and the reason.
    unfetchable: VecDeque<(Candidate, Trouble)>,
    at_fault: u32,
    logins: u32,
    pub counts: Pass,
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

impl FolderPass {
    /// `max_attempts`: how often a mail is fetched on its own before it is given up.
    pub fn new(max_attempts: u32) -> Self {
        Self {
            listed: false,
            failed: None,
            unsized_uids: VecDeque::new(),
            sizing: Vec::new(),
            sized: VecDeque::new(),
            after_others: BTreeMap::new(),
            apart: VecDeque::new(),
            suspects: Suspects::new(max_attempts),
            unfetchable: VecDeque::new(),
            at_fault: 0,
            logins: 0,
            counts: Pass::default(),
            tally: Tally::default(),
        }
    }

    pub fn set_listing(&mut self, uids: Vec<u32>, sizes: &HashMap<u32, u64>) {
        self.listed = true;
        for uid in uids {
            match sizes.get(&uid) {
                Some(&size) => self.sized.push_back(Candidate { uid, size }),
                None => self.unsized_uids.push_back(uid),
            }
        }
    }

    /// Adds a mail that may have caused a stall of an earlier pass at `since`: it is fetched after all mails that did not.
    pub fn add_stall_suspect(&mut self, since: Timestamp, uid: u32, size: Option<u64>) {
        self.after_others.entry(since).or_default().push((uid, size));
    }

    /// True if sizes are to be requested; not while there are other mails to fetch.
    pub fn wants_sizes(&self) -> bool {
        !self.unsized_uids.is_empty() && self.sized.is_empty()
    }

    /// Returns the next UIDs whose sizes are to be requested.
    pub fn start_sizing(&mut self) -> Vec<u32> {
        self.sizing = self.unsized_uids.drain(..SIZED_AT_ONCE.min(self.unsized_uids.len())).collect();
        self.sizing.clone()
    }

    /// Adds the mails whose sizes arrived; those of the same request that did not were expunged.
    pub fn add_sized(&mut self, mails: Vec<Candidate>) {
        self.sizing.clear();
        self.sized.extend(mails);
    }

    /// Puts back the UIDs whose sizes did not arrive, to be requested again.
    pub fn sizing_failed(&mut self) {
        std::mem::take(&mut self.sizing).into_iter().rev().for_each(|uid| self.unsized_uids.push_front(uid));
    }

    pub fn next_batch(&mut self, budget_bytes: u64, mail_bytes: u64) -> Option<Batch> {
        if let Some((mail, trouble)) = self.unfetchable.pop_front() {
            return Some(Batch { mails: vec![mail], refused: Some(trouble) });
        }
        let room = BATCH_BYTES.min(budget_bytes / 4);
        let is_through = self.apart.is_empty() && self.sized.is_empty() && !self.has_unsized();
        if let Some((_, mails)) = is_through.then(|| self.after_others.pop_first()).flatten() {
            for (uid, size) in mails {
                match size {
                    Some(size) => self.sized.push_back(Candidate { uid, size }),
                    None => self.unsized_uids.push_back(uid),
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
    pub fn excuse_login(&mut self) -> bool {
        self.logins += 1;
        self.logins <= LOGINS
    }

    /// Decides on the mails that were tried `max_attempts` times, when nothing else is left to fetch or under way: those
    /// at fault are handed over unread, those that the server is to blame for are left. Returns the number of each, and
    /// the error of the last one that was left.
    pub fn decide_on_suspects(&mut self) -> (usize, usize, String) {
        let (mut at_fault, mut left, mut reason) = (0, 0, String::new());
        for decision in self.suspects.decide() {
            match decision {
                Decision::Mail { mail, attempts, why } if self.at_fault < MOST_AT_FAULT => {
                    self.at_fault += 1;
                    at_fault += 1;
                    let what = format!("the mail could not be fetched in {attempts} attempts (max_attempts): {why}");
                    self.unfetchable.push_back((mail, Trouble::new(Reason::AttemptsExhausted, what)));
                }
                Decision::Mail { why, .. } | Decision::Server { why } => {
                    left += 1;
                    reason = why;
                }
            }
        }
        self.counts.unsettled += left as u64;
        (at_fault, left, reason)
    }

    /// True if nothing is left to fetch but mails that [`decide_on_suspects`](Self::decide_on_suspects) is to decide on.
    pub fn needs_decision(&self) -> bool {
        self.listed && self.queues_are_empty() && self.unfetchable.is_empty() && self.suspects.are_all_tried()
    }

    /// Ends the pass because the rest of the folder can't be read for now.
    pub fn fail(&mut self, fault: Fault) {
        self.drop_unfetched();
        self.failed = Some(fault);
    }

    /// Drops all mails that are not fetched yet.
    pub fn drop_unfetched(&mut self) {
        self.listed = true;
        self.unsized_uids.clear();
        self.sizing.clear();
        self.sized.clear();
        self.after_others.clear();
        self.apart.clear();
        self.suspects.clear();
        self.unfetchable.clear();
    }

    pub fn has_more(&self) -> bool {
        !(self.listed && self.queues_are_empty() && self.unfetchable.is_empty() && self.suspects.is_empty())
    }

    fn has_unsized(&self) -> bool {
        !self.unsized_uids.is_empty() || !self.sizing.is_empty()
    }

    fn queues_are_empty(&self) -> bool {
        !self.has_unsized() && self.sized.is_empty() && self.apart.is_empty() && self.after_others.is_empty()
    }

    /// Counts a mail that was settled with `action`.
    pub fn count_settled(&mut self, action: Action) {
        self.counts.settled += 1;
        match action {
            Action::Archive => self.tally.archived += 1,
            Action::Quarantine => self.tally.quarantined += 1,
            Action::Delete => self.tally.deleted += 1,
            Action::Stay(_) => self.tally.kept += 1,
        }
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

    fn pass(sizes: &[u64]) -> FolderPass {
        let mut pass = FolderPass::new(3);
        pass.set_listing(Vec::new(), &HashMap::new());
        pass.add_sized(mails(sizes));
        pass
    }

    fn batches(pass: &mut FolderPass, budget: u64, mail_bytes: u64) -> Vec<Vec<u32>> {
        std::iter::from_fn(|| pass.next_batch(budget, mail_bytes))
            .map(|batch| batch.mails.iter().map(|mail| mail.uid).collect())
            .collect()
    }

    #[test]
    fn batches_stay_below_a_quarter_of_the_budget_unless_one_mail_is_larger() {
        assert_eq!(batches(&mut pass(&[50, 50, 50, 300, 10]), 400, 1000), [vec![1, 2], vec![3], vec![4], vec![5]]);
    }

    #[test]
    fn a_batch_holds_two_thousand_mails_at_most() {
        let lengths: Vec<usize> = batches(&mut pass(&[1; 5000]), 1 << 30, 1000).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2000, 2000, 1000]);
    }

    #[test]
    fn a_batch_that_was_not_started_is_the_next_again() {
        let mut pass = pass(&[50, 50, 50]);
        let batch = pass.next_batch(400, 1000).unwrap();
        pass.put_back(batch);
        assert_eq!(batches(&mut pass, 400, 1000), [vec![1, 2], vec![3]]);
    }

    #[test]
    fn a_mail_over_the_limit_is_refused_by_itself() {
        let mut pass = pass(&[10, 2000, 10]);
        assert_eq!(pass.next_batch(400, 1000).unwrap().refused, None);
        let refused = pass.next_batch(400, 1000).unwrap();
        assert_eq!((refused.mails[0].uid, refused.bytes()), (2, 1));
        assert_eq!(refused.refused.unwrap().limit.unwrap().setting, "limits.mail_bytes");
    }

    #[test]
    fn a_failed_batch_is_fetched_in_parts_before_others_and_its_first_mail_alone() {
        let mut pass = pass(&[10, 10]);
        pass.retry_apart((10..40).rev().map(|uid| Candidate { uid, size: 1 }).collect());
        let parts = batches(&mut pass, 400, 1000);
        assert_eq!((&parts[0], &parts[1], parts.last().unwrap()), (&vec![10], &vec![11, 12, 13, 14], &vec![1, 2]));
        assert_eq!(parts[..parts.len() - 1].concat(), (10..40).collect::<Vec<u32>>());
    }

    #[test]
    fn bisecting_finds_the_mail_at_fault_in_few_steps() {
        for culprit in [1, 2, 777, 1999, 2000] {
            let mut pass = pass(&[1; 2000]);
            let (mut failed, mut came) = (0, 0);
            while let Some(batch) = pass.next_batch(1 << 30, 1000) {
                let place = batch.mails.iter().position(|mail| mail.uid == culprit);
                came += place.unwrap_or(batch.mails.len());
                match place {
                    Some(_) if batch.mails.len() == 1 => break,
                    // Worst case: no mail of the batch arrives, in whatever order the server sends them.
                    Some(_) => (failed, came) = (failed + 1, came - place.unwrap_or_default()),
                    None => continue,
                }
                pass.retry_apart(batch.mails);
            }
            assert!(failed <= 5, "{culprit}: {failed} sessions, {came} mails");
        }
    }

    #[test]
    fn a_failing_mail_is_retried_after_all_others_and_then_handed_over_unread() {
        let mut pass = pass(&[10, 10]);
        let mail = pass.next_batch(4, 1000).unwrap().mails[0];
        pass.suspects.record_failure(mail, "lost".into());
        assert_eq!(pass.next_batch(4, 1000).unwrap().mails[0].uid, 2);
        pass.suspects.arrived(2);
        for _ in 1..3 {
            let again = pass.next_batch(4, 1000).unwrap();
            assert_eq!((again.mails[0].uid, again.refused), (1, None));
            pass.suspects.record_failure(again.mails[0], "lost".into());
        }
        assert!(pass.next_batch(4, 1000).is_none() && pass.needs_decision());
        assert_eq!(pass.decide_on_suspects(), (1, 0, String::new()));
        let refused = pass.next_batch(4, 1000).unwrap();
        assert_eq!(refused.refused.unwrap().reason, Reason::AttemptsExhausted);
        assert!(!pass.has_more());
    }

    #[test]
    fn suspects_of_a_stall_are_fetched_after_all_others_oldest_stall_first() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut pass = FolderPass::new(3);
        pass.set_listing(vec![5, 6], &HashMap::from([(5, 10)]));
        pass.add_stall_suspect(at(2), 1, Some(10));
        pass.add_stall_suspect(at(1), 2, Some(10));
        pass.add_stall_suspect(at(1), 3, None);
        pass.add_stall_suspect(at(1), 4, Some(10));
        let mut came = Vec::new();
        while pass.has_more() {
            came.extend(batches(&mut pass, 400, 1000));
            if pass.wants_sizes() {
                let uids = pass.start_sizing();
                pass.add_sized(uids.into_iter().map(|uid| Candidate { uid, size: 10 }).collect());
            }
        }
        assert_eq!(came, [vec![5], vec![6], vec![2, 4], vec![3], vec![1]]);
    }

    #[test]
    fn at_most_ten_mails_are_at_fault_in_one_pass() {
        let mut pass = pass(&[]);
        for uid in 1..=30 {
            for _ in 0..3 {
                pass.suspects.record_failure(Candidate { uid, size: 10 }, "lost".into());
                pass.suspects.next();
            }
            pass.suspects.arrived(99);
        }
        assert_eq!(pass.decide_on_suspects(), (10, 20, "lost".into()));
        assert_eq!(pass.counts.unsettled, 20);
    }
}
