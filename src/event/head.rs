//! What all events of one document have in common, whatever kind of report it is.

use std::sync::Arc;

use jiff::Timestamp;

use super::{EventType, Provenance, derive, field, normal::Normal};
use crate::report::{Extension, values};

/// Who reports on which domain and period, where the document came from, and what had to be repaired.
#[derive(Debug)]
pub struct Head {
    /// Type of the events of its rows.
    pub(super) rows: EventType,
    pub(super) org: Option<String>,
    pub(super) org_email: Option<String>,
    /// The domain that the report says it comes from, in lower case.
    pub(super) reporter: Option<String>,
    pub(super) report_id: Option<String>,
    pub(super) domain: Option<String>,
    pub(super) begin: Option<Moment>,
    pub(super) end: Option<Moment>,
    /// SHA-256 of the document; and in hex.
    pub(super) hash: [u8; 32],
    pub(super) sha256: String,
    pub(super) ingest: String,
    pub(super) provenance: Arc<Provenance>,
    /// Of an aggregate report.
    pub(super) extensions: Vec<Extension>,
    /// Repairs of the document, and what could not be understood outside its rows.
    pub(super) warnings: Vec<String>,
}

/// A time, and how it is written.
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
    /// A head that says nothing but where the document came from; the rest is filled in by who knows the kind.
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

    /// True if the mail was authenticated for the organisational domain that the report says it comes from. `None` when no
    /// trusted server said anything, or the report names no domain.
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

/// The domain of an address, in lower case.
pub(super) fn domain_of_address(email: &str) -> Option<String> {
    let (_, host) = email.rsplit_once('@')?;
    let host = values::domain(host.trim_end_matches('>'));
    (!host.is_empty()).then_some(host)
}

/// A reporter without a name is known by its address.
pub(super) fn org_of(email: Option<&str>, normal: &mut Normal) -> Option<String> {
    let host = domain_of_address(email?)?;
    normal.warn("org", format_args!("missing, taken from the e-mail address"));
    Some(host)
}

/// Both lists, unless the row adds nothing: then none, and the document's is used as it is.
pub(super) fn joined(document: &[String], row: Vec<String>) -> Vec<String> {
    if row.is_empty() || document.is_empty() { row } else { document.iter().cloned().chain(row).collect() }
}
