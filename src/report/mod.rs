//! A document → what it reports, as told: text is trimmed but not interpreted, rows stream.
//!
//! A document is read twice. `survey` reads it to its end once: identity (SHA-256), the parts that stand outside the
//! rows in whatever order they come, and every repair and loss. `rows` reads it again and hands out one row at a time,
//! so that nothing is ever held but one row.

use crate::trouble::Trouble;

/// What one reading of a whole document found.
#[derive(Debug, Clone)]
pub struct Survey {
    /// SHA-256 of the decompressed document, as it came.
    pub sha256: [u8; 32],
    pub report: Report,
    /// Rows that can be shipped.
    pub rows: u64,
    /// The document can't be read to its end: what it still gives is shipped, and this is said.
    pub damage: Option<Trouble>,
}

/// The parts of a report that stand outside its rows, by kind.
#[derive(Debug, Clone)]
pub enum Report {
    Aggregate(Box<Aggregate>),
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
    /// Position among the document's records, from 0, skipped ones counted.
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
    /// Repairs within this row, each `what: detail`.
    pub warnings: Vec<String>,
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
