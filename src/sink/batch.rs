//! Batches of frames: up to a size, a number and an age, and as many as the rate limit admits at once.

use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Frame, Inlet, Status, rate::RateLimit};
use crate::deliver::busy::Busy;

/// Limits of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// A larger frame is a batch of its own.
    pub max_bytes: usize,
    pub max_events: usize,
    /// Maximum time that the first frame waits for others; zero: a batch is what is in the queue.
    pub timeout: Duration,
}

impl Limits {
    /// Limits of a batch of `max_bytes` that waits for nothing.
    pub(super) fn of_bytes(max_bytes: usize) -> Self {
        Self { max_bytes, max_events: usize::MAX, timeout: Duration::ZERO }
    }
}

/// Collects frames into batches.
pub(super) struct Batches {
    inlet: Inlet,
    rate: RateLimit,
    held_back: Busy,
    limits: Limits,
    /// The batch so far, its size, and the time by which it is due.
    batch: Vec<Frame>,
    bytes: usize,
    due: Instant,
    /// Taken from the queue, but not part of a batch yet.
    held: Option<Frame>,
}

impl Batches {
    pub(super) fn new(inlet: Inlet, rate: RateLimit, status: &Status, limits: Limits) -> Self {
        let held_back = status.held();
        Self { inlet, rate, held_back, limits, batch: Vec::new(), bytes: 0, due: Instant::now(), held: None }
    }

    /// Lets frames collect until none has come for `lull`, or until `most`. Cancel-safe.
    pub(super) async fn gather(&self, lull: Duration, most: Instant) {
        let mut before = 0;
        while Instant::now() < most {
            sleep_until(most.min(Instant::now() + lull)).await;
            let waiting = self.inlet.waiting();
            if waiting > 0 && waiting == before {
                return;
            }
            before = waiting;
        }
    }

    /// Returns the next batch, never an empty one; `None` when the queue has ended. Cancel-safe: no frame is lost.
    ///
    /// A batch ends at its limits, at the end of the queue, or when the rate limit would make it wait: the frames collected
    /// so far are then sent and confirmed first.
    pub(super) async fn next(&mut self) -> Option<Vec<Frame>> {
        loop {
            if self.held.is_none() {
                self.held = match self.inlet.try_next() {
                    Some(frame) => Some(frame),
                    None if self.batch.is_empty() => Some(self.inlet.next().await?),
                    None if self.limits.timeout.is_zero() => None,
                    None => timeout_at(self.due, self.inlet.next()).await.ok().flatten(),
                };
            }
            let Some(length) = self.held.as_ref().map(|frame| frame.bytes.len()) else { return Some(self.end()) };
            if self.batch.is_empty() {
                let waiting = self.held_back.begin();
                self.rate.admit(length).await;
                drop(waiting);
                self.due = Instant::now() + self.limits.timeout;
            } else if self.bytes + length > self.limits.max_bytes || self.rate.admit(length).now_or_never().is_none() {
                return Some(self.end());
            }
            self.bytes += length;
            self.batch.extend(self.held.take());
            if self.batch.len() >= self.limits.max_events {
                return Some(self.end());
            }
        }
    }

    fn end(&mut self) -> Vec<Frame> {
        self.bytes = 0;
        std::mem::take(&mut self.batch)
    }
}
