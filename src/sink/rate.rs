//! Rate limit of a sink: events and bytes, each with a burst.

use std::{num::NonZeroU32, ops::Add, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, Reference},
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use tokio::time::Instant;

use crate::config::sink::Rate;

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Moment>>;

/// The rate limit of one sink. After a pause, `rate_limit_num` events and `rate_limit_bytes` bytes (one second's worth) may
/// be sent at once; from then on, events are spaced evenly at the rate.
#[derive(Debug)]
pub struct RateLimit {
    events: Option<Limiter>,
    bytes: Option<(Limiter, NonZeroU32)>,
}

impl RateLimit {
    pub fn new(rate: &Rate) -> Self {
        let limiter = |num: NonZeroU32, per: Duration| {
            // `None`: less than a nanosecond between two events, which is no limit.
            let quota = Quota::with_period(per / num.get())?.allow_burst(num);
            Some(Limiter::direct_with_clock(quota, TokioClock))
        };
        Self {
            events: rate.events.and_then(|num| limiter(num, rate.per)),
            bytes: rate.bytes_per_second.and_then(|num| Some((limiter(num, Duration::from_secs(1))?, num))),
        }
    }

    pub fn is_unlimited(&self) -> bool {
        self.events.is_none() && self.bytes.is_none()
    }

    /// Waits until one event of this many bytes may be sent. An event larger than the burst is admitted in several parts. A
    /// wait that is dropped midway has used up the parts admitted so far.
    pub async fn admit(&self, bytes: usize) {
        if let Some(events) = &self.events {
            spend(events, NonZeroU32::MIN).await;
        }
        if let Some((limiter, burst)) = &self.bytes {
            let mut owed = bytes;
            while let Some(part) = NonZeroU32::new(u32::try_from(owed).unwrap_or(u32::MAX)) {
                let part = part.min(*burst);
                spend(limiter, part).await;
                owed -= part.get() as usize;
            }
        }
    }
}

/// Waits for `n` cells, which must not exceed the limiter's burst.
async fn spend(limiter: &Limiter, n: NonZeroU32) {
    while let Ok(Err(not_yet)) = limiter.check_n(n) {
        tokio::time::sleep(not_yet.wait_time_from(TokioClock.now())).await;
    }
}

/// Tokio's clock, so that the waits can use its timers.
#[derive(Debug, Clone, Copy)]
struct TokioClock;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(Instant);

impl Clock for TokioClock {
    type Instant = Moment;

    fn now(&self) -> Moment {
        Moment(Instant::now())
    }
}

impl Add<Nanos> for Moment {
    type Output = Self;

    fn add(self, other: Nanos) -> Self {
        Self(self.0 + Duration::from(other))
    }
}

impl Reference for Moment {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.checked_sub(duration.into()).unwrap_or(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(events: u32, per_secs: u64, bytes: u32) -> RateLimit {
        RateLimit::new(&Rate {
            events: NonZeroU32::new(events),
            per: Duration::from_secs(per_secs),
            bytes_per_second: NonZeroU32::new(bytes),
        })
    }

    /// Returns the seconds on the paused clock until `events` of `bytes` each were admitted.
    async fn seconds(limit: &RateLimit, events: usize, bytes: usize) -> f64 {
        let start = Instant::now();
        for _ in 0..events {
            limit.admit(bytes).await;
        }
        start.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_nothing_waits() {
        let limit = rate(0, 0, 0);
        assert!(limit.is_unlimited());
        assert_eq!(seconds(&limit, 10_000, 1_000_000).await, 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_evenly() {
        let limit = rate(100, 10, 0);
        assert_eq!(seconds(&limit, 100, 1).await, 0.0);
        let waited = seconds(&limit, 50, 1).await;
        assert!((5.0..5.1).contains(&waited), "{waited}");
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_limited_besides_events() {
        let limit = rate(1_000_000, 1, 1_000);
        let waited = seconds(&limit, 30, 100).await;
        assert!((2.0..2.1).contains(&waited), "{waited}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_larger_than_the_burst_is_slow_but_goes() {
        let limit = rate(0, 0, 1_000);
        let waited = seconds(&limit, 1, 4_500).await;
        assert!((3.5..3.6).contains(&waited), "{waited}");
    }
}
