//! Retry delays: exponential backoff with a cap and jitter, so that many instances do not retry in step.

use std::time::Duration;

/// First and longest retry delay for one kind of peer.
#[derive(Debug, Clone, Copy)]
pub struct Delays {
    pub first: Duration,
    pub longest: Duration,
}

/// Mail servers throttle clients that log in often, and lock their accounts.
pub const MAIL_SERVER: Delays = Delays { first: Duration::from_secs(1), longest: Duration::from_secs(300) };
/// Receivers on the network restart within seconds, and events are waiting for them.
pub const RECEIVER: Delays = Delays { first: Duration::from_millis(500), longest: Duration::from_secs(30) };
/// Files and pipes on this machine.
pub const LOCAL_OUTPUT: Delays = Delays { first: Duration::from_millis(250), longest: Duration::from_secs(30) };

/// Delays that double from the first to the longest, each between half and all of it.
#[derive(Debug, Clone)]
pub struct Backoff {
    delays: Delays,
    next: Duration,
}

impl Backoff {
    pub fn new(delays: Delays) -> Self {
        Self { delays, next: delays.first }
    }

    /// Returns the delay before the next attempt; each is longer than the one before, up to the longest.
    pub fn delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (self.next * 2).min(self.delays.longest);
        delay.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// True if no attempt failed since the last success.
    pub fn is_fresh(&self) -> bool {
        self.next == self.delays.first
    }

    /// Restarts from the first delay, after a success.
    pub fn reset(&mut self) {
        self.next = self.delays.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_the_maximum_and_resets_after_success() {
        let mut backoff = Backoff::new(Delays { first: Duration::from_secs(1), longest: Duration::from_secs(5) });
        for full in [1, 2, 4, 5, 5] {
            let delay = backoff.delay().as_secs_f64();
            assert!(delay >= f64::from(full) / 2.0 && delay <= f64::from(full), "{delay} of {full}");
        }
        backoff.reset();
        assert!(backoff.delay() <= Duration::from_secs(1));
    }
}
