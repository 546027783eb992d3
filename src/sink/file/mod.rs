//! `file` sink: appends events to one file per day; they are confirmed when they are on the disk.
//!
//! The name is the strftime pattern of the day on which an event came in, UTC. Later runs continue a file. A write that a
//! crash left incomplete at its end was never confirmed, so it is cut off, and its events are sent again.

mod check;
mod layout;
mod members;
mod pattern;
mod retention;
mod target;
mod writer;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use self::{
    layout::Layout,
    pattern::Pattern,
    target::FileError,
    writer::{Retention, Writer},
};
use super::{
    Frame, Health, Inlet, Sink, SinkError, Status,
    batch::{Batches, Limits},
    rate::RateLimit,
    registry::{Kind, Probe},
    worker::Worker,
};
use crate::{
    config::sink::{Codec, File, SinkConfig},
    net::backoff::{Backoff, LOCAL_OUTPUT},
    steps::Steps,
};

/// Maximum batch in bytes. A sync costs some milliseconds: a batch is worth it with a thousand events, and takes little memory.
const BATCH_BYTES: usize = 1 << 20;

/// Interval between syncs while more events keep coming.
const SYNC_EVERY: Duration = Duration::from_millis(20);
/// Time without new events after which a batch is written.
const LULL: Duration = Duration::from_millis(2);

/// Interval of the check for old files: maximum time after midnight (UTC) until they are deleted.
const SWEEP: Duration = Duration::from_secs(3600);

/// Sink that appends events to files, each batch with one `fdatasync`.
pub struct FileSink {
    name: Arc<str>,
    config: File,
    codec: Codec,
    rate: RateLimit,
}

impl Kind for File {
    fn build(&self, name: Arc<str>, config: &SinkConfig) -> Box<dyn Sink> {
        Box::new(FileSink::new(name, self.clone(), config.encoding.codec, RateLimit::new(&config.rate)))
    }

    fn check<'a>(&'a self, steps: &'a mut Steps) -> BoxFuture<'a, Option<Probe>> {
        Box::pin(check::check(self, steps))
    }
}

impl FileSink {
    pub fn new(name: impl Into<Arc<str>>, config: File, codec: Codec, rate: RateLimit) -> Self {
        Self { name: name.into(), config, codec, rate }
    }

    async fn drain(self, inlet: Inlet, status: Status) -> Result<(), SinkError> {
        let pattern = Pattern::new(&self.config.path).map_err(|why| SinkError::Configuration(why, None))?;
        let retention =
            self.config.retention_days.map(|days| Retention { pattern: pattern.clone(), days, swept: None });
        let layout = Layout { codec: self.codec, compression: self.config.compression };
        let writer = Writer::new(self.name, layout, retention);
        let worker = Worker::start("file sink", writer).map_err(|error| {
            SinkError::CannotWrite(format!("can't start the file sink's thread: {error}"), error.into())
        })?;
        let mut files = Files { worker, status, backoff: Backoff::new(LOCAL_OUTPUT) };
        let today = pattern.path_at(Timestamp::now().as_second());
        files.until_done(cannot_create, move |writer| writer.prepare(&today)).await?;

        let mut batches = Batches::new(inlet, self.rate, &files.status, Limits::of_bytes(BATCH_BYTES));
        files.sweep().await?;
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut synced: Option<Instant> = None;
        loop {
            let next = async {
                if let Some(synced) = synced {
                    batches.gather(LULL, synced + SYNC_EVERY).await;
                }
                batches.next().await
            };
            tokio::select! {
                biased;
                _ = sweep.tick() => files.sweep().await?,
                batch = next => match batch {
                    Some(batch) => files.write(&batch, &pattern).await?,
                    None => return Ok(()),
                }
            }
            synced = Some(Instant::now());
        }
    }
}

impl Sink for FileSink {
    fn run(
        self: Box<Self>,
        inlet: Inlet,
        status: Status,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), SinkError>> {
        Box::pin(async move { stop.run_until_cancelled(self.drain(inlet, status)).await.unwrap_or(Ok(())) })
    }
}

/// The writing thread, and its health.
struct Files {
    worker: Worker<Writer>,
    status: Status,
    backoff: Backoff,
}

impl Files {
    /// Writes a batch, the events of each day to their file, and confirms it.
    async fn write(&mut self, batch: &[Frame], pattern: &Pattern) -> Result<(), SinkError> {
        for (path, frames) in by_path(batch, pattern) {
            let frames: Arc<[Bytes]> = frames.into();
            self.until_done(cannot_write, move |writer| writer.append(&path, &frames)).await?;
        }
        if let Some(last) = batch.last() {
            self.status.confirm(last.number);
        }
        Ok(())
    }

    /// Deletes old files, unless that was done today.
    async fn sweep(&self) -> Result<(), SinkError> {
        self.worker.call(|writer| writer.sweep(Timestamp::now())).await.map_err(gone)
    }

    /// Runs `job` on the thread until it succeeds, or until `verdict` makes its error a permanent one.
    async fn until_done(
        &mut self,
        verdict: fn(FileError) -> Result<String, SinkError>,
        job: impl Fn(&mut Writer) -> Result<(), FileError> + Clone + Send + 'static,
    ) -> Result<(), SinkError> {
        while let Err(error) = self.worker.call(job.clone()).await.map_err(gone)? {
            let error = verdict(error)?.into();
            self.status.report(Health::Failing { error });
            sleep(self.backoff.delay()).await;
        }
        self.backoff.reset();
        self.status.report(Health::Up);
        Ok(())
    }
}

/// Returns the frames of each file, in order.
fn by_path(batch: &[Frame], pattern: &Pattern) -> Vec<(PathBuf, Vec<Bytes>)> {
    let mut files: Vec<(PathBuf, Vec<Bytes>)> = Vec::new();
    let mut last: Option<(i64, usize)> = None;
    for frame in batch {
        let second = frame.metadata.ingest_second();
        let index = match last {
            Some((known, index)) if known == second => index,
            _ => {
                let path = pattern.path_at(second);
                files.iter().position(|(known, _)| *known == path).unwrap_or_else(|| {
                    files.push((path, Vec::new()));
                    files.len() - 1
                })
            }
        };
        files[index].1.push(frame.bytes.clone());
        last = Some((second, index));
    }
    files
}

/// Classifies an error before the first event: what only a person can fix ends the sink, so that it is noticed at the start.
fn cannot_create(error: FileError) -> Result<String, SinkError> {
    match error {
        FileError::NotOurs { .. } => Err(SinkError::CannotWrite(error.to_string(), error.into())),
        _ if error.needs_a_person() => {
            let text =
                format!("{error}; give the sink a path in a folder that this user may write to, or let it write there");
            Err(SinkError::CannotCreate(text, error.into()))
        }
        _ => Ok(format!("{error}; trying again")),
    }
}

/// Classifies an error after the start: a folder that is unmounted or a full disk may recover, and nobody may be there to
/// restart the sink.
fn cannot_write(error: FileError) -> Result<String, SinkError> {
    match error {
        FileError::NotOurs { .. } => Err(SinkError::CannotWrite(error.to_string(), error.into())),
        FileError::Io { .. } => Ok(format!("{error}; trying again")),
    }
}

fn gone(gone: super::worker::Gone) -> SinkError {
    SinkError::CannotWrite(gone.to_string(), gone.into())
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;
