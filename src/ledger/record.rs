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
    /// Duplicates: their last sight is now.
    pub seen_again: Vec<DocumentKey>,
    pub places: Vec<(Place, PlaceVerdict)>,
    pub now: Timestamp,
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

pub(super) fn shipped_of(seen: i64, json: &[u8]) -> Result<Shipped, String> {
    let Document { first_shipped, org, report_id, rows, mail } =
        serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let time = |micros| Timestamp::from_microsecond(micros).map_err(|error| error.to_string());
    Ok(Shipped { first_shipped: time(first_shipped)?, last_seen: time(seen)?, org, report_id, rows, mail })
}

fn json(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("records are made of strings and integers")
}
