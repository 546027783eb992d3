//! What the ledger keeps of a document and of a place, and how it is written down.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::source::Place;

/// A document by its content: SHA-256 over the decompressed bytes. Tenants share nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DocumentKey {
    pub tenant: Option<String>,
    pub sha256: [u8; 32],
}

/// What a reporter itself calls a report: organisation, domain, report_id and period, hashed with the tenant. Some use one name
/// for several reports (Google and Mimecast did), so it identifies nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReportName(pub(super) [u8; 32]);

impl ReportName {
    pub fn new(tenant: Option<&str>, told: &[Option<&str>]) -> Self {
        super::key::report_name(tenant, told)
    }
}

/// How far a document had come when that was last written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The first so many of its rows have arrived.
    pub rows: u64,
    /// Who counted them, and where they have arrived; see [`Progress::rows_for`].
    pub by: String,
}

impl Progress {
    /// The rows that need not be sent again, where `by` is who asks: another version may count rows otherwise, and other
    /// sinks do not have them.
    pub fn rows_for(&self, by: &str) -> u64 {
        if self.by == by { self.rows } else { 0 }
    }
}

/// A document that every required sink has confirmed. Times are kept to the microsecond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipped {
    pub first_shipped: Timestamp,
    pub last_seen: Timestamp,
    pub org: Option<String>,
    pub report_id: Option<String>,
    /// Rows shipped.
    pub rows: u64,
    /// The mail or file that it first came in.
    pub mail: String,
}

/// Why a mail or file was left where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaceVerdict {
    /// Every report in it has arrived.
    Shipped,
    /// Something in it could not be read in full.
    Quarantined,
    /// It carries no report.
    WithoutReport,
}

/// One transaction. Of mails that are moved away, the places need not be written down.
#[derive(Debug, Clone)]
pub struct Commit {
    pub documents: Vec<(DocumentKey, Shipped)>,
    /// What the reporters call them. The first document under a name keeps it.
    pub names: Vec<(ReportName, [u8; 32])>,
    /// Duplicates: their last sight is now.
    pub seen_again: Vec<DocumentKey>,
    pub places: Vec<(Place, PlaceVerdict)>,
    /// Documents under way.
    pub progress: Vec<(DocumentKey, Progress)>,
    /// Mails that were read to their end, or made progress: no attempt at them counts any more.
    pub read: Vec<Place>,
    pub now: Timestamp,
}

impl Commit {
    pub fn at(now: Timestamp) -> Self {
        Self {
            documents: Vec::new(),
            names: Vec::new(),
            seen_again: Vec::new(),
            places: Vec::new(),
            progress: Vec::new(),
            read: Vec::new(),
            now,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.documents.is_empty() && self.seen_again.is_empty() && self.places.is_empty() && self.progress.is_empty()
    }
}

/// A row as stored: the last sight apart from the rest, so that expiry need not read the rest.
pub(super) struct Row {
    /// Microseconds since 1970.
    pub(super) seen: i64,
    pub(super) json: Vec<u8>,
}

impl Row {
    pub(super) fn borrowed(&self) -> (i64, &[u8]) {
        (self.seen, &self.json)
    }
}

/// All fields but the last sight. Fields may be added, with a default; never renamed.
#[derive(Serialize, Deserialize)]
struct Document {
    first_shipped: i64,
    org: Option<String>,
    report_id: Option<String>,
    rows: u64,
    mail: String,
}

#[derive(Serialize, Deserialize)]
struct Left {
    verdict: PlaceVerdict,
}

pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

pub(super) fn row_of_document(shipped: &Shipped) -> Row {
    let Shipped { first_shipped, last_seen, org, report_id, rows, mail } = shipped.clone();
    let document = Document { first_shipped: micros(first_shipped), org, report_id, rows, mail };
    Row { seen: micros(last_seen), json: json(&document) }
}

pub(super) fn row_of_place(verdict: PlaceVerdict, seen: i64) -> Row {
    Row { seen, json: json(&Left { verdict }) }
}

pub(super) fn row_of_progress(progress: &Progress, seen: i64) -> Row {
    Row { seen, json: json(progress) }
}

pub(super) fn progress_of(json: &[u8]) -> Result<Progress, String> {
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

pub(super) fn shipped_of(seen: i64, json: &[u8]) -> Result<Shipped, String> {
    let Document { first_shipped, org, report_id, rows, mail } =
        serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let time = |micros| Timestamp::from_microsecond(micros).map_err(|error| error.to_string());
    Ok(Shipped { first_shipped: time(first_shipped)?, last_seen: time(seen)?, org, report_id, rows, mail })
}

fn json(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("records are made of strings and integers")
}
