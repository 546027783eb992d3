//! `rate_limit_*`: how fast a sink may send.

use std::{num::NonZeroU32, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::config::sink::Rate;

/// Events and bytes per second, each with a burst of one period.
#[derive(Debug)]
pub struct RateLimit {
    events: Option<DefaultDirectRateLimiter>,
    bytes: Option<DefaultDirectRateLimiter>,
}

impl RateLimit {
    pub fn new(rate: &Rate) -> Self {
        let events = rate.events.and_then(|number| {
            let quota = Quota::with_period(rate.per.checked_div(number.get())?.max(Duration::from_nanos(1)))?;
            Some(RateLimiter::direct(quota.allow_burst(number)))
        });
        let bytes = rate.bytes_per_second.map(|number| RateLimiter::direct(Quota::per_second(number)));
        Self { events, bytes }
    }

    /// Waits until one more event of `bytes` may be sent.
    pub async fn admit(&self, bytes: usize) {
        if let Some(events) = &self.events {
            events.until_ready().await;
        }
        if let Some(limiter) = &self.bytes {
            let mut wanted = u32::try_from(bytes).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
            while let Err(capacity) = limiter.until_n_ready(wanted).await {
                wanted = NonZeroU32::new(capacity.0).unwrap_or(NonZeroU32::MIN);
            }
        }
    }
}
