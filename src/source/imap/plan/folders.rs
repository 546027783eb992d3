//! Schedule of the folders of a source: which exist, when each is due, and state kept from one pass to the next. No I/O.

use std::{collections::HashSet, sync::Arc};

use tokio::time::Instant;

use super::settle_queue::SettleQueue;
use crate::{
    config::folder::FolderName,
    net::backoff::{Backoff, MAIL_SERVER},
    source::imap::commands::{configured_folders::Found, mailbox::Folder},
};

/// All folders of one source; at most one of them is being read.
pub struct Folders {
    wanted: Vec<FolderName>,
    states: Vec<FolderState>,
    /// Index of the folder that is being read.
    at: Option<usize>,
    /// When to look up the folders; `None` if no lookup is needed.
    lookup_at: Option<Instant>,
    /// Names for which no folder exists, and for which this was logged.
    missing: HashSet<String>,
}

/// One folder and its state.
pub struct FolderState {
    /// Name in events and in the log.
    pub name: Arc<str>,
    pub folder: Folder,
    pub uid_validity: Option<u32>,
    pub settle: SettleQueue,
    /// UIDs of mails in the folder that this process has handled.
    pub done: HashSet<u32>,
    /// Highest UID listed so far.
    pub newest: u32,
    /// True if the folder accepts the keyword for handled mails (PERMANENTFLAGS), as of its last SELECT.
    pub takes_keyword: bool,
    /// When it is to be read; `None`: not again.
    due: Option<Instant>,
    listed: bool,
    backoff: Backoff,
    failing_since: Option<Instant>,
}

impl Folders {
    pub fn new(wanted: Vec<FolderName>, now: Instant) -> Self {
        Self { wanted, states: Vec::new(), at: None, lookup_at: Some(now), missing: HashSet::new() }
    }

    /// Returns the folders that exist.
    pub fn existing(&self) -> Vec<Folder> {
        self.states.iter().map(|state| state.folder.clone()).collect()
    }

    /// True if the source reads a single folder, so that its fault is a fault of the source.
    pub fn is_single(&self) -> bool {
        matches!(&self.wanted[..], [only] if !only.is_pattern())
    }

    /// Updates the folders after a lookup; known folders keep their state. Returns the names that were not found, unless
    /// they were already missing before.
    pub fn update(&mut self, found: Vec<Found>, now: Instant, again: Option<Instant>) -> Vec<String> {
        let mut before = std::mem::take(&mut self.states);
        let mut missing = HashSet::new();
        for Found { name, folder } in found {
            let Some(folder) = folder else {
                missing.insert(name);
                continue;
            };
            let known = before.iter().position(|state| *state.name == *name && state.folder == folder);
            self.states.push(match known {
                Some(at) => before.swap_remove(at),
                None => FolderState::new(name.into(), folder, now),
            });
        }
        let may_change = !missing.is_empty() || self.wanted.iter().any(FolderName::is_pattern);
        self.lookup_at = again.filter(|_| may_change);
        let mut news: Vec<String> = missing.difference(&self.missing).cloned().collect();
        news.sort_unstable();
        self.missing = missing;
        news
    }

    /// True if the folders are to be looked up now.
    pub fn lookup_is_due(&self, now: Instant) -> bool {
        self.at.is_none() && self.lookup_at.is_some_and(|at| at <= now)
    }

    /// Returns when a folder or the next lookup is due.
    pub fn due_at(&self) -> Option<Instant> {
        self.states.iter().filter_map(|state| state.due).chain(self.lookup_at).min()
    }

    /// Proceeds to the next folder that is due; false if none is due now, or if the folders are to be looked up first.
    pub fn start_next(&mut self, now: Instant) -> bool {
        if self.at.is_none() && !self.lookup_is_due(now) {
            // The folder that has been due longest comes first, so that a failing one doesn't go before those that had no
            // turn yet.
            let due = self
                .states
                .iter()
                .enumerate()
                .filter_map(|(at, state)| Some((state.due.filter(|due| *due <= now)?, at)));
            self.at = due.min().map(|(_, at)| at);
        }
        self.at.is_some()
    }

    pub fn current(&self) -> Option<&FolderState> {
        self.states.get(self.at?)
    }

    pub fn current_mut(&mut self) -> Option<&mut FolderState> {
        self.states.get_mut(self.at?)
    }

    /// Returns the folder that is watched with IDLE between passes, unless it is failing.
    pub fn watched(&self) -> Option<&FolderState> {
        self.states.first().filter(|state| state.failing_since.is_none() && state.listed)
    }

    /// Makes the watched folder due at this time at the latest, after a report of new mail.
    pub fn make_watched_due(&mut self, at: Instant) {
        if let Some(first) = self.states.first_mut() {
            first.due = Some(first.due.map_or(at, |due| due.min(at)));
        }
    }

    /// Records that the current folder was listed. True once all existing folders were, and none is missing.
    pub fn mark_listed(&mut self) -> bool {
        if let Some(state) = self.current_mut() {
            state.listed = true;
        }
        self.missing.is_empty() && self.states.iter().all(|state| state.listed)
    }

    /// Ends the pass through the current folder. True if the folder was failing before.
    pub fn finish_pass(&mut self, again: Option<Instant>) -> bool {
        let Some(state) = self.current_mut() else { return false };
        state.due = again;
        state.backoff.reset();
        let was_failing = state.failing_since.take().is_some();
        self.at = None;
        was_failing
    }

    /// Ends the pass through the current folder because of a fault: the other folders are read, and this one later. Returns
    /// when it began to fail.
    pub fn postpone(&mut self, now: Instant) -> Instant {
        let Some(state) = self.current_mut() else { return now };
        state.due = Some(now + state.backoff.delay());
        let since = *state.failing_since.get_or_insert(now);
        self.at = None;
        since
    }
}

impl FolderState {
    fn new(name: Arc<str>, folder: Folder, now: Instant) -> Self {
        Self {
            name,
            folder,
            uid_validity: None,
            settle: SettleQueue::default(),
            takes_keyword: false,
            done: HashSet::new(),
            newest: 0,
            due: Some(now),
            listed: false,
            backoff: Backoff::new(MAIL_SERVER),
            failing_since: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn folders(names: &[&str]) -> Folders {
        Folders::new(names.iter().map(|name| FolderName::from(*name)).collect(), Instant::now())
    }

    fn there(name: &str) -> Found {
        Found { name: name.into(), folder: Some(Folder::of(name)) }
    }

    fn missing(name: &str) -> Found {
        Found { name: name.into(), folder: None }
    }

    /// Returns the names of the folders that are read from now on, in order.
    fn walk(folders: &mut Folders, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| {
            folders.start_next(now).then_some(())?;
            let name = folders.current()?.name.to_string();
            folders.finish_pass(None);
            Some(name)
        })
        .collect()
    }

    #[test]
    fn folders_are_looked_up_first_and_then_read_in_order() {
        let (mut folders, now) = (folders(&["A", "B"]), Instant::now());
        assert!(folders.lookup_is_due(now) && !folders.start_next(now));
        assert!(folders.update(vec![there("A"), there("B")], now, Some(now)).is_empty());
        assert_eq!(walk(&mut folders, now), ["A", "B"]);
        assert_eq!(folders.due_at(), None);
    }

    #[test]
    fn a_failing_folder_does_not_stop_the_next_and_is_retried_later() {
        let (mut folders, now) = (folders(&["A", "B"]), Instant::now());
        folders.update(vec![there("A"), there("B")], now, None);
        assert!(folders.start_next(now));
        folders.postpone(now);
        assert_eq!(walk(&mut folders, now), ["B"]);
        let later = folders.due_at().unwrap();
        assert!(later > now);
        assert_eq!(walk(&mut folders, later), ["A"]);
    }

    #[test]
    fn a_missing_folder_is_reported_once_and_looked_up_again() {
        let (mut folders, now) = (folders(&["A", "B"]), Instant::now());
        let later = now + Duration::from_secs(9);
        assert_eq!(folders.update(vec![there("A"), missing("B")], now, Some(later)), ["B"]);
        assert_eq!(walk(&mut folders, now), ["A"]);
        assert!(folders.lookup_is_due(later) && !folders.lookup_is_due(now));
        assert!(folders.update(vec![there("A"), missing("B")], later, Some(later)).is_empty());
        folders.update(vec![there("A"), there("B")], later, Some(later));
        assert_eq!(walk(&mut folders, later), ["B"]);
        assert!(!folders.lookup_is_due(later), "all are there");
    }

    #[test]
    fn the_state_of_a_folder_survives_a_lookup() {
        let (mut folders, now) = (folders(&["*"]), Instant::now());
        folders.update(vec![there("A"), there("B")], now, None);
        folders.start_next(now);
        folders.current_mut().unwrap().done.insert(7);
        folders.finish_pass(None);
        folders.update(vec![there("C"), there("A")], now, None);
        assert_eq!(walk(&mut folders, now), ["C"]);
        assert!(folders.states[1].done.contains(&7));
    }

    #[test]
    fn all_is_listed_only_when_every_folder_is() {
        let (mut folders, now) = (folders(&["A", "B"]), Instant::now());
        folders.update(vec![there("A"), there("B")], now, Some(now));
        folders.start_next(now);
        assert!(!folders.mark_listed());
        folders.finish_pass(None);
        folders.start_next(now);
        assert!(folders.mark_listed());
        folders.finish_pass(None);
        folders.update(vec![there("A"), missing("B")], now, Some(now));
        assert!(!folders.mark_listed(), "nobody knows what is in a folder that can't be found");
    }
}
