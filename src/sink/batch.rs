//! Batches of frames: as many as are queued, and as the rate limit admits at once.

use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, sleep_until};

use super::{Frame, Inlet, Status, rate::RateLimit};
use crate::deliver::busy::Busy;

/// Collects frames into batches of up to `max_bytes`; a larger frame is a batch of its own.
pub(super) struct Batches {
    inlet: Inlet,
    rate: RateLimit,
    held_back: Busy,
    max_bytes: usize,
    /// Taken from the queue, but not part of a batch yet.
    held: Option<Frame>,
}

impl Batches {
    pub(super) fn new(inlet: Inlet, rate: RateLimit, status: &Status, max_bytes: usize) -> Self {
        Self { inlet, rate, held_back: status.held(), max_bytes, held: None }
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
    /// A batch ends when the queue is empty for the moment, or when the rate limit would make it wait: the frames collected
    /// so far are then written and confirmed first.
    pub(super) async fn next(&mut self) -> Option<Vec<Frame>> {
        if self.held.is_none() {
            self.held = self.inlet.next().await;
        }
        let waiting = self.held_back.begin();
        self.rate.admit(self.held.as_ref()?.bytes.len()).await;
        drop(waiting);
        let first = self.held.take()?;
        let mut bytes = first.bytes.len();
        let mut batch = vec![first];
        while let Some(frame) = self.inlet.try_next() {
            bytes += frame.bytes.len();
            if bytes > self.max_bytes || self.rate.admit(frame.bytes.len()).now_or_never().is_none() {
                self.held = Some(frame);
                break;
            }
            batch.push(frame);
        }
        Some(batch)
    }
}
