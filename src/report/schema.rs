//! Which elements a report has and where each text goes: RFC 9990 appendix A, RFC 7489 appendix C, and what reporters make of them.

use super::{Aggregate, DkimAuth, Override, Row, SpfAuth};

/// What an element is, by where it stands.
#[derive(Clone, Copy)]
pub enum Node {
    /// Not in the schema, with all that is in it: an extension.
    Unknown,
    /// Around the report, within a text, or left out for a reason that is told, with all that is in it.
    Skipped,
    Feedback,
    Metadata,
    DateRange,
    Policy,
    Record,
    Row,
    Evaluated,
    Reason,
    Identifiers,
    AuthResults,
    Dkim,
    Spf,
    /// Holds one text, which belongs there.
    Text(fn(&mut Draft) -> &mut Option<String>),
}

/// What has been read of the report, and of the record and the entries under way.
#[derive(Default)]
pub struct Draft {
    pub report: Aggregate,
    pub row: Row,
    pub error: Option<String>,
    pub reason: Override,
    pub dkim: DkimAuth,
    pub spf: SpfAuth,
}

type Children = &'static [(&'static str, Node)];

const FEEDBACK: Children = &[
    ("record", Node::Record),
    ("report_metadata", Node::Metadata),
    ("policy_published", Node::Policy),
    ("version", Node::Text(|d| &mut d.report.version)),
];

const METADATA: Children = &[
    ("org_name", Node::Text(|d| &mut d.report.org_name)),
    ("email", Node::Text(|d| &mut d.report.email)),
    ("extra_contact_info", Node::Text(|d| &mut d.report.extra_contact_info)),
    ("report_id", Node::Text(|d| &mut d.report.report_id)),
    ("date_range", Node::DateRange),
    // A misprint that some reporters' programs have in common.
    ("data_range", Node::DateRange),
    ("begin", Node::Text(|d| &mut d.report.begin)),
    ("end", Node::Text(|d| &mut d.report.end)),
    ("error", Node::Text(|d| &mut d.error)),
    ("generator", Node::Text(|d| &mut d.report.generator)),
];

const DATE_RANGE: Children =
    &[("begin", Node::Text(|d| &mut d.report.begin)), ("end", Node::Text(|d| &mut d.report.end))];

const POLICY: Children = &[
    ("domain", Node::Text(|d| &mut d.report.policy.domain)),
    ("adkim", Node::Text(|d| &mut d.report.policy.adkim)),
    ("aspf", Node::Text(|d| &mut d.report.policy.aspf)),
    ("p", Node::Text(|d| &mut d.report.policy.p)),
    ("sp", Node::Text(|d| &mut d.report.policy.sp)),
    ("np", Node::Text(|d| &mut d.report.policy.np)),
    ("pct", Node::Text(|d| &mut d.report.policy.pct)),
    ("fo", Node::Text(|d| &mut d.report.policy.fo)),
    ("testing", Node::Text(|d| &mut d.report.policy.testing)),
    ("discovery_method", Node::Text(|d| &mut d.report.policy.discovery_method)),
];

const RECORD: Children = &[
    ("row", Node::Row),
    ("identifiers", Node::Identifiers),
    // The name in the drafts before RFC 7489.
    ("identities", Node::Identifiers),
    ("auth_results", Node::AuthResults),
    // A record whose `row` is lost is still a row.
    ("source_ip", Node::Text(|d| &mut d.row.source_ip)),
    ("count", Node::Text(|d| &mut d.row.count)),
    ("policy_evaluated", Node::Evaluated),
];

const ROW: Children = &[
    ("source_ip", Node::Text(|d| &mut d.row.source_ip)),
    ("count", Node::Text(|d| &mut d.row.count)),
    ("policy_evaluated", Node::Evaluated),
];

const EVALUATED: Children = &[
    ("disposition", Node::Text(|d| &mut d.row.disposition)),
    ("dkim", Node::Text(|d| &mut d.row.dkim)),
    ("spf", Node::Text(|d| &mut d.row.spf)),
    ("reason", Node::Reason),
];

const REASON: Children =
    &[("type", Node::Text(|d| &mut d.reason.kind)), ("comment", Node::Text(|d| &mut d.reason.comment))];

const IDENTIFIERS: Children = &[
    ("header_from", Node::Text(|d| &mut d.row.header_from)),
    ("envelope_from", Node::Text(|d| &mut d.row.envelope_from)),
    ("envelope_to", Node::Text(|d| &mut d.row.envelope_to)),
];

const AUTH_RESULTS: Children = &[("dkim", Node::Dkim), ("spf", Node::Spf)];

const DKIM: Children = &[
    ("domain", Node::Text(|d| &mut d.dkim.domain)),
    ("selector", Node::Text(|d| &mut d.dkim.selector)),
    ("result", Node::Text(|d| &mut d.dkim.result)),
    ("human_result", Node::Text(|d| &mut d.dkim.human_result)),
];

const SPF: Children = &[
    ("domain", Node::Text(|d| &mut d.spf.domain)),
    ("scope", Node::Text(|d| &mut d.spf.scope)),
    ("result", Node::Text(|d| &mut d.spf.result)),
    ("human_result", Node::Text(|d| &mut d.spf.human_result)),
];

impl Node {
    /// The element of this name within this one, with the name as it is spelt in the schema.
    pub fn child(self, name: &str) -> Option<(&'static str, Node)> {
        self.children().iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).copied()
    }

    pub fn is_in_schema(self) -> bool {
        !matches!(self, Node::Unknown | Node::Skipped)
    }

    pub fn is_text(self) -> bool {
        matches!(self, Node::Text(_))
    }

    fn children(self) -> Children {
        match self {
            Node::Unknown | Node::Skipped | Node::Text(_) => &[],
            Node::Feedback => FEEDBACK,
            Node::Metadata => METADATA,
            Node::DateRange => DATE_RANGE,
            Node::Policy => POLICY,
            Node::Record => RECORD,
            Node::Row => ROW,
            Node::Evaluated => EVALUATED,
            Node::Reason => REASON,
            Node::Identifiers => IDENTIFIERS,
            Node::AuthResults => AUTH_RESULTS,
            Node::Dkim => DKIM,
            Node::Spf => SPF,
        }
    }
}
