//! The ledger in a redb database: in `data_dir`, or in memory. The only module that knows redb.

mod blocking;
mod database;
mod keys;
mod pending;
mod rows;
mod tables;
#[cfg(test)]
mod tests;

use std::{io, path::Path, sync::Arc};

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::task::spawn_blocking;

use self::blocking::BlockingLedger;
use crate::{
    ledger::{
        Ledger, LedgerError, View,
        crash_marker::Bookmark,
        record::{Commit, DocumentKey, DocumentStatus, Failures, ReportName, Shipped, SinkKey, Unfinished},
    },
    source::{Place, PlaceStatus},
};

/// [`Ledger`] in a redb database. What tasks await runs on the runtime's blocking threads; readers call redb on their own.
#[derive(Debug)]
pub(super) struct RedbLedger(Arc<BlockingLedger>);

impl RedbLedger {
    pub(super) fn open(data_dir: &Path) -> Result<Self, LedgerError> {
        BlockingLedger::open(data_dir).map(Self::of)
    }

    pub(super) fn open_copy(data_dir: &Path) -> Result<(Self, View), LedgerError> {
        BlockingLedger::open_copy(data_dir).map(|(ledger, view)| (Self::of(ledger), view))
    }

    pub(super) fn in_memory() -> Self {
        Self::of(BlockingLedger::in_memory())
    }

    fn of(ledger: BlockingLedger) -> Self {
        Self(Arc::new(ledger))
    }

    /// Does `work` on a blocking thread.
    fn blocking<T, W>(&self, work: W) -> BoxFuture<'_, Result<T, LedgerError>>
    where
        T: Send + 'static,
        W: FnOnce(&BlockingLedger) -> Result<T, LedgerError> + Send + 'static,
    {
        Box::pin(async move {
            let ledger = self.0.clone();
            let done = spawn_blocking(move || work(&ledger)).await;
            // redb has panicked, or the runtime is shutting down.
            done.unwrap_or_else(|failed| Err(self.0.failed(io::Error::other(failed))))
        })
    }
}

impl Ledger for RedbLedger {
    fn known(&self, places: Arc<[Place]>) -> BoxFuture<'_, Result<Vec<PlaceStatus>, LedgerError>> {
        self.blocking(move |ledger| ledger.known(&places))
    }

    fn claim(
        &self,
        document: &DocumentKey,
        sinks: &[SinkKey],
        name: Option<&ReportName>,
    ) -> Result<DocumentStatus, LedgerError> {
        self.0.claim(document, sinks, name)
    }

    fn attempts(&self, place: &Place) -> Option<Failures> {
        self.0.attempts(place)
    }

    fn last_failure(&self) -> Option<Timestamp> {
        self.0.last_failure()
    }

    fn bookmark(&self) -> Bookmark {
        self.0.bookmark()
    }

    fn commit(&self, commit: Arc<Commit>) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.blocking(move |ledger| ledger.commit(&commit))
    }

    fn note_unfinished(
        &self,
        mails: Vec<Unfinished>,
        sinks: String,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.blocking(move |ledger| ledger.note_unfinished(&mails, &sinks, now))
    }

    fn expire(&self, now: Timestamp, retention_days: u32) -> BoxFuture<'_, Result<u64, LedgerError>> {
        self.blocking(move |ledger| ledger.expire(now, retention_days))
    }

    fn documents(
        &self,
        after: Option<DocumentKey>,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<(DocumentKey, Shipped)>, LedgerError>> {
        self.blocking(move |ledger| ledger.documents(after.as_ref(), most))
    }

    fn reset(&self) -> BoxFuture<'_, Result<u64, LedgerError>> {
        self.blocking(BlockingLedger::reset)
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}
