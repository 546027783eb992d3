//! Retry policy: when to try again after a fault, how long the server has been failing, and when a single run gives up. No
//! I/O.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    net::backoff::{Backoff, MAIL_SERVER},
    source::imap::error::Fault,
};

/// Time after its last flood from which a server is treated like any other.
const FLOODS_FORGOTTEN: Duration = Duration::from_secs(3600);
/// Age below which a session that ends in IDLE counts as useless. Some proxies close connections that are silent for a
/// minute; a login per minute locks no account.
const LASTING: Duration = Duration::from_secs(60);

/// Progress of the source since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    Nothing,
    /// A session was attempted.
    Attempt,
    Login,
    /// A folder was listed.
    Listing,
}

/// Reaction to a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    GiveUp,
    Retry {
        delay: Duration,
        /// True if it is the first fault since the last success.
        is_new: bool,
        /// True if a person has to mend it: new credentials end the wait.
        needs_a_person: bool,
    },
}

#[derive(Debug)]
pub struct Retry {
    /// Single run: it gives up when the server has been failing for `give_up_after`.
    once: bool,
    give_up_after: Duration,
    reached: Reached,
    backoff: Backoff,
    outage: Outage,
    last_flood: Option<Instant>,
    /// Start of the last session.
    session_began: Instant,
    /// True if a mail arrived in that session.
    session_had_mail: bool,
    /// True if the server closed the connection during the last IDLE, in a session that was short and had no mail.
    hung_up: bool,
}

/// Time that the server has been failing: includes attempts and retry delays, but no time in which nothing was wanted of
/// it.
#[derive(Debug)]
struct Outage {
    /// `None` if the server works.
    lasted: Option<Duration>,
    /// Time up to which it was counted.
    counted: Instant,
    /// From `counted` to here, time counts unless an event changes that; `None`: without an end.
    until: Option<Instant>,
}

impl Retry {
    pub fn new(once: bool, give_up_after: Duration, now: Instant) -> Self {
        Self {
            once,
            give_up_after,
            reached: Reached::Nothing,
            backoff: Backoff::new(MAIL_SERVER),
            outage: Outage { lasted: None, counted: now, until: Some(now) },
            last_flood: None,
            session_began: now,
            session_had_mail: false,
            hung_up: false,
        }
    }

    pub fn reached(&self) -> Reached {
        self.reached
    }

    pub fn reach(&mut self, reached: Reached) {
        self.reached = self.reached.max(reached);
    }

    /// Records that a session is being opened.
    pub fn session_begins(&mut self, now: Instant) {
        self.reach(Reached::Attempt);
        (self.session_began, self.session_had_mail) = (now, false);
    }

    /// Records that a mail arrived.
    pub fn mail_arrived(&mut self) {
        self.session_had_mail = true;
        self.hung_up = false;
    }

    /// Records that the server works; true if it did not before.
    pub fn succeeded(&mut self, now: Instant) -> bool {
        self.reset_delay(now);
        self.outage.lasted.take().is_some()
    }

    /// Resets the delay, unless the server has flooded us recently, whatever it did since, or closes the connection during
    /// each IDLE: then the delay grows each time.
    pub fn reset_delay(&mut self, now: Instant) {
        let is_calm = self.last_flood.is_none_or(|at| now.saturating_duration_since(at) > FLOODS_FORGOTTEN);
        if !self.hung_up && is_calm {
            self.backoff.reset();
        }
    }

    /// Decides on a fault that ends the session.
    pub fn failed(&mut self, fault: &Fault, now: Instant) -> Decision {
        self.outage.count(now);
        let is_new = self.outage.lasted.is_none();
        let mut useless = Duration::ZERO;
        if matches!(fault, Fault::Flooded(_)) {
            self.last_flood = Some(now);
            // The whole session was spent on receiving the flood.
            if !self.session_had_mail {
                useless = now.saturating_duration_since(self.session_began);
            }
        }
        let left = self.give_up_after.saturating_sub(*self.outage.lasted.get_or_insert(useless));
        let needs_a_person = matches!(fault, Fault::Credentials(_) | Fault::Configuration(_));
        let mut delay = self.backoff.delay();
        if needs_a_person {
            // Servers lock accounts.
            delay = delay.max(MAIL_SERVER.longest);
        }
        if let Fault::Throttled { wait: Some(wait), .. } = fault {
            delay = delay.max(*wait);
        }
        let is_hopeless = match fault {
            Fault::Throttled { .. } if self.once => left.is_zero() || delay > left,
            // A lost session may come back; an error before the first login is treated as permanent.
            Fault::Lost(_) | Fault::LoggedOut(_) if self.once && self.reached >= Reached::Login => left.is_zero(),
            _ if self.once => self.reached < Reached::Listing || needs_a_person || left.is_zero(),
            Fault::Configuration(_) => self.reached < Reached::Listing,
            _ => false,
        };
        if is_hopeless {
            return Decision::GiveUp;
        }
        if self.once {
            delay = delay.min(left);
        }
        Decision::Retry { delay, is_new, needs_a_person }
    }

    /// Decides on a session that was lost during IDLE: servers end long sessions, which is no fault. Returns the delay
    /// before the next session; `None` if it is to be treated as a fault.
    pub fn lost_in_idle(&mut self, now: Instant) -> Option<Duration> {
        let age = now.saturating_duration_since(self.session_began);
        self.hung_up = !self.session_had_mail && age < LASTING;
        if !self.hung_up {
            self.reset_delay(now);
        }
        self.backoff.is_fresh().then(|| self.backoff.delay())
    }

    /// Counts the time since the last call, as far as it was an outage; from now on, time up to `until` is one.
    pub fn count_outage(&mut self, now: Instant, until: Option<Instant>) {
        self.outage.count(now);
        self.outage.until = until;
    }
}

impl Outage {
    fn count(&mut self, now: Instant) {
        let end = self.until.map_or(now, |until| until.min(now));
        if let Some(lasted) = &mut self.lasted {
            *lasted += end.saturating_duration_since(self.counted);
        }
        self.counted = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lost() -> Fault {
        Fault::Lost("gone".into())
    }

    /// Returns a single run that gives up after `seconds`, after its first listing.
    fn single_run(seconds: u32, now: Instant) -> Retry {
        let mut retry = Retry::new(true, SECOND * seconds, now);
        retry.reach(Reached::Listing);
        retry
    }

    /// Regression: time spent on reading mails that had arrived was counted as an outage, so that the second fault in ten
    /// minutes ended the run.
    #[test]
    fn time_in_which_nothing_is_wanted_of_a_server_is_no_outage() {
        let mut now = Instant::now();
        let mut retry = single_run(300, now);
        assert_ne!(retry.failed(&lost(), now), Decision::GiveUp);
        // A retry is due after a second, but does not happen: there is no room for more mails.
        retry.count_outage(now, Some(now + SECOND));
        now += SECOND * 600;
        assert_ne!(retry.failed(&lost(), now), Decision::GiveUp, "the outage lasted one second");
        retry.count_outage(now, Some(now + SECOND * 600));
        now += SECOND * 600;
        assert_eq!(retry.failed(&lost(), now), Decision::GiveUp, "it lasted ten minutes");
    }

    /// Returns the delay after a number of sessions that each ended in IDLE after `lived`, and in each of which a command
    /// had succeeded.
    fn delay_after(sessions: u32, lived: Duration, had_mail: bool) -> Duration {
        let mut now = Instant::now();
        let mut retry = Retry::new(false, SECOND, now);
        let mut delay = Duration::ZERO;
        for _ in 0..sessions {
            retry.session_begins(now);
            if had_mail {
                retry.mail_arrived();
            }
            retry.succeeded(now);
            now += lived;
            delay = retry.lost_in_idle(now).unwrap_or_else(|| match retry.failed(&lost(), now) {
                Decision::Retry { delay, .. } => delay,
                Decision::GiveUp => panic!("a service does not give up"),
            });
        }
        delay
    }

    #[test]
    fn backoff_grows_for_a_server_that_hangs_up_on_each_idle_unless_sessions_last_or_have_mail() {
        assert!(delay_after(1, SECOND, false) <= MAIL_SERVER.first);
        assert!(delay_after(7, SECOND, false) > SECOND * 30);
        assert!(delay_after(7, SECOND * 60, false) <= MAIL_SERVER.first);
        assert!(delay_after(7, SECOND, true) <= MAIL_SERVER.first);
    }

    /// Regression: time spent on receiving a flood was not counted, so that a run took longer than `give_up_after`.
    #[test]
    fn a_session_that_had_nothing_but_a_flood_is_an_outage() {
        for (had_mail, is_given_up) in [(false, true), (true, false)] {
            let now = Instant::now();
            let mut retry = single_run(30, now);
            retry.session_begins(now);
            if had_mail {
                retry.mail_arrived();
            }
            let decision = retry.failed(&Fault::Flooded("it does not stop".into()), now + SECOND * 30);
            assert_eq!(decision == Decision::GiveUp, is_given_up);
        }
    }

    #[test]
    fn backoff_after_a_flood_is_not_reset_by_a_success_within_an_hour() {
        let mut now = Instant::now();
        let mut retry = Retry::new(false, SECOND, now);
        let delay = |retry: &mut Retry, now| match retry.failed(&Fault::Flooded("flood".into()), now) {
            Decision::Retry { delay, .. } => delay,
            Decision::GiveUp => panic!("a service does not give up"),
        };
        for _ in 0..6 {
            delay(&mut retry, now);
            retry.succeeded(now);
        }
        assert!(delay(&mut retry, now) > SECOND * 30);
        now += FLOODS_FORGOTTEN + SECOND;
        retry.succeeded(now);
        assert!(delay(&mut retry, now) <= MAIL_SERVER.first);
    }

    /// Each fault × how far a single run or a service has got: whether it gives up, and the shortest and the longest delay
    /// otherwise.
    #[test]
    fn each_fault_is_decided_by_how_far_the_source_has_got() {
        use Reached::{Attempt, Listing, Login};
        let soon = (SECOND / 2, SECOND);
        let later = (SECOND * 300, SECOND * 300);
        let wait = Duration::from_secs(40);
        let table = [
            (lost(), [None, Some(soon), Some(soon)], [Some(soon), Some(soon), Some(soon)]),
            (Fault::LoggedOut("".into()), [None, Some(soon), Some(soon)], [Some(soon), Some(soon), Some(soon)]),
            (Fault::Unintelligible("".into()), [None, None, Some(soon)], [Some(soon), Some(soon), Some(soon)]),
            (
                Fault::Oversize { announced: 2, allowed: 1 },
                [None, None, Some(soon)],
                [Some(soon), Some(soon), Some(soon)],
            ),
            (Fault::Flooded("".into()), [None, None, Some(soon)], [Some(soon), Some(soon), Some(soon)]),
            (
                Fault::Refused { command: "SELECT".into(), answer: Default::default() },
                [None, None, Some(soon)],
                [Some(soon), Some(soon), Some(soon)],
            ),
            (
                Fault::Throttled { text: "".into(), wait: Some(wait) },
                [Some((wait, wait)), Some((wait, wait)), Some((wait, wait))],
                [Some((wait, wait)), Some((wait, wait)), Some((wait, wait))],
            ),
            (
                Fault::Throttled { text: "".into(), wait: Some(SECOND * 61) },
                [None, None, None],
                [Some((SECOND * 61, SECOND * 61)), Some((SECOND * 61, SECOND * 61)), Some((SECOND * 61, SECOND * 61))],
            ),
            (Fault::Credentials("".into()), [None, None, None], [Some(later), Some(later), Some(later)]),
            (Fault::Configuration("".into()), [None, None, None], [None, None, Some(later)]),
        ];
        for (fault, single, service) in table {
            for (once, expected) in [(true, single), (false, service)] {
                for (reached, expected) in [Attempt, Login, Listing].into_iter().zip(expected) {
                    let now = Instant::now();
                    let mut retry = Retry::new(once, SECOND * 60, now);
                    retry.session_begins(now);
                    retry.reach(reached);
                    let what = format!("{fault:?}, {reached:?}, once: {once}");
                    match (retry.failed(&fault, now), expected) {
                        (Decision::GiveUp, None) => {}
                        (Decision::Retry { delay, is_new: true, needs_a_person }, Some((least, most))) => {
                            assert!(delay >= least && delay <= most, "{what}: {delay:?}");
                            let is_personal = matches!(fault, Fault::Credentials(_) | Fault::Configuration(_));
                            assert_eq!(needs_a_person, is_personal, "{what}");
                        }
                        (decision, _) => panic!("{what}: {decision:?}"),
                    }
                }
            }
        }
    }
}
