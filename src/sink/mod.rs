//! Sinks: the [`Sink`] trait, the bounded queue in front of each sink, and the confirmation of events.

mod batch;
mod block;
mod compression;
pub mod file;
pub mod forward;
pub mod http;
mod metadata;
pub mod rate;
pub mod registry;
mod rejections;
mod request;
pub mod stdout;
pub mod syslog;
mod worker;

use std::{fmt::Display, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use self::{
    block::{Block, BlockBuilder, Frame},
    metadata::Metadata,
    rejections::{Rejection, Rejections},
};
use crate::{deliver::busy::Busy, exit::Exit, net::Cause, steps::Failure};

/// A destination of events. Runs in its own task until its queue ends and everything is confirmed, until `stop` is
/// cancelled, or until a retry cannot help. Whatever may work later, it retries by itself, without end.
pub trait Sink: Send {
    fn run(
        self: Box<Self>,
        inlet: Inlet,
        status: Status,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), SinkError>>;
}

/// Receiving end of a sink's queue, by the block or by the frame.
///
/// A frame occupies the budget (`buffer.max_size`) from the moment it is queued until it is dropped. So a sink that keeps its
/// frames until they are confirmed bounds queue and replay window with one number, and applies backpressure to the readers.
#[derive(Debug)]
pub struct Inlet {
    blocks: mpsc::UnboundedReceiver<Block>,
    /// The rest of a block of which frames were taken.
    rest: Option<Block>,
}

impl Inlet {
    /// Waits for the next frame; `None` when all senders are gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.rest.as_mut().and_then(Block::split_first) {
                return Some(frame);
            }
            self.rest = Some(self.blocks.recv().await?);
        }
    }

    /// Returns the next frame if it is in the queue already.
    pub fn try_next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.rest.as_mut().and_then(Block::split_first) {
                return Some(frame);
            }
            self.rest = Some(self.blocks.try_recv().ok()?);
        }
    }

    /// Waits for the next block, for a sink that takes no single frames; `None` when all senders are gone. Cancel-safe.
    pub async fn next_block(&mut self) -> Option<Block> {
        self.blocks.recv().await
    }

    /// Returns the number of blocks in the queue.
    pub fn waiting(&self) -> usize {
        self.blocks.len() + usize::from(self.rest.is_some())
    }
}

/// Sending end of a sink's queue. Numbers frames; used by reader threads, which block while the queue is full.
#[derive(Debug)]
pub struct Outlet {
    blocks: mpsc::UnboundedSender<Block>,
    budget: Arc<Semaphore>,
    max_bytes: u32,
    /// The last number assigned. Locked from numbering to queueing, so that the order of the queue is that of the numbers.
    last: std::sync::Mutex<u64>,
}

/// Fill level of a queue.
#[derive(Debug, Clone)]
pub struct Level {
    budget: Arc<Semaphore>,
    max_bytes: u32,
}

impl Level {
    /// Returns the bytes of the frames that have not been dropped yet.
    pub fn bytes(&self) -> u64 {
        u64::from(self.max_bytes).saturating_sub(self.budget.available_permits() as u64)
    }
}

/// The sink has ended; nothing more can be sent to it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the sink has ended")]
pub struct Ended;

/// Creates a queue for at most `max_bytes` of unconfirmed frames.
pub fn queue(max_bytes: u32) -> (Outlet, Inlet) {
    let (sender, blocks) = mpsc::unbounded_channel();
    let outlet = Outlet {
        blocks: sender,
        budget: Arc::new(Semaphore::new(max_bytes as usize)),
        max_bytes,
        last: std::sync::Mutex::new(0),
    };
    (outlet, Inlet { blocks, rest: None })
}

impl Outlet {
    /// Queues one frame, and returns its number. Waits while the queue is full.
    pub async fn send(&self, bytes: Bytes, metadata: Metadata) -> Result<u64, Ended> {
        let mut block = BlockBuilder::default();
        block.push(metadata, |frame| frame.extend_from_slice(&bytes));
        self.send_block(&mut block).await
    }

    /// Queues all frames of `block`, which must not be empty, and returns the number of the last one. Waits while the queue is
    /// full; a block larger than the whole queue waits until it is empty. Cancel-safe: the frames are queued or still in `block`.
    pub async fn send_block(&self, block: &mut BlockBuilder) -> Result<u64, Ended> {
        let permit = tokio::select! {
            permit = self.budget.clone().acquire_many_owned(self.wanted(block)) => permit.map_err(|_| Ended)?,
            () = self.blocks.closed() => return Err(Ended),
        };
        self.number(block, permit)
    }

    /// Queues all frames of `block` if they fit now; `Ok(None)`: they do not fit, and are still in `block`.
    pub fn try_send_block(&self, block: &mut BlockBuilder) -> Result<Option<u64>, Ended> {
        match self.budget.clone().try_acquire_many_owned(self.wanted(block)) {
            Ok(permit) => self.number(block, permit).map(Some),
            Err(_) if self.blocks.is_closed() => Err(Ended),
            Err(_) => Ok(None),
        }
    }

    /// Returns the number of the last frame queued; 0 before the first.
    pub fn last(&self) -> u64 {
        *self.lock()
    }

    /// Returns a handle for the fill level, which does not keep the queue open.
    pub fn level(&self) -> Level {
        Level { budget: self.budget.clone(), max_bytes: self.max_bytes }
    }

    fn wanted(&self, block: &BlockBuilder) -> u32 {
        u32::try_from(block.len()).unwrap_or(u32::MAX).clamp(1, self.max_bytes)
    }

    fn number(&self, block: &mut BlockBuilder, permit: OwnedSemaphorePermit) -> Result<u64, Ended> {
        let mut last = self.lock();
        let block = block.build(*last + 1, permit);
        let number = block.last();
        self.blocks.send(block).map_err(|_| Ended)?;
        *last = number;
        Ok(number)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, u64> {
        self.last.lock().expect("nothing panics while it numbers frames")
    }
}

/// A sink's channel to the pipeline: confirmed and rejected events, and health.
#[derive(Debug, Clone)]
pub struct Status {
    confirmed: watch::Sender<u64>,
    rejections: Rejections,
    health: watch::Sender<Health>,
    held: Busy,
}

/// Health of a sink, for logs, readiness and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Starting,
    Up,
    /// The sink retries; `error` is the latest reason.
    Failing {
        error: Arc<str>,
    },
}

impl Status {
    pub fn new() -> (Self, watch::Receiver<u64>, watch::Receiver<Health>) {
        let (confirmed, confirmed_rx) = watch::channel(0);
        let (health, health_rx) = watch::channel(Health::Starting);
        (Self { confirmed, rejections: Rejections::default(), health, held: Busy::default() }, confirmed_rx, health_rx)
    }

    /// Returns the flag that the sink holds its next frame back for its own rate limit, with all frames before it
    /// confirmed: the time that this takes is not a stall of the receiver.
    pub fn held(&self) -> Busy {
        self.held.clone()
    }

    /// Returns the frames that the sink has rejected.
    pub fn rejections(&self) -> Rejections {
        self.rejections.clone()
    }

    /// Records that the receiver will never take this frame, because of `reason`: what was wrong with it, and what to do.
    /// Each frame is rejected at most once, before its number is confirmed: a rejected frame counts as dealt with, so that
    /// it holds up nothing behind it, and its mail is quarantined.
    pub fn reject(&self, frame: &Frame, reason: &dyn Display) {
        self.rejections.add(&frame.metadata, reason.to_string().into());
    }

    /// Records that everything up to and including `number` has arrived or was rejected. Numbers never go back.
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

/// Error that ended a sink for good.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The output can't be created (a folder that is missing, no permission). Exit 73.
    #[error("{0}")]
    CannotCreate(String, #[source] Cause),
    /// A write failed, and a retry cannot help. Exit 74.
    #[error("{0}")]
    CannotWrite(String, #[source] Cause),
    /// The reader of stdout is gone (EPIPE): stop, and settle nothing. Exit 74.
    #[error("the reader of stdout has closed it")]
    BrokenPipe,
    /// A certificate, key or other file of the configuration can't be used. Exit 78.
    #[error("{0}")]
    Configuration(String, #[source] Option<Cause>),
}

impl From<&SinkError> for Exit {
    fn from(error: &SinkError) -> Self {
        match error {
            SinkError::CannotCreate(..) => Exit::CannotCreate,
            SinkError::CannotWrite(..) | SinkError::BrokenPipe => Exit::Io,
            SinkError::Configuration(..) => Exit::Configuration,
        }
    }
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Self {
        Self::new(Exit::from(&error), error.to_string())
    }
}
