//! Schema of aggregate reports: the elements and the field that each text fills, by RFC 9990 appendix A, RFC 7489 appendix C
//! and the deviations of reporters.

use super::report::{Aggregate, DkimAuth, Override, Row, SpfAuth, Text};

/// Meaning of an element, by its position.
#[derive(Clone, Copy)]
pub enum Node {
    /// An element that is not in the schema, with all its content: an extension.
    Unknown,
    /// An element around the report, within a text, or left out with a warning; with all its content.
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
    /// An element with one text, and the field that the text fills.
    Text(fn(&mut Draft) -> &mut Text<'static>),
}

/// Data read of the report, and of the current record and its current entries.
#[derive(Default)]
pub struct Draft {
    pub report: Aggregate,
    pub row: Row<'static>,
    pub error: Text<'static>,
    pub reason: Override<'static>,
    pub dkim: DkimAuth<'static>,
    pub spf: SpfAuth<'static>,
}

type Children = &'static [(&'static str, Node)];

const FEEDBACK: Children = &[
    ("record", Node::Record),
    ("report_metadata", Node::Metadata),
    ("policy_published", Node::Policy),
    ("version", Node::Text(|d| &mut d.report.version)),
    // A row outside of a record is a record.
    ("row", Node::Record),
];

const METADATA: Children = &[
    ("org_name", Node::Text(|d| &mut d.report.org_name)),
    ("email", Node::Text(|d| &mut d.report.email)),
    ("extra_contact_info", Node::Text(|d| &mut d.report.extra_contact_info)),
    ("report_id", Node::Text(|d| &mut d.report.report_id)),
    ("date_range", Node::DateRange),
    // A misspelling that several reporters' programs share.
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
    // A record without a `row` element is still a row.
    ("source_ip", Node::Text(|d| &mut d.row.source_ip)),
    ("count", Node::Text(|d| &mut d.row.count)),
    ("policy_evaluated", Node::Evaluated),
];

const ROW: Children = &[
    ("source_ip", Node::Text(|d| &mut d.row.source_ip)),
    ("count", Node::Text(|d| &mut d.row.count)),
    ("policy_evaluated", Node::Evaluated),
    // Within the row instead of after it, or after a row that is not closed.
    ("identifiers", Node::Identifiers),
    ("identities", Node::Identifiers),
    ("auth_results", Node::AuthResults),
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
    /// Returns the child element with this name, and the name as the schema spells it.
    pub fn child(self, name: &str) -> Option<(&'static str, Node)> {
        let children = self.children();
        let as_spelt = children.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        as_spelt.or_else(|| children.iter().find(|(known, _)| is_same_name(known, name))).copied()
    }

    /// Returns the child container that has a child element with this name: what an unknown element with such a child must be.
    pub fn container_of(self, name: &str) -> Option<Node> {
        let containers = self.children().iter().map(|(_, node)| *node);
        containers.into_iter().find(|node| node.child(name).is_some_and(|(known, _)| is_telling(known)))
    }

    pub fn is_in_schema(self) -> bool {
        !matches!(self, Node::Unknown | Node::Skipped)
    }

    pub fn is_text(self) -> bool {
        matches!(self, Node::Text(_))
    }

    /// True for elements whose values some reporters write as attributes: `<reason type="other"/>`.
    pub fn has_attributes(self) -> bool {
        !matches!(self, Node::Unknown | Node::Skipped | Node::Text(_) | Node::Feedback | Node::Record)
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

/// True for names that differ only in case and separators: `SourceIp` and `source-ip` are `source_ip`.
pub fn is_same_name(known: &str, name: &str) -> bool {
    fn letters(name: &str) -> impl Iterator<Item = u8> {
        name.bytes().filter(|byte| !b"_-.".contains(byte)).map(|byte| byte.to_ascii_lowercase())
    }
    known.eq_ignore_ascii_case(name) || letters(known).eq(letters(name))
}

/// True for names that no extension gives to something else: a `count` can be anything, a `source_ip` can't.
pub fn is_telling(known: &str) -> bool {
    (known.contains('_') && known != "human_result") || ["record", "row", "identifiers", "identities"].contains(&known)
}
