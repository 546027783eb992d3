//! Keys of a TLS report by the object they are in.

use super::report::{PolicyName, TlsFailure, TlsPolicy, TlsRpt};

/// Maximum bytes kept of a text, as in XML reports; and of one that is repeated in the events of other rows.
pub(super) const TEXT: usize = 4 << 10;
const HEAD_TEXT: usize = 1 << 10;
/// Maximum bytes kept of a policy's type and of its domain: the length of a domain name (RFC 1035 section 2.3.4).
const NAME: usize = 255;
/// An object of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Report,
    Range,
    /// One of `policies`.
    Policy,
    /// The `policy` object in one of `policies`.
    Described,
    Summary,
    /// One of `failure-details`.
    Failure,
}

/// Type of the value of a key.
#[derive(Clone, Copy)]
pub(super) enum Child {
    Objects(Place),
    Text(fn(&mut Held) -> &mut Option<String>),
    Texts(fn(&mut Held) -> &mut Vec<String>),
}

/// RFC 8460 section 4.4; `mx-host-pattern` is the key in its text, `mx-host` that in its example.
const CHILDREN: &[(Place, &str, Child)] = &[
    (Place::Report, "organization-name", Child::Text(|held| &mut held.report.organization_name)),
    (Place::Report, "contact-info", Child::Text(|held| &mut held.report.contact_info)),
    (Place::Report, "report-id", Child::Text(|held| &mut held.report.report_id)),
    (Place::Report, "date-range", Child::Objects(Place::Range)),
    (Place::Report, "policies", Child::Objects(Place::Policy)),
    (Place::Range, "start-datetime", Child::Text(|held| &mut held.report.begin)),
    (Place::Range, "end-datetime", Child::Text(|held| &mut held.report.end)),
    (Place::Policy, "policy", Child::Objects(Place::Described)),
    (Place::Policy, "summary", Child::Objects(Place::Summary)),
    (Place::Policy, "failure-details", Child::Objects(Place::Failure)),
    (Place::Described, "policy-type", Child::Text(|held| &mut held.name.policy_type)),
    (Place::Described, "policy-domain", Child::Text(|held| &mut held.name.domain)),
    (Place::Described, "policy-string", Child::Texts(|held| &mut held.policy.strings)),
    (Place::Described, "mx-host", Child::Texts(|held| &mut held.policy.mx_hosts)),
    (Place::Described, "mx-host-pattern", Child::Texts(|held| &mut held.policy.mx_hosts)),
    (Place::Summary, "total-successful-session-count", Child::Text(|held| &mut held.policy.successful)),
    (Place::Summary, "total-failure-session-count", Child::Text(|held| &mut held.policy.failed)),
    (Place::Failure, "result-type", Child::Text(|held| &mut held.failure.result_type)),
    (Place::Failure, "sending-mta-ip", Child::Text(|held| &mut held.failure.sending_mta_ip)),
    (Place::Failure, "receiving-mx-hostname", Child::Text(|held| &mut held.failure.receiving_mx_hostname)),
    (Place::Failure, "receiving-mx-helo", Child::Text(|held| &mut held.failure.receiving_mx_helo)),
    (Place::Failure, "receiving-ip", Child::Text(|held| &mut held.failure.receiving_ip)),
    (Place::Failure, "failed-session-count", Child::Text(|held| &mut held.failure.failed)),
    (Place::Failure, "additional-information", Child::Text(|held| &mut held.failure.additional_information)),
    (Place::Failure, "failure-reason-code", Child::Text(|held| &mut held.failure.reason_code)),
];

impl Place {
    /// Maximum bytes kept of a single text: fewer if other rows repeat it.
    pub(super) fn longest_text(self) -> usize {
        match self {
            Place::Report | Place::Range => HEAD_TEXT,
            Place::Described => NAME,
            Place::Policy | Place::Summary | Place::Failure => TEXT,
        }
    }
}

/// Looks up a key, normalised to lower case with hyphens.
pub(super) fn child(place: Place, key: &str) -> Option<Child> {
    let key = key.trim().to_ascii_lowercase().replace('_', "-");
    CHILDREN.iter().find(|(inside, name, _)| (*inside, *name) == (place, key.as_str())).map(|(_, _, child)| *child)
}

/// Destination of the values.
#[derive(Default)]
pub(super) struct Held {
    pub report: TlsRpt,
    pub name: PolicyName,
    pub policy: TlsPolicy,
    pub failure: TlsFailure,
}
