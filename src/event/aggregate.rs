//! `dmarc_aggregate`: one event per row of a DMARC aggregate report.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    derive,
    event_type::EventType,
    field::{self, Field, Object, Value, flag, int, known, member, text, texts},
    head::{Head, Moment, domain_of_address, joined, org_of},
    id::{EventId, RowIds},
    normal::{Normal, domain, plain},
    provenance::Provenance,
};
use crate::{
    date::Form,
    report::{self, DkimAuth, Extension, Override, SpfAuth, values},
};

/// Data shared by all rows of one report, normalised once.
#[derive(Debug)]
pub struct Shared {
    head: Arc<Head>,
    contact: Option<String>,
    generator: Option<String>,
    version: Option<String>,
    xml_namespace: Option<String>,
    errors: Vec<String>,
    policy: Option<String>,
    subdomain_policy: Option<String>,
    nonexistent_policy: Option<String>,
    pct: Option<i64>,
    adkim: Option<String>,
    aspf: Option<String>,
    fo: Option<String>,
    testing: Option<String>,
    discovery_method: Option<String>,
    ids: RowIds,
}

impl Shared {
    /// `sha256` is the hash of the decompressed document. A caller that knows more about the document (such as other content
    /// under a known report_id) adds to `report.warnings` before.
    pub fn new(report: &report::Aggregate, sha256: [u8; 32], provenance: Arc<Provenance>) -> Arc<Self> {
        let mut normal = Normal { warnings: report.warnings.clone() };
        let policy = &report.policy;
        let ids = RowIds::new(provenance.tenant.as_deref(), report);
        let mut head = Head::new(EventType::DmarcAggregate, sha256, provenance);
        head.org_email = plain(&report.email);
        head.reporter = head.org_email.as_deref().and_then(domain_of_address);
        head.org = plain(&report.org_name).or_else(|| org_of(head.org_email.as_deref(), &mut normal));
        head.report_id = plain(&report.report_id);
        head.domain = domain(&policy.domain);
        head.begin = normal.time("begin", report.begin.as_deref(), Some(Form::Seconds)).map(Moment::from);
        head.end = normal.time("end", report.end.as_deref(), Some(Form::Seconds)).map(Moment::from);
        let mut keyword = |key, told: &Option<String>, list| normal.keyword(key, told.as_deref(), list);
        Arc::new(Self {
            policy: keyword("policy", &policy.p, values::POLICIES),
            subdomain_policy: keyword("subdomain_policy", &policy.sp, values::POLICIES),
            nonexistent_policy: keyword("nonexistent_policy", &policy.np, values::POLICIES),
            adkim: keyword("adkim", &policy.adkim, values::ALIGNMENTS),
            aspf: keyword("aspf", &policy.aspf, values::ALIGNMENTS),
            testing: keyword("testing", &policy.testing, values::TESTING),
            discovery_method: keyword("discovery_method", &policy.discovery_method, values::DISCOVERY_METHODS),
            pct: normal.percent("pct", policy.pct.as_deref()),
            fo: plain(&policy.fo),
            contact: plain(&report.extra_contact_info),
            generator: plain(&report.generator),
            version: plain(&report.version),
            xml_namespace: plain(&report.xml_namespace),
            errors: report.errors.clone(),
            ids,
            head: Arc::new(Head { extensions: report.extensions.clone(), warnings: normal.warnings, ..head }),
        })
    }

    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }
}

/// One normalised row, and the values derived from it.
#[derive(Debug, Clone)]
pub struct AggregateEvent {
    shared: Arc<Shared>,
    id: EventId,
    index: u64,
    source_ip: Option<String>,
    count: Option<i64>,
    disposition: Option<String>,
    dkim: Option<String>,
    spf: Option<String>,
    header_from: Option<String>,
    envelope_from: Option<String>,
    envelope_to: Option<String>,
    dkim_auth: Vec<DkimAuth>,
    spf_auth: Vec<SpfAuth>,
    reasons: Vec<Override>,
    extensions: Vec<Extension>,
    /// Indexes of the DKIM and SPF results that explain the verdict.
    explaining: (Option<usize>, Option<usize>),
    dkim_aligned: Option<bool>,
    spf_aligned: Option<bool>,
    /// Warnings of the report and of the row; empty if the row has none: then those of the report are used.
    warnings: Vec<String>,
}

impl AggregateEvent {
    pub fn new(shared: Arc<Shared>, mut row: report::Row) -> Self {
        let id = shared.ids.row(&row);
        let mut normal = Normal { warnings: std::mem::take(&mut row.warnings) };
        let source_ip = normal.ip("source_ip", row.source_ip.as_deref());
        let count = normal.count("count", row.count.as_deref());
        let disposition = normal.keyword("disposition", row.disposition.as_deref(), values::DISPOSITIONS);
        let dkim = normal.keyword("dkim", row.dkim.as_deref(), values::VERDICTS);
        let spf = normal.keyword("spf", row.spf.as_deref(), values::VERDICTS);
        for (i, auth) in row.dkim_auth.iter_mut().enumerate() {
            let key = format_args!("dkim_auth[{i}].result");
            auth.result = normal.keyword(key, auth.result.as_deref(), values::DKIM_RESULTS);
            auth.domain = domain(&auth.domain);
        }
        for (i, auth) in row.spf_auth.iter_mut().enumerate() {
            let key = format_args!("spf_auth[{i}].result");
            auth.result = normal.keyword(key, auth.result.as_deref(), values::SPF_RESULTS);
            let key = format_args!("spf_auth[{i}].scope");
            auth.scope = normal.keyword(key, auth.scope.as_deref(), values::SPF_SCOPES);
            auth.domain = domain(&auth.domain);
        }
        for (i, reason) in row.reasons.iter_mut().enumerate() {
            let key = format_args!("reasons[{i}].type");
            reason.kind = normal.keyword(key, reason.kind.as_deref(), values::REASON_TYPES);
        }
        let header_from = domain(&row.header_from);
        let from = header_from.as_deref();
        let (dkim_mode, spf_mode) =
            (derive::Mode::of(shared.adkim.as_deref()), derive::Mode::of(shared.aspf.as_deref()));
        Self {
            explaining: (
                derive::explaining(row.dkim_auth.iter(), from, dkim_mode),
                derive::explaining(row.spf_auth.iter(), from, spf_mode),
            ),
            dkim_aligned: derive::any_vouches(row.dkim_auth.iter(), from, dkim_mode, dkim.as_deref()),
            spf_aligned: derive::any_vouches(row.spf_auth.iter(), from, spf_mode, spf.as_deref()),
            warnings: joined(&shared.head.warnings, normal.warnings),
            id,
            index: row.index,
            source_ip,
            count,
            disposition,
            dkim,
            spf,
            header_from,
            envelope_from: domain(&row.envelope_from),
            envelope_to: domain(&row.envelope_to),
            dkim_auth: row.dkim_auth,
            spf_auth: row.spf_auth,
            reasons: row.reasons,
            extensions: row.extensions,
            shared,
        }
    }

    /// The row's `count`, which [`super::report::Tally`] adds up.
    pub fn count(&self) -> Option<i64> {
        self.count
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
        let (shared, head) = (&*self.shared, &*self.shared.head);
        let dkim = self.explaining.0.and_then(|at| self.dkim_auth.get(at));
        let spf = self.explaining.1.and_then(|at| self.spf_auth.get(at));
        out.extend([
            ("org", text(&head.org)),
            ("report_id", text(&head.report_id)),
            ("domain", text(&head.domain)),
            ("policy", text(&shared.policy)),
            ("source_ip", text(&self.source_ip)),
            ("count", int(self.count)),
            ("disposition", text(&self.disposition)),
            ("dkim", text(&self.dkim)),
            ("spf", text(&self.spf)),
            ("header_from", text(&self.header_from)),
            ("begin", text(&head.begin)),
            ("end", text(&head.end)),
            ("dkim_domain", dkim.map_or(Value::Null, |told| text(&told.domain))),
            ("dkim_result", dkim.map_or(Value::Null, |told| text(&told.result))),
            ("spf_domain", spf.map_or(Value::Null, |told| text(&told.domain))),
            ("spf_result", spf.map_or(Value::Null, |told| text(&told.result))),
            ("ingest_timestamp", known(&head.ingest)),
        ]);
        field::identity(EventType::DmarcAggregate, &self.id, &head.provenance, out);
        shared.described(out);
        out.extend([
            ("envelope_from", text(&self.envelope_from)),
            ("envelope_to", text(&self.envelope_to)),
            ("dkim_selector", dkim.map_or(Value::Null, |told| text(&told.selector))),
            ("spf_scope", spf.map_or(Value::Null, |told| text(&told.scope))),
        ]);
        self.derived(out);
        out.extend([
            ("dkim_auth", Value::Objects(self.dkim_auth.iter().map(dkim_object).collect())),
            ("spf_auth", Value::Objects(self.spf_auth.iter().map(spf_object).collect())),
            ("reasons", Value::Objects(self.reasons.iter().map(reason_object).collect())),
            field::extensions(&self.extensions),
            ("record_index", Value::Int(field::saturated(self.index))),
            ("document_sha256", known(&head.sha256)),
        ]);
        field::provenance(&head.provenance, out);
        out.push(("reporter_aligned", field::flag(head.reporter_aligned())));
        let warnings = if self.warnings.is_empty() { &head.warnings } else { &self.warnings };
        out.extend([("parse_warnings", texts(warnings)), ("truncated", Value::Bool(false))]);
    }

    fn derived<'a>(&'a self, out: &mut Vec<Field<'a>>) {
        let shared = &*self.shared;
        let from = self.header_from.as_deref();
        let dmarc_pass = derive::dmarc_pass(self.dkim.as_deref(), self.spf.as_deref());
        let aligned = [self.dkim_aligned, self.spf_aligned];
        let class = derive::failure_class(dmarc_pass, aligned, &self.reasons, &self.dkim_auth, &self.spf_auth);
        let (policy, subdomain) = (shared.policy.as_deref(), shared.subdomain_policy.as_deref());
        let testing = shared.testing.as_deref();
        let effective = derive::policy_effective(from, shared.head.domain.as_deref(), policy, subdomain, testing);
        out.extend([
            ("dmarc_pass", flag(dmarc_pass)),
            ("dkim_aligned", flag(self.dkim_aligned)),
            ("spf_aligned", flag(self.spf_aligned)),
            ("org_domain", from.and_then(derive::org_domain).map_or(Value::Null, known)),
            ("policy_effective", effective.map_or(Value::Null, known)),
            ("override_reason", derive::override_reason(&self.reasons).map_or(Value::Null, known)),
            ("failure_class", class.map_or(Value::Null, known)),
        ]);
    }
}

impl Shared {
    /// Fields `org_email` to `discovery_method`.
    fn described<'a>(&'a self, out: &mut Vec<Field<'a>>) {
        out.extend([
            ("org_email", text(&self.head.org_email)),
            ("org_contact", text(&self.contact)),
            ("generator", text(&self.generator)),
            ("report_version", text(&self.version)),
            ("xml_namespace", text(&self.xml_namespace)),
            ("report_errors", texts(&self.errors)),
            ("subdomain_policy", text(&self.subdomain_policy)),
            ("nonexistent_policy", text(&self.nonexistent_policy)),
            ("pct", int(self.pct)),
            ("adkim", text(&self.adkim)),
            ("aspf", text(&self.aspf)),
            ("fo", text(&self.fo)),
            ("testing", text(&self.testing)),
            ("discovery_method", text(&self.discovery_method)),
        ]);
    }
}

fn dkim_object(told: &DkimAuth) -> Object<'_> {
    vec![
        ("domain", member(&told.domain)),
        ("selector", member(&told.selector)),
        ("result", member(&told.result)),
        ("human_result", member(&told.human_result)),
    ]
}

fn spf_object(told: &SpfAuth) -> Object<'_> {
    vec![
        ("domain", member(&told.domain)),
        ("scope", member(&told.scope)),
        ("result", member(&told.result)),
        ("human_result", member(&told.human_result)),
    ]
}

fn reason_object(told: &Override) -> Object<'_> {
    vec![("type", member(&told.kind)), ("comment", member(&told.comment))]
}

#[cfg(test)]
mod tests;
