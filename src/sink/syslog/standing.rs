//! How the sink stands with its receiver. The pipeline logs what changes.

use std::{fmt::Display, sync::Arc};

use tracing::debug;

use crate::sink::{Health, Status};

/// What was last said of the receiver.
#[derive(Debug)]
pub struct Standing {
    name: Arc<str>,
    status: Status,
    confirmed: u64,
}

impl Standing {
    pub fn new(name: Arc<str>, status: Status) -> Self {
        Self { name, status, confirmed: 0 }
    }

    /// The receiver takes frames; `again` of them for a second time.
    pub fn up(&mut self, again: usize) {
        if again > 0 {
            debug!(sink = &*self.name, frames = again, "sent again what was not confirmed");
        }
        self.status.report(Health::Up);
    }

    /// It does not; it will be tried again.
    pub fn failing(&mut self, error: &dyn Display) {
        self.status.report(Health::Failing { error: error.to_string().into() });
    }

    /// The receiver hung up when nothing was under way, as some do with idle connections; no failure.
    pub fn idle_end(&self, error: &dyn Display) {
        debug!(sink = &*self.name, %error, "idle connection ended; the next frame opens another");
    }

    /// Everything up to frame `number` has arrived.
    pub fn confirm(&mut self, number: u64) {
        self.confirmed = number;
        self.status.confirm(number);
    }

    /// The last number that was confirmed.
    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }
}
