//! What has been shipped, and which mails and files were left in place: an embedded store in `data_dir`.
//!
//! All calls block, a commit for as long as the disk takes to sync; they belong on blocking threads.
//!
//! Everything expires by its last sight ([`Ledger::expire`]). A document is seen when it comes in again. A place is
//! seen whenever a source asks for it, which a source does at each pass for all that still lies there: the ledger
//! notes in memory which places it was asked for and has not written down for a day, and writes those with the next
//! commit or expiry. So a mail that stays in its folder is remembered for as long as it stays there, at the cost of one
//! write a day; the places of a folder that is gone, or of an old UIDVALIDITY, match nothing any more and expire.

mod key;
mod record;
mod store;

use std::{
    collections::HashSet,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use redb::{Database, ReadableDatabase, ReadableTable};

pub use self::record::{Commit, DocumentKey, PlaceVerdict, Shipped};
use self::{
    record::{Row, micros, row_of_document, row_of_place, shipped_of},
    store::{DOCUMENTS, PLACES, Store},
};
use crate::source::{Memory, Place};

/// How long the last sight of a place may be behind before it is written down again, in seconds.
const SIGHT_SECONDS: i64 = 24 * 3600;

/// Places seen but not written down yet; some 100 bytes each. Those that find no room have their turn in a later pass.
const MAX_SIGHTED: usize = 1 << 16;

/// What has been shipped. One process has it open at a time.
#[derive(Debug)]
pub struct Ledger {
    store: Store,
    sighted: Mutex<HashSet<Vec<u8>>>,
}

/// What [`Ledger::open_for_reading`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// A copy of the ledger as it was at that moment.
    Copy,
    /// There is none yet.
    Missing,
    /// A running instance holds it, so nothing is known of what it has shipped.
    Locked,
}

/// Why the ledger could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Trying again can help: the next call opens the store anew.
    #[error("can't use the ledger {}: {error}", .path.display())]
    Io { path: PathBuf, error: redb::Error },
    #[error("the ledger {} is in use by another process; expected one instance per data_dir", .path.display())]
    Locked { path: PathBuf },
    #[error("the ledger {} is of schema version {found}, and this program knows {known}; run a newer version of it, \
             or move the ledger away (reports may then be shipped again, under the same event ids)", .path.display())]
    OtherVersion { path: PathBuf, found: u64, known: u64 },
    /// Found while it was in use: the next call opens it anew, and sets it aside. Or found by [`Ledger::open_for_reading`].
    #[error("the ledger {} is corrupt: {why}", .path.display())]
    Corrupt { path: PathBuf, why: String },
}

impl Ledger {
    /// Opens the ledger of `data_dir`, or starts one (mode 0600).
    ///
    /// A corrupt one is set aside as `ledger.redb.corrupt-<time>` with a warning, and a new one started: the mailbox
    /// is the queue, so that costs reports that are shipped again under the same event ids, but none that are lost.
    pub fn open(data_dir: &Path) -> Result<Self, LedgerError> {
        Ok(Self::of(Store::open(data_dir)?))
    }

    /// Remembers for this process only.
    pub fn in_memory() -> Self {
        Self::of(Store::in_memory())
    }

    /// A copy in memory of the ledger of `data_dir`, for a dry run: what is written to it is forgotten. Empty when
    /// there is none, or when a running instance holds it.
    pub fn open_for_reading(data_dir: &Path) -> Result<(Self, View), LedgerError> {
        let (store, view) = Store::copy(data_dir)?;
        Ok((Self::of(store), view))
    }

    /// What is known of a document.
    pub fn document(&self, key: &DocumentKey) -> Result<Option<Shipped>, LedgerError> {
        let row = self.store.with(|db| row(db, DOCUMENTS, &key::document(key)))?;
        row.map(|(seen, json)| shipped_of(seen, &json).map_err(|why| self.store.corrupt(why))).transpose()
    }

    /// Hands out every document, in the order of tenants and hashes, until `each` has had enough.
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

    /// Forgets every document and place; says how many there were.
    pub fn reset(&self) -> Result<u64, LedgerError> {
        let mut forgotten = 0;
        self.store.write(|transaction| {
            for table in [DOCUMENTS, PLACES] {
                transaction.open_table(table)?.retain(|_, _| {
                    forgotten += 1;
                    false
                })?;
            }
            Ok(())
        })?;
        Ok(forgotten)
    }

    /// Whether the mail or file at `place` was dealt with and left there; a sight of it. A ledger that can't be read
    /// knows nothing: the mail is then read again, and its documents are looked up in their turn.
    pub fn knows_place(&self, place: &Place) -> bool {
        let Some(key) = key::place(place) else { return false };
        let Ok(Some((seen, _))) = self.store.with(|db| row(db, PLACES, &key)) else { return false };
        if micros(Timestamp::now()) - seen > SIGHT_SECONDS * 1_000_000 {
            let mut sighted = self.sighted.lock().unwrap_or_else(PoisonError::into_inner);
            if sighted.len() < MAX_SIGHTED {
                sighted.insert(key);
            }
        }
        true
    }

    /// Writes all of `batch`, or nothing of it; on the disk when this returns.
    pub fn commit(&self, batch: &Commit) -> Result<(), LedgerError> {
        let sighted = self.take_sighted();
        let written = self.store.write(|transaction| {
            let now = micros(batch.now);
            let mut documents = transaction.open_table(DOCUMENTS)?;
            for (key, shipped) in &batch.documents {
                documents.insert(&*key::document(key), row_of_document(shipped).borrowed())?;
            }
            for key in &batch.seen_again {
                see(&mut documents, &key::document(key), now)?;
            }
            let mut places = transaction.open_table(PLACES)?;
            for (place, verdict) in &batch.places {
                if let Some(key) = key::place(place) {
                    places.insert(&*key, row_of_place(*verdict, now).borrowed())?;
                }
            }
            write_sights(&mut places, &sighted)
        });
        self.keep_unwritten(sighted, written)
    }

    /// Forgets what was last seen more than `retention_days` before `now`; says how many documents and places.
    ///
    /// To be called after a pass over all sources, not before the first one: after a long pause, only the pass knows
    /// which of the remembered mails are still there.
    pub fn expire(&self, now: Timestamp, retention_days: u32) -> Result<u64, LedgerError> {
        let oldest = now.saturating_sub(SignedDuration::from_hours(24 * i64::from(retention_days)));
        let oldest = oldest.map_or(i64::MIN, micros);
        let sighted = self.take_sighted();
        let mut forgotten = 0;
        let written = self.store.write(|transaction| {
            write_sights(&mut transaction.open_table(PLACES)?, &sighted)?;
            for table in [DOCUMENTS, PLACES] {
                transaction.open_table(table)?.retain(|_, (seen, _)| {
                    let keep = seen >= oldest;
                    forgotten += u64::from(!keep);
                    keep
                })?;
            }
            Ok(())
        });
        self.keep_unwritten(sighted, written).map(|()| forgotten)
    }

    fn of(store: Store) -> Self {
        Self { store, sighted: Mutex::default() }
    }

    fn take_sighted(&self) -> HashSet<Vec<u8>> {
        std::mem::take(&mut *self.sighted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep_unwritten(&self, sighted: HashSet<Vec<u8>>, written: Result<(), LedgerError>) -> Result<(), LedgerError> {
        if written.is_err() {
            self.sighted.lock().unwrap_or_else(PoisonError::into_inner).extend(sighted);
        }
        written
    }
}

impl Memory for Ledger {
    fn knows(&self, place: &Place) -> bool {
        self.knows_place(place)
    }
}

type Table<'a> = redb::Table<'a, &'static [u8], (i64, &'static [u8])>;

fn row(db: &Database, table: store::Definition, key: &[u8]) -> Result<Option<(i64, Vec<u8>)>, redb::Error> {
    let found = db.begin_read()?.open_table(table)?.get(key)?;
    Ok(found.map(|row| {
        let (seen, json) = row.value();
        (seen, json.to_vec())
    }))
}

/// Sets the last sight of what is known under `key`.
fn see(table: &mut Table<'_>, key: &[u8], now: i64) -> Result<(), redb::Error> {
    let known = table.get(key)?.map(|row| row.value().1.to_vec());
    if let Some(json) = known {
        table.insert(key, Row { seen: now, json }.borrowed())?;
    }
    Ok(())
}

fn write_sights(places: &mut Table<'_>, sighted: &HashSet<Vec<u8>>) -> Result<(), redb::Error> {
    let now = micros(Timestamp::now());
    sighted.iter().try_for_each(|key| see(places, key, now))
}

#[cfg(test)]
mod tests;
