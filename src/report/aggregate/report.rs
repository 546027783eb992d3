//! An aggregate report, as reported.

use super::extension::Extension;

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
    /// True if there is an `envelope_from` without text: the null reverse-path.
    pub has_null_sender: bool,
    pub envelope_to: Option<String>,
    pub dkim_auth: Vec<DkimAuth>,
    pub spf_auth: Vec<SpfAuth>,
    /// True if signatures were left out or shortened, for lack of room: one of them may have been the aligned one.
    pub dkim_is_cut: bool,
    /// The same for SPF results.
    pub spf_is_cut: bool,
    /// Elements of its record that are not in the schema.
    pub extensions: Vec<Extension>,
    /// Repairs within this row, each as `code: explanation: detail`.
    pub warnings: Vec<String>,
}

impl Row {
    /// True if it has neither an address nor a count. In a record of several rows, the other fields are shared.
    pub(super) fn is_blank(&self) -> bool {
        self.source_ip.is_none() && self.count.is_none()
    }

    /// True if it has no data about any mail: no address, no count, no name and no results.
    pub(super) fn says_nothing(&self) -> bool {
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
