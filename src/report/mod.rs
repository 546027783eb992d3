//! Parses a document into a report without interpreting it: texts are only trimmed, rows are streamed.
//!
//! A document is read twice. `scan` reads it to its end: identity (SHA-256), the parts outside the rows in whatever order
//! they occur, and every repair and loss. `rows` reads it again and returns one row at a time, so that only one row is held.
//! Most reports are small: for these the scan keeps the rows and saves the second reading.

mod aggregate;
mod encoding;
mod failure;
mod hashed;
mod json_sanitizer;
mod tls_rpt;
pub mod values;
mod warnings;
mod weight;
mod xml;

#[cfg(test)]
mod tests;

use std::io::BufRead;
use std::ops::ControlFlow;

use aggregate::Document;
use hashed::Hashed;
use warnings::{Repair, Warnings};

pub use aggregate::Extension;
pub use failure::Failure;
pub use tls_rpt::{PolicyName, TlsFailure, TlsPolicy, TlsRow, TlsRpt};
pub use weight::of_sender;

use crate::extract::{Format, SMALL_BYTES};
use crate::limits::Limits;
use crate::trouble::{Reason, Trouble};

/// The rows of a small report are kept while the estimated size of their events is below this, in bytes: 32 KiB of a usual
/// report are 60 rows, or 120 KiB. Rows of a few bytes would be a thousand, and several rows of one record repeat the data
/// that they share.
const HELD_EVENT_BYTES: u64 = 256 << 10;

/// Reads the whole document once: identity, everything but the rows, repairs and damage.
///
/// # Errors
///
/// If nothing of it can be shipped: not a report, a DOCTYPE, damaged before its first row is complete, or feedback on
/// something else than DMARC.
pub fn scan(format: Format, open: impl BufRead, limits: &Limits) -> Result<Scan, Trouble> {
    match format {
        Format::Xml => scan_aggregate(open, limits),
        Format::Json => tls_rpt::scan(open, limits),
        Format::Feedback => failure::scan(open),
    }
}

fn scan_aggregate(open: impl BufRead, limits: &Limits) -> Result<Scan, Trouble> {
    let mut source = Hashed::new(open);
    let read = source.count();
    let mut document = Document::new(&mut source, limits);
    let (mut rows, mut held) = (0, Some(Vec::new()));
    let damage = loop {
        match document.next_row() {
            Ok(Some(row)) => {
                rows += 1;
                held = held.filter(|_| read.get() <= SMALL_BYTES as u64 && document.event_bytes() <= HELD_EVENT_BYTES);
                if let Some(held) = &mut held {
                    held.push(row);
                }
            }
            Ok(None) => {
                document.read_rest();
                break None;
            }
            Err(trouble) if rows == 0 => return Err(trouble),
            Err(trouble) => break Some(trouble),
        }
    };
    let Finished { mut report, skipped, event_bytes } = document.finish();
    let (sha256, failure) = source.finish();
    if damage.is_none() {
        report.warnings.extend(damaged_after_end(failure));
    }
    let held = held.filter(|_| damage.is_none());
    let report = Report::Aggregate(Box::new(report));
    Ok(Scan { sha256, report, rows, skipped, event_bytes, held, damage })
}

/// Result of reading a whole document, without its rows.
struct Finished {
    report: Aggregate,
    /// Number of rows without data, which were not returned.
    skipped: u64,
    /// Size of the events of the other rows, in bytes; an upper bound.
    event_bytes: u64,
}

/// Warnings for an error after the end of a report.
fn damaged_after_end(failure: Option<std::io::Error>) -> Vec<String> {
    let mut late = Warnings::default();
    if let Some(error) = failure {
        late.note(Repair::DamagedAfterEnd, &Trouble::from_io(&error, Reason::XmlTruncated).detail);
    }
    late.texts()
}

/// Reads an aggregate report again and passes each complete row to `each`, in order; stops early if `each` breaks.
///
/// These are the rows that [`scan`] counted, with the same indexes, whatever the document and however its input is
/// chunked.
///
/// # Errors
///
/// The scan's damage, after the rows before it.
pub fn rows(open: impl BufRead, limits: &Limits, each: &mut dyn FnMut(Row) -> ControlFlow<()>) -> Result<(), Trouble> {
    let mut document = Document::new(open, limits);
    while let Some(row) = document.next_row()? {
        if each(row).is_break() {
            break;
        }
    }
    Ok(())
}

/// Like [`rows`], for an SMTP TLS report. A failure report has one row, which is in its scan.
///
/// # Errors
///
/// The scan's damage, after the rows before it.
pub fn tls_rows(
    open: impl BufRead,
    limits: &Limits,
    each: &mut dyn FnMut(TlsRow) -> ControlFlow<()>,
) -> Result<(), Trouble> {
    tls_rpt::read(open, limits, each).end
}

/// Result of reading a whole document once.
#[derive(Debug, Clone)]
pub struct Scan {
    /// SHA-256 of the decompressed document, before any conversion.
    pub sha256: [u8; 32],
    pub report: Report,
    /// Number of rows that can be shipped.
    pub rows: u64,
    /// Number of rows without data, which are not shipped; a warning of the report mentions them.
    pub skipped: u64,
    /// Size of the rows' events as JSON, in bytes: an upper bound, as each text may occur twice.
    pub event_bytes: u64,
    /// The rows of a small undamaged aggregate report, for which a second reading is unnecessary.
    pub held: Option<Vec<Row>>,
    /// Set if the document can't be read to its end: the rows before the damage are shipped, and the damage is reported.
    pub damage: Option<Trouble>,
}

/// The parts of a report outside its rows, by type of report.
#[derive(Debug, Clone)]
pub enum Report {
    Aggregate(Box<Aggregate>),
    TlsRpt(Box<TlsRpt>),
    /// The whole report.
    Failure(Box<Failure>),
}

impl Report {
    /// Returns the reporter's identification of the report: organisation, domain, report_id, begin and end. `None` without a
    /// report_id.
    pub fn name(&self) -> Option<[Option<&str>; 5]> {
        let name = match self {
            Report::Aggregate(report) => {
                [&report.org_name, &report.policy.domain, &report.report_id, &report.begin, &report.end]
            }
            Report::TlsRpt(report) => [&report.organization_name, &None, &report.report_id, &report.begin, &report.end],
            Report::Failure(_) => return None,
        };
        name[2].is_some().then(|| name.map(|value| value.as_deref()))
    }

    /// Adds a warning, which the report's events carry.
    pub fn warn(&mut self, warning: String) {
        match self {
            Report::Aggregate(report) => report.warnings.push(warning),
            Report::TlsRpt(report) => report.warnings.push(warning),
            Report::Failure(report) => report.warnings.push(warning),
        }
    }

    /// Returns the domains that the report is about, `None` for a missing one; a TLS report may have several, or none.
    pub fn domains(&self) -> Vec<Option<&str>> {
        match self {
            Report::Aggregate(report) => vec![report.policy.domain.as_deref()],
            Report::TlsRpt(report) => report.policies.iter().map(|policy| policy.domain.as_deref()).collect(),
            Report::Failure(report) => vec![report.reported_domain.as_deref()],
        }
    }
}

/// An aggregate report without its rows (RFC 9990 section 3.1, RFC 7489 appendix C). Texts are trimmed, and `None` if the
/// element is missing or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aggregate {
    pub version: Option<String>,
    /// Namespace of the root element, if any.
    pub xml_namespace: Option<String>,
    pub org_name: Option<String>,
    pub email: Option<String>,
    pub extra_contact_info: Option<String>,
    pub generator: Option<String>,
    pub report_id: Option<String>,
    pub begin: Option<String>,
    pub end: Option<String>,
    /// All `report_metadata/error` elements.
    pub errors: Vec<String>,
    pub policy: Policy,
    /// Elements outside the records that are not in the schema.
    pub extensions: Vec<Extension>,
    /// Repairs of the document as a whole, each as `code: explanation: detail`.
    pub warnings: Vec<String>,
}

/// `policy_published`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    pub domain: Option<String>,
    pub adkim: Option<String>,
    pub aspf: Option<String>,
    pub p: Option<String>,
    pub sp: Option<String>,
    pub np: Option<String>,
    pub pct: Option<String>,
    pub fo: Option<String>,
    pub testing: Option<String>,
    pub discovery_method: Option<String>,
}

/// One `record`, uninterpreted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Index among the document's rows, from 0. A record is one row; each further `row` in it is one more.
    pub index: u64,
    pub source_ip: Option<String>,
    pub count: Option<String>,
    pub disposition: Option<String>,
    pub dkim: Option<String>,
    pub spf: Option<String>,
    pub reasons: Vec<Override>,
    pub header_from: Option<String>,
    pub envelope_from: Option<String>,
    pub envelope_to: Option<String>,
    pub dkim_auth: Vec<DkimAuth>,
    pub spf_auth: Vec<SpfAuth>,
    /// Elements of its record that are not in the schema.
    pub extensions: Vec<Extension>,
    /// Repairs within this row, each as `code: explanation: detail`.
    pub warnings: Vec<String>,
}

impl Row {
    /// True if it has neither an address nor a count. In a record of several rows, the other fields are shared.
    fn is_blank(&self) -> bool {
        self.source_ip.is_none() && self.count.is_none()
    }

    /// True if it has no data about any mail: no address, no count, no name and no results.
    fn says_nothing(&self) -> bool {
        let names = [&self.header_from, &self.envelope_from, &self.envelope_to];
        let has_results = !self.dkim_auth.is_empty() || !self.spf_auth.is_empty();
        self.is_blank() && names.into_iter().all(Option::is_none) && !has_results
    }
}

/// `policy_evaluated/reason`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Override {
    pub kind: Option<String>,
    pub comment: Option<String>,
}

/// `auth_results/dkim`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DkimAuth {
    pub domain: Option<String>,
    pub selector: Option<String>,
    pub result: Option<String>,
    pub human_result: Option<String>,
}

/// `auth_results/spf`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpfAuth {
    pub domain: Option<String>,
    pub scope: Option<String>,
    pub result: Option<String>,
    pub human_result: Option<String>,
}
