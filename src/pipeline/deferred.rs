//! Mails that this process does not read again today: their senders are over their daily shares, or a run with all sinks is
//! to settle them.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

use crate::{flood::day_of, source::Place};

/// Maximum number of mails remembered, a megabyte and a half of memory. Mails beyond it are read again at each poll of the
/// day, at the cost of a fetch.
const MOST: usize = 100_000;

/// The mails that were left today (UTC): polls do not fetch them again before the day changes. A restart forgets them, as
/// it forgets what their senders have used of their shares.
#[derive(Debug, Default)]
pub struct Deferred {
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    day: i64,
    /// Hashes of the mails' places.
    mails: HashSet<u64>,
}

impl Deferred {
    pub fn add(&self, place: &Place, now: Timestamp) {
        let hash = self.hasher.hash_one(place);
        let mut state = self.on_the_day_of(now);
        if state.mails.len() < MOST {
            state.mails.insert(hash);
        }
    }

    pub fn contains(&self, place: &Place, now: Timestamp) -> bool {
        let state = self.on_the_day_of(now);
        !state.mails.is_empty() && state.mails.contains(&self.hasher.hash_one(place))
    }

    fn on_the_day_of(&self, now: Timestamp) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let day = day_of(now);
        if day != state.day {
            *state = State { day, mails: HashSet::new() };
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(uid: u32) -> Place {
        Place::Imap { source: "rua".into(), account: "a@b:1".into(), folder: "INBOX".into(), uid_validity: 1, uid }
    }

    #[test]
    fn a_deferred_mail_is_passed_over_until_the_day_turns() {
        let (deferred, noon) = (Deferred::default(), Timestamp::from_second(1_793_534_400).unwrap());
        let hours = |hours: i64| Timestamp::from_second(noon.as_second() + hours * 3600).unwrap();
        deferred.add(&place(7), noon);
        assert!(deferred.contains(&place(7), hours(11)) && !deferred.contains(&place(8), hours(11)));
        assert!(!deferred.contains(&place(7), hours(12)));
        // A clock that is set back begins another day too.
        assert!(!deferred.contains(&place(7), noon));
    }

    #[test]
    fn no_more_mails_are_remembered_than_fit() {
        let (deferred, noon) = (Deferred::default(), Timestamp::from_second(1_793_534_400).unwrap());
        (0..=MOST).for_each(|uid| deferred.add(&place(u32::try_from(uid).unwrap()), noon));
        assert_eq!(deferred.on_the_day_of(noon).mails.len(), MOST);
    }
}
