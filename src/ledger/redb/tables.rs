//! Tables of the ledger's database, and the access to their rows.

use redb::{Database, Error, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};

use super::{keys, rows::Row};
use crate::ledger::record::SinkKey;

/// Key → time when the entry was last seen, in microseconds since 1970, and the rest as JSON.
pub(super) type Definition = TableDefinition<'static, &'static [u8], (i64, &'static [u8])>;
pub(super) type Table<'a> = redb::Table<'a, &'static [u8], (i64, &'static [u8])>;
pub(super) type ReadOnlyTable = redb::ReadOnlyTable<&'static [u8], (i64, &'static [u8])>;

pub(super) const DOCUMENTS: Definition = TableDefinition::new("documents");
/// Deliveries of documents to sinks; the rest is empty. A document has a row here for each sink, and one in `documents`.
pub(super) const DELIVERIES: Definition = TableDefinition::new("deliveries");
pub(super) const PLACES: Definition = TableDefinition::new("places");
/// Documents in flight to a sink: the number of their rows that have arrived there.
pub(super) const PROGRESS: Definition = TableDefinition::new("progress");
/// Reporters' names for reports; the rest is the document's SHA-256, not encoded as JSON.
pub(super) const NAMES: Definition = TableDefinition::new("names");
/// Failures of mails; the rest is two counts, big-endian (deaths of processes, passes), and the names of sinks.
pub(super) const ATTEMPTS: Definition = TableDefinition::new("attempts");
/// All tables whose entries expire by the time when they were last seen.
pub(super) const TABLES: [Definition; 6] = [DOCUMENTS, DELIVERIES, PLACES, PROGRESS, NAMES, ATTEMPTS];
pub(super) const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");

/// Tables in which documents are looked up, as of the last commit.
pub(super) struct Tables {
    pub documents: ReadOnlyTable,
    pub deliveries: ReadOnlyTable,
    pub progress: ReadOnlyTable,
    pub names: ReadOnlyTable,
}

impl Tables {
    pub(super) fn of(database: &Database) -> Result<Self, Error> {
        let read = database.begin_read()?;
        Ok(Self {
            documents: read.open_table(DOCUMENTS)?,
            deliveries: read.open_table(DELIVERIES)?,
            progress: read.open_table(PROGRESS)?,
            names: read.open_table(NAMES)?,
        })
    }
}

/// True for tables whose entries are counted in messages to users: documents and places.
pub(super) fn is_told_of(table: Definition) -> bool {
    [DOCUMENTS, PLACES].iter().any(|told| told.name() == table.name())
}

pub(super) fn row(table: &ReadOnlyTable, key: &[u8]) -> Result<Option<(i64, Vec<u8>)>, Error> {
    // Copied before the table is dropped: the result of `get` does not hold the transaction, and commits free pages that
    // nothing holds.
    let row = table.get(key)?.map(|row| {
        let (seen, json) = row.value();
        (seen, json.to_vec())
    });
    Ok(row)
}

/// Returns the sink and the stored value of each row of a document.
pub(super) fn deliveries(table: &ReadOnlyTable, document: &[u8]) -> Result<Vec<(SinkKey, Vec<u8>)>, Error> {
    let [first, last] = [[0; 16], [0xff; 16]].map(|sink| keys::delivery(document, &SinkKey(sink)));
    let mut found = Vec::new();
    for row in table.range(&*first..=&*last)? {
        let (key, row) = row?;
        found.extend(keys::sink_of(document, key.value()).map(|sink| (sink, row.value().1.to_vec())));
    }
    Ok(found)
}

/// Sets the time when the entry of `key` was last seen; false if there is none.
pub(super) fn see(table: &mut Table<'_>, key: &[u8], now: i64) -> Result<bool, Error> {
    let known = table.get(key)?.map(|row| row.value().1.to_vec());
    let Some(json) = known else { return Ok(false) };
    table.insert(key, Row { seen: now, json }.borrowed())?;
    Ok(true)
}

/// Sets the time when every delivery of a document was last seen.
pub(super) fn see_deliveries(deliveries: &mut Table<'_>, document: &[u8], now: i64) -> Result<(), Error> {
    let [first, last] = [[0; 16], [0xff; 16]].map(|sink| keys::delivery(document, &SinkKey(sink)));
    let mut known = Vec::new();
    for row in deliveries.range(&*first..=&*last)? {
        known.push(row?.0.value().to_vec());
    }
    for key in known {
        deliveries.insert(&*key, (now, &[][..]))?;
    }
    Ok(())
}
