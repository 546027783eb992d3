//! Sources of mails: the [`Source`] trait, and the data that passes between a source and the pipeline.

pub mod files;
pub mod imap;
mod place;
pub mod registry;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

pub use self::place::Place;
use crate::{exit::Exit, steps::Failure, trouble::Trouble};

/// A place that mails or report files are read from. Runs in its own task, and ends when its work is done (`once`), when
/// `intake.stop` is cancelled and its mails are settled, or when a retry cannot help.
pub trait Source: Send {
    /// The name that the user gave it; the `source` key of its events.
    fn name(&self) -> &str;

    fn run(self: Box<Self>, intake: Intake) -> BoxFuture<'static, Result<Pass, SourceError>>;
}

/// A source's connection to the pipeline.
pub struct Intake {
    mails: mpsc::Sender<Mail>,
    verdicts: mpsc::UnboundedReceiver<(MailRef, Verdict)>,
    budget: Arc<Semaphore>,
    budget_bytes: u32,
    context: Arc<dyn SourceContext>,
    /// Make one pass over what is there now, then end.
    pub once: bool,
    /// Dry run: open read-only, change nothing, and log what would be done.
    pub dry_run: bool,
    /// Cancelled when the process stops: take no more mails, settle what was handed over, end.
    pub stop: CancellationToken,
}

/// Number of places that a source asks about at once: some hundred bytes each, so that even a mailbox of a million mails costs
/// little memory. Larger look-ups are not faster.
pub const PLACES_AT_ONCE: usize = 1_000;

/// Status of a mail or file in the ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlaceStatus {
    /// True if it was dealt with before and is not to be read again.
    pub is_known: bool,
    /// Time at which a pass last ended in a stall that it may have caused. Such mails are handed over after all others,
    /// those with the oldest time first.
    pub suspected: Option<Timestamp>,
}

/// The pipeline as its sources see it: what is known of mails and files, and where sources report their state and counts.
pub trait SourceContext: Send + Sync {
    /// Looks up the mails at `places`; returns one status for each, in the same order.
    fn look_up(&self, places: Vec<Place>) -> BoxFuture<'static, Vec<PlaceStatus>>;

    /// Reports that a source has asked about every mail that lies where it looks.
    fn looked_through(&self, _source: &str) {}

    /// Reports that `mails` more mails were found that will be read.
    fn expects(&self, _mails: u64) {}

    /// Reports that a source can't do its work for now, and will retry.
    fn troubled(&self, _source: &str, _why: &str) {}

    /// True if all of it is lost when the process ends: a source then marks the mails that it leaves, where it can.
    fn forgets(&self) -> bool {
        false
    }

    /// True if everything is to be read again, whatever is remembered or marked.
    fn ships_again(&self) -> bool {
        false
    }
}

/// Number of a mail that a source has handed over, chosen by the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailRef(pub u64);

/// One mail or report file, whole, with the bytes of the intake budget that it occupies.
pub struct Mail {
    pub mail: MailRef,
    pub place: Place,
    /// The mail as it lies in the mailbox, or the file; or the reason why it was not fetched.
    pub content: Result<Bytes, Trouble>,
    /// Given back when the mail has been read.
    pub permit: OwnedSemaphorePermit,
}

/// Decision on a mail, once all of its events are confirmed. Without a verdict, the mail is left for the next run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every report in it has arrived.
    Archive,
    /// Something in it could not be read in full; what could be has arrived.
    Quarantine(Trouble),
    /// It contains no report: left in place and remembered, or treated as the source's `without_report` says.
    WithoutReport,
    /// Its sender is over its share of the day: leave it as it was, for another day.
    Defer(Trouble),
    /// It was not dealt with this time (stopping, a sink that failed): leave it as it was.
    Leave,
}

/// Counts of a source's last pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pass {
    /// Mails handed over.
    pub taken: u64,
    /// Mails whose verdict was carried out.
    pub settled: u64,
    /// Mails whose verdict could not be carried out (they are shipped; the next run settles them), or that could not be
    /// fetched (the next run tries again).
    pub unsettled: u64,
    /// Mails skipped because they are remembered.
    pub remembered: u64,
}

/// Error with which a source ended: determines the exit code, and whether a retry can help.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Name resolution, connection, TLS or protocol: the server is not there, or not as expected. Exit 69.
    #[error("{0}")]
    Unreachable(String),
    /// The server refused the credentials. Exit 77.
    #[error("{0}")]
    AuthenticationRefused(String),
    /// The configuration names something that is not there (a folder, a file, a secret). Exit 78.
    #[error("{0}")]
    Configuration(String),
    /// A file or folder could not be read. Exit 66.
    #[error("{0}")]
    NoInput(String),
    /// The pipeline is gone; the process is ending.
    #[error("the pipeline has stopped")]
    Stopped,
}

impl From<&SourceError> for Exit {
    fn from(error: &SourceError) -> Self {
        match error {
            SourceError::Unreachable(_) => Exit::Unavailable,
            SourceError::AuthenticationRefused(_) => Exit::AuthenticationRefused,
            SourceError::Configuration(_) => Exit::Configuration,
            SourceError::NoInput(_) => Exit::NoInput,
            SourceError::Stopped => Exit::Done,
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self::new(Exit::from(&error), error.to_string())
    }
}

impl Intake {
    /// Called by the pipeline; `budget_bytes` bounds the mails that are held at once.
    pub fn new(
        mails: mpsc::Sender<Mail>,
        verdicts: mpsc::UnboundedReceiver<(MailRef, Verdict)>,
        budget: Arc<Semaphore>,
        budget_bytes: u32,
        context: Arc<dyn SourceContext>,
        once: bool,
        dry_run: bool,
        stop: CancellationToken,
    ) -> Self {
        Self { mails, verdicts, budget, budget_bytes, context, once, dry_run, stop }
    }

    /// Returns the bytes of mail that may be held at once; a batch should stay well below it.
    pub fn budget_bytes(&self) -> u32 {
        self.budget_bytes
    }

    /// Looks up the mails at `places`, [`PLACES_AT_ONCE`] or fewer; returns one status for each, in the same order. Borrows
    /// nothing, so that verdicts can be awaited meanwhile.
    ///
    /// A mail in flight becomes known just before its verdict arrives. So leave out the mails that wait for a verdict when
    /// the look-up begins, not when it ends: one that is settled in between would be taken for a new one.
    pub fn remembered(&self, places: Vec<Place>) -> BoxFuture<'static, Vec<PlaceStatus>> {
        self.context.look_up(places)
    }

    /// Reports that `source` has asked about every mail that lies where it looks: mails that it did not ask about are gone.
    pub fn looked_through(&self, source: &str) {
        self.context.looked_through(source);
    }

    /// Reports that `mails` mails were found that will be handed over.
    pub fn expects(&self, mails: u64) {
        self.context.expects(mails);
    }

    /// Reports that `source` can't do its work for now.
    pub fn troubled(&self, source: &str, why: &str) {
        self.context.troubled(source, why);
    }

    /// True if what is remembered is lost when the process ends: mails that stay are then marked where they lie.
    pub fn forgets(&self) -> bool {
        self.context.forgets()
    }

    /// True if mails that are marked as dealt with are to be read again.
    pub fn ships_again(&self) -> bool {
        self.context.ships_again()
    }

    /// Waits until `bytes` fit into the budget; a mail larger than all of it waits for all of it.
    /// Cancel-safe: dropped, it has taken nothing. Borrows nothing, so that verdicts can be awaited meanwhile.
    pub fn reserve(&self, bytes: u64) -> impl Future<Output = OwnedSemaphorePermit> + Send + use<> {
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.budget_bytes);
        let permit = self.budget.clone().acquire_many_owned(wanted);
        async { permit.await.expect("the intake budget is never closed") }
    }

    /// Hands a mail over for reading. Does not wait for it to be read: the budget bounds the mails that wait.
    pub async fn hand_over(&self, mail: Mail) -> Result<(), SourceError> {
        self.mails.send(mail).await.map_err(|_| SourceError::Stopped)
    }

    /// Waits for the next verdict on a mail handed over before. Every mail gets one, in any order; `None` when the pipeline
    /// is gone. Cancel-safe.
    pub async fn verdict(&mut self) -> Option<(MailRef, Verdict)> {
        self.verdicts.recv().await
    }

    /// Returns a verdict that has already arrived, if there is one.
    pub fn try_verdict(&mut self) -> Option<(MailRef, Verdict)> {
        self.verdicts.try_recv().ok()
    }
}
