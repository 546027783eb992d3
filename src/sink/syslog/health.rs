//! Health of the receiver, as seen by the sink. The pipeline logs its changes.

use std::{fmt::Display, sync::Arc};

use tracing::debug;

use crate::sink::{Frame, Health, Metadata, Status};

/// Reporter of the receiver's health and of confirmed frames.
#[derive(Debug)]
pub struct SinkHealth {
    name: Arc<str>,
    status: Status,
    confirmed: u64,
}

impl SinkHealth {
    pub fn new(name: Arc<str>, status: Status) -> Self {
        Self { name, status, confirmed: 0 }
    }

    /// Reports that the receiver takes frames; `again` of them were sent a second time.
    pub fn up(&mut self, again: u64) {
        if again > 0 {
            debug!(sink = &*self.name, frames = again, "resent unconfirmed frames");
        }
        self.status.report(Health::Up);
    }

    /// Reports that the receiver does not take frames; the sink retries.
    pub fn failing(&mut self, error: &dyn Display) {
        self.status.report(Health::Failing { error: error.to_string().into() });
    }

    /// Logs that the receiver closed the connection with nothing in flight, as some do with idle connections; no failure.
    pub fn idle_end(&self, error: &dyn Display) {
        debug!(sink = &*self.name, %error, "idle connection ended; the next frame opens another");
    }

    /// Records that the receiver will never take this frame.
    pub fn reject(&self, frame: &Frame, reason: &dyn Display) {
        let Metadata { event_id, event_type, .. } = &frame.metadata;
        debug!(sink = &*self.name, %event_id, event_type = event_type.as_str(), %reason, "rejected an event");
        self.status.reject(frame, reason);
    }

    /// Records that everything up to frame `number` has arrived or was rejected.
    pub fn confirm(&mut self, number: u64) {
        self.confirmed = number;
        self.status.confirm(number);
    }

    /// Returns the last number that was confirmed.
    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }
}
