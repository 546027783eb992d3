//! A document → what it reports, as told: text is trimmed but not interpreted, rows stream.
//!
//! A document is read twice. `survey` reads it to its end once: identity (SHA-256), the parts that stand outside the
//! rows in whatever order they come, and every repair and loss. `rows` reads it again and hands out one row at a time,
//! so that nothing is ever held but one row. Most reports are small: of these the survey keeps the rows, and spares the
//! second reading.

mod aggregate;
mod character;
mod encoding;
mod extension;
mod failure;
mod guard;
mod hashed;
mod json;
mod repair;
mod schema;
mod tag;
mod text_room;
mod tls_rpt;
mod tree;
pub mod values;
mod weight;
mod xml;

#[cfg(test)]
mod tests;

use std::io::BufRead;
use std::ops::ControlFlow;

use aggregate::Document;
use hashed::Hashed;
use repair::{Repair, Warnings};

pub use extension::Extension;
pub use failure::Failure;
pub use tls_rpt::{PolicyName, TlsFailure, TlsPolicy, TlsRow, TlsRpt};
pub use weight::of_sender;

use crate::extract::{Format, SMALL_BYTES};
use crate::limits::Limits;
use crate::trouble::{Reason, Trouble};

/// The rows of a small report are held while their events are estimated below this: of 32 KiB an honest one has 60 rows, or
/// 120 KiB. Rows of a few bytes would be a thousand, and several rows of one record repeat what they share.
const HELD_EVENT_BYTES: u64 = 256 << 10;

/// Reads the whole document once: identity, everything but the rows, repairs and damage.
///
/// # Errors
///
/// When nothing of it can be shipped: not a report, a DOCTYPE, damaged before its first row is whole, or feedback on
/// something else than DMARC.
pub fn survey(format: Format, open: impl BufRead, limits: &Limits) -> Result<Survey, Trouble> {
    match format {
        Format::Xml => survey_aggregate(open, limits),
        Format::Json => tls_rpt::survey(open, limits),
        Format::Feedback => failure::survey(open),
    }
}

fn survey_aggregate(open: impl BufRead, limits: &Limits) -> Result<Survey, Trouble> {
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
    Ok(Survey { sha256, report, rows, skipped, event_bytes, held, damage })
}

/// What a reading of a whole document gives beside its rows.
struct Finished {
    report: Aggregate,
    /// Rows that say nothing, and were not given.
    skipped: u64,
    /// Bytes of the events of the others, from above.
    event_bytes: u64,
}

/// What to say of an error behind the end of a report.
fn damaged_after_end(failure: Option<std::io::Error>) -> Vec<String> {
    let mut late = Warnings::default();
    if let Some(error) = failure {
        late.note(Repair::DamagedAfterEnd, &Trouble::from_io(&error, Reason::XmlTruncated).detail);
    }
    late.texts()
}

/// Reads an aggregate report again and hands out each whole row in order; stops early when `each` says so.
///
/// Gives the rows that [`survey`] counted, with the same indexes, whatever the document and however it is chopped up.
///
/// # Errors
///
/// The survey's damage, after the rows before it.
pub fn rows(open: impl BufRead, limits: &Limits, each: &mut dyn FnMut(Row) -> ControlFlow<()>) -> Result<(), Trouble> {
    let mut document = Document::new(open, limits);
    while let Some(row) = document.next_row()? {
        if each(row).is_break() {
            break;
        }
    }
    Ok(())
}

/// The same of an SMTP TLS report. A failure report is one row, which its survey holds.
///
/// # Errors
///
/// The survey's damage, after the rows before it.
pub fn tls_rows(
    open: impl BufRead,
    limits: &Limits,
    each: &mut dyn FnMut(TlsRow) -> ControlFlow<()>,
) -> Result<(), Trouble> {
    tls_rpt::read(open, limits, each).end
}

/// What one reading of a whole document found.
#[derive(Debug, Clone)]
pub struct Survey {
    /// SHA-256 of the decompressed document, as it came.
    pub sha256: [u8; 32],
    pub report: Report,
    /// Rows that can be shipped.
    pub rows: u64,
    /// Rows that tell nothing, which are not; a warning of the report says so.
    pub skipped: u64,
    /// Bytes of the events of the rows, as JSON: an estimate from above, as each text may be told twice.
    pub event_bytes: u64,
    /// These rows, of a small aggregate report without damage: a second reading would give the same.
    pub held: Option<Vec<Row>>,
    /// The document can't be read to its end: what it still gives is shipped, and this is said.
    pub damage: Option<Trouble>,
}

/// The parts of a report that stand outside its rows, by kind.
#[derive(Debug, Clone)]
pub enum Report {
    Aggregate(Box<Aggregate>),
    TlsRpt(Box<TlsRpt>),
    /// All of it.
    Failure(Box<Failure>),
}

impl Report {
    /// What the reporter calls it, as told: organisation, domain, report_id, begin and end. `None` without a report_id.
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

    /// Adds one to the warnings that its events carry.
    pub fn warn(&mut self, warning: String) {
        match self {
            Report::Aggregate(report) => report.warnings.push(warning),
            Report::TlsRpt(report) => report.warnings.push(warning),
            Report::Failure(report) => report.warnings.push(warning),
        }
    }

    /// The domains that it is for, as told, `None` for one that is not; a TLS report may be for several, or for none.
    pub fn domains(&self) -> Vec<Option<&str>> {
        match self {
            Report::Aggregate(report) => vec![report.policy.domain.as_deref()],
            Report::TlsRpt(report) => report.policies.iter().map(|policy| policy.domain.as_deref()).collect(),
            Report::Failure(report) => vec![report.reported_domain.as_deref()],
        }
    }
}

/// An aggregate report but for its rows (RFC 9990 section 3.1, RFC 7489 appendix C). Texts are trimmed, and `None` where
/// the element is missing or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aggregate {
    pub version: Option<String>,
    /// The namespace of the root element, if any.
    pub xml_namespace: Option<String>,
    pub org_name: Option<String>,
    pub email: Option<String>,
    pub extra_contact_info: Option<String>,
    pub generator: Option<String>,
    pub report_id: Option<String>,
    pub begin: Option<String>,
    pub end: Option<String>,
    /// `report_metadata/error`, all of them.
    pub errors: Vec<String>,
    pub policy: Policy,
    /// Elements outside the records that the schema does not have.
    pub extensions: Vec<Extension>,
    /// Repairs of the document as a whole, each `what: detail`.
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

/// One `record`, as told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Position among the document's rows, from 0. A record is one row; each further `row` in it is one more.
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
    /// Elements of its record that the schema does not have.
    pub extensions: Vec<Extension>,
    /// Repairs within this row, each `what: detail`.
    pub warnings: Vec<String>,
}

impl Row {
    /// Whether it tells neither an address nor a count: in a record of several, the others tell what they share.
    fn is_blank(&self) -> bool {
        self.source_ip.is_none() && self.count.is_none()
    }

    /// Whether it tells nothing of any mail: no address, no count, and no name by which it was known.
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
