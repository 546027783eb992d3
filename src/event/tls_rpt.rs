//! `tls_rpt`: one event per policy of an SMTP TLS report, and one per kind of failure under it.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    event_type::EventType,
    field::{self, Field, Value, int, known, saturated, text, texts},
    head::{Head, Moment, domain_of_address, joined},
    id::{EventId, TlsIds},
    normal::{Normal, plain, present},
    provenance::Provenance,
};
use crate::{
    date::Form,
    domain_name::comparable,
    report::{PolicyName, TlsFailure, TlsPolicy, TlsRow, TlsRpt, values},
};

/// Data shared by all rows of one report, normalised once.
#[derive(Debug)]
pub struct Shared {
    head: Arc<Head>,
    contact: Option<String>,
    policies: Vec<Policy>,
    ids: TlsIds,
}

/// Type and domain of a policy, which distinguish it from the report's others: original and normalised.
#[derive(Debug)]
struct Policy {
    told: PolicyName,
    policy_type: Option<String>,
    domain: Option<String>,
    warnings: Vec<String>,
}

impl Shared {
    /// `sha256` is the hash of the decompressed document.
    pub fn new(report: TlsRpt, sha256: [u8; 32], provenance: Arc<Provenance>) -> Arc<Self> {
        let ids = TlsIds::new(provenance.tenant.as_deref(), &report);
        let mut normal = Normal::new(EventType::TlsRpt, report.warnings);
        let mut head = Head::new(EventType::TlsRpt, sha256, provenance);
        let org = plain(&report.organization_name);
        let org = org.or_else(|| of_header("org", &report.mail_submitter, "TLS-Report-Submitter", &mut normal));
        head.org = normal.text("org", &org);
        head.reporter = report.contact_info.as_deref().and_then(domain_of_address);
        head.report_id = normal.text("report_id", &report.report_id);
        head.begin = normal.time("begin", report.begin.as_deref(), Some(Form::Rfc3339)).map(Moment::from);
        head.end = normal.time("end", report.end.as_deref(), Some(Form::Rfc3339)).map(Moment::from);
        let (begin, end) = head.period();
        normal.period(begin, end);
        let contact = normal.text("org_contact", &report.contact_info);
        let lacks_domain = report.policies.iter().any(|told| plain(&told.domain).is_none());
        let mail_domain = report.mail_domain.filter(|_| lacks_domain);
        let mail_domain = of_header("domain", &mail_domain, "TLS-Report-Domain", &mut normal);
        let policies: Vec<Policy> =
            report.policies.into_iter().map(|told| Policy::new(told, mail_domain.as_deref())).collect();
        head.domain = only(policies.iter().filter_map(|policy| policy.domain.as_deref())).map(str::to_owned);
        head.warnings = normal.warnings;
        Arc::new(Self { head: Arc::new(head), contact, policies, ids })
    }

    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }
}

impl Policy {
    /// `mail_domain` is the domain for a policy without one.
    fn new(told: PolicyName, mail_domain: Option<&str>) -> Self {
        let mut normal = Normal::new(EventType::TlsRpt, Vec::new());
        let domain = present(told.domain.as_deref()).or(mail_domain);
        Self {
            policy_type: normal.keyword("policy_type", told.policy_type.as_deref(), values::TLS_POLICY_TYPES),
            domain: normal.domain("domain", domain),
            warnings: normal.warnings,
            told,
        }
    }
}

/// Returns the domain in a field of the mail's header for a value that the report lacks, with a warning.
fn of_header(key: &str, told: &Option<String>, field: &str, normal: &mut Normal) -> Option<String> {
    let name = told.as_deref()?.split([' ', ';', ',', '(']).next()?;
    let domain = present(Some(name)).map(values::domain).filter(|domain| !domain.is_empty())?;
    normal.warn(key, format_args!("missing, taken from the header field {field}"));
    Some(domain)
}

/// Returns the common name, if all are the same.
fn only<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let first = names.next()?;
    names.all(|name| comparable(name) == comparable(first)).then_some(first)
}

/// A policy with its sessions, or one kind of failure under it.
#[derive(Debug, Clone)]
pub struct TlsRptEvent {
    shared: Arc<Shared>,
    id: EventId,
    policy: usize,
    row: Row,
    /// Warnings of the report and of the row; empty if the row has none: then those of the report are used.
    warnings: Vec<String>,
}

#[derive(Debug, Clone)]
enum Row {
    Policy {
        told: TlsPolicy,
        successful: Option<i64>,
        failed: Option<i64>,
    },
    Failure {
        told: TlsFailure,
        result_type: Option<String>,
        source_ip: Option<String>,
        receiving_ip: Option<String>,
        count: Option<i64>,
    },
}

impl TlsRptEvent {
    pub fn new(shared: Arc<Shared>, row: TlsRow) -> Self {
        let position = match &row {
            TlsRow::Policy(policy) => policy.index,
            TlsRow::Failure(failure) => failure.policy,
        };
        let unnamed = PolicyName::default();
        let policy = shared.policies.get(position);
        let told = policy.map_or(&unnamed, |policy| &policy.told);
        let warnings = policy.map_or(Vec::new(), |policy| policy.warnings.clone());
        let mut normal = Normal::new(EventType::TlsRpt, warnings);
        let (id, row) = match row {
            TlsRow::Policy(policy) => (shared.ids.policy(told, &policy), Row::policy(policy, &mut normal)),
            TlsRow::Failure(failure) => (shared.ids.failure(told, &failure), Row::failure(failure, &mut normal)),
        };
        let warnings = joined(&shared.head.warnings, normal.warnings);
        Self { id, policy: position, row, warnings, shared }
    }

    /// Number of sessions, which [`super::report::Tally`] adds up. `None` for a failure, whose sessions are included in its
    /// policy's.
    pub fn sessions(&self) -> Option<i64> {
        match self.row {
            Row::Policy { .. } => self.row.count(),
            Row::Failure { .. } => None,
        }
    }

    pub fn event_id(&self) -> EventId {
        self.id
    }

    pub fn document(&self) -> [u8; 32] {
        self.shared.head.hash
    }

    pub fn provenance(&self) -> &Arc<Provenance> {
        &self.shared.head.provenance
    }

    pub fn period(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        self.shared.head.period()
    }

    pub fn fields<'a>(&'a self, out: &mut Vec<Field<'a>>) {
        let head = &*self.shared.head;
        let policy = self.shared.policies.get(self.policy);
        let source_ip = match &self.row {
            Row::Policy { .. } => Value::Null,
            Row::Failure { source_ip, .. } => text(source_ip),
        };
        out.extend([
            ("org", text(&head.org)),
            ("report_id", text(&head.report_id)),
            ("domain", policy.map_or(Value::Null, |policy| text(&policy.domain))),
            ("source_ip", source_ip),
            ("count", int(self.row.count())),
            ("begin", text(&head.begin)),
            ("end", text(&head.end)),
            ("ingest_timestamp", known(&head.ingest)),
        ]);
        field::identity(EventType::TlsRpt, &self.id, &head.provenance, out);
        out.extend([
            ("org_contact", text(&self.shared.contact)),
            ("record_type", known(self.row.kind())),
            ("policy_type", policy.map_or(Value::Null, |policy| text(&policy.policy_type))),
        ]);
        self.row.fields(out);
        out.extend([
            ("policy_index", Value::Int(saturated(self.policy as u64))),
            ("failure_index", self.row.index()),
            ("document_sha256", known(&head.sha256)),
        ]);
        field::provenance(&head.provenance, out);
        out.push(("reporter_aligned", field::flag(head.reporter_aligned())));
        let warnings = if self.warnings.is_empty() { &head.warnings } else { &self.warnings };
        out.extend([("parse_warnings", texts(warnings)), ("truncated", Value::Bool(false))]);
    }
}

impl Row {
    fn policy(told: TlsPolicy, normal: &mut Normal) -> Self {
        let successful = normal.count("successful_sessions", told.successful.as_deref());
        let failed = normal.count("failed_sessions", told.failed.as_deref());
        let row = Row::Policy { told, successful, failed };
        if row.count().is_none() {
            normal.warn("count", format_args!("null, as successful_sessions and failed_sessions are"));
        }
        row
    }

    fn failure(told: TlsFailure, normal: &mut Normal) -> Self {
        Row::Failure {
            result_type: normal.keyword("result_type", told.result_type.as_deref(), values::TLS_RESULT_TYPES),
            source_ip: normal.ip("source_ip", told.sending_mta_ip.as_deref()),
            receiving_ip: normal.ip("receiving_ip", told.receiving_ip.as_deref()),
            count: normal.count("count", told.failed.as_deref()),
            told: TlsFailure {
                receiving_mx_hostname: normal.domain("receiving_mx_hostname", told.receiving_mx_hostname.as_deref()),
                ..told
            },
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Row::Policy { .. } => "policy",
            Row::Failure { .. } => "failure",
        }
    }

    fn index(&self) -> Value<'static> {
        match self {
            Row::Policy { .. } => Value::Null,
            Row::Failure { told, .. } => Value::Int(saturated(told.index)),
        }
    }

    fn count(&self) -> Option<i64> {
        match self {
            Row::Policy { successful: None, failed: None, .. } => None,
            Row::Policy { successful, failed, .. } => Some(successful.unwrap_or(0).saturating_add(failed.unwrap_or(0))),
            Row::Failure { count, .. } => *count,
        }
    }

    /// Fields `successful_sessions` to `failure_reason_code`.
    fn fields<'a>(&'a self, out: &mut Vec<Field<'a>>) {
        let (policy, failure) = match self {
            Row::Policy { told, successful, failed } => (Some((told, *successful, *failed)), None),
            Row::Failure { told, result_type, receiving_ip, .. } => (None, Some((told, result_type, receiving_ip))),
        };
        let told =
            |value: fn(&TlsFailure) -> &Option<String>| failure.map_or(Value::Null, |(told, _, _)| text(value(told)));
        out.extend([
            ("successful_sessions", int(policy.and_then(|(_, successful, _)| successful))),
            ("failed_sessions", int(policy.and_then(|(_, _, failed)| failed))),
            ("policy_strings", texts(policy.map_or(&[], |(told, _, _)| &told.strings))),
            ("mx_hosts", texts(policy.map_or(&[], |(told, _, _)| &told.mx_hosts))),
            ("result_type", failure.map_or(Value::Null, |(_, result_type, _)| text(result_type))),
            ("receiving_mx_hostname", told(|failure| &failure.receiving_mx_hostname)),
            ("receiving_mx_helo", told(|failure| &failure.receiving_mx_helo)),
            ("receiving_ip", failure.map_or(Value::Null, |(_, _, receiving_ip)| text(receiving_ip))),
            ("additional_information", told(|failure| &failure.additional_information)),
            ("failure_reason_code", told(|failure| &failure.reason_code)),
        ]);
    }
}

#[cfg(test)]
mod tests;
