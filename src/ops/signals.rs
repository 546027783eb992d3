//! How the process is asked to stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// A request to stop, in two steps.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Take nothing new; finish and settle what is in flight.
    pub gently: CancellationToken,
    /// Give up what is in flight: it stays where it was.
    pub now: CancellationToken,
}

/// Cancels `stop.gently` at the first SIGTERM, SIGINT or SIGHUP (a terminal that was closed), `stop.now` at the second.
pub fn watch(stop: Stop) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        for step in [stop.gently, stop.now] {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = hangup.recv() => "SIGHUP",
            };
            info!(signal = name, "asked to stop");
            step.cancel();
        }
    });
    Ok(())
}
