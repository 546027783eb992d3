//! The ledger in a redb database. All calls block, a commit for as long as the disk takes to sync.
//!
//! That a place was seen is noted in memory if it was last written more than a day ago, and written with the next commit or
//! expiry: a mail that stays in its folder costs one write a day.

use std::{
    collections::HashMap,
    io,
    ops::Bound,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, WriteTransaction};
use tracing::{info, warn};

use super::{
    database::Store,
    keys,
    pending::Pending,
    rows::{
        failures_of, micros, progress_of, row_of_document, row_of_failures, row_of_place, row_of_progress, shipped_of,
    },
    tables::{
        ATTEMPTS, DELIVERIES, DOCUMENTS, META, NAMES, PLACES, PROGRESS, TABLES, deliveries, is_told_of, row, see,
        see_deliveries,
    },
};
use crate::{
    ledger::{
        LedgerError, View,
        crash_marker::{Bookmark, CrashMarker},
        key::{self, PlaceName},
        record::{Commit, Delivery, DocumentKey, DocumentStatus, Failures, ReportName, Shipped, SinkKey, Unfinished},
    },
    source::{Place, PlaceStatus},
};

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

/// See [`Ledger`](crate::ledger::Ledger) for what its methods return. Open in one process at a time.
#[derive(Debug)]
pub(super) struct BlockingLedger {
    store: Store,
    pending: Mutex<Pending>,
    crash_marker: Arc<CrashMarker>,
    /// Failures of mails by their places, as in the table `attempts`. No more mails than were in flight at the end of a pass.
    attempts: Mutex<HashMap<PlaceName, Failures>>,
}

impl BlockingLedger {
    pub(super) fn open(data_dir: &Path) -> Result<Self, LedgerError> {
        let mut ledger = Self::of(Store::open(data_dir)?);
        let counted = match CrashMarker::open(data_dir) {
            Ok((crash_marker, left)) => {
                ledger.crash_marker = Arc::new(crash_marker);
                let counted = ledger.count_attempts(&left);
                counted.and_then(|()| ledger.crash_marker.clear().map_err(|error| ledger.failed(error)))
            }
            Err(error) => Err(ledger.failed(error)),
        };
        if let Err(error) = counted {
            warn!(%error, "can't read the crash marker, the file reading in data_dir; a mail that crashes the process repeatedly is not quarantined");
        }
        Ok(ledger)
    }

    pub(super) fn in_memory() -> Self {
        Self::of(Store::in_memory())
    }

    pub(super) fn open_copy(data_dir: &Path) -> Result<(Self, View), LedgerError> {
        let (store, view) = Store::copy(data_dir)?;
        Ok((Self::of(store), view))
    }

    pub(super) fn claim(
        &self,
        key: &DocumentKey,
        sinks: &[SinkKey],
        name: Option<&ReportName>,
    ) -> Result<DocumentStatus, LedgerError> {
        let document = keys::document(key);
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
        Ok(DocumentStatus {
            deliveries: sinks.iter().map(delivery).collect::<Result<_, _>>().map_err(corrupt)?,
            shipped: shipped.map(|(seen, json)| shipped_of(seen, &json)).transpose().map_err(corrupt)?,
            named: named
                .map(|(_, hash)| hash.try_into().map_err(|_| corrupt("a hash has another length than SHA-256".into())))
                .transpose()?,
        })
    }

    pub(super) fn attempts(&self, place: &Place) -> Option<Failures> {
        let attempts = self.lock_attempts();
        if attempts.is_empty() {
            return None;
        }
        attempts.get(&key::place_name(place)?).cloned()
    }

    pub(super) fn last_failure(&self) -> Option<Timestamp> {
        self.lock_attempts().values().map(|failures| failures.last).max()
    }

    pub(super) fn note_unfinished(&self, mails: &[Unfinished], sinks: &str, now: Timestamp) -> Result<(), LedgerError> {
        let mut counted = HashMap::new();
        let later = now.checked_add(SignedDuration::from_micros(1)).unwrap_or(now);
        for Unfinished { place, is_oldest, is_at_fault } in mails {
            let Some(name) = key::place_name(place) else { continue };
            let last = if *is_oldest { later } else { now };
            let mut failures = Failures { last, ..self.attempts(place).unwrap_or_default() };
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

    pub(super) fn bytes(&self) -> u64 {
        self.store.bytes()
    }

    pub(super) fn bookmark(&self) -> Bookmark {
        self.crash_marker.bookmark()
    }

    pub(super) fn documents(
        &self,
        after: Option<&DocumentKey>,
        most: usize,
    ) -> Result<Vec<(DocumentKey, Shipped)>, LedgerError> {
        let after = after.map(keys::document);
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let (mut listed, mut odd) = (Vec::new(), None);
        self.store.with(|db| {
            let table = db.begin_read()?.open_table(DOCUMENTS)?;
            for row in table.range::<&[u8]>((from, Bound::Unbounded))?.take(most) {
                let (key, row) = row?;
                let (seen, json) = row.value();
                match (keys::document_of(key.value()), shipped_of(seen, json)) {
                    (Some(key), Ok(shipped)) => listed.push((key, shipped)),
                    (_, shipped) => {
                        odd = Some(shipped.err().unwrap_or_else(|| "a document has an invalid key".to_owned()));
                        break;
                    }
                }
            }
            Ok(())
        })?;
        match odd {
            // Those before it are listed first.
            Some(why) if listed.is_empty() => Err(self.store.corrupt(why)),
            _ => Ok(listed),
        }
    }

    pub(super) fn reset(&self) -> Result<u64, LedgerError> {
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

    pub(super) fn known(&self, places: &[Place]) -> Result<Vec<PlaceStatus>, LedgerError> {
        let keys: Vec<_> = places.iter().map(key::place).collect();
        let seen: Vec<Option<i64>> = self.store.with(|db| {
            let table = db.begin_read()?.open_table(PLACES)?;
            let seen = |key: &Option<Vec<u8>>| {
                let Some(key) = key else { return Ok(None) };
                Ok(table.get(&**key)?.map(|row| row.value().0))
            };
            keys.iter().map(seen).collect()
        })?;
        let status = |(seen, suspected): (&Option<i64>, _)| PlaceStatus { is_known: seen.is_some(), suspected };
        let known = seen.iter().zip(self.suspected(places)).map(status).collect();
        let long_ago = micros(Timestamp::now()) - SIGHT_SECONDS * 1_000_000;
        let mut pending = self.lock_pending();
        for (key, seen) in keys.into_iter().zip(seen) {
            if let Some(key) = key.filter(|_| seen.is_some_and(|seen| seen < long_ago)) {
                pending.sight(key);
            }
        }
        Ok(known)
    }

    /// Returns [`Failures::last`] of each mail that has failed.
    fn suspected(&self, places: &[Place]) -> Vec<Option<Timestamp>> {
        let attempts = self.lock_attempts();
        if attempts.is_empty() {
            return vec![None; places.len()];
        }
        let last = |place: &Place| attempts.get(&key::place_name(place)?).map(|failures| failures.last);
        places.iter().map(last).collect()
    }

    pub(super) fn commit(&self, batch: &Commit) -> Result<(), LedgerError> {
        let pending = std::mem::take(&mut *self.lock_pending());
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
        self.keep_pending(pending, written)
    }

    pub(super) fn expire(&self, now: Timestamp, retention_days: u32) -> Result<u64, LedgerError> {
        let last = self.store.with(|db| clock(&db.begin_read()?.open_table(META)?))?;
        let pending = std::mem::take(&mut *self.lock_pending());
        if pending.is_empty() && last.is_some_and(|last| now >= last && now.duration_since(last) < EXPIRE_EVERY) {
            return Ok(0);
        }
        let (mut forgotten, mut oldest) = (0, i64::MIN);
        let written = self.store.write(|transaction| {
            pending.write(transaction)?;
            let now = believed(transaction, now)?;
            let kept = SignedDuration::from_hours(24 * i64::from(retention_days));
            oldest = now.saturating_sub(kept).map_or(i64::MIN, micros);
            for table in TABLES {
                transaction.open_table(table)?.retain(|_, (seen, _)| {
                    let keep = seen >= oldest;
                    forgotten += u64::from(!keep && is_told_of(table));
                    keep
                })?;
            }
            Ok(())
        });
        self.keep_pending(pending, written)?;
        self.lock_attempts().retain(|_, failures| micros(failures.last) >= oldest);
        Ok(forgotten)
    }

    pub(super) fn failed(&self, error: io::Error) -> LedgerError {
        LedgerError::Io { ledger: self.store.path().display().to_string(), error }
    }

    pub(super) fn of(store: Store) -> Self {
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
                "the last process crashed while it was reading mails; a mail is quarantined after max_attempts crashes"
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

    fn lock_pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_pending(&self, pending: Pending, written: Result<(), LedgerError>) -> Result<(), LedgerError> {
        if written.is_err() {
            self.lock_pending().take_back(pending);
        }
        written
    }
}

fn write_documents(transaction: &WriteTransaction, batch: &Commit, now: i64) -> Result<(), redb::Error> {
    let mut documents = transaction.open_table(DOCUMENTS)?;
    let mut deliveries = transaction.open_table(DELIVERIES)?;
    let mut progress = transaction.open_table(PROGRESS)?;
    let mut names = transaction.open_table(NAMES)?;
    let has_progress = !progress.is_empty()?;
    for (key, shipped, sinks) in &batch.documents {
        let key = keys::document(key);
        let before = documents.insert(&*key, row_of_document(shipped).borrowed())?;
        let before = before.and_then(|row| shipped_of(row.value().0, row.value().1).ok());
        let is_known = before.is_some();
        // A document that is shipped again keeps the time when it was first shipped.
        if let Some(Shipped { first_shipped, .. }) = before {
            documents.insert(&*key, row_of_document(&Shipped { first_shipped, ..shipped.clone() }).borrowed())?;
        }
        for sink in &**sinks {
            let delivery = keys::delivery(&key, sink);
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
        let delivery = keys::delivery(&keys::document(key), sink);
        progress.insert(&*delivery, row_of_progress(rows, now).borrowed())?;
    }
    for key in &batch.seen_again {
        let key = keys::document(key);
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
