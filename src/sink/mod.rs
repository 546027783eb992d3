//! Where events go: the [`Sink`] trait, the bounded queue before each sink, and its way of confirming.

mod batch;
pub mod file;
pub mod rate;
pub mod stdout;
pub mod syslog;
mod worker;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::deliver::busy::Busy;

/// One destination. Runs in its own task until its queue ends and everything is confirmed, until `stop` is
/// cancelled, or until trying again cannot help. It retries by itself, for ever, what may work later.
pub trait Sink: Send {
    fn run(
        self: Box<Self>,
        inlet: Inlet,
        status: Status,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), SinkError>>;
}

/// One encoded event, framed for its sink; dropping it gives its bytes back to the queue's budget.
#[derive(Debug)]
pub struct Frame {
    /// Counts from 1 without gaps, in the order of the queue.
    pub number: u64,
    pub bytes: Bytes,
    /// The day-of-ingest of the event, seconds since 1970 UTC: what a `file` sink names its file by.
    pub ingest_second: i64,
    pub permit: OwnedSemaphorePermit,
}

/// The taking end of a sink's queue.
///
/// A frame occupies the budget (`buffer.max_size`) from the moment it is queued until it is dropped, so a sink that
/// keeps its frames until they are confirmed bounds queue and replay window with one number, and backs up its readers.
#[derive(Debug)]
pub struct Inlet {
    frames: mpsc::UnboundedReceiver<Frame>,
}

impl Inlet {
    /// The next frame; `None` when all senders are gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Frame> {
        self.frames.recv().await
    }

    /// Frames that are already there.
    pub fn waiting(&self) -> usize {
        self.frames.len()
    }

    /// A frame that is already there.
    pub fn try_next(&mut self) -> Option<Frame> {
        self.frames.try_recv().ok()
    }
}

/// The filling end of a sink's queue. Numbers frames; used by reader threads, which it blocks when the queue is full.
#[derive(Debug)]
pub struct Outlet {
    frames: mpsc::UnboundedSender<Frame>,
    budget: Arc<Semaphore>,
    max_bytes: u32,
    /// The last number given out. Locked from numbering to queueing, so that the queue's order is the numbers' order.
    last: std::sync::Mutex<u64>,
}

/// How full a queue is.
#[derive(Debug, Clone)]
pub struct Level {
    budget: Arc<Semaphore>,
    max_bytes: u32,
}

impl Level {
    /// Bytes of the frames that have not been dropped yet.
    pub fn bytes(&self) -> u64 {
        u64::from(self.max_bytes).saturating_sub(self.budget.available_permits() as u64)
    }
}

/// The sink has ended; nothing more can be sent to it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the sink has ended")]
pub struct Ended;

/// A queue of at most `max_bytes` of unconfirmed frames.
pub fn queue(max_bytes: u32) -> (Outlet, Inlet) {
    let (sender, frames) = mpsc::unbounded_channel();
    let outlet = Outlet {
        frames: sender,
        budget: Arc::new(Semaphore::new(max_bytes as usize)),
        max_bytes,
        last: std::sync::Mutex::new(0),
    };
    (outlet, Inlet { frames })
}

impl Outlet {
    /// Queues one frame and returns its number. Waits while the queue is full; an event larger than the whole
    /// queue waits until it is empty.
    pub async fn send(&self, bytes: Bytes, ingest_second: i64) -> Result<u64, Ended> {
        let permit = tokio::select! {
            permit = self.budget.clone().acquire_many_owned(self.wanted(&bytes)) => permit.map_err(|_| Ended)?,
            () = self.frames.closed() => return Err(Ended),
        };
        self.number(bytes, ingest_second, permit)
    }

    /// Queues one frame if it fits now; `Ok(None)`: it does not, and was not queued.
    pub fn try_send(&self, bytes: Bytes, ingest_second: i64) -> Result<Option<u64>, Ended> {
        match self.budget.clone().try_acquire_many_owned(self.wanted(&bytes)) {
            Ok(permit) => self.number(bytes, ingest_second, permit).map(Some),
            Err(_) if self.frames.is_closed() => Err(Ended),
            Err(_) => Ok(None),
        }
    }

    /// The number of the last frame queued, 0 before the first.
    pub fn last(&self) -> u64 {
        *self.lock()
    }

    /// For who wants to know how full the queue is. Does not keep it open.
    pub fn level(&self) -> Level {
        Level { budget: self.budget.clone(), max_bytes: self.max_bytes }
    }

    fn wanted(&self, bytes: &Bytes) -> u32 {
        u32::try_from(bytes.len()).unwrap_or(u32::MAX).clamp(1, self.max_bytes)
    }

    fn number(&self, bytes: Bytes, ingest_second: i64, permit: OwnedSemaphorePermit) -> Result<u64, Ended> {
        let mut last = self.lock();
        let number = *last + 1;
        self.frames.send(Frame { number, bytes, ingest_second, permit }).map_err(|_| Ended)?;
        *last = number;
        Ok(number)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, u64> {
        self.last.lock().expect("nothing panics while it numbers a frame")
    }
}

/// How a sink tells the pipeline what has arrived and how it is doing.
#[derive(Debug, Clone)]
pub struct Status {
    confirmed: watch::Sender<u64>,
    health: watch::Sender<Health>,
    held: Busy,
}

/// How a sink is doing, for logs, readiness and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Starting,
    Up,
    /// It keeps trying; `error` is the last reason.
    Failing {
        error: Arc<str>,
    },
}

impl Status {
    pub fn new() -> (Self, watch::Receiver<u64>, watch::Receiver<Health>) {
        let (confirmed, confirmed_rx) = watch::channel(0);
        let (health, health_rx) = watch::channel(Health::Starting);
        (Self { confirmed, health, held: Busy::default() }, confirmed_rx, health_rx)
    }

    /// Says that the sink holds its next frame back by itself, for its rate limit, and has all before it confirmed: nobody
    /// else is to blame for the time that this takes.
    pub fn held(&self) -> Busy {
        self.held.clone()
    }

    /// Everything up to and including `number` has arrived. Numbers never go back.
    pub fn confirm(&self, number: u64) {
        self.confirmed.send_if_modified(|confirmed| {
            let news = number > *confirmed;
            *confirmed = number.max(*confirmed);
            news
        });
    }

    pub fn report(&self, health: Health) {
        self.health.send_if_modified(|old| {
            let news = *old != health;
            *old = health;
            news
        });
    }
}

/// Why a sink ended for good.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The output can't be created (a folder that is missing, no permission). Exit 73.
    #[error("{0}")]
    CannotCreate(String),
    /// Writing failed in a way that another try won't mend. Exit 74.
    #[error("{0}")]
    CannotWrite(String),
    /// The reader of stdout has gone (EPIPE): stop, and settle nothing. Exit 74.
    #[error("nobody reads stdout any more")]
    BrokenPipe,
    /// A certificate, key or other file of the configuration can't be used. Exit 78.
    #[error("{0}")]
    Configuration(String),
}
