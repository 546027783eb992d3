//! `report`: one event per document, after its rows. Auditors add these up.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    event_type::EventType,
    field::{self, Field, Value, known, saturated, text, texts},
    head::Head,
    id::{self, EventId},
    provenance::Provenance,
};

/// Outcome of processing a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Everything in the document was read, and every row shipped.
    Shipped,
    /// Not everything in the document was shipped: it is damaged or truncated, or something in it was skipped or shortened.
    Partial,
    /// The same document was shipped before; nothing of it is shipped again.
    Duplicate,
    /// A report without a row.
    Empty,
    /// No report, or none that could be parsed.
    Unreadable,
}

impl Outcome {
    pub const ALL: &'static [Outcome] =
        &[Outcome::Shipped, Outcome::Partial, Outcome::Duplicate, Outcome::Empty, Outcome::Unreadable];

    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Shipped => "shipped",
            Outcome::Partial => "partial",
            Outcome::Duplicate => "duplicate",
            Outcome::Empty => "empty",
            Outcome::Unreadable => "unreadable",
        }
    }
}

/// Totals of the shipped rows of a document; for a TLS report, counts are those of its policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Rows shipped.
    pub rows: u64,
    /// Rows that were not shipped.
    pub rows_skipped: u64,
    /// Sum of the shipped rows' counts.
    pub count_sum: i64,
}

impl Tally {
    /// Adds one shipped row with its `count`.
    pub fn add(&mut self, count: Option<i64>) {
        self.rows += 1;
        self.count_sum = self.count_sum.saturating_add(count.unwrap_or(0));
    }
}

/// Summary of a document: its type and outcome.
#[derive(Debug, Clone)]
pub struct ReportEvent {
    id: EventId,
    outcome: Outcome,
    tally: Tally,
    /// SHA-256 of the document, as bytes and in hex.
    hash: [u8; 32],
    sha256: String,
    ingest: String,
    provenance: Arc<Provenance>,
    /// `None` if the document could not be parsed as a report.
    report: Option<Arc<Head>>,
    /// Warnings about the header of the mail, if there is no report to have them.
    warnings: Vec<String>,
}

impl ReportEvent {
    /// Summary of a report of any type. For a duplicate the tally must be empty, so that sums stay correct.
    pub fn of(report: Arc<Head>, outcome: Outcome, tally: Tally) -> Self {
        let mut event = Self::new(&report.hash, outcome, tally, report.provenance.clone());
        event.report = Some(report);
        event
    }

    /// Summary of a document that is no report, or could not be parsed. `sha256` is the hash of its bytes as far as they
    /// were read; `warnings` are those about the header of the mail.
    pub fn unreadable(sha256: &[u8; 32], provenance: Arc<Provenance>, warnings: Vec<String>) -> Self {
        Self { warnings, ..Self::new(sha256, Outcome::Unreadable, Tally::default(), provenance) }
    }

    fn new(sha256: &[u8; 32], outcome: Outcome, tally: Tally, provenance: Arc<Provenance>) -> Self {
        Self {
            id: id::report(provenance.tenant.as_deref(), sha256, outcome.as_str()),
            outcome,
            tally,
            hash: *sha256,
            sha256: field::hex(sha256),
            ingest: field::time(provenance.ingest),
            provenance,
            report: None,
            warnings: Vec::new(),
        }
    }

    pub fn event_id(&self) -> EventId {
        self.id
    }

    pub fn document(&self) -> [u8; 32] {
        self.hash
    }

    /// Event type of its rows; `None` if the document could not be parsed as a report.
    pub fn report_type(&self) -> Option<&'static str> {
        self.report.as_ref().map(|report| report.rows.as_str())
    }

    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    pub fn org(&self) -> Option<&str> {
        self.report.as_ref().and_then(|report| report.org())
    }

    pub fn provenance(&self) -> &Arc<Provenance> {
        &self.provenance
    }

    pub fn period(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        self.report.as_ref().map_or((None, None), |report| report.period())
    }

    pub fn fields<'a>(&'a self, out: &mut Vec<Field<'a>>) {
        let report = self.report.as_deref();
        field::identity(EventType::Report, &self.id, &self.provenance, out);
        out.extend([
            ("report_type", report.map_or(Value::Null, |report| known(report.rows.as_str()))),
            ("outcome", known(self.outcome.as_str())),
            ("org", report.map_or(Value::Null, |report| text(&report.org))),
            ("org_email", report.map_or(Value::Null, |report| text(&report.org_email))),
            ("report_id", report.map_or(Value::Null, |report| text(&report.report_id))),
            ("domain", report.map_or(Value::Null, |report| text(&report.domain))),
            ("begin", report.map_or(Value::Null, |report| text(&report.begin))),
            ("end", report.map_or(Value::Null, |report| text(&report.end))),
            ("rows", Value::Int(saturated(self.tally.rows))),
            ("rows_skipped", Value::Int(saturated(self.tally.rows_skipped))),
            ("count_sum", Value::Int(self.tally.count_sum)),
            field::extensions(report.map_or(&[], |report| &report.extensions)),
            ("document_sha256", known(&self.sha256)),
        ]);
        field::provenance(&self.provenance, out);
        out.extend([
            ("reporter_aligned", field::flag(report.and_then(Head::reporter_aligned))),
            ("ingest_timestamp", known(&self.ingest)),
            ("parse_warnings", texts(report.map_or(&self.warnings, |report| &report.warnings))),
            ("truncated", Value::Bool(false)),
        ]);
    }
}
