//! Records of the ledger: documents, deliveries, places, progress and failures.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::key::text;
use crate::source::Place;

/// A document, identified by its content: SHA-256 over the decompressed bytes. Tenants share no documents.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DocumentKey {
    pub tenant: Option<String>,
    pub sha256: [u8; 32],
}

/// A reporter's name for a report: organisation, domain, report_id and period, hashed with the tenant. Not unique: some
/// reporters use one name for several reports (Google and Mimecast did).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReportName(pub(super) [u8; 32]);

impl ReportName {
    /// Hashed, because reporters write any text of any length. A missing value differs from an empty one.
    pub fn new(tenant: Option<&str>, told: &[Option<&str>]) -> Self {
        let mut bytes = Vec::new();
        for value in std::iter::once(&tenant).chain(told) {
            bytes.push(u8::from(value.is_some()));
            text(&mut bytes, value.unwrap_or_default());
        }
        Self(Sha256::digest(bytes).into())
    }
}

/// Key of a sink: a hash of the settings that its events depend on. Shipped documents are recorded for each sink. See
/// [`SinkConfig::identity`](crate::config::sink::SinkConfig::identity).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SinkKey(pub(super) [u8; 16]);

impl SinkKey {
    /// Stands for every sink: for documents that another program shipped before this one.
    pub const EVERY: Self = Self([0; 16]);

    /// Hashed, because a destination can be of any length.
    pub fn new(identity: &str) -> Self {
        let hash: [u8; 32] = Sha256::digest(identity).into();
        let mut key = [0; 16];
        key.copy_from_slice(&hash[..16]);
        Self(key)
    }
}

/// Number of a document's rows that a sink had confirmed when the progress was last written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Number of rows, from the first, that have arrived.
    pub rows: u64,
    /// Version of the program that counted the rows: another version may count them differently.
    pub by: String,
}

impl Progress {
    /// Progress as counted by this version of the program.
    pub fn of(rows: u64) -> Self {
        Self { rows, by: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// Returns the number of rows that this version of the program need not send again.
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
    /// The mail or file in which the document first came.
    pub mail: String,
}

/// State of a document in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentStatus {
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

/// Reason why a mail or file was left in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaceVerdict {
    /// Every report in it has arrived.
    Shipped,
    /// Something in it could not be read in full.
    Quarantined,
    /// It contains no report.
    WithoutReport,
}

/// Failures of a mail that has not been dealt with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures {
    /// Number of processes that died while reading it, without getting further than the one before.
    pub deaths: u32,
    /// Number of passes in which sinks took the events of other mails, and then none of this one.
    pub passes: u32,
    /// Sinks whose confirmation it waited for at the end of the last of these passes.
    pub sinks: String,
    /// Time of the last failure, or of the last pass that ended while the mail was in flight among others.
    pub last: Timestamp,
}

/// A mail that was in flight when a pass ended in a stall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    pub place: Place,
    /// True if it was read first, so that most sinks were working on it: more likely at fault than any other.
    pub is_oldest: bool,
    /// True if the sinks did not take it: adds one to [`Failures::passes`]. The others may only have been queued behind it.
    pub is_at_fault: bool,
}

/// Contents of one transaction. The places of mails that are moved away need not be written.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Documents, each with the sinks that it was shipped to.
    pub documents: Vec<(DocumentKey, Shipped, Arc<[SinkKey]>)>,
    /// Reporters' names for the documents. The first document under a name keeps it.
    pub names: Vec<(ReportName, [u8; 32])>,
    /// Duplicates: documents that were seen again now.
    pub seen_again: Vec<DocumentKey>,
    pub places: Vec<(Place, PlaceVerdict)>,
    /// Progress of documents in flight to a sink.
    pub progress: Vec<(DocumentKey, SinkKey, Progress)>,
    /// Mails that were read to their end, or made progress: their failures are forgotten.
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
