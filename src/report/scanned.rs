//! A report, and the result of reading it once.

use super::{
    aggregate::report::{Aggregate, Row},
    failure::report::Failure,
    tls_rpt::report::TlsRpt,
    warnings::{Repair, Warnings},
};
use crate::extract::Envelope;
use crate::trouble::{Reason, Trouble};

/// Result of reading a whole document once.
#[derive(Debug, Clone)]
pub struct Scan {
    /// SHA-256 of the decompressed document, before any conversion.
    pub sha256: [u8; 32],
    pub report: Report,
    /// Number of rows that can be shipped.
    pub rows: u64,
    /// Number of rows without data, which are not shipped.
    pub skipped: u64,
    /// Size of the rows' events as JSON, in bytes: an upper bound, as each text may occur twice.
    pub event_bytes: u64,
    /// True if it is an aggregate report that needs no repair, and is read again by the fast reader.
    pub is_clean: bool,
    /// The rows of a small undamaged aggregate report, for which a second reading is unnecessary.
    pub held: Option<Vec<Row<'static>>>,
    /// True if another report may follow this one in the document.
    pub has_more: bool,
    /// Set if the document can't be read to its end: the rows before the damage are shipped, and the damage is reported.
    pub damage: Option<Trouble>,
    /// Set if something in the document is in no event, as the repairs say.
    pub left_out: Option<Trouble>,
}

impl Scan {
    /// True if the document is one report, as far as is known: all of it was read.
    pub fn is_alone(&self) -> bool {
        !self.has_more && self.damage.is_none()
    }

    /// Why not everything in the document can be shipped, if so: outcome and verdict follow from this alone.
    pub fn incomplete(&self) -> Option<&Trouble> {
        self.damage.as_ref().or(self.left_out.as_ref())
    }
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
                let Aggregate { org_name, policy, report_id, begin, end, .. } = &**report;
                [org_name, &policy.domain, report_id, begin, end].map(|value| value.as_deref())
            }
            Report::TlsRpt(report) => {
                let TlsRpt { organization_name, report_id, begin, end, .. } = &**report;
                [organization_name, &None, report_id, begin, end].map(|value| value.as_deref())
            }
            Report::Failure(_) => return None,
        };
        name[2].is_some().then_some(name)
    }

    /// Adds what the header of its mail says of the report, and the warnings about that.
    pub fn add_header(&mut self, header: &Envelope) {
        header.warnings.iter().for_each(|warning| self.warn(warning.clone()));
        if let Report::TlsRpt(report) = self {
            report.mail_domain.clone_from(&header.tls_report_domain);
            report.mail_submitter.clone_from(&header.tls_report_submitter);
        }
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
            Report::TlsRpt(report) => {
                let domain_of_mail = report.mail_domain.as_deref();
                report.policies.iter().map(|policy| policy.domain.as_deref().or(domain_of_mail)).collect()
            }
            Report::Failure(report) => vec![report.reported_domain.as_deref()],
        }
    }
}

/// The repair for a trouble after the end of a report.
pub(super) fn after_end(trouble: &Trouble) -> Repair {
    if trouble.is_checksum { Repair::DamagedAfterEnd } else { Repair::UnreadAfterEnd }
}

/// Repairs for an error after the end of a report.
pub(super) fn late(failure: Option<std::io::Error>) -> Warnings {
    let mut late = Warnings::default();
    if let Some(error) = failure {
        let trouble = Trouble::from_io(&error, Reason::XmlTruncated);
        late.note(after_end(&trouble), &trouble.detail);
    }
    late
}
