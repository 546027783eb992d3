//! Data shared by all events of one document, for every type of report.

use std::sync::Arc;

use jiff::Timestamp;

use super::{derive, event_type::EventType, field, normal::Normal, provenance::Provenance};
use crate::report::{Extension, values};

/// Reporter, domain and period of a report, the provenance of the document, and its warnings.
#[derive(Debug)]
pub struct Head {
    /// Event type of its rows.
    pub(super) rows: EventType,
    pub(super) org: Option<String>,
    pub(super) org_email: Option<String>,
    /// The domain that the report claims to come from, in lower case.
    pub(super) reporter: Option<String>,
    pub(super) report_id: Option<String>,
    pub(super) domain: Option<String>,
    pub(super) begin: Option<Moment>,
    pub(super) end: Option<Moment>,
    /// SHA-256 of the document, as bytes and in hex.
    pub(super) hash: [u8; 32],
    pub(super) sha256: String,
    pub(super) ingest: String,
    pub(super) provenance: Arc<Provenance>,
    /// Extensions of an aggregate report; empty for others.
    pub(super) extensions: Vec<Extension>,
    /// Repairs of the document, and values outside its rows that were not understood.
    pub(super) warnings: Vec<String>,
}

/// A time, and its text in events.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    time: Timestamp,
    text: String,
}

impl From<Timestamp> for Moment {
    fn from(time: Timestamp) -> Self {
        Self { time, text: field::time(time) }
    }
}

impl AsRef<str> for Moment {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl Head {
    /// Creates a head with provenance only; the caller fills in the rest by the type of report.
    pub(super) fn new(rows: EventType, hash: [u8; 32], provenance: Arc<Provenance>) -> Self {
        Self {
            rows,
            org: None,
            org_email: None,
            reporter: None,
            report_id: None,
            domain: None,
            begin: None,
            end: None,
            hash,
            sha256: field::hex(&hash),
            ingest: field::time(provenance.ingest),
            provenance,
            extensions: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub fn org(&self) -> Option<&str> {
        self.org.as_deref()
    }

    pub fn report_id(&self) -> Option<&str> {
        self.report_id.as_deref()
    }

    /// True if the mail was authenticated for the organisational domain that the report claims to come from. `None` if there
    /// are no results of a trusted server, or the report names no domain.
    pub(super) fn reporter_aligned(&self) -> Option<bool> {
        let auth = self.provenance.mail_auth.as_ref()?;
        let reporter = self.reporter.as_deref()?;
        let vouches = |domain: &str| derive::aligned(domain, reporter, derive::Mode::Relaxed) == Some(true);
        Some(auth.passed().filter_map(|passed| passed.domain.as_deref()).any(vouches))
    }

    pub fn period(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        (self.begin.as_ref().map(|begin| begin.time), self.end.as_ref().map(|end| end.time))
    }
}

/// Returns the domain of an address, in lower case.
pub(super) fn domain_of_address(email: &str) -> Option<String> {
    let (_, host) = email.rsplit_once('@')?;
    let host = values::domain(host.trim_end_matches('>'));
    (!host.is_empty()).then_some(host)
}

/// Name of a reporter without one: the domain of its address, with a warning.
pub(super) fn org_of(email: Option<&str>, normal: &mut Normal) -> Option<String> {
    let host = normal.within("org", email, domain_of_address, "e-mail address")?;
    normal.warn("org", format_args!("missing, taken from the e-mail address"));
    Some(host)
}

/// Joins the warnings of the document and of the row. Empty if the row has none: then those of the document are used as they
/// are.
pub(super) fn joined(document: &[String], row: Vec<String>) -> Vec<String> {
    if row.is_empty() || document.is_empty() { row } else { document.iter().cloned().chain(row).collect() }
}
