//! From one event to the queues of the sinks that want it.

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
        busy::{AtWork, Busy},
        tracker::Mark,
    },
    encode::{Encoder, Host},
    event::{Event, EventType},
    ledger::Bookmark,
    pipeline::missing::Recipients,
    sink::{Ended, Level, Outlet},
    source::Place,
};

/// One sink as the readers see it: what it takes, and its queue.
#[derive(Debug)]
pub struct Lane {
    pub name: Arc<str>,
    config: SinkConfig,
    outlet: Outlet,
    /// Its number among all sinks, as in a [`Mark`].
    number: usize,
    counts: Arc<Counts>,
}

/// What is counted of a sink. Apart from the lane, whose end is the sink's sign that no more is to come.
#[derive(Debug, Default)]
pub struct Counts {
    pub queued: AtomicU64,
    pub queued_bytes: AtomicU64,
    /// Events that its `events` don't name.
    pub filtered: AtomicU64,
    /// Events that did not fit while it was slow or away; only an optional sink misses any.
    pub missed: AtomicU64,
}

/// The lanes of one source, with encoders of its own. Lives on the thread that reads its mails.
pub struct Emitter {
    lanes: Vec<(Arc<Lane>, Encoder)>,
    runtime: Handle,
    mark: Mark,
    bookmark: Bookmark,
    readers: Busy,
    /// While a mail is read, and no sink is waited for.
    at_work: Option<AtWork>,
    scratch: Vec<u8>,
}

/// A reader that has waited so long for a sink gives back the memory that it can do without: long enough that a sink which
/// is only slow does not make it inflate the same again and again.
const MOMENT: Duration = Duration::from_millis(250);

/// A frame that waits for room in its sink's queue.
type Sending<'a> = BoxFuture<'a, Result<u64, Ended>>;

/// A required sink has ended: nothing more can be delivered by this process.
#[derive(Debug, thiserror::Error)]
#[error("delivery has stopped")]
pub struct Stopped;

impl Lane {
    pub fn new(name: Arc<str>, config: SinkConfig, outlet: Outlet, number: usize) -> Self {
        Self { name, config, outlet, number, counts: Arc::default() }
    }

    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    pub fn is_required(&self) -> bool {
        self.config.required
    }

    /// The number of the last event that was queued for it.
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

    /// Queues one frame, waiting for room where the sink is required.
    fn queue(
        &self,
        frame: Bytes,
        second: i64,
        wait: impl FnOnce(Sending<'_>) -> Result<u64, Ended>,
    ) -> Result<Option<u64>, Ended> {
        let bytes = frame.len() as u64;
        let queued = match self.outlet.try_send(frame.clone(), second) {
            Ok(None) if self.config.required => wait(Box::pin(self.outlet.send(frame, second))).map(Some),
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
    /// `sinks` is the number of all sinks.
    pub fn new<'a>(
        source: &str,
        lanes: impl Iterator<Item = &'a Arc<Lane>>,
        sinks: usize,
        host: &Host,
        runtime: Handle,
        bookmark: Bookmark,
        readers: Busy,
    ) -> Self {
        let lanes = lanes
            .filter(|lane| lane.config.takes_from(source))
            .map(|lane| (lane.clone(), Encoder::new(&lane.config, host)))
            .collect();
        Self { lanes, runtime, mark: vec![0; sinks], bookmark, readers, at_work: None, scratch: Vec::new() }
    }

    /// A mail begins: the mark is to be its own, so that one that sends nothing waits for nothing.
    pub fn begin(&mut self, mail: &Place) {
        self.mark.fill(0);
        self.at_work.get_or_insert_with(|| self.readers.begin());
        self.bookmark.begin(mail);
    }

    /// That of the mail that was begun last.
    pub fn bookmark(&self) -> Bookmark {
        self.bookmark.clone()
    }

    /// No mail is being read any more.
    pub fn rest(&mut self) {
        self.bookmark.end();
        self.at_work = None;
    }

    /// Sends one event to those of `recipients` that take it. Blocks while a required sink's queue is full; calls `idle` when
    /// that takes long, so that the reader gives back what it can do without meanwhile.
    pub fn emit(&mut self, event: &Event, recipients: &Recipients<'_>, idle: &dyn Fn()) -> Result<(), Stopped> {
        let second = event.provenance().ingest.as_second();
        for (lane, encoder) in &mut self.lanes {
            if !recipients.include(lane.number) {
                continue;
            }
            if !lane.takes(event.event_type()) {
                lane.counts.filtered.fetch_add(1, Ordering::Relaxed);
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
            match lane.queue(Bytes::copy_from_slice(&self.scratch), second, wait) {
                Ok(Some(number)) => self.mark[lane.number] = number,
                Err(Ended) if lane.config.required => return Err(Stopped),
                Ok(None) | Err(Ended) => {
                    lane.counts.missed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    /// The last number that each sink has given to an event since [`Emitter::begin`].
    pub fn mark(&self) -> &Mark {
        &self.mark
    }
}
