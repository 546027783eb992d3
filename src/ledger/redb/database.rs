//! The ledger's redb database: opens and checks it, sets a corrupt one aside, reopens it after a failed write.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, ErrorKind},
    ops::Bound,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
};

use jiff::{Timestamp, tz::TimeZone};
use redb::{
    Builder, Database, DatabaseError, Error, ReadableTable, StorageBackend, StorageError, WriteTransaction,
    backends::{FileBackend, InMemoryBackend},
};
use tracing::warn;

use super::tables::{META, TABLES, Tables};
use crate::{
    folder,
    ledger::{LedgerError, View},
};

/// Schema version, in `meta`. A ledger of another version is refused: the meaning of its entries is not known.
const SCHEMA: u64 = 2;

/// Cache of redb in bytes; its default is 1 GiB.
const CACHE_BYTES: usize = 4 << 20;

const FILE: &str = "ledger.redb";
/// Name of a ledger without a file, in errors.
const IN_MEMORY: &str = "(in memory)";

/// A database and its path.
#[derive(Debug)]
pub(super) struct Store {
    /// `None` in memory.
    data_dir: Option<PathBuf>,
    /// `None` after an I/O error, when redb refuses everything until it is reopened.
    open: RwLock<Option<Opened>>,
}

struct Opened {
    /// Identity of the open file; `None` in memory.
    file: Option<FileId>,
    /// Kept open until the next write: documents are looked up one by one, and written many at a time.
    tables: Mutex<Option<Tables>>,
    database: Database,
}

/// Device and inode of a file: another file may come to lie at the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    fn of(metadata: &fs::Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

impl Store {
    pub(super) fn open(data_dir: &Path) -> Result<Self, LedgerError> {
        let opened = open_or_start(data_dir)?;
        Ok(Self { data_dir: Some(data_dir.into()), open: RwLock::new(Some(opened)) })
    }

    pub(super) fn in_memory() -> Self {
        let opened = Self::on(InMemoryBackend::new(), Path::new(IN_MEMORY));
        opened.expect("a new database in memory needs nothing but memory")
    }

    /// Opens a database that has no path to be reopened at.
    pub(super) fn on(backend: impl StorageBackend, path: &Path) -> Result<Self, LedgerError> {
        let database = open_checked(backend, path)?;
        Ok(Self { data_dir: None, open: RwLock::new(Some(Opened::of(database, None))) })
    }

    pub(super) fn copy(data_dir: &Path) -> Result<(Self, View), LedgerError> {
        let path = data_dir.join(FILE);
        let io = |error: io::Error| unusable(&path, error.into());
        let file = match OpenOptions::new().read(true).open(&path) {
            Ok(file) => FileBackend::new(file).map_err(|error| unusable(&path, error.into()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Self::in_memory(), View::Missing)),
            Err(error) => return Err(io(error)),
        };
        let Some(memory) = copy_unlocked(&file).map_err(|error| unusable(&path, error.into()))? else {
            return Ok((Self::in_memory(), View::Locked));
        };
        Ok((Self::on(memory, &path)?, View::Copy))
    }

    /// Calls `work` with the database, reopened if an I/O error has closed it.
    pub(super) fn with<R>(&self, work: impl FnOnce(&Database) -> Result<R, Error>) -> Result<R, LedgerError> {
        self.with_opened(|opened| work(&opened.database))
    }

    /// Calls `work` with the tables as of the last commit.
    pub(super) fn look<R>(&self, work: impl FnOnce(&Tables) -> Result<R, Error>) -> Result<R, LedgerError> {
        self.with_opened(|opened| {
            let mut tables = opened.lock_tables();
            match &*tables {
                Some(tables) => work(tables),
                None => work(tables.insert(Tables::of(&opened.database)?)),
            }
        })
    }

    fn with_opened<R>(&self, work: impl FnOnce(&Opened) -> Result<R, Error>) -> Result<R, LedgerError> {
        let mut open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() {
            drop(open);
            self.reopen()?;
            open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        }
        let Some(opened) = &*open else { return Err(self.failed(Error::DatabaseClosed)) };
        let done = work(opened);
        drop(open);
        done.map_err(|error| {
            if self.data_dir.is_some() && closes(&error) {
                warn!(%error, "reading or writing the ledger failed; it is reopened at the next access");
                *self.open.write().unwrap_or_else(PoisonError::into_inner) = None;
            }
            self.failed(error)
        })
    }

    /// Runs `work` in one transaction: all of it is written, or nothing. If the file was deleted or replaced meanwhile,
    /// opens or creates the one at its path: what is written to a file without a name is lost with the process.
    pub(super) fn write(&self, work: impl FnOnce(&WriteTransaction) -> Result<(), Error>) -> Result<(), LedgerError> {
        self.follow_path();
        self.with_opened(|opened| {
            // Before the write, so that redb keeps no pages for readers; and after it, as tables opened meanwhile are out
            // of date.
            *opened.lock_tables() = None;
            let transaction = opened.database.begin_write()?;
            work(&transaction)?;
            transaction.commit()?;
            *opened.lock_tables() = None;
            Ok(())
        })
    }

    /// Closes a file that no longer lies at its path.
    fn follow_path(&self) {
        let Some(data_dir) = &self.data_dir else { return };
        let here = fs::metadata(data_dir.join(FILE)).map(|metadata| FileId::of(&metadata));
        let opened = self.open.read().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|opened| opened.file);
        let path = self.path();
        match (here, opened) {
            (Err(error), _) if error.kind() == ErrorKind::NotFound => {
                warn!(ledger = %path.display(), "the ledger was deleted; creating a new one, so that reports shipped before may be shipped again, with the same event_id");
            }
            (Ok(here), Some(opened)) if here != opened => {
                warn!(ledger = %path.display(), "the ledger was replaced by another file; using that file");
            }
            _ => return,
        }
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn corrupt(&self, why: String) -> LedgerError {
        LedgerError::Corrupt { ledger: self.path().display().to_string(), why }
    }

    fn reopen(&self) -> Result<(), LedgerError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(data_dir)) = (&*open, &self.data_dir) {
            *open = Some(open_or_start(data_dir)?);
        }
        Ok(())
    }

    fn failed(&self, error: Error) -> LedgerError {
        match error {
            Error::Corrupted(why) => self.corrupt(why),
            error => unusable(&self.path(), error),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        let file = self.data_dir.as_ref().and_then(|data_dir| fs::metadata(data_dir.join(FILE)).ok());
        file.map_or(0, |file| file.len())
    }

    pub(super) fn path(&self) -> PathBuf {
        self.data_dir.as_ref().map_or_else(|| IN_MEMORY.into(), |data_dir| data_dir.join(FILE))
    }
}

impl Opened {
    fn of(database: Database, file: Option<FileId>) -> Self {
        Self { file, tables: Mutex::default(), database }
    }

    fn lock_tables(&self) -> MutexGuard<'_, Option<Tables>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.database.fmt(f)
    }
}

/// Opens the database file; creates a new one if there is none, or after a corrupt one was set aside.
fn open_or_start(data_dir: &Path) -> Result<Opened, LedgerError> {
    let path = data_dir.join(FILE);
    match open_file(data_dir, &path) {
        Err(LedgerError::Corrupt { why, .. }) => {
            let now = Timestamp::now().to_zoned_datetime(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ");
            let aside = data_dir.join(format!("{FILE}.corrupt-{now}"));
            fs::rename(&path, &aside).map_err(|error| unusable(&path, error.into()))?;
            warn!(
                ledger = %path.display(), set_aside = %aside.display(), why,
                "the ledger is corrupt; renamed it and created a new one, so that reports that are still in the mailbox are \
                 shipped again, with the same event_id"
            );
            open_file(data_dir, &path)
        }
        other => other,
    }
}

fn open_file(data_dir: &Path, path: &Path) -> Result<Opened, LedgerError> {
    let io = |error: io::Error| unusable(path, error.into());
    folder::create(data_dir).map_err(io)?;
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io)?;
    folder::sync(data_dir).map_err(io)?;
    let id = FileId::of(&file.metadata().map_err(io)?);
    let backend = FileBackend::new(file).map_err(|error| unusable(path, error.into()))?;
    Ok(Opened::of(open_checked(backend, path)?, Some(id)))
}

/// Opens a database and its tables. redb may panic on a file that something else has changed.
fn open_checked(backend: impl StorageBackend, path: &Path) -> Result<Database, LedgerError> {
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let database = open_backend(backend)?;
        check_schema(&database).map(|schema| (database, schema))
    }));
    let ledger = path.display().to_string();
    match opened {
        Ok(Ok((database, SCHEMA))) => Ok(database),
        Ok(Ok((_, found))) => Err(LedgerError::OtherVersion { ledger, found, known: SCHEMA }),
        Ok(Err(Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch)) => Err(LedgerError::Locked { ledger }),
        Ok(Err(error)) if is_corruption(&error) => Err(LedgerError::Corrupt { ledger, why: error.to_string() }),
        Ok(Err(error)) => Err(unusable(path, error)),
        Err(_) => Err(LedgerError::Corrupt { ledger, why: "redb panicked while opening it".into() }),
    }
}

/// Returns an error of redb as one of the ledger.
fn unusable(path: &Path, error: Error) -> LedgerError {
    let error = match error {
        Error::Io(error) => error,
        error => io::Error::other(error),
    };
    LedgerError::Io { ledger: path.display().to_string(), error }
}

fn open_backend(backend: impl StorageBackend) -> Result<Database, Error> {
    let mut builder = Builder::new();
    // Reads the whole file, some megabytes, and finds damage that a plain open would only find later.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    Ok(builder.create_with_backend(backend)?)
}

/// Returns the schema version of the database, and sets it in a new one. Tables are created only in one of our version.
fn check_schema(database: &Database) -> Result<u64, Error> {
    let transaction = database.begin_write()?;
    let mut meta = transaction.open_table(META)?;
    let known = meta.get("schema")?.map(|version| version.value());
    let found = known.unwrap_or(SCHEMA);
    if known.is_none() {
        meta.insert("schema", SCHEMA)?;
    }
    drop(meta);
    // Tables may have been added within a schema version. A complete ledger can be opened even if the disk is full.
    let complete = transaction.list_tables()?.count() > TABLES.len();
    if found == SCHEMA && !complete {
        for table in TABLES {
            transaction.open_table(table)?;
        }
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    Ok(found)
}

/// True if only reopening the file can help after this error; that also finds out whether it is corrupt.
fn closes(error: &Error) -> bool {
    matches!(error, Error::Io(_) | Error::PreviousIo | Error::Backend(_) | Error::Corrupted(_) | Error::LockPoisoned(_))
}

fn is_corruption(error: &Error) -> bool {
    match error {
        Error::Corrupted(_) | Error::RepairAborted => true,
        // Not a database at all, or only the beginning of one (the second kind is reported for a file, the third for a copy).
        Error::Io(error) => {
            matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::InvalidInput)
        }
        _ => false,
    }
}

/// Copies the file into memory; `None` if a running instance holds it.
fn copy_unlocked(file: &FileBackend) -> Result<Option<InMemoryBackend>, DatabaseError> {
    let all = (Bound::Unbounded, Bound::Unbounded);
    if !file.try_lock_shared_range(all.0, all.1)? {
        return Ok(None);
    }
    let storage = |error: io::Error| DatabaseError::Storage(StorageError::Io(error));
    let memory = InMemoryBackend::new();
    let len = file.len().map_err(storage)?;
    memory.set_len(len).map_err(storage)?;
    let mut piece = vec![0; 1 << 20];
    let mut at = 0;
    while at < len {
        let size = usize::try_from(len - at).map_or(piece.len(), |rest| rest.min(piece.len()));
        file.read(at, &mut piece[..size]).map_err(storage)?;
        memory.write(at, &piece[..size]).map_err(storage)?;
        at += size as u64;
    }
    file.unlock_range(all.0, all.1)?;
    Ok(Some(memory))
}
