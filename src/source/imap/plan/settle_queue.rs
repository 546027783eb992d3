//! Mails to settle in a folder: the action for each verdict, and which actions are waiting, under way, or have failed. No
//! I/O.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::{
    config::source::{After, Imap, WithoutReport},
    source::Verdict,
};

/// Number of pending actions that are carried out without waiting for more, though mails are still to be fetched. Nothing
/// is fetched meanwhile; a MOVE of 2,000 mails costs Dovecot a fifth less than four of 500.
const AT_ONCE: usize = 2_000;
/// Number of pending actions from which they are pipelined behind other commands, so that the server moves the first mails
/// while the last are read.
const ALONGSIDE: usize = 256;
/// Maximum time that an action waits to be carried out together with others.
const WAIT: Duration = Duration::from_secs(1);

/// Action to carry out on a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Archive,
    Quarantine,
    Delete,
    /// Leave it in place, with these flags.
    Stay(Marks),
}

/// Flags to set on a mail that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Marks {
    /// \Seen.
    pub seen: bool,
    /// The keyword, for handled mails.
    pub keyword: bool,
}

/// Actions of one folder by UID. Those that failed are kept from one pass to the next.
#[derive(Debug, Default)]
pub struct SettleQueue {
    waiting: BTreeMap<u32, Action>,
    /// Those for which a command is under way.
    under_way: BTreeMap<u32, Action>,
    /// Those that the server refused in this pass, or in an earlier one: the next pass tries them again.
    failed: BTreeMap<u32, Action>,
    /// Time since when some have been waiting.
    since: Option<Instant>,
}

/// Events that the pass through the folder still waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    Mails,
    /// Verdicts of mails that have all been fetched.
    Verdicts,
    Nothing,
}

/// Returns the action for a verdict; `None` if the mail was not handled, and is left unchanged.
pub fn action(verdict: &Verdict, config: &Imap) -> Option<Action> {
    let stay = Action::Stay(Marks::default());
    let archive = if config.archive_folder.is_some() { Action::Archive } else { stay };
    let quarantine = if config.quarantine_folder.is_some() { Action::Quarantine } else { stay };
    Some(match verdict {
        Verdict::Archive => match config.after {
            After::Archive => archive,
            After::Delete => Action::Delete,
            After::Seen => Action::Stay(Marks { seen: true, keyword: false }),
            After::Keep => stay,
        },
        Verdict::Quarantine(_) => quarantine,
        Verdict::WithoutReport => match config.without_report {
            WithoutReport::Keep => stay,
            WithoutReport::Archive => archive,
            WithoutReport::Quarantine => quarantine,
            WithoutReport::Delete => Action::Delete,
        },
        Verdict::Leave | Verdict::Defer(_) => return None,
    })
}

/// True if the verdict moves the mail out of its folder, so that nothing has to be remembered of it.
pub fn takes_away(verdict: &Verdict, config: &Imap) -> bool {
    !matches!(action(verdict, config), None | Some(Action::Stay(_)))
}

/// True if some verdict deletes mails.
pub fn deletes(config: &Imap) -> bool {
    config.after == After::Delete || config.without_report == WithoutReport::Delete
}

impl Marks {
    pub fn any(self) -> bool {
        self.seen || self.keyword
    }
}

impl SettleQueue {
    pub fn push(&mut self, uid: u32, action: Action, now: Instant) {
        self.waiting.insert(uid, action);
        self.since.get_or_insert(now);
    }

    /// Queues the actions that failed again, if `is_possible` in the folder as it is now; drops the others.
    pub fn retry_failed(&mut self, is_possible: impl Fn(u32, Action) -> bool, now: Instant) {
        for (uid, action) in std::mem::take(&mut self.failed) {
            if is_possible(uid, action) {
                self.push(uid, action, now);
            }
        }
    }

    /// True if no action is waiting or under way.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    pub fn contains(&self, uid: u32) -> bool {
        self.waiting.contains_key(&uid) || self.under_way.contains_key(&uid)
    }

    /// Returns when the waiting actions are to be carried out; `None` if there are none.
    pub fn due_at(&self, awaited: Awaited) -> Option<Instant> {
        let since = self.since.filter(|_| !self.waiting.is_empty())?;
        let is_enough = match awaited {
            Awaited::Mails => self.waiting.len() >= AT_ONCE,
            Awaited::Verdicts | Awaited::Nothing => self.is_worth_a_command(awaited),
        };
        Some(if is_enough { since } else { since + WAIT })
    }

    /// True if enough actions are waiting to pipeline a command for them behind others.
    pub fn is_worth_a_command(&self, awaited: Awaited) -> bool {
        self.waiting.len() >= if awaited == Awaited::Nothing { 1 } else { ALONGSIDE }
    }

    /// Returns the waiting actions, which are under way from now on.
    pub fn start(&mut self) -> Vec<(u32, Action)> {
        let started: Vec<(u32, Action)> = self.waiting.iter().map(|(uid, action)| (*uid, *action)).collect();
        self.under_way.append(&mut self.waiting);
        self.since = None;
        started
    }

    /// Removes a completed action, and returns it.
    pub fn complete(&mut self, uid: u32) -> Option<Action> {
        self.under_way.remove(&uid)
    }

    /// Records that the server refused the action of `uid`; false if none was under way.
    pub fn fail(&mut self, uid: u32) -> bool {
        let Some(action) = self.under_way.remove(&uid) else { return false };
        self.failed.insert(uid, action);
        true
    }

    /// Records that `uid` was copied to its target: what is left is to delete it.
    pub fn was_copied(&mut self, uid: u32) {
        for actions in [&mut self.under_way, &mut self.failed] {
            actions.entry(uid).and_modify(|action| *action = Action::Delete);
        }
    }

    /// Queues the actions that were under way again, after their command has ended. True if there were any.
    pub fn requeue_uncompleted(&mut self, now: Instant) -> bool {
        let is_some_left = !self.under_way.is_empty();
        if is_some_left {
            self.waiting.append(&mut self.under_way);
            self.since.get_or_insert(now);
        }
        is_some_left
    }

    /// Drops all actions that are waiting or under way, and returns their number.
    pub fn drop_pending(&mut self) -> usize {
        let dropped = self.waiting.len() + self.under_way.len();
        *self = Self { failed: std::mem::take(&mut self.failed), ..Self::default() };
        dropped
    }

    /// Drops all actions, also those that failed, and returns the number of those that are waiting or under way.
    pub fn clear(&mut self) -> usize {
        self.failed.clear();
        self.drop_pending()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{self, Format, source::SourceConfig},
        trouble::{Reason, Trouble},
    };

    fn push(queue: &mut SettleQueue, uids: std::ops::Range<usize>) {
        uids.for_each(|uid| queue.push(u32::try_from(uid).unwrap(), Action::Archive, Instant::now()));
    }

    #[test]
    fn actions_wait_for_others_but_not_for_long() {
        let mut queue = SettleQueue::default();
        assert_eq!(queue.due_at(Awaited::Nothing), None);
        push(&mut queue, 0..1);
        let alone = queue.due_at(Awaited::Mails).unwrap();
        assert_eq!(queue.due_at(Awaited::Verdicts), Some(alone));
        assert!(queue.due_at(Awaited::Nothing).unwrap() < alone);
        push(&mut queue, 1..ALONGSIDE);
        assert_eq!(queue.due_at(Awaited::Mails), Some(alone));
        assert!(queue.due_at(Awaited::Verdicts).unwrap() < alone);
        push(&mut queue, ALONGSIDE..AT_ONCE);
        assert!(queue.due_at(Awaited::Mails).unwrap() < alone);
    }

    #[test]
    fn uncompleted_actions_are_queued_again_and_failed_ones_with_the_next_pass() {
        let (mut queue, now) = (SettleQueue::default(), Instant::now());
        push(&mut queue, 1..4);
        assert_eq!(queue.start().len(), 3);
        assert!(queue.start().is_empty() && queue.due_at(Awaited::Nothing).is_none());
        push(&mut queue, 4..5);
        assert_eq!(queue.start(), [(4, Action::Archive)]);
        assert_eq!([2, 2].map(|uid| queue.complete(uid)), [Some(Action::Archive), None]);
        assert!(queue.fail(3) && !queue.fail(3));
        queue.was_copied(3);
        assert!(queue.requeue_uncompleted(now) && queue.due_at(Awaited::Nothing).is_some());
        assert_eq!(queue.start().len(), 2);
        assert!([1, 4].iter().all(|uid| queue.complete(*uid).is_some()));
        assert!(!queue.requeue_uncompleted(now) && queue.is_empty());
        queue.retry_failed(|uid, action| uid == 3 && action == Action::Delete, now);
        assert_eq!(queue.start(), [(3, Action::Delete)]);
    }

    fn imap(lines: &str) -> Imap {
        let text = format!(
            "sources: {{rua: {{type: imap, host: a, user: u, password: p, {lines}}}}}\nsinks: {{out: {{type: stdout}}}}\n"
        );
        let mut config = config::parse(&text, Format::Yaml, "test.yaml").unwrap().config;
        match config.sources.remove("rua") {
            Some(SourceConfig::Imap(imap)) => *imap,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn action_of_a_verdict_follows_the_configuration() {
        let archive = Verdict::Archive;
        let quarantine = Verdict::Quarantine(Trouble::new(Reason::CorruptGzip, "a stream that ends too early"));
        let stay = Action::Stay(Marks::default());
        let seen = Action::Stay(Marks { seen: true, keyword: false });
        for (lines, shipped, unreadable, without_report) in [
            ("", stay, stay, stay),
            ("archive_folder: A", Action::Archive, stay, stay),
            ("archive_folder: A, after: keep, without_report: archive", stay, stay, Action::Archive),
            (
                "after: seen, quarantine_folder: Q, without_report: quarantine",
                seen,
                Action::Quarantine,
                Action::Quarantine,
            ),
            ("after: delete, without_report: delete", Action::Delete, stay, Action::Delete),
        ] {
            let config = imap(lines);
            assert_eq!(action(&archive, &config), Some(shipped), "{lines}");
            assert_eq!(action(&quarantine, &config), Some(unreadable), "{lines}");
            assert_eq!(action(&Verdict::WithoutReport, &config), Some(without_report), "{lines}");
            assert_eq!(action(&Verdict::Leave, &config), None, "{lines}");
            assert_eq!(takes_away(&archive, &config), !matches!(shipped, Action::Stay(_)), "{lines}");
            assert!(!takes_away(&Verdict::Leave, &config), "{lines}");
        }
    }
}
