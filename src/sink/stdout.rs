//! `stdout` sink: writes frames, which are whole lines, to the standard output of this process.
//!
//! A written line counts as arrived: nothing more can be known than that the pipe took it.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    sync::Arc,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Frame, Health, Inlet, Sink, SinkError, Status,
    batch::{Batches, Limits},
    rate::RateLimit,
    registry::{Kind, Probe},
    worker::Worker,
};
use crate::{
    config::sink::{SinkConfig, SinkKind, Stdout},
    exit::Exit,
    net::backoff::{Backoff, LOCAL_OUTPUT},
    stdio,
    steps::{PROBE, Steps},
};

/// Capacity of a pipe on Linux, in bytes: a larger write would only wait for the reader.
const WRITE_BYTES: usize = 64 << 10;

/// Sink that writes frames to standard output, up to 64 KiB at a time.
pub struct StdoutSink {
    rate: RateLimit,
    /// Output to write to instead of standard output.
    output: Option<File>,
}

impl Kind for Stdout {
    fn build(&self, _: Arc<str>, config: &SinkConfig) -> Box<dyn Sink> {
        Box::new(StdoutSink::new(RateLimit::new(&config.rate)))
    }

    fn check<'a>(&'a self, steps: &'a mut Steps) -> BoxFuture<'a, Option<Probe>> {
        steps.plan([PROBE]);
        let arrived = if stdio::output().is_ok_and(stdio::discards) {
            "was written to stdout, which is /dev/null: every event sent there is discarded"
        } else {
            "was written to stdout, which does not prove that its reader got it"
        };
        let probe = Probe {
            kind: SinkKind::Stdout(self.clone()),
            arrived,
            exit: Exit::Io,
            advice: "check whether the disk is full or failing",
            scratch: None,
        };
        Box::pin(async { Some(probe) })
    }
}

impl StdoutSink {
    pub fn new(rate: RateLimit) -> Self {
        Self { rate, output: None }
    }

    /// Creates a sink that writes to `output` instead: a pipe, a socket, a file.
    pub fn onto(output: File, rate: RateLimit) -> Self {
        Self { rate, output: Some(output) }
    }

    async fn drain(self, inlet: Inlet, status: Status) -> Result<(), SinkError> {
        let output = self.output.map_or_else(stdio::output, Ok).map_err(cannot_write)?;
        if stdio::discards(&output) {
            warn!("stdout is /dev/null: events are discarded, and count as shipped");
        }
        let worker = Worker::start("stdout", Output { file: output, rest: Bytes::new() }).map_err(cannot_write)?;
        let mut batches = Batches::new(inlet, self.rate, &status, Limits::of_bytes(WRITE_BYTES));
        let mut backoff = Backoff::new(LOCAL_OUTPUT);
        status.report(Health::Up);
        while let Some(batch) = batches.next().await {
            let bytes = joined(&batch);
            let mut written = worker.call(move |output| output.write(bytes)).await;
            while let Err(error) = written.map_err(|gone| SinkError::CannotWrite(gone.to_string(), gone.into()))? {
                if !may_pass(&error) {
                    return Err(ended_by(error));
                }
                let error = format!("can't write to stdout: {error}; trying again").into();
                status.report(Health::Failing { error });
                tokio::time::sleep(backoff.delay()).await;
                written = worker.call(Output::resume).await;
            }
            backoff.reset();
            status.report(Health::Up);
            if let Some(last) = batch.last() {
                status.confirm(last.number);
            }
        }
        Ok(())
    }
}

impl Sink for StdoutSink {
    fn run(
        self: Box<Self>,
        inlet: Inlet,
        status: Status,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), SinkError>> {
        Box::pin(async move { stop.run_until_cancelled(self.drain(inlet, status)).await.unwrap_or(Ok(())) })
    }
}

/// The output, and the rest of the last write that it has not taken yet.
struct Output {
    file: File,
    rest: Bytes,
}

impl Output {
    fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.rest = bytes;
        self.resume()
    }

    /// Continues where the last write ended, even in the middle of a line.
    fn resume(&mut self) -> io::Result<()> {
        while !self.rest.is_empty() {
            match self.file.write(&self.rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => drop(self.rest.split_to(taken)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A process that shares the other end, such as a parent's event loop, may have made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => wait_until_writable(&self.file)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn wait_until_writable(file: &File) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    match poll(&mut [PollFd::new(file, PollFlags::OUT)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn joined(batch: &[Frame]) -> Bytes {
    match batch {
        [only] => only.bytes.clone(),
        _ => batch.iter().map(|frame| &*frame.bytes).collect::<Vec<_>>().concat().into(),
    }
}

/// True if a retry can help: stdout is redirected to a disk that is full or fails. Later lines wait.
fn may_pass(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::NOMEM | Errno::NOBUFS)
    )
}

fn ended_by(error: io::Error) -> SinkError {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => SinkError::BrokenPipe,
        _ => cannot_write(error),
    }
}

fn cannot_write(error: io::Error) -> SinkError {
    let text = format!("can't write to stdout: {error}; expected a pipe, terminal or file that is open");
    SinkError::CannotWrite(text, error.into())
}

#[cfg(test)]
mod tests;
