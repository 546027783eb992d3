//! Pending actions of a folder: verdicts to be carried out, when they are due, and which are under way. No I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::settle::Action;

/// Number of pending actions that are carried out without waiting for more, though mails are still to be fetched. Nothing
/// is fetched meanwhile; a MOVE of 2,000 mails costs Dovecot a fifth less than four of 500.
const AT_ONCE: usize = 2_000;
/// Number of pending actions from which they are pipelined behind other commands, so that the server moves the first mails
/// while the last are read.
const ALONGSIDE: usize = 256;
/// Maximum time that an action waits to be carried out together with others.
const WAIT: Duration = Duration::from_secs(1);

/// Pending actions by UID.
#[derive(Debug, Default)]
pub struct Owed {
    mails: BTreeMap<u32, Action>,
    /// Those for which a command is under way.
    under_way: BTreeSet<u32>,
    /// Time since when others have been waiting.
    since: Option<Instant>,
}

/// Events that a round still waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    Mails,
    /// Verdicts of mails that have all been fetched.
    Verdicts,
    Nothing,
}

impl Owed {
    pub fn owe(&mut self, uid: u32, action: Action) {
        self.mails.insert(uid, action);
        self.since.get_or_insert_with(Instant::now);
    }

    /// Replaces the pending action of `uid`, if any, with `action`.
    pub fn turn_into(&mut self, uid: u32, action: Action) {
        self.mails.entry(uid).and_modify(|owed| *owed = action);
    }

    pub fn is_empty(&self) -> bool {
        self.mails.is_empty()
    }

    pub fn contains(&self, uid: u32) -> bool {
        self.mails.contains_key(&uid)
    }

    /// Returns when pending actions are to be carried out; `None` if there are none.
    pub fn due_at(&self, awaited: Awaited) -> Option<Instant> {
        let since = self.since.filter(|_| self.waiting() > 0)?;
        let is_enough = match awaited {
            Awaited::Mails => self.waiting() >= AT_ONCE,
            Awaited::Verdicts | Awaited::Nothing => self.are_worth_it(awaited),
        };
        Some(if is_enough { since } else { since + WAIT })
    }

    /// True if enough actions are waiting to pipeline a command for them behind others.
    pub fn are_worth_it(&self, awaited: Awaited) -> bool {
        self.waiting() >= if awaited == Awaited::Nothing { 1 } else { ALONGSIDE }
    }

    fn waiting(&self) -> usize {
        self.mails.len() - self.under_way.len()
    }

    /// Returns the waiting actions, and marks them as under way.
    pub fn carry_out(&mut self) -> Vec<(u32, Action)> {
        let waiting = self.mails.iter().filter(|(uid, _)| !self.under_way.contains(uid));
        let waiting: Vec<(u32, Action)> = waiting.map(|(uid, action)| (*uid, *action)).collect();
        self.under_way.extend(waiting.iter().map(|(uid, _)| uid));
        self.since = None;
        waiting
    }

    /// Removes the action of `uid`, and returns it.
    pub fn done(&mut self, uid: u32) -> Option<Action> {
        self.under_way.remove(&uid);
        self.mails.remove(&uid)
    }

    /// Puts uncompleted actions back from under way to waiting. True if there were any.
    pub fn rest(&mut self) -> bool {
        let is_some_undone = !std::mem::take(&mut self.under_way).is_empty();
        if is_some_undone {
            self.since.get_or_insert_with(Instant::now);
        }
        is_some_undone
    }

    /// Removes all actions, and returns their number.
    pub fn forget(&mut self) -> usize {
        std::mem::take(self).mails.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owe(owed: &mut Owed, uids: std::ops::Range<usize>) {
        uids.for_each(|uid| owed.owe(u32::try_from(uid).unwrap(), Action::Archive));
    }

    #[test]
    fn verdicts_wait_for_others_but_not_for_long() {
        let mut owed = Owed::default();
        assert_eq!(owed.due_at(Awaited::Nothing), None);
        owe(&mut owed, 0..1);
        let alone = owed.due_at(Awaited::Mails).unwrap();
        assert_eq!(owed.due_at(Awaited::Verdicts), Some(alone));
        assert!(owed.due_at(Awaited::Nothing).unwrap() < alone);
        owe(&mut owed, 1..ALONGSIDE);
        assert_eq!(owed.due_at(Awaited::Mails), Some(alone));
        assert!(owed.due_at(Awaited::Verdicts).unwrap() < alone);
        owe(&mut owed, ALONGSIDE..AT_ONCE);
        assert!(owed.due_at(Awaited::Mails).unwrap() < alone);
    }

    #[test]
    fn what_is_under_way_does_not_wait_and_what_was_not_done_waits_again() {
        let mut owed = Owed::default();
        owe(&mut owed, 1..4);
        assert_eq!(owed.carry_out().len(), 3);
        assert!(owed.carry_out().is_empty() && owed.due_at(Awaited::Nothing).is_none());
        owe(&mut owed, 4..5);
        assert_eq!(owed.carry_out(), [(4, Action::Archive)]);
        assert_eq!([2, 2].map(|uid| owed.done(uid)), [Some(Action::Archive), None]);
        assert!(owed.rest() && owed.due_at(Awaited::Nothing).is_some());
        assert_eq!(owed.carry_out().len(), 3);
        assert!([1, 3, 4].iter().all(|uid| owed.done(*uid).is_some()));
        assert!(!owed.rest() && owed.is_empty() && owed.due_at(Awaited::Nothing).is_none());
    }
}
