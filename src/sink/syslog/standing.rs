//! How the sink stands with its receiver: logged when it changes, reported always.

use std::{fmt::Display, sync::Arc};

use tracing::{debug, info, warn};

use crate::sink::{Health, Status};

/// What was last said of the receiver.
#[derive(Debug)]
pub struct Standing {
    name: Arc<str>,
    status: Status,
    health: Last,
    confirmed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Starting,
    Up,
    Failing,
}

impl Standing {
    pub fn new(name: Arc<str>, status: Status) -> Self {
        Self { name, status, health: Last::Starting, confirmed: 0 }
    }

    /// The receiver takes frames; `again` of them for a second time.
    pub fn up(&mut self, again: usize) {
        match self.health {
            Last::Starting => info!(sink = &*self.name, "connected"),
            Last::Failing => info!(sink = &*self.name, frames_sent_again = again, "works again"),
            Last::Up => {}
        }
        self.health = Last::Up;
        self.status.report(Health::Up);
    }

    /// It does not; it will be tried again.
    pub fn failing(&mut self, error: &dyn Display) {
        if self.health == Last::Failing {
            debug!(sink = &*self.name, %error, "still failing");
        } else {
            warn!(sink = &*self.name, %error, "failing, will be tried until it works");
        }
        self.health = Last::Failing;
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
