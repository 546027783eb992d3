//! Records of the ledger: documents, deliveries, places and progress, and their stored form.

use std::sync::Arc;

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

/// A sink by what its events depend on, hashed: what was shipped is known for each sink by itself. See
/// [`SinkConfig::identity`](crate::config::sink::SinkConfig::identity).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SinkKey(pub(super) [u8; 16]);

impl SinkKey {
    /// Every sink: for documents that another program shipped before this one.
    pub const EVERY: Self = Self([0; 16]);

    pub fn new(identity: &str) -> Self {
        super::key::sink(identity)
    }
}

/// Rows of a document that a sink had confirmed when that was last written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The first so many of its rows have arrived.
    pub rows: u64,
    /// The version of the program that counted them: another one may count rows otherwise.
    pub by: String,
}

impl Progress {
    /// Progress as this version of the program counts it.
    pub fn of(rows: u64) -> Self {
        Self { rows, by: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// Rows that need not be sent again by this version of the program.
    pub fn arrived(&self) -> u64 {
        if self.by == env!("CARGO_PKG_VERSION") { self.rows } else { 0 }
    }
}

/// A document that every required sink of its source has confirmed. Times are kept to the microsecond.
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

/// What went wrong with a mail that has not been dealt with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures {
    /// Processes that died while they were reading it, and had not come further with it than the one before.
    pub deaths: u32,
    /// Passes in which sinks took the events of other mails, and then nothing of this one.
    pub passes: u32,
    /// Sinks whose confirmation it waited for at the end of the last of them.
    pub sinks: String,
    /// The last time that any of it happened, or that a pass ended while the mail was in flight among others.
    pub last: Timestamp,
}

/// A mail that was in flight when a pass ended at a standstill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    pub place: Place,
    /// It was read first, so it is what most sinks were at: more likely at fault than any other.
    pub is_oldest: bool,
    /// It is what the sinks did not take: one more of [`Failures::passes`]. The others may only have been behind it.
    pub is_at_fault: bool,
}

/// One transaction. Of mails that are moved away, the places need not be written down.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Documents, each with the sinks that it was shipped to.
    pub documents: Vec<(DocumentKey, Shipped, Arc<[SinkKey]>)>,
    /// What the reporters call them. The first document under a name keeps it.
    pub names: Vec<(ReportName, [u8; 32])>,
    /// Duplicates: their last sight is now.
    pub seen_again: Vec<DocumentKey>,
    pub places: Vec<(Place, PlaceVerdict)>,
    /// Documents under way to a sink.
    pub progress: Vec<(DocumentKey, SinkKey, Progress)>,
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
    /// JSON, but of failures.
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

/// Two counts, and the names of sinks. Before the second count there was the first alone.
pub(super) fn row_of_failures(failures: &Failures) -> Row {
    let Failures { deaths, passes, sinks, last } = failures;
    let bytes = [&deaths.to_be_bytes()[..], &passes.to_be_bytes()[..], sinks.as_bytes()].concat();
    Row { seen: micros(*last), json: bytes }
}

pub(super) fn failures_of(seen: i64, bytes: &[u8]) -> Option<Failures> {
    let (deaths, rest) = bytes.split_first_chunk()?;
    let (passes, sinks) = rest.split_first_chunk().unwrap_or((&[0; 4], &[]));
    Some(Failures {
        deaths: u32::from_be_bytes(*deaths),
        passes: u32::from_be_bytes(*passes),
        sinks: String::from_utf8_lossy(sinks).into_owned(),
        last: Timestamp::from_microsecond(seen).ok()?,
    })
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
