//! `file`: events appended to a file a day, confirmed when they are on the disk.
//!
//! The name is the strftime pattern of the day on which an event came in, UTC. A file is continued by later runs. What
//! a crash left unfinished at its end was never confirmed, so it is cut off, and its events come again.

mod layout;
mod pattern;
mod retention;
mod target;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use self::{
    pattern::Pattern,
    target::FileError,
    writer::{Retention, Writer},
};
use super::{Frame, Health, Inlet, Sink, SinkError, Status, batch::Batches, rate::RateLimit, worker::Worker};
use crate::{
    config::sink::{Codec, File},
    net::backoff::Backoff,
};

/// A sync costs some milliseconds: worth it for a thousand events, and no memory to speak of.
const BATCH_BYTES: usize = 1 << 20;

/// How often is synced while more is on its way.
const SYNC_EVERY: Duration = Duration::from_millis(20);
/// Nothing more is on its way when nothing has come for so long.
const LULL: Duration = Duration::from_millis(2);

/// How soon after midnight (UTC) old files go at the latest.
const SWEEP: Duration = Duration::from_secs(3600);

/// Appends events to files, each batch with one `fdatasync`.
pub struct FileSink {
    name: Arc<str>,
    config: File,
    codec: Codec,
    rate: RateLimit,
}

impl FileSink {
    pub fn new(name: impl Into<Arc<str>>, config: File, codec: Codec, rate: RateLimit) -> Self {
        Self { name: name.into(), config, codec, rate }
    }

    async fn drain(self, inlet: Inlet, status: Status) -> Result<(), SinkError> {
        let pattern = Pattern::new(&self.config.path).map_err(SinkError::Configuration)?;
        let retention =
            self.config.retention_days.map(|days| Retention { pattern: pattern.clone(), days, swept: None });
        let writer = Writer::new(self.name, self.codec, retention);
        let worker = Worker::start("file sink", writer)
            .map_err(|error| SinkError::CannotWrite(format!("can't start the file sink's thread: {error}")))?;
        let mut files =
            Files { worker, status, backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(30)) };
        let today = pattern.path_at(Timestamp::now().as_second());
        files.until_done(cannot_create, move |writer| writer.prepare(&today)).await?;

        let mut batches = Batches::new(inlet, self.rate, &files.status, BATCH_BYTES);
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

/// The file that events go to which come in `at` this time, by the pattern `path`.
pub fn path_at(path: &Path, at: Timestamp) -> Result<PathBuf, SinkError> {
    Ok(Pattern::new(path).map_err(SinkError::Configuration)?.path_at(at.as_second()))
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

/// The writing thread, and how it is doing.
struct Files {
    worker: Worker<Writer>,
    status: Status,
    backoff: Backoff,
}

impl Files {
    /// Writes a batch, each day's events to their file, and confirms it.
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

    /// Has the thread do `job` again and again until it succeeds, or until it makes no sense to go on.
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

/// The frames of each file, in their order.
fn by_path(batch: &[Frame], pattern: &Pattern) -> Vec<(PathBuf, Vec<Bytes>)> {
    let mut files: Vec<(PathBuf, Vec<Bytes>)> = Vec::new();
    let mut last: Option<(i64, usize)> = None;
    for frame in batch {
        let index = match last {
            Some((second, index)) if second == frame.ingest_second => index,
            _ => {
                let path = pattern.path_at(frame.ingest_second);
                files.iter().position(|(known, _)| *known == path).unwrap_or_else(|| {
                    files.push((path, Vec::new()));
                    files.len() - 1
                })
            }
        };
        files[index].1.push(frame.bytes.clone());
        last = Some((frame.ingest_second, index));
    }
    files
}

/// Before the first event: what only a person can mend ends the sink, so that it is seen at the start.
fn cannot_create(error: FileError) -> Result<String, SinkError> {
    match error {
        FileError::NotOurs { .. } => Err(SinkError::CannotWrite(error.to_string())),
        _ if error.needs_a_person() => Err(SinkError::CannotCreate(format!(
            "{error}; give the sink a path in a folder that this user may write to, or let it write there"
        ))),
        _ => Ok(format!("{error}; trying again")),
    }
}

/// Later: a folder that is away or a disk that is full comes back, and nobody may be there to start the sink again.
fn cannot_write(error: FileError) -> Result<String, SinkError> {
    match error {
        FileError::NotOurs { .. } => Err(SinkError::CannotWrite(error.to_string())),
        FileError::Io { .. } => Ok(format!("{error}; trying again")),
    }
}

fn gone(gone: super::worker::Gone) -> SinkError {
    SinkError::CannotWrite(gone.to_string())
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;
