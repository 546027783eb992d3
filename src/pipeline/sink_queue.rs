//! Sink queues: encodes each event for every sink that takes it, and queues the events by the block.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{runtime::Handle, time::timeout};

use crate::{
    config::sink::SinkConfig,
    deliver::{
        MailId,
        busy::{AtWork, Busy},
        tracker::Mark,
    },
    encode::{Encoder, Host},
    event::{Event, EventType},
    ledger::Bookmark,
    pipeline::missing::Recipients,
    sink::{BlockBuilder, Ended, Level, Metadata, Outlet},
    source::Place,
};

/// A sink as seen by the readers: its configuration and its queue.
#[derive(Debug)]
pub struct SinkQueue {
    pub name: Arc<str>,
    config: SinkConfig,
    outlet: Outlet,
    /// Index of the sink among all sinks, as in a [`Mark`].
    number: usize,
    counts: Arc<Counts>,
}

/// Counters of one sink. Separate from the queue: when the queue is dropped, the sink knows that no more events come.
#[derive(Debug, Default)]
pub struct Counts {
    pub queued: AtomicU64,
    pub queued_bytes: AtomicU64,
    /// Events of types that the sink's option `events` does not list.
    pub filtered: AtomicU64,
    /// Events dropped because the queue was full or the sink had ended; only sinks that are not required miss any.
    pub missed: AtomicU64,
}

/// The sink queues of one source, each with an encoder of its own. Lives on the thread that reads the source's mails.
pub struct Emitter {
    lanes: Vec<Lane>,
    runtime: Handle,
    /// The mail that is being read.
    mail: Option<MailId>,
    mark: Mark,
    bookmark: Bookmark,
    readers: Busy,
    /// Set while a mail is read and no sink is waited for.
    at_work: Option<AtWork>,
}

/// The way to one sink.
struct Lane {
    queue: Arc<SinkQueue>,
    encoder: Encoder,
    /// Rows of the document that is being read, to be queued together. Not in the queue's budget yet.
    block: BlockBuilder,
    /// Size of `block` in bytes from which it is queued.
    block_bytes: usize,
}

/// Size in bytes from which a block is queued. A message to another thread and a write to a socket cost some microseconds,
/// which these bytes outweigh: some thirty rows, more than most reports have.
const BLOCK_BYTES: usize = 64 << 10;

/// Minimum number of blocks that a queue has room for, so that its sink works while the reader fills the next block.
const BLOCKS_IN_QUEUE: usize = 4;

/// Time that a reader waits for a sink before it releases the memory that it can do without. Long enough that a sink which
/// is only slow does not make it inflate the same data again and again.
const MOMENT: Duration = Duration::from_millis(250);

/// A block that waits for room in its sink's queue.
type Sending<'a> = BoxFuture<'a, Result<u64, Ended>>;

/// A required sink has ended: nothing more can be delivered by this process.
#[derive(Debug, thiserror::Error)]
#[error("delivery has stopped")]
pub struct Stopped;

impl SinkQueue {
    pub fn new(name: Arc<str>, config: SinkConfig, outlet: Outlet, number: usize) -> Self {
        Self { name, config, outlet, number, counts: Arc::default() }
    }

    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    pub fn is_required(&self) -> bool {
        self.config.required
    }

    /// Returns the number of the last event that was queued for the sink.
    pub fn last(&self) -> u64 {
        self.outlet.last()
    }

    pub fn config(&self) -> &SinkConfig {
        &self.config
    }

    pub fn level(&self) -> Level {
        self.outlet.level()
    }

    fn takes(&self, event_type: EventType) -> bool {
        self.config.events.is_empty() || self.config.events.contains(&event_type)
    }

    /// Queues a block and empties it. If the queue is full and the sink is not required, the events are dropped; if it is
    /// required, they stay in the block unless `wait` waits for room. Returns the number of the last event.
    fn queue(
        &self,
        block: &mut BlockBuilder,
        wait: Option<impl FnOnce(Sending<'_>) -> Result<u64, Ended>>,
    ) -> Result<Option<u64>, Stopped> {
        let (events, bytes) = (block.frames() as u64, block.len() as u64);
        let queued = match (self.outlet.try_send_block(block), wait) {
            (Ok(None), Some(wait)) if self.config.required => wait(Box::pin(self.outlet.send_block(block))).map(Some),
            (queued, _) => queued,
        };
        match queued {
            Ok(Some(_)) => {
                self.counts.queued.fetch_add(events, Ordering::Relaxed);
                self.counts.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Err(Ended) if self.config.required => return Err(Stopped),
            Ok(None) if self.config.required => {}
            Ok(None) | Err(Ended) => {
                self.counts.missed.fetch_add(events, Ordering::Relaxed);
                block.clear();
            }
        }
        Ok(queued.unwrap_or_default())
    }
}

impl Emitter {
    /// `sinks` is the total number of sinks.
    pub fn new<'a>(
        source: &str,
        queues: impl Iterator<Item = &'a Arc<SinkQueue>>,
        sinks: usize,
        host: &Host,
        runtime: Handle,
        bookmark: Bookmark,
        readers: Busy,
    ) -> Self {
        let lanes =
            queues.filter(|queue| queue.config.takes_from(source)).map(|queue| Lane::new(queue, host)).collect();
        Self { lanes, runtime, mail: None, mark: vec![0; sinks], bookmark, readers, at_work: None }
    }

    /// Starts a mail with a mark of its own, so that a mail that sends nothing to a sink does not wait for it.
    pub fn begin(&mut self, mail: MailId, place: &Place) {
        self.mail = Some(mail);
        self.mark.fill(0);
        // Rows of a mail that was abandoned: they are read again.
        self.lanes.iter_mut().for_each(|lane| lane.block.clear());
        self.at_work.get_or_insert_with(|| self.readers.begin());
        self.bookmark.begin(place);
    }

    /// Returns the bookmark of the mail that was begun last.
    pub fn bookmark(&self) -> Bookmark {
        self.bookmark.clone()
    }

    /// Records that no mail is being read any more.
    pub fn rest(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.block = BlockBuilder::default());
        self.mail = None;
        self.bookmark.end();
        self.at_work = None;
    }

    /// Sends one event to those of `recipients` that take its type. A row may wait for the next rows of its document, but only
    /// while the reader works: all are queued when a block is full, before a sink is waited for, and with the event after
    /// the last row. Blocks while a required sink's queue is full; calls `idle` when that takes long, so that the reader
    /// releases the memory that it can do without meanwhile.
    pub fn emit(&mut self, event: &Event, recipients: &Recipients<'_>, idle: &dyn Fn()) -> Result<(), Stopped> {
        let metadata = Metadata::of(event, self.mail);
        let rejecting_sink = match event {
            Event::IngestError(error) => error.rejecting_sink(),
            _ => None,
        };
        let mut is_due = !is_row(event);
        for lane in &mut self.lanes {
            let queue = &lane.queue;
            if !recipients.include(queue.number) || rejecting_sink == Some(&*queue.name) {
                continue;
            }
            if !queue.takes(event.event_type()) {
                queue.counts.filtered.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            lane.block.push(metadata.clone(), |frame| lane.encoder.encode(event, frame));
            is_due |= lane.block.len() >= lane.block_bytes;
        }
        if is_due { self.flush(idle) } else { Ok(()) }
    }

    /// Queues the rows that wait for others, so that [`Emitter::mark`] includes them. Blocks as [`Emitter::emit`] does.
    pub fn flush(&mut self, idle: &dyn Fn()) -> Result<(), Stopped> {
        // First those that there is room for, so that they do not wait for another sink.
        for may_wait in [false, true] {
            for Lane { queue, block, .. } in self.lanes.iter_mut().filter(|lane| !lane.block.is_empty()) {
                let wait = |mut sending: Sending<'_>| {
                    self.bookmark.pause();
                    self.at_work = None;
                    let queued = self.runtime.block_on(async {
                        match timeout(MOMENT, &mut sending).await {
                            Ok(queued) => queued,
                            Err(_) => {
                                idle();
                                sending.await
                            }
                        }
                    });
                    self.at_work = Some(self.readers.begin());
                    self.bookmark.resume();
                    queued
                };
                if let Some(number) = queue.queue(block, may_wait.then_some(wait))? {
                    self.mark[queue.number] = number;
                }
            }
        }
        Ok(())
    }

    /// Returns for each sink the number of the last event queued since [`Emitter::begin`]; 0 if there was none.
    pub fn mark(&self) -> &Mark {
        &self.mark
    }
}

impl Lane {
    fn new(queue: &Arc<SinkQueue>, host: &Host) -> Self {
        let block_bytes = BLOCK_BYTES.min(queue.config.buffer_max_size as usize / BLOCKS_IN_QUEUE);
        let encoder = Encoder::new(&queue.config, host);
        Self { queue: queue.clone(), encoder, block: BlockBuilder::default(), block_bytes }
    }
}

/// True for an event that another one of the same document follows.
fn is_row(event: &Event) -> bool {
    match event {
        Event::Aggregate(_) | Event::TlsRpt(_) | Event::Failure(_) => true,
        Event::Report(_) | Event::IngestError(_) | Event::Probe(_) => false,
    }
}

#[cfg(test)]
mod tests;
