//! Schedule of the folders of a source: which exist, when each is due, and state kept from one round to the next. No I/O.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use tokio::time::Instant;

use super::{find::Found, mailbox::Folder, settle::Action};
use crate::{
    config::folder::FolderName,
    net::backoff::{Backoff, MAIL_SERVER},
};

/// All folders of one source; at most one of them is being read.
pub struct Tour {
    wanted: Vec<FolderName>,
    stops: Vec<Stop>,
    /// Index of the folder that is being read.
    at: Option<usize>,
    /// When to look up the folders; `None` if no lookup is needed.
    find_at: Option<Instant>,
    /// Names for which no folder exists, and for which this was logged.
    missing: HashSet<String>,
}

/// One folder and its state.
pub struct Stop {
    /// Name in events and in the log.
    pub name: Arc<str>,
    pub folder: Folder,
    pub uid_validity: Option<u32>,
    /// Actions that failed in an earlier round, by UID.
    pub owed: BTreeMap<u32, Action>,
    /// UIDs of mails in the folder that this process has handled.
    pub done: HashSet<u32>,
    /// Highest UID listed so far.
    pub newest: u32,
    /// When it is to be read; `None`: not again.
    due: Option<Instant>,
    listed: bool,
    backoff: Backoff,
    failing_since: Option<Instant>,
}

impl Tour {
    pub fn new(wanted: Vec<FolderName>, now: Instant) -> Self {
        Self { wanted, stops: Vec::new(), at: None, find_at: Some(now), missing: HashSet::new() }
    }

    pub fn wanted(&self) -> &[FolderName] {
        &self.wanted
    }

    /// Returns the folders that exist.
    pub fn folders(&self) -> Vec<Folder> {
        self.stops.iter().map(|stop| stop.folder.clone()).collect()
    }

    /// True if the source reads a single folder, so that its fault is a fault of the source.
    pub fn is_of_one(&self) -> bool {
        matches!(&self.wanted[..], [only] if !only.is_pattern())
    }

    /// Updates the folders after a lookup; known folders keep their state. Returns the names that were not found, unless
    /// they were already missing before.
    pub fn found(&mut self, found: Vec<Found>, now: Instant, again: Option<Instant>) -> Vec<String> {
        let mut before = std::mem::take(&mut self.stops);
        let mut missing = HashSet::new();
        for Found { name, folder } in found {
            let Some(folder) = folder else {
                missing.insert(name);
                continue;
            };
            let known = before.iter().position(|stop| *stop.name == *name && stop.folder == folder);
            self.stops.push(match known {
                Some(at) => before.swap_remove(at),
                None => Stop::new(name.into(), folder, now),
            });
        }
        let may_change = !missing.is_empty() || self.wanted.iter().any(FolderName::is_pattern);
        self.find_at = again.filter(|_| may_change);
        let mut news: Vec<String> = missing.difference(&self.missing).cloned().collect();
        news.sort_unstable();
        self.missing = missing;
        news
    }

    /// True if the folders are to be looked up now.
    pub fn finds(&self, now: Instant) -> bool {
        self.at.is_none() && self.find_at.is_some_and(|at| at <= now)
    }

    /// Returns when a folder or the next lookup is due.
    pub fn due_at(&self) -> Option<Instant> {
        self.stops.iter().filter_map(|stop| stop.due).chain(self.find_at).min()
    }

    /// Proceeds to the next folder that is due; false if none is due now, or if the folders are to be looked up first.
    pub fn go_on(&mut self, now: Instant) -> bool {
        if self.at.is_none() && !self.finds(now) {
            // The folder that has been due longest comes first, so that a failing one doesn't go before those that had no
            // turn yet.
            let due =
                self.stops.iter().enumerate().filter_map(|(at, stop)| Some((stop.due.filter(|due| *due <= now)?, at)));
            self.at = due.min().map(|(_, at)| at);
        }
        self.at.is_some()
    }

    pub fn current(&self) -> Option<&Stop> {
        self.stops.get(self.at?)
    }

    pub fn current_mut(&mut self) -> Option<&mut Stop> {
        self.stops.get_mut(self.at?)
    }

    /// Returns the folder that is watched with IDLE between passes, unless it is failing.
    pub fn first(&self) -> Option<&Stop> {
        self.stops.first().filter(|stop| stop.failing_since.is_none() && stop.listed)
    }

    /// Makes the watched folder due at this time at the latest, after a report of new mail.
    pub fn first_has_news(&mut self, at: Instant) {
        if let Some(first) = self.stops.first_mut() {
            first.due = Some(first.due.map_or(at, |due| due.min(at)));
        }
    }

    /// Records that the current folder was listed. True once all existing folders were, and none is missing.
    pub fn listed(&mut self) -> bool {
        if let Some(stop) = self.current_mut() {
            stop.listed = true;
        }
        self.missing.is_empty() && self.stops.iter().all(|stop| stop.listed)
    }

    /// Ends the round of the current folder. True if the folder was failing before.
    pub fn leave(&mut self, again: Option<Instant>) -> bool {
        let Some(stop) = self.current_mut() else { return false };
        stop.due = again;
        stop.backoff.reset();
        let was_failing = stop.failing_since.take().is_some();
        self.at = None;
        was_failing
    }

    /// Ends the round of the current folder because of a fault: the other folders are read, and this one later. Returns
    /// when it began to fail.
    pub fn leave_in_trouble(&mut self, now: Instant) -> Instant {
        let Some(stop) = self.current_mut() else { return now };
        stop.due = Some(now + stop.backoff.delay());
        let since = *stop.failing_since.get_or_insert(now);
        self.at = None;
        since
    }
}

impl Stop {
    fn new(name: Arc<str>, folder: Folder, now: Instant) -> Self {
        Self {
            name,
            folder,
            uid_validity: None,
            owed: BTreeMap::new(),
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

    fn tour(names: &[&str]) -> Tour {
        Tour::new(names.iter().map(|name| FolderName::from(*name)).collect(), Instant::now())
    }

    fn there(name: &str) -> Found {
        Found { name: name.into(), folder: Some(Folder::of(name)) }
    }

    fn missing(name: &str) -> Found {
        Found { name: name.into(), folder: None }
    }

    /// Returns the names of the folders that are read from now on, in order.
    fn walk(tour: &mut Tour, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| {
            tour.go_on(now).then_some(())?;
            let name = tour.current()?.name.to_string();
            tour.leave(None);
            Some(name)
        })
        .collect()
    }

    #[test]
    fn folders_are_looked_up_first_and_then_have_their_turn() {
        let (mut tour, now) = (tour(&["A", "B"]), Instant::now());
        assert!(tour.finds(now) && !tour.go_on(now));
        assert!(tour.found(vec![there("A"), there("B")], now, Some(now)).is_empty());
        assert_eq!(walk(&mut tour, now), ["A", "B"]);
        assert_eq!(tour.due_at(), None);
    }

    #[test]
    fn one_in_trouble_does_not_stop_the_next_and_comes_again_later() {
        let (mut tour, now) = (tour(&["A", "B"]), Instant::now());
        tour.found(vec![there("A"), there("B")], now, None);
        assert!(tour.go_on(now));
        tour.leave_in_trouble(now);
        assert_eq!(walk(&mut tour, now), ["B"]);
        let later = tour.due_at().unwrap();
        assert!(later > now);
        assert_eq!(walk(&mut tour, later), ["A"]);
    }

    #[test]
    fn a_missing_folder_is_told_once_and_looked_for_again() {
        let (mut tour, now) = (tour(&["A", "B"]), Instant::now());
        let later = now + Duration::from_secs(9);
        assert_eq!(tour.found(vec![there("A"), missing("B")], now, Some(later)), ["B"]);
        assert_eq!(walk(&mut tour, now), ["A"]);
        assert!(tour.finds(later) && !tour.finds(now));
        assert!(tour.found(vec![there("A"), missing("B")], later, Some(later)).is_empty());
        tour.found(vec![there("A"), there("B")], later, Some(later));
        assert_eq!(walk(&mut tour, later), ["B"]);
        assert!(!tour.finds(later), "all are there");
    }

    #[test]
    fn what_is_known_of_a_folder_outlasts_a_look_at_which_there_are() {
        let (mut tour, now) = (tour(&["*"]), Instant::now());
        tour.found(vec![there("A"), there("B")], now, None);
        tour.go_on(now);
        tour.current_mut().unwrap().done.insert(7);
        tour.leave(None);
        tour.found(vec![there("C"), there("A")], now, None);
        assert_eq!(walk(&mut tour, now), ["C"]);
        assert!(tour.stops[1].done.contains(&7));
    }

    #[test]
    fn everything_is_listed_only_when_every_folder_is() {
        let (mut tour, now) = (tour(&["A", "B"]), Instant::now());
        tour.found(vec![there("A"), there("B")], now, Some(now));
        tour.go_on(now);
        assert!(!tour.listed());
        tour.leave(None);
        tour.go_on(now);
        assert!(tour.listed());
        tour.leave(None);
        tour.found(vec![there("A"), missing("B")], now, Some(now));
        assert!(!tour.listed(), "nobody knows what is in a folder that can't be found");
    }
}
