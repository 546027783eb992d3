//! Sink queues: encodes each event and queues it for every sink that takes it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
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
    sink::{Ended, Level, Metadata, Outlet},
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
    queues: Vec<(Arc<SinkQueue>, Encoder)>,
    runtime: Handle,
    /// The mail that is being read.
    mail: Option<MailId>,
    mark: Mark,
    bookmark: Bookmark,
    readers: Busy,
    /// Set while a mail is read and no sink is waited for.
    at_work: Option<AtWork>,
    scratch: Vec<u8>,
}

/// Time that a reader waits for a sink before it releases the memory that it can do without. Long enough that a sink which
/// is only slow does not make it inflate the same data again and again.
const MOMENT: Duration = Duration::from_millis(250);

/// A frame that waits for room in its sink's queue.
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

    /// Queues one frame and returns its number. If the queue is full, waits for room if the sink is required, and returns
    /// `None` otherwise.
    fn queue(
        &self,
        frame: Bytes,
        metadata: Metadata,
        wait: impl FnOnce(Sending<'_>) -> Result<u64, Ended>,
    ) -> Result<Option<u64>, Ended> {
        let bytes = frame.len() as u64;
        let queued = match self.outlet.try_send(frame.clone(), metadata.clone()) {
            Ok(None) if self.config.required => wait(Box::pin(self.outlet.send(frame, metadata))).map(Some),
            queued => queued,
        };
        if matches!(queued, Ok(Some(_))) {
            self.counts.queued.fetch_add(1, Ordering::Relaxed);
            self.counts.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        queued
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
        let queues = queues
            .filter(|queue| queue.config.takes_from(source))
            .map(|queue| (queue.clone(), Encoder::new(&queue.config, host)))
            .collect();
        let mark = vec![0; sinks];
        Self { queues, runtime, mail: None, mark, bookmark, readers, at_work: None, scratch: Vec::new() }
    }

    /// Starts a mail with a mark of its own, so that a mail that sends nothing to a sink does not wait for it.
    pub fn begin(&mut self, mail: MailId, place: &Place) {
        self.mail = Some(mail);
        self.mark.fill(0);
        self.at_work.get_or_insert_with(|| self.readers.begin());
        self.bookmark.begin(place);
    }

    /// Returns the bookmark of the mail that was begun last.
    pub fn bookmark(&self) -> Bookmark {
        self.bookmark.clone()
    }

    /// Records that no mail is being read any more.
    pub fn rest(&mut self) {
        self.mail = None;
        self.bookmark.end();
        self.at_work = None;
    }

    /// Sends one event to those of `recipients` that take its type. Blocks while a required sink's queue is full; calls
    /// `idle` when that takes long, so that the reader releases the memory that it can do without meanwhile.
    pub fn emit(&mut self, event: &Event, recipients: &Recipients<'_>, idle: &dyn Fn()) -> Result<(), Stopped> {
        let metadata = Metadata::of(event, self.mail);
        let rejecting_sink = match event {
            Event::IngestError(error) => error.rejecting_sink(),
            _ => None,
        };
        for (queue, encoder) in &mut self.queues {
            if !recipients.include(queue.number) || rejecting_sink == Some(&*queue.name) {
                continue;
            }
            if !queue.takes(event.event_type()) {
                queue.counts.filtered.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.scratch.clear();
            encoder.encode(event, &mut self.scratch);
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
            match queue.queue(Bytes::copy_from_slice(&self.scratch), metadata.clone(), wait) {
                Ok(Some(number)) => self.mark[queue.number] = number,
                Err(Ended) if queue.config.required => return Err(Stopped),
                Ok(None) | Err(Ended) => {
                    queue.counts.missed.fetch_add(1, Ordering::Relaxed);
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
