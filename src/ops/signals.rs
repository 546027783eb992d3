//! What the process is asked for from outside, and how it stops.

use std::io;

use tokio::signal::unix::{self, SignalKind};
use tokio_util::sync::CancellationToken;

/// A request to stop, in two steps.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Take nothing new; finish and settle what is in flight.
    pub gently: CancellationToken,
    /// Give up what is in flight: it stays where it was.
    pub now: CancellationToken,
    /// A new configuration waits, which may have other addresses: give up what waits for a sink that can't be reached.
    pub reload: CancellationToken,
}

impl Stop {
    /// Make room for a new configuration.
    pub fn for_reload(&self) {
        self.reload.cancel();
        self.gently.cancel();
    }

    /// The first step, or after it the second.
    pub fn further(&self) {
        if self.gently.is_cancelled() {
            self.now.cancel();
        }
        self.gently.cancel();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Terminate,
    Interrupt,
    Hangup,
}

impl Signal {
    pub fn name(self) -> &'static str {
        match self {
            Signal::Terminate => "SIGTERM",
            Signal::Interrupt => "SIGINT",
            Signal::Hangup => "SIGHUP",
        }
    }
}

/// The signals that are listened to; none of them does anything by itself any more.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
        })
    }

    /// The next one. Cancel-safe.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.hangup.recv() => Signal::Hangup,
        }
    }
}
