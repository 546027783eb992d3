//! The ledger: shipped documents, and the mails and files left in place. [`Ledger`] is what the program asks of it;
//! [`backend`] chooses the implementation.
//!
//! Entries expire by the time when they were last seen ([`Ledger::expire`]). A document is seen when it comes in again. A
//! place is seen whenever a source asks for it, which a source does at each pass for every mail or file that still lies
//! there. So a mail that stays in its folder is remembered for as long as it stays there; the places of a folder that is
//! gone, or of an old UIDVALIDITY, match nothing any more and expire.

pub mod backend;
mod crash_marker;
mod key;
mod record;
mod redb;
#[cfg(test)]
mod tests;

use std::{fmt, io, sync::Arc};

use futures::future::BoxFuture;
use jiff::Timestamp;

pub use self::{
    crash_marker::Bookmark,
    record::{
        Commit, Delivery, DocumentKey, DocumentStatus, Failures, PlaceVerdict, Progress, ReportName, Shipped, SinkKey,
        Unfinished,
    },
};
use crate::source::{Place, PlaceStatus};

/// Record of what was shipped. Written by one process at a time; every call may come while others run.
///
/// Tasks await the methods that return a future: these never block the thread that polls them. A reader has a thread of its
/// own that may block (see `pipeline::reading`), and asks about one mail or document at a time: it calls [`claim`],
/// [`attempts`] and [`last_failure`], which block, and which no task may call. An implementation that needs a runtime for
/// them waits for it there (`Handle::block_on`).
///
/// A future that is dropped may or may not have done its work; a commit is still written as a whole or not at all.
///
/// [`claim`]: Self::claim
/// [`attempts`]: Self::attempts
/// [`last_failure`]: Self::last_failure
pub trait Ledger: fmt::Debug + Send + Sync {
    /// Looks up mails and files; returns one status for each of `places`, in the same order. Also notes that the known ones
    /// were seen.
    fn known(&self, places: Arc<[Place]>) -> BoxFuture<'_, Result<Vec<PlaceStatus>, LedgerError>>;

    /// Looks up a document before it is shipped: its delivery to each of `sinks`, and the document that was first shipped
    /// under the reporter's `name`. The answer is as of some moment during the call: a commit that ends meanwhile may be in
    /// it or not. Deliveries in flight are known to `pipeline::settlement`, not to the ledger. Blocks.
    fn claim(
        &self,
        document: &DocumentKey,
        sinks: &[SinkKey],
        name: Option<&ReportName>,
    ) -> Result<DocumentStatus, LedgerError>;

    /// Returns the failures of this mail since it last made progress. Blocks.
    fn attempts(&self, place: &Place) -> Option<Failures>;

    /// Returns [`Failures::last`] of the mail that failed last. Blocks.
    fn last_failure(&self) -> Option<Timestamp>;

    /// Returns a bookmark, with which one reader records the mail that it reads: if the process dies meanwhile, the next one
    /// finds it among the [`attempts`](Self::attempts).
    fn bookmark(&self) -> Bookmark;

    /// Writes all of `commit`, progress included, or nothing of it. When this returns `Ok`, it outlives a crash of the
    /// machine. To be retried after an error, which may also have come after the write: writing it twice changes nothing.
    fn commit(&self, commit: Arc<Commit>) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Notes the mails that a pass left in flight, waiting for `sinks`. Their [`Failures::last`] is `now`; that of the oldest
    /// is 1 µs later.
    fn note_unfinished(
        &self,
        mails: Vec<Unfinished>,
        sinks: String,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Forgets entries last seen more than `retention_days` before `now`; returns the number of documents and places.
    ///
    /// To be called after a pass over all sources, not before the first one: after a long pause, only the pass knows which of
    /// the remembered mails are still there. Jumps of the system clock are limited: an expiry advances the clock for expiry
    /// by two days at most. An expiry less than a day after the last one does nothing: single runs may be minutes apart.
    fn expire(&self, now: Timestamp, retention_days: u32) -> BoxFuture<'_, Result<u64, LedgerError>>;

    /// Returns up to `most` documents, ordered by tenant and hash, from the first one after `after`. Empty at the end.
    fn documents(
        &self,
        after: Option<DocumentKey>,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<(DocumentKey, Shipped)>, LedgerError>>;

    /// Forgets everything; returns the number of documents and places.
    fn reset(&self) -> BoxFuture<'_, Result<u64, LedgerError>>;

    /// Returns the size on this machine's disk in bytes; 0 in memory. Costs no more than a call to the operating system.
    fn bytes(&self) -> u64;
}

/// Result of [`backend::open_copy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// A copy of the ledger as it was when it was opened.
    Copy,
    /// There is no ledger yet.
    Missing,
    /// A running instance holds the ledger, so its contents are not known.
    Locked,
}

/// Error in opening, reading or writing the ledger. `ledger` names it: a path, for instance.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A retry can help.
    #[error("can't access the ledger {ledger}: {error}")]
    Io {
        ledger: String,
        #[source]
        error: io::Error,
    },
    #[error("the ledger {ledger} is locked by another process; stop that process, or set another data_dir")]
    Locked { ledger: String },
    #[error(
        "the ledger {ledger} has schema version {found}, and this program supports version {known}; run the version that \
             wrote it, or move the ledger away (reports may then be shipped again, with the same event_id)"
    )]
    OtherVersion { ledger: String, found: u64, known: u64 },
    /// Found while the ledger was in use: the next call reopens it, and sets it aside. Or found by
    /// [`backend::open_copy`].
    #[error("the ledger {ledger} is corrupt: {why}")]
    Corrupt { ledger: String, why: String },
}
