//! Signals to the process, and the request to stop.

use std::io;

use tokio::signal::unix::{self, SignalKind};
use tokio_util::sync::CancellationToken;

/// A request to stop, in two stages.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// First stage: take nothing new; finish and settle what is in flight.
    pub gently: CancellationToken,
    /// Second stage: give up what is in flight, which stays where it was.
    pub now: CancellationToken,
    /// A new configuration waits, which may have other addresses: give up events that wait for a sink that can't be reached.
    pub reload: CancellationToken,
}

impl Stop {
    /// Requests a stop for a reload.
    pub fn for_reload(&self) {
        self.reload.cancel();
        self.gently.cancel();
    }

    /// Requests the first stage, or if that was requested before, the second.
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

/// The handled signals; their default actions are off.
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

    /// Waits for the next signal. Cancel-safe.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.hangup.recv() => Signal::Hangup,
        }
    }
}
