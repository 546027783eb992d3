//! A thread for calls that may block for ever, such as a write to a pipe that nobody reads or to an NFS mount whose server
//! is down.

use std::{io, thread};

use tokio::sync::{mpsc, oneshot};

/// A thread that owns a `T` and runs one job after the other with it.
///
/// Not a task of the runtime: the runtime waits for its blocking tasks when the process ends. If this is dropped while a
/// job blocks, the thread is left behind, and ends after that job.
pub(super) struct Worker<T> {
    jobs: mpsc::UnboundedSender<Job<T>>,
}

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// Error: the thread has panicked.
#[derive(Debug, thiserror::Error)]
#[error("the writing thread has ended; this is a bug")]
pub(super) struct Gone;

impl<T: Send + 'static> Worker<T> {
    pub(super) fn start(name: &str, mut owned: T) -> io::Result<Self> {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job<T>>();
        thread::Builder::new().name(name.into()).spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                job(&mut owned);
            }
        })?;
        Ok(Self { jobs })
    }

    /// Runs `job` on the thread. The job is run even if the returned future is dropped.
    pub(super) async fn call<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        let (answer, answered) = oneshot::channel();
        let job = move |owned: &mut T| {
            answer.send(job(owned)).ok(); // ignored: nobody waits any more, as the sink was stopped
        };
        self.jobs.send(Box::new(job)).map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }
}
