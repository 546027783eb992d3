//! From one event to the queues of the sinks that want it.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{runtime::Handle, time::timeout};

use crate::{
    config::sink::SinkConfig,
    deliver::tracker::Mark,
    encode::{Encoder, Host},
    event::{Event, EventType},
    ledger::Bookmark,
    sink::{Ended, Level, Outlet},
    source::Place,
};

/// One sink as the readers see it: what it takes, and its queue.
#[derive(Debug)]
pub struct Lane {
    pub name: Arc<str>,
    config: SinkConfig,
    outlet: Outlet,
    /// Its place among the required sinks; `None`: it never holds anything up.
    required: Option<usize>,
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
    scratch: Vec<u8>,
}

/// A reader that has waited so long for a sink gives back the memory that it can do without: long enough that a sink which
/// is only slow does not make it inflate the same again and again.
const MOMENT: Duration = Duration::from_millis(250);

/// A required sink has ended: nothing more can be delivered by this process.
#[derive(Debug, thiserror::Error)]
#[error("delivery has stopped")]
pub struct Stopped;

impl Lane {
    pub fn new(name: Arc<str>, config: SinkConfig, outlet: Outlet, required: Option<usize>) -> Self {
        Self { name, config, outlet, required, counts: Arc::default() }
    }

    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    pub fn is_required(&self) -> bool {
        self.required.is_some()
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

    fn takes_from(&self, source: &str) -> bool {
        self.config.inputs.is_empty() || self.config.inputs.iter().any(|input| input == source)
    }

    fn takes(&self, event_type: EventType) -> bool {
        self.config.events.is_empty() || self.config.events.contains(&event_type)
    }

    /// Queues one frame, waiting for room where the sink is required; `idle` is called when that takes long.
    fn queue(
        &self,
        frame: Bytes,
        second: i64,
        runtime: &Handle,
        bookmark: &Bookmark,
        idle: &dyn Fn(),
    ) -> Result<Option<u64>, Ended> {
        let bytes = frame.len() as u64;
        let queued = match self.outlet.try_send(frame.clone(), second) {
            Ok(None) if self.required.is_some() => {
                bookmark.pause();
                let queued = runtime.block_on(async {
                    let mut sending = pin!(self.outlet.send(frame, second));
                    match timeout(MOMENT, &mut sending).await {
                        Ok(queued) => queued,
                        Err(_) => {
                            idle();
                            sending.await
                        }
                    }
                });
                bookmark.resume();
                queued.map(Some)
            }
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
    /// `required` is how many required sinks there are in all.
    pub fn new<'a>(
        source: &str,
        lanes: impl Iterator<Item = &'a Arc<Lane>>,
        required: usize,
        host: &Host,
        runtime: Handle,
        bookmark: Bookmark,
    ) -> Self {
        let lanes = lanes
            .filter(|lane| lane.takes_from(source))
            .map(|lane| (lane.clone(), Encoder::new(&lane.config, host)))
            .collect();
        Self { lanes, runtime, mark: vec![0; required], bookmark, scratch: Vec::new() }
    }

    /// A mail begins: the mark is to be its own, so that one that sends nothing waits for nothing.
    pub fn begin(&mut self, mail: &Place) {
        self.mark.fill(0);
        self.bookmark.begin(mail);
    }

    /// That of the mail that was begun last.
    pub fn bookmark(&self) -> Bookmark {
        self.bookmark.clone()
    }

    /// No mail is being read any more.
    pub fn rest(&mut self) {
        self.bookmark.end();
    }

    /// Sends one event to every sink that takes it. Blocks while a required sink's queue is full; calls `idle` when that takes
    /// long, so that the reader gives back what it can do without meanwhile.
    pub fn emit(&mut self, event: &Event, idle: &dyn Fn()) -> Result<(), Stopped> {
        let second = event.provenance().ingest.as_second();
        for (lane, encoder) in &mut self.lanes {
            if !lane.takes(event.event_type()) {
                lane.counts.filtered.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.scratch.clear();
            encoder.encode(event, &mut self.scratch);
            let frame = Bytes::copy_from_slice(&self.scratch);
            match (lane.queue(frame, second, &self.runtime, &self.bookmark, idle), lane.required) {
                (Ok(Some(number)), Some(place)) => self.mark[place] = number,
                (Ok(Some(_)), None) => {}
                (Err(Ended), Some(_)) => return Err(Stopped),
                (Ok(None) | Err(Ended), _) => {
                    lane.counts.missed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    /// The last number that each required sink has given to an event since [`Emitter::begin`].
    pub fn mark(&self) -> Mark {
        self.mark.clone()
    }
}
