//! Rows of the tables: records in their stored form.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ledger::record::{Failures, PlaceVerdict, Progress, Shipped};

/// A row as stored: the time when it was last seen is separate, so that expiry need not read the rest.
pub(super) struct Row {
    /// Microseconds since 1970.
    pub(super) seen: i64,
    /// JSON, except for failures.
    pub(super) json: Vec<u8>,
}

impl Row {
    pub(super) fn borrowed(&self) -> (i64, &[u8]) {
        (self.seen, &self.json)
    }
}

/// All fields except the time when it was last seen. Fields may be added, with a default; never renamed.
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

/// Encodes two counts and the names of sinks. Older versions wrote the first count alone.
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
