//! An aggregate report, as reported.

use std::borrow::Cow;

use super::extension::Extension;

/// A text of a report, trimmed, borrowed from the document if it is there as it is; `None` if the element is missing or empty.
pub type Text<'a> = Option<Cow<'a, str>>;

/// An aggregate report without its rows (RFC 9990 section 3.1, RFC 7489 appendix C).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aggregate {
    pub version: Text<'static>,
    /// Namespace of the root element, if any.
    pub xml_namespace: Text<'static>,
    pub org_name: Text<'static>,
    pub email: Text<'static>,
    pub extra_contact_info: Text<'static>,
    pub generator: Text<'static>,
    pub report_id: Text<'static>,
    pub begin: Text<'static>,
    pub end: Text<'static>,
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
    pub domain: Text<'static>,
    pub adkim: Text<'static>,
    pub aspf: Text<'static>,
    pub p: Text<'static>,
    pub sp: Text<'static>,
    pub np: Text<'static>,
    pub pct: Text<'static>,
    pub fo: Text<'static>,
    pub testing: Text<'static>,
    pub discovery_method: Text<'static>,
}

/// One `record`, uninterpreted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row<'a> {
    /// Index among the document's rows, from 0. A record is one row; each further `row` in it is one more.
    pub index: u64,
    pub source_ip: Text<'a>,
    pub count: Text<'a>,
    pub disposition: Text<'a>,
    pub dkim: Text<'a>,
    pub spf: Text<'a>,
    pub reasons: Vec<Override<'a>>,
    pub header_from: Text<'a>,
    pub envelope_from: Text<'a>,
    /// True if there is an `envelope_from` without text: the null reverse-path.
    pub has_null_sender: bool,
    pub envelope_to: Text<'a>,
    pub dkim_auth: Vec<DkimAuth<'a>>,
    pub spf_auth: Vec<SpfAuth<'a>>,
    /// True if signatures were left out or shortened, for lack of room: one of them may have been the aligned one.
    pub dkim_is_cut: bool,
    /// The same for SPF results.
    pub spf_is_cut: bool,
    /// Elements of its record that are not in the schema.
    pub extensions: Vec<Extension>,
    /// Repairs within this row, each as `code: explanation: detail`.
    pub warnings: Vec<String>,
}

impl Row<'_> {
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
pub struct Override<'a> {
    pub kind: Text<'a>,
    pub comment: Text<'a>,
}

/// `auth_results/dkim`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DkimAuth<'a> {
    pub domain: Text<'a>,
    pub selector: Text<'a>,
    pub result: Text<'a>,
    pub human_result: Text<'a>,
}

/// `auth_results/spf`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpfAuth<'a> {
    pub domain: Text<'a>,
    pub scope: Text<'a>,
    pub result: Text<'a>,
    pub human_result: Text<'a>,
}

/// The same text, independent of the document.
pub(super) fn owned(text: Text<'_>) -> Text<'static> {
    text.map(|text| text.into_owned().into())
}

impl Row<'_> {
    /// The same row, independent of the document.
    pub fn into_owned(self) -> Row<'static> {
        Row {
            index: self.index,
            source_ip: owned(self.source_ip),
            count: owned(self.count),
            disposition: owned(self.disposition),
            dkim: owned(self.dkim),
            spf: owned(self.spf),
            reasons: self
                .reasons
                .into_iter()
                .map(|told| Override { kind: owned(told.kind), comment: owned(told.comment) })
                .collect(),
            header_from: owned(self.header_from),
            envelope_from: owned(self.envelope_from),
            has_null_sender: self.has_null_sender,
            envelope_to: owned(self.envelope_to),
            dkim_auth: self
                .dkim_auth
                .into_iter()
                .map(|told| DkimAuth {
                    domain: owned(told.domain),
                    selector: owned(told.selector),
                    result: owned(told.result),
                    human_result: owned(told.human_result),
                })
                .collect(),
            spf_auth: self
                .spf_auth
                .into_iter()
                .map(|told| SpfAuth {
                    domain: owned(told.domain),
                    scope: owned(told.scope),
                    result: owned(told.result),
                    human_result: owned(told.human_result),
                })
                .collect(),
            dkim_is_cut: self.dkim_is_cut,
            spf_is_cut: self.spf_is_cut,
            extensions: self.extensions,
            warnings: self.warnings,
        }
    }
}
