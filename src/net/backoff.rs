//! Retry delays: exponential backoff with a cap and jitter, so that many instances do not retry in step.

use std::time::Duration;

/// Delays that double from `first` to `cap`, each between half and all of it.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, next: first }
    }

    /// Returns the delay before the next attempt; each is longer than the one before, up to the cap.
    pub fn delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (self.next * 2).min(self.cap);
        delay.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// True if no attempt failed since the last success.
    pub fn is_fresh(&self) -> bool {
        self.next == self.first
    }

    /// Restarts from the first delay, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_start_anew_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        for full in [1, 2, 4, 5, 5] {
            let delay = backoff.delay().as_secs_f64();
            assert!(delay >= f64::from(full) / 2.0 && delay <= f64::from(full), "{delay} of {full}");
        }
        backoff.reset();
        assert!(backoff.delay() <= Duration::from_secs(1));
    }
}
