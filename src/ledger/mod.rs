//! The ledger: shipped documents, and mails and files left in place, in an embedded store in `data_dir`.
//!
//! All calls block, a commit for as long as the disk takes to sync; they belong on blocking threads.
//!
//! Entries expire by the time when they were last seen ([`Ledger::expire`]). A document is seen when it comes in again. A
//! place is seen whenever a source asks for it, which a source does at each pass for every mail or file that still lies
//! there: the ledger notes in memory which of these places were last written more than a day ago, and writes them with the
//! next commit or expiry. So a mail that stays in its folder is remembered for as long as it stays there, at the cost of one
//! write a day; the places of a folder that is gone, or of an old UIDVALIDITY, match nothing any more and expire. The next
//! UID of a folder is seen when it changes: if a folder gets no mail for that long, its UIDs are searched from 1 again.

mod crash_marker;
mod key;
mod pending;
mod record;
mod store;

use std::{
    collections::HashMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, WriteTransaction};
use tracing::{info, warn};

pub use self::{
    crash_marker::Bookmark,
    record::{Commit, DocumentKey, Failures, PlaceVerdict, Progress, ReportName, Shipped, SinkKey, Unfinished},
};
use self::{
    crash_marker::{CrashMarker, PlaceName},
    pending::Pending,
    record::{
        Row, failures_of, micros, progress_of, row_of_document, row_of_failures, row_of_place, row_of_progress,
        shipped_of,
    },
    store::{ATTEMPTS, DELIVERIES, DOCUMENTS, FOLDERS, META, NAMES, PLACES, PROGRESS, Store, TABLES},
};
use crate::source::Place;

/// Age in seconds at which the time when a place was last seen is written again.
const SIGHT_SECONDS: i64 = 24 * 3600;

/// Maximum time by which one expiry advances the clock for expiry. A machine whose clock jumps a year ahead for a while
/// must not forget the year; one that was off for long remembers for some days more than it would have to.
const CLOCK_STEP: SignedDuration = SignedDuration::from_hours(48);
const EXPIRE_EVERY: SignedDuration = SignedDuration::from_hours(24);
/// Key of that clock in the table `meta`: microseconds since 1970.
const CLOCK: &str = "clock";
/// 2026-01-01. A clock with an earlier time was not set yet, and does not start the clock for expiry.
const EARLIEST_MICROS: i64 = 1_767_225_600_000_000;

/// Record of what has been shipped. Open in one process at a time.
#[derive(Debug)]
pub struct Ledger {
    store: Store,
    pending: Mutex<Pending>,
    crash_marker: Arc<CrashMarker>,
    /// Failures of mails by their places, as in the table `attempts`. No more mails than were in flight at the end of a pass.
    attempts: Mutex<HashMap<PlaceName, Failures>>,
}

/// The result of [`Ledger::look_up`].
#[derive(Debug)]
pub struct Known {
    /// The first shipment of the document, to any sink: time and mail.
    pub shipped: Option<Shipped>,
    /// Delivery of the document to each sink that was asked for, in the same order.
    pub deliveries: Vec<Delivery>,
    /// SHA-256 of the first document that was shipped under the same reporter's name.
    pub named: Option<[u8; 32]>,
}

/// State of a document's delivery to one sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// All of it has arrived.
    Done,
    /// This number of rows, from the first, had arrived when the last process ended; 0 if none had.
    Rows(u64),
}

/// Result of [`Ledger::open_for_reading`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// A copy of the ledger as it was when it was opened.
    Copy,
    /// There is no ledger yet.
    Missing,
    /// A running instance holds the ledger, so its contents are not known.
    Locked,
}

/// Error in opening, reading or writing the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A retry can help: the next call reopens the store.
    #[error("can't use the ledger {}: {error}", .path.display())]
    Io { path: PathBuf, error: redb::Error },
    #[error("the ledger {} is in use by another process; expected one instance per data_dir", .path.display())]
    Locked { path: PathBuf },
    #[error("the ledger {} is of schema version {found}, and this program knows {known}; run the version that wrote it, \
             or move the ledger away (reports may then be shipped again, under the same event ids)", .path.display())]
    OtherVersion { path: PathBuf, found: u64, known: u64 },
    /// Found while the ledger was in use: the next call reopens it, and sets it aside. Or found by [`Ledger::open_for_reading`].
    #[error("the ledger {} is corrupt: {why}", .path.display())]
    Corrupt { path: PathBuf, why: String },
}

impl Ledger {
    /// Opens the ledger of `data_dir`, or creates it (mode 0600).
    ///
    /// A corrupt ledger is set aside as `ledger.redb.corrupt-<time>` with a warning, and a new one is created: the mailbox
    /// is the queue, so some reports are shipped again under the same event ids, but none are lost.
    ///
    /// Counts the mails that the last process was reading when it died: see [`Ledger::attempts`].
    pub fn open(data_dir: &Path) -> Result<Self, LedgerError> {
        let mut ledger = Self::of(Store::open(data_dir)?);
        let counted = match CrashMarker::open(data_dir) {
            Ok((crash_marker, left)) => {
                ledger.crash_marker = Arc::new(crash_marker);
                ledger.count_attempts(&left).and_then(|()| {
                    let cleared = ledger.crash_marker.clear();
                    cleared.map_err(|error| LedgerError::Io { path: data_dir.into(), error: error.into() })
                })
            }
            Err(error) => Err(LedgerError::Io { path: data_dir.into(), error: error.into() }),
        };
        if let Err(error) = counted {
            warn!(%error, "can't count mails that the process died over; one that kills it again and again is not noticed");
        }
        Ok(ledger)
    }

    /// Creates a ledger that lasts as long as this process.
    pub fn in_memory() -> Self {
        Self::of(Store::in_memory())
    }

    /// Copies the ledger of `data_dir` into memory, for a dry run: writes to the copy are lost. The copy is empty if there
    /// is no ledger, or if a running instance holds it.
    pub fn open_for_reading(data_dir: &Path) -> Result<(Self, View), LedgerError> {
        let (store, view) = Store::copy(data_dir)?;
        Ok((Self::of(store), view))
    }

    /// Looks up a document at each of `sinks`, and the document that was first shipped under the reporter's `name`.
    pub fn look_up(
        &self,
        key: &DocumentKey,
        sinks: &[SinkKey],
        name: Option<&ReportName>,
    ) -> Result<Known, LedgerError> {
        let document = key::document(key);
        let (shipped, done, progress, named) = self.store.look(|tables| {
            let shipped = row(&tables.documents, &document)?;
            let done = if shipped.is_some() { deliveries(&tables.deliveries, &document)? } else { Vec::new() };
            let of_name = name.map(|name| row(&tables.names, &name.0)).transpose()?.flatten();
            Ok((shipped, done, deliveries(&tables.progress, &document)?, of_name))
        })?;
        let corrupt = |why| self.store.corrupt(why);
        let delivery = |sink: &SinkKey| {
            if done.iter().any(|(known, _)| known == sink || *known == SinkKey::EVERY) {
                return Ok(Delivery::Done);
            }
            let progress = progress.iter().find(|(known, _)| known == sink);
            let rows = progress.map(|(_, json)| progress_of(json)).transpose()?;
            Ok(Delivery::Rows(rows.map_or(0, |progress| progress.arrived())))
        };
        Ok(Known {
            deliveries: sinks.iter().map(delivery).collect::<Result<_, _>>().map_err(corrupt)?,
            shipped: shipped.map(|(seen, json)| shipped_of(seen, &json)).transpose().map_err(corrupt)?,
            named: named
                .map(|(_, hash)| hash.try_into().map_err(|_| corrupt("a hash is of another length".into())))
                .transpose()?,
        })
    }

    /// Returns the number of processes that died while reading this mail without getting further with it than the one before.
    pub fn attempts(&self, place: &Place) -> u32 {
        self.failures(place).map_or(0, |failures| failures.deaths)
    }

    /// Returns the failures of this mail since it last made progress.
    pub fn failures(&self, place: &Place) -> Option<Failures> {
        let attempts = self.lock_attempts();
        if attempts.is_empty() {
            return None;
        }
        attempts.get(&key::place_name(place)?).cloned()
    }

    /// Returns [`Failures::last`] of the mail that failed last.
    pub fn last_failure(&self) -> Option<Timestamp> {
        self.lock_attempts().values().map(|failures| failures.last).max()
    }

    /// Notes the mails that a pass left in flight, waiting for `sinks`. Their [`Failures::last`] is `now`; that of the
    /// oldest is 1 µs later.
    pub fn note_unfinished(&self, mails: &[Unfinished], sinks: &str, now: Timestamp) -> Result<(), LedgerError> {
        let mut counted = HashMap::new();
        let later = now.checked_add(SignedDuration::from_micros(1)).unwrap_or(now);
        for Unfinished { place, is_oldest, is_at_fault } in mails {
            let Some(name) = key::place_name(place) else { continue };
            let last = if *is_oldest { later } else { now };
            let mut failures = Failures { last, ..self.failures(place).unwrap_or_default() };
            if *is_at_fault {
                failures.passes = failures.passes.saturating_add(1);
                sinks.clone_into(&mut failures.sinks);
            }
            counted.insert(name, failures);
        }
        self.store.write(|transaction| {
            let mut table = transaction.open_table(ATTEMPTS)?;
            for (name, failures) in &counted {
                table.insert(&name[..], row_of_failures(failures).borrowed())?;
            }
            Ok(())
        })?;
        self.lock_attempts().extend(counted);
        Ok(())
    }

    /// Returns the size of the ledger's file in bytes; 0 in memory.
    pub fn bytes(&self) -> u64 {
        self.store.bytes()
    }

    /// Returns a bookmark, with which one reader records the mail that it reads.
    pub fn bookmark(&self) -> Bookmark {
        self.crash_marker.bookmark()
    }

    /// Calls `each` for every document, ordered by tenant and hash, until it returns `Break`.
    pub fn documents(&self, each: &mut dyn FnMut(DocumentKey, Shipped) -> ControlFlow<()>) -> Result<(), LedgerError> {
        let mut odd = None;
        self.store.with(|db| {
            for row in db.begin_read()?.open_table(DOCUMENTS)?.iter()? {
                let (key, row) = row?;
                let (seen, json) = row.value();
                let told = match (key::document_of(key.value()), shipped_of(seen, json)) {
                    (Some(key), Ok(shipped)) => each(key, shipped),
                    (_, shipped) => {
                        odd = Some(shipped.err().unwrap_or_else(|| "a key is of no known form".to_owned()));
                        ControlFlow::Break(())
                    }
                };
                if told.is_break() {
                    break;
                }
            }
            Ok(())
        })?;
        odd.map_or(Ok(()), |why| Err(self.store.corrupt(why)))
    }

    /// Forgets everything; returns the number of documents and places.
    pub fn reset(&self) -> Result<u64, LedgerError> {
        let mut forgotten = 0;
        self.store.write(|transaction| {
            for table in TABLES {
                transaction.open_table(table)?.retain(|_, _| {
                    forgotten += u64::from(is_told_of(table));
                    false
                })?;
            }
            Ok(())
        })?;
        self.lock_attempts().clear();
        Ok(forgotten)
    }

    /// True if the mail or file at `place` was dealt with and left there; also notes that it was seen. False if the ledger
    /// can't be read: the mail is then read again, and its documents are looked up in their turn.
    pub fn knows_place(&self, place: &Place) -> bool {
        let Some(key) = key::place(place) else { return false };
        let known = self.store.with(|db| row(&db.begin_read()?.open_table(PLACES)?, &key));
        let Ok(Some((seen, _))) = known else { return false };
        if micros(Timestamp::now()) - seen > SIGHT_SECONDS * 1_000_000 {
            self.lock_unwritten().sight(key);
        }
        true
    }

    /// Returns the UID that the next mail in this folder of `account` may have, as of the last look at the folder. A hint
    /// only: the UIDs of mails may change. It is written with the next commit or expiry.
    pub fn next_uid(&self, account: &str, folder: &str) -> Option<u32> {
        let key = key::folder(account, folder);
        let known = self.store.with(|db| row(&db.begin_read()?.open_table(FOLDERS)?, &key)).ok()??;
        known.1.try_into().ok().map(u32::from_be_bytes)
    }

    /// Sets the UID that [`next_uid`](Self::next_uid) returns.
    pub fn expect_uid(&self, account: &str, folder: &str, next: u32) {
        if self.next_uid(account, folder) != Some(next) {
            self.lock_unwritten().expect_uid(key::folder(account, folder), next);
        }
    }

    /// Writes all of `batch`, or nothing of it; the data is on the disk when this returns.
    pub fn commit(&self, batch: &Commit) -> Result<(), LedgerError> {
        let pending = std::mem::take(&mut *self.lock_unwritten());
        let done_with = self.attempts_at(&batch.read);
        let written = self.store.write(|transaction| {
            let now = micros(batch.now);
            start_clock(transaction, now)?;
            write_documents(transaction, batch, now)?;
            let mut places = transaction.open_table(PLACES)?;
            for (place, verdict) in &batch.places {
                if let Some(key) = key::place(place) {
                    places.insert(&*key, row_of_place(*verdict, now).borrowed())?;
                }
            }
            let mut attempts = transaction.open_table(ATTEMPTS)?;
            for name in &done_with {
                attempts.remove(&name[..])?;
            }
            drop(places);
            pending.write(transaction)
        });
        if written.is_ok() {
            let mut attempts = self.lock_attempts();
            attempts.retain(|name, _| !done_with.contains(name));
        }
        self.keep_unwritten(pending, written)
    }

    /// Forgets entries last seen more than `retention_days` before `now`; returns the number of documents and places.
    ///
    /// To be called after a pass over all sources, not before the first one: after a long pause, only the pass knows which of
    /// the remembered mails are still there. Jumps of the system clock are limited: an expiry advances the clock for expiry
    /// by two days at most. An expiry less than a day after the last one does nothing: single runs may be minutes apart.
    pub fn expire(&self, now: Timestamp, retention_days: u32) -> Result<u64, LedgerError> {
        let last = self.store.with(|db| clock(&db.begin_read()?.open_table(META)?))?;
        let pending = std::mem::take(&mut *self.lock_unwritten());
        if pending.is_empty() && last.is_some_and(|last| now >= last && now.duration_since(last) < EXPIRE_EVERY) {
            return Ok(0);
        }
        let mut forgotten = 0;
        let written = self.store.write(|transaction| {
            pending.write(transaction)?;
            let now = believed(transaction, now)?;
            let oldest = now.saturating_sub(SignedDuration::from_hours(24 * i64::from(retention_days)));
            let oldest = oldest.map_or(i64::MIN, micros);
            for table in TABLES {
                transaction.open_table(table)?.retain(|_, (seen, _)| {
                    let keep = seen >= oldest;
                    forgotten += u64::from(!keep && is_told_of(table));
                    keep
                })?;
            }
            Ok(())
        });
        self.keep_unwritten(pending, written).map(|()| forgotten)
    }

    fn of(store: Store) -> Self {
        Self { store, pending: Mutex::default(), crash_marker: Arc::default(), attempts: Mutex::default() }
    }

    /// Loads the failures counted before, and counts one more death for each of `left`.
    fn count_attempts(&self, left: &[PlaceName]) -> Result<(), LedgerError> {
        let mut counted = HashMap::new();
        self.store.with(|db| {
            for row in db.begin_read()?.open_table(ATTEMPTS)?.iter()? {
                let (name, row) = row?;
                let (seen, bytes) = row.value();
                if let (Ok(name), Some(failures)) = (name.value().try_into(), failures_of(seen, bytes)) {
                    counted.insert(name, failures);
                }
            }
            Ok(())
        })?;
        if !left.is_empty() {
            self.store.write(|transaction| {
                let mut table = transaction.open_table(ATTEMPTS)?;
                for name in left {
                    let failures = counted.entry(*name).or_default();
                    (failures.deaths, failures.last) = (failures.deaths.saturating_add(1), Timestamp::now());
                    table.insert(&name[..], row_of_failures(failures).borrowed())?;
                }
                Ok(())
            })?;
            info!(
                mails = left.len(),
                "the last process died while it was reading; a mail that this happens to again and again is quarantined"
            );
        }
        *self.lock_attempts() = counted;
        Ok(())
    }

    /// Returns those of `places` that have failures counted.
    fn attempts_at(&self, places: &[Place]) -> Vec<PlaceName> {
        let attempts = self.lock_attempts();
        if attempts.is_empty() {
            return Vec::new();
        }
        places.iter().filter_map(key::place_name).filter(|name| attempts.contains_key(name)).collect()
    }

    fn lock_attempts(&self) -> MutexGuard<'_, HashMap<PlaceName, Failures>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_unwritten(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_unwritten(&self, pending: Pending, written: Result<(), LedgerError>) -> Result<(), LedgerError> {
        if written.is_err() {
            self.lock_unwritten().take_back(pending);
        }
        written
    }
}

type Table<'a> = redb::Table<'a, &'static [u8], (i64, &'static [u8])>;

fn row(table: &store::ReadOnlyTable, key: &[u8]) -> Result<Option<(i64, Vec<u8>)>, redb::Error> {
    // Copied before the table is dropped: the result of `get` does not hold the transaction, and commits free pages that
    // nothing holds.
    let row = table.get(key)?.map(|row| {
        let (seen, json) = row.value();
        (seen, json.to_vec())
    });
    Ok(row)
}

/// Returns the sink and the stored value of each row of a document.
fn deliveries(table: &store::ReadOnlyTable, document: &[u8]) -> Result<Vec<(SinkKey, Vec<u8>)>, redb::Error> {
    let [first, last] = [[0; 16], [0xff; 16]].map(|sink| key::delivery(document, &SinkKey(sink)));
    let mut found = Vec::new();
    for row in table.range(&*first..=&*last)? {
        let (key, row) = row?;
        found.extend(key::sink_of(document, key.value()).map(|sink| (sink, row.value().1.to_vec())));
    }
    Ok(found)
}

fn write_documents(transaction: &WriteTransaction, batch: &Commit, now: i64) -> Result<(), redb::Error> {
    let mut documents = transaction.open_table(DOCUMENTS)?;
    let mut deliveries = transaction.open_table(DELIVERIES)?;
    let mut progress = transaction.open_table(PROGRESS)?;
    let mut names = transaction.open_table(NAMES)?;
    let has_progress = !progress.is_empty()?;
    for (key, shipped, sinks) in &batch.documents {
        let key = key::document(key);
        let before = documents.insert(&*key, row_of_document(shipped).borrowed())?;
        let before = before.and_then(|row| shipped_of(row.value().0, row.value().1).ok());
        let is_known = before.is_some();
        // A document that is shipped again keeps the time when it was first shipped.
        if let Some(Shipped { first_shipped, .. }) = before {
            documents.insert(&*key, row_of_document(&Shipped { first_shipped, ..shipped.clone() }).borrowed())?;
        }
        for sink in &**sinks {
            let delivery = key::delivery(&key, sink);
            deliveries.insert(&*delivery, (micros(shipped.last_seen), &[][..]))?;
            if has_progress {
                progress.remove(&*delivery)?;
            }
        }
        // Shipped to one more sink: the deliveries to the others are to be remembered for as long.
        if is_known {
            see_deliveries(&mut deliveries, &key, now)?;
        }
    }
    for (key, sink, rows) in &batch.progress {
        let delivery = key::delivery(&key::document(key), sink);
        progress.insert(&*delivery, row_of_progress(rows, now).borrowed())?;
    }
    for key in &batch.seen_again {
        let key = key::document(key);
        if see(&mut documents, &key, now)? {
            see_deliveries(&mut deliveries, &key, now)?;
        }
    }
    for (name, hash) in &batch.names {
        if !see(&mut names, &name.0, now)? {
            names.insert(&name.0[..], (now, &hash[..]))?;
        }
    }
    Ok(())
}

/// Starts the clock for expiry at the first commit.
fn start_clock(transaction: &WriteTransaction, now: i64) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let is_set = meta.get(CLOCK)?.is_some();
    if let (false, EARLIEST_MICROS.., Ok(now)) = (is_set, now, u64::try_from(now)) {
        meta.insert(CLOCK, now)?;
    }
    Ok(())
}

fn clock(meta: &impl ReadableTable<&'static str, u64>) -> Result<Option<Timestamp>, redb::Error> {
    Ok(meta.get(CLOCK)?.and_then(|clock| Timestamp::from_microsecond(clock.value().try_into().ok()?).ok()))
}

/// Advances the clock for expiry to `now`, but at most one step from its last value, and returns it.
fn believed(transaction: &WriteTransaction, now: Timestamp) -> Result<Timestamp, redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let last = clock(&meta)?;
    let most = last.and_then(|last| last.checked_add(CLOCK_STEP).ok()).unwrap_or(now);
    let now = now.min(most);
    meta.insert(CLOCK, u64::try_from(micros(now)).unwrap_or_default())?;
    Ok(now)
}

/// True for tables whose entries are counted in messages to users: documents and places.
fn is_told_of(table: store::Definition) -> bool {
    [DOCUMENTS, PLACES].iter().any(|told| redb::TableHandle::name(told) == redb::TableHandle::name(&table))
}

/// Sets the time when every delivery of a document was last seen.
fn see_deliveries(deliveries: &mut Table<'_>, document: &[u8], now: i64) -> Result<(), redb::Error> {
    let [first, last] = [[0; 16], [0xff; 16]].map(|sink| key::delivery(document, &SinkKey(sink)));
    let mut known = Vec::new();
    for row in deliveries.range(&*first..=&*last)? {
        known.push(row?.0.value().to_vec());
    }
    for key in known {
        deliveries.insert(&*key, (now, &[][..]))?;
    }
    Ok(())
}

/// Sets the time when the entry of `key` was last seen; false if there is none.
fn see(table: &mut Table<'_>, key: &[u8], now: i64) -> Result<bool, redb::Error> {
    let known = table.get(key)?.map(|row| row.value().1.to_vec());
    let Some(json) = known else { return Ok(false) };
    table.insert(key, Row { seen: now, json }.borrowed())?;
    Ok(true)
}

#[cfg(test)]
mod tests;
