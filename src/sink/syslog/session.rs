//! One connection from handshake to close: sends frames and confirms them, until the queue or the connection ends.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    select,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    ack_delay::AckDelay,
    batch::Batch,
    health::SinkHealth,
    send_queue::SendQueue,
    wire::{LinkError, Wire},
};
use crate::config::sink::{Acknowledgements, Syslog};

/// Time that the connection must stay open after an acknowledgement for the acknowledgement to count. A receiver that
/// refuses us by address or number of sessions accepts first and closes then; one that dies loses what its kernel holds.
/// The delay costs only that mails are settled so much later.
const GRACE: Duration = Duration::from_millis(250);
/// Time after the handshake before which nothing counts, if the receiver asks for a client certificate: it may check the
/// certificate only then; rsyslog compares names after the handshake. A session ticket is no sign of acceptance, since
/// OpenSSL sends it as part of the handshake.
const SETTLING: Duration = Duration::from_secs(2);
/// Interval at which the kernel is asked for acknowledged bytes: the first, and the maximum.
const LOOK_FIRST: Duration = Duration::from_millis(1);
const LOOK_CAP: Duration = Duration::from_millis(50);
/// Time limit for the peer to close its side when nothing depends on it any more.
const GOODBYE: Duration = Duration::from_secs(2);
const GOODBYE_WHEN_STOPPED: Duration = Duration::from_millis(500);

/// End of a connection without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing is in flight; the next frame needs a new connection.
    Closed,
    /// A stop was requested.
    Stopped,
}

/// One connection, from the end of its handshake to its close.
pub struct Session<'a> {
    wire: Wire,
    send_queue: &'a mut SendQueue,
    health: &'a mut SinkHealth,
    stop: &'a CancellationToken,
    /// With strict acknowledgements, the batch that this connection carries.
    batch: Option<Batch>,
    /// Number of frames that are sent again on it.
    again: u64,
    /// The pieces of the next write.
    next: Vec<Bytes>,
    /// True if nothing that was written on it waits to be confirmed.
    idle: bool,
    settles: Instant,
    settled: bool,
    ack_delay: AckDelay,
    progress: Progress,
    looks: Looks,
}

/// Bytes that the peer's kernel has acknowledged, and since when that number has not grown.
struct Progress {
    acknowledged: u64,
    since: Instant,
    /// Time that it may stall before that is reported as a failure.
    limit: Duration,
    stalled: bool,
}

/// Schedule of the next look: soon after a change, less and less often without any.
struct Looks {
    next: Instant,
    pause: Duration,
}

impl<'a> Session<'a> {
    pub fn new(
        wire: Wire,
        config: &Syslog,
        send_queue: &'a mut SendQueue,
        health: &'a mut SinkHealth,
        stop: &'a CancellationToken,
    ) -> Self {
        let now = Instant::now();
        let settling = if wire.certificate_asked() { SETTLING } else { GRACE };
        let again = send_queue.rewind();
        Self {
            wire,
            send_queue,
            health,
            stop,
            batch: (config.acknowledgements == Acknowledgements::Strict).then(Batch::default),
            again,
            next: Vec::new(),
            idle: true,
            settles: now + settling,
            settled: false,
            ack_delay: AckDelay::new(GRACE, now + settling),
            progress: Progress { acknowledged: 0, since: now, limit: config.send_timeout, stalled: false },
            looks: Looks { next: now, pause: LOOK_FIRST },
        }
    }

    /// Sends frames until the queue or the batch ends, until the peer closes an idle connection, or until stopped.
    pub async fn run(mut self) -> Result<End, LinkError> {
        match self.carry().await {
            Err(error) if self.idle && self.settled => {
                self.health.idle_end(&error);
                Ok(End::Closed)
            }
            Err(error) if !self.settled && self.wire.certificate_asked() => Err(self.wire.refused(error)),
            ended => ended,
        }
    }

    async fn carry(&mut self) -> Result<End, LinkError> {
        loop {
            if self.is_complete() {
                return self.finish().await;
            }
            let may_fill = self.wire.is_unloaded() && !self.send_queue.is_drained();
            let watching = !self.settled || self.send_queue.is_in_flight();
            let due = self.batch.as_ref().and_then(Batch::due).filter(|_| self.wire.is_unloaded());
            select! {
                biased;
                () = self.stop.cancelled() => {
                    timeout(GOODBYE_WHEN_STOPPED, self.wire.close()).await.ok(); // ignored: nothing depends on it
                    return Ok(End::Stopped);
                }
                written = self.wire.exchange() => {
                    written?;
                    self.send_queue.written(self.wire.written());
                    self.looks.soon();
                }
                () = self.send_queue.fill(&mut self.next), if may_fill => self.load()?,
                () = sleep_until(self.looks.next), if watching => {}
                () = sleep_until(due.unwrap_or(self.looks.next)), if due.is_some() => {}
            }
            self.look()?;
        }
    }

    /// Loads the next bytes, if the connection is still open: the peer may have closed it while there was nothing to send.
    fn load(&mut self) -> Result<(), LinkError> {
        self.wire.acknowledged()?;
        if self.next.is_empty() {
            return Ok(());
        }
        if self.idle {
            self.idle = false;
            self.progress.since = Instant::now();
        }
        if let Some(batch) = &mut self.batch {
            batch.add(self.next.iter().map(Bytes::len).sum(), Instant::now());
        }
        self.wire.load(self.next.drain(..));
        Ok(())
    }

    /// Asks which bytes have been acknowledged, and confirms their frames.
    fn look(&mut self) -> Result<(), LinkError> {
        let now = Instant::now();
        self.looks.taken(now);
        let Some(acknowledged) = self.wire.acknowledged()? else { return Ok(()) };
        if !self.settled && now >= self.settles {
            self.settled = true;
            self.health.up(self.again);
        }
        self.watch(acknowledged, now);
        if self.batch.is_none()
            && let Some(offset) = self.ack_delay.see(now, acknowledged)
        {
            self.confirm(offset);
        }
        Ok(())
    }

    fn confirm(&mut self, offset: u64) {
        if let Some(number) = self.send_queue.confirm(offset) {
            self.health.confirm(number);
            self.looks.soon();
        }
        self.idle = !self.send_queue.is_in_flight();
    }

    /// Reports a receiver that takes nothing more, but keeps the connection: it may only be slow.
    fn watch(&mut self, acknowledged: u64, now: Instant) {
        let moves = acknowledged > self.progress.acknowledged || acknowledged == self.wire.written();
        self.progress.acknowledged = acknowledged;
        if moves {
            self.progress.since = now;
            if std::mem::take(&mut self.progress.stalled) {
                self.health.up(0);
            }
        } else if !self.progress.stalled && now - self.progress.since >= self.progress.limit {
            self.progress.stalled = true;
            self.health.failing(&format_args!(
                "the receiver has acknowledged nothing for {:.0?} (send_timeout), {} bytes are unacknowledged",
                self.progress.limit,
                self.wire.written() - acknowledged,
            ));
        }
    }

    /// True if all that this connection is to carry has been written, and is confirmed if that is possible without closing.
    fn is_complete(&self) -> bool {
        match &self.batch {
            _ if !self.wire.is_unloaded() => false,
            None => self.send_queue.is_done(),
            Some(batch) => {
                self.send_queue.is_drained() || batch.is_full() || batch.due().is_some_and(|due| due <= Instant::now())
            }
        }
    }

    async fn finish(&mut self) -> Result<End, LinkError> {
        if self.batch.is_none() {
            timeout(GOODBYE, self.wire.close()).await.ok(); // all is confirmed; closing avoids an RST, which would destroy it
            return Ok(End::Closed);
        }
        select! {
            () = self.stop.cancelled() => return Ok(End::Stopped),
            closed = timeout(self.progress.limit, close_both_sides(&mut self.wire)) => {
                closed.map_err(|_| LinkError::NotClosed(self.progress.limit))??;
            }
        }
        self.health.up(self.again);
        self.confirm(self.wire.written());
        Ok(End::Closed)
    }
}

/// Closes both sides. A peer that closes with FIN when its kernel has acknowledged everything has read everything: with
/// bytes unread it would have sent RST.
async fn close_both_sides(wire: &mut Wire) -> Result<(), LinkError> {
    wire.close().await?;
    wire.settle_queue().await
}

impl Looks {
    fn soon(&mut self) {
        self.pause = LOOK_FIRST;
    }

    fn taken(&mut self, now: Instant) {
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(LOOK_CAP);
    }
}
