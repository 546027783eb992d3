//! Stall timer: measures how long nothing has arrived while the run waited for others.

use std::time::Duration;

use tokio::time::Instant;

/// Maximum time counted between two looks: a process that was suspended (SIGSTOP, a frozen container) for longer could not
/// have seen anything arrive.
const MOST: Duration = Duration::from_secs(1);

/// Stall timer that is polled. `T` distinguishes one stall from the next.
#[derive(Debug)]
pub struct StallTimer<T> {
    looked: Instant,
    since: Option<T>,
    spent: Duration,
}

impl<T: PartialEq> StallTimer<T> {
    pub fn new(now: Instant) -> Self {
        Self { looked: now, since: None, spent: Duration::ZERO }
    }

    /// Returns the length of the stall, if there is one. `since` is the position at which it stands, or the time when it
    /// began; `ours` is true if the run waits for its own work: the time since the last look does not count then.
    pub fn look(&mut self, since: Option<T>, ours: bool, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.looked).min(MOST);
        self.looked = now;
        if since == self.since {
            self.spent += if ours { Duration::ZERO } else { passed };
        } else {
            self.since = since;
            self.spent = Duration::ZERO;
        }
        self.since.as_ref().map(|_| self.spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(250);

    #[test]
    fn a_standstill_is_as_long_as_it_was_looked_at() {
        let begin = Instant::now();
        let mut stall_timer = StallTimer::new(begin);
        let looks = (0..9).map(|look| stall_timer.look(Some(begin), false, begin + LOOK * look));
        assert_eq!(looks.last(), Some(Some(LOOK * 8)));
    }

    /// Regression: a run that was suspended for longer than `give_up_after` gave up as soon as it was resumed.
    #[test]
    fn time_in_which_nobody_could_look_does_not_count() {
        let begin = Instant::now();
        let mut stall_timer = StallTimer::new(begin);
        stall_timer.look(Some(begin), false, begin);
        assert_eq!(stall_timer.look(Some(begin), false, begin + LOOK * 1000), Some(MOST));
    }

    #[test]
    fn time_in_which_we_are_at_work_ourselves_does_not_count() {
        let begin = Instant::now();
        let mut stall_timer = StallTimer::new(begin);
        stall_timer.look(Some(begin), true, begin);
        stall_timer.look(Some(begin), true, begin + LOOK * 2);
        assert_eq!(stall_timer.look(Some(begin), false, begin + LOOK * 3), Some(LOOK));
    }

    #[test]
    fn whatever_arrives_ends_it() {
        let begin = Instant::now();
        let mut stall_timer = StallTimer::new(begin);
        stall_timer.look(Some(begin), false, begin);
        stall_timer.look(Some(begin), false, begin + LOOK);
        assert_eq!(stall_timer.look(Some(begin + LOOK), false, begin + LOOK * 2), Some(Duration::ZERO));
        assert_eq!(stall_timer.look(None, false, begin + LOOK * 3), None);
    }
}
