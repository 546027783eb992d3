//! `dmarc_aggregate`: one event per row of a DMARC aggregate report.

use std::{borrow::Cow, fmt::Display, net::Ipv4Addr, sync::Arc};

use jiff::Timestamp;

use super::{
    derive,
    event_type::EventType,
    field::{self, Field, Object, Value, flag, int, known, member, text, texts},
    head::{Head, Moment, domain_of_address, joined, org_of},
    id::{EventId, RowIds},
    normal::{Normal, plain},
    provenance::Provenance,
};
use crate::{
    date::Form,
    domain_name,
    report::{self, DkimAuth, Extension, Override, SpfAuth, Text, values},
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
        let mut normal = Normal::new(EventType::DmarcAggregate, report.warnings.clone());
        let policy = &report.policy;
        let ids = RowIds::new(provenance.tenant.as_deref(), report);
        let mut head = Head::new(EventType::DmarcAggregate, sha256, provenance);
        head.org_email = normal.text("org_email", &report.email);
        head.reporter = head.org_email.as_deref().and_then(domain_of_address);
        head.org = plain(&report.org_name).or_else(|| org_of(head.org_email.as_deref(), &mut normal));
        head.report_id = normal.text("report_id", &report.report_id);
        head.domain = normal.domain("domain", policy.domain.as_deref());
        head.begin = normal.time("begin", report.begin.as_deref(), Some(Form::Seconds)).map(Moment::from);
        head.end = normal.time("end", report.end.as_deref(), Some(Form::Seconds)).map(Moment::from);
        let (begin, end) = head.period();
        normal.period(begin, end);
        let mut keyword = |key, told: &Text<'_>, list| normal.keyword(key, told.as_deref(), list);
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

/// Keys whose values differ between the rows of a report; all others are the same in each.
pub const ROW_KEYS: &[&str] = &[
    "source_ip",
    "count",
    "disposition",
    "dkim",
    "spf",
    "header_from",
    "dkim_domain",
    "dkim_result",
    "spf_domain",
    "spf_result",
    "event_id",
    "envelope_from",
    "envelope_to",
    "dkim_selector",
    "spf_scope",
    "dmarc_pass",
    "dkim_aligned",
    "spf_aligned",
    "org_domain",
    "policy_effective",
    "override_reason",
    "failure_class",
    "dkim_auth",
    "spf_auth",
    "reasons",
    "extensions",
    "record_index",
    "parse_warnings",
];

/// One normalised row, and the values derived from it.
#[derive(Debug, Clone)]
pub struct AggregateEvent<'r> {
    shared: Arc<Shared>,
    id: EventId,
    index: u64,
    source_ip: Text<'r>,
    count: Option<i64>,
    disposition: Text<'r>,
    dkim: Text<'r>,
    spf: Text<'r>,
    header_from: Text<'r>,
    envelope_from: Text<'r>,
    envelope_to: Text<'r>,
    dkim_auth: Vec<DkimAuth<'r>>,
    spf_auth: Vec<SpfAuth<'r>>,
    reasons: Vec<Override<'r>>,
    extensions: Vec<Extension>,
    /// Indexes of the DKIM and SPF results that explain the verdict.
    explaining: (Option<usize>, Option<usize>),
    dmarc_pass: Option<bool>,
    dkim_aligned: Option<bool>,
    spf_aligned: Option<bool>,
    failure_class: Option<&'static str>,
    /// Warnings of the report and of the row; empty if the row has none: then those of the report are used.
    warnings: Vec<String>,
}

impl<'r> AggregateEvent<'r> {
    pub fn new(shared: Arc<Shared>, mut row: report::Row<'r>) -> Self {
        let id = shared.ids.row(&row);
        let mut normal = Normal::new(EventType::DmarcAggregate, std::mem::take(&mut row.warnings));
        let source_ip = ip(&mut normal, "source_ip", row.source_ip.take());
        let count = normal.count("count", row.count.as_deref());
        let disposition = keyword(&mut normal, "disposition", row.disposition.take(), values::DISPOSITIONS);
        let dkim = keyword(&mut normal, "dkim", row.dkim.take(), values::VERDICTS);
        let spf = keyword(&mut normal, "spf", row.spf.take(), values::VERDICTS);
        for (i, auth) in row.dkim_auth.iter_mut().enumerate() {
            let key = format_args!("dkim_auth[{i}].result");
            auth.result = keyword(&mut normal, key, auth.result.take(), values::DKIM_RESULTS);
            auth.domain = domain(&mut normal, format_args!("dkim_auth[{i}].domain"), auth.domain.take());
        }
        for (i, auth) in row.spf_auth.iter_mut().enumerate() {
            let key = format_args!("spf_auth[{i}].result");
            auth.result = keyword(&mut normal, key, auth.result.take(), values::SPF_RESULTS);
            let key = format_args!("spf_auth[{i}].scope");
            auth.scope = keyword(&mut normal, key, auth.scope.take(), values::SPF_SCOPES);
            auth.domain = domain(&mut normal, format_args!("spf_auth[{i}].domain"), auth.domain.take());
        }
        for (i, reason) in row.reasons.iter_mut().enumerate() {
            let key = format_args!("reasons[{i}].type");
            reason.kind = keyword(&mut normal, key, reason.kind.take(), values::REASON_TYPES);
        }
        let header_from = domain(&mut normal, "header_from", row.header_from.take());
        let has_null_sender = row.has_null_sender || row.envelope_from.as_deref().is_some_and(values::is_null_path);
        let envelope_from = row.envelope_from.take().filter(|_| !has_null_sender);
        let envelope_from = domain(&mut normal, "envelope_from", envelope_from);
        let envelope_to = domain(&mut normal, "envelope_to", row.envelope_to.take());
        let identity = derive::Spf::of(&row.spf_auth, envelope_from.as_deref(), has_null_sender, spf.as_deref());
        let from = header_from.as_deref();
        let (dkim_mode, spf_mode) =
            (derive::Mode::of(shared.adkim.as_deref()), derive::Mode::of(shared.aspf.as_deref()));
        let is_cut = [row.dkim_is_cut, row.spf_is_cut];
        let dkim_told = || row.dkim_auth.iter().map(derive::Identifier::from);
        let spf_told = || identity.identifiers(&row.spf_auth);
        let dkim_aligned = derive::any_vouches(dkim_told(), from, dkim_mode, dkim.as_deref(), is_cut[0]);
        let spf_aligned = derive::any_vouches(spf_told(), from, spf_mode, spf.as_deref(), is_cut[1]);
        for (key, aligned, is_cut) in
            [("dkim_aligned", dkim_aligned, is_cut[0]), ("spf_aligned", spf_aligned, is_cut[1])]
        {
            if is_cut && aligned.is_none() {
                normal.warn(key, format_args!("not known, as some results were left out"));
            }
        }
        let dmarc_pass = derive::dmarc_pass(dkim.as_deref(), spf.as_deref());
        let aligned = [dkim_aligned, spf_aligned];
        let told = dkim_told().chain(spf_told());
        let failure_class = derive::failure_class(dmarc_pass, aligned, &row.reasons, told, is_cut.contains(&true));
        Self {
            explaining: (
                derive::explaining(dkim_told(), from, dkim_mode),
                derive::explaining(spf_told(), from, spf_mode),
            ),
            dmarc_pass,
            dkim_aligned,
            spf_aligned,
            failure_class,
            warnings: joined(&shared.head.warnings, normal.warnings),
            id,
            index: row.index,
            source_ip,
            count,
            disposition,
            dkim,
            spf,
            header_from,
            envelope_from,
            envelope_to,
            dkim_auth: row.dkim_auth,
            spf_auth: row.spf_auth,
            reasons: row.reasons,
            extensions: row.extensions,
            shared,
        }
    }

    pub fn head(&self) -> &Arc<Head> {
        &self.shared.head
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
        let (policy, subdomain) = (shared.policy.as_deref(), shared.subdomain_policy.as_deref());
        let testing = shared.testing.as_deref();
        let effective = derive::policy_effective(from, shared.head.domain.as_deref(), policy, subdomain, testing);
        out.extend([
            ("dmarc_pass", flag(self.dmarc_pass)),
            ("dkim_aligned", flag(self.dkim_aligned)),
            ("spf_aligned", flag(self.spf_aligned)),
            ("org_domain", from.and_then(domain_name::org_domain).map_or(Value::Null, known)),
            ("policy_effective", effective.map_or(Value::Null, known)),
            ("override_reason", derive::override_reason(&self.reasons).map_or(Value::Null, known)),
            ("failure_class", self.failure_class.map_or(Value::Null, known)),
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

#[cfg(test)]
impl AggregateEvent<'_> {
    pub(crate) fn into_owned(self) -> AggregateEvent<'static> {
        let row = report::Row {
            source_ip: self.source_ip,
            disposition: self.disposition,
            dkim: self.dkim,
            spf: self.spf,
            header_from: self.header_from,
            envelope_from: self.envelope_from,
            envelope_to: self.envelope_to,
            dkim_auth: self.dkim_auth,
            spf_auth: self.spf_auth,
            reasons: self.reasons,
            ..report::Row::default()
        };
        let row = row.into_owned();
        AggregateEvent {
            source_ip: row.source_ip,
            disposition: row.disposition,
            dkim: row.dkim,
            spf: row.spf,
            header_from: row.header_from,
            envelope_from: row.envelope_from,
            envelope_to: row.envelope_to,
            dkim_auth: row.dkim_auth,
            spf_auth: row.spf_auth,
            reasons: row.reasons,
            ..self
        }
    }
}

/// Reads a word of a closed list; one that is written as in the list is kept as it is.
fn keyword<'r>(normal: &mut Normal, key: impl Display, told: Text<'r>, known: &[&str]) -> Text<'r> {
    match told {
        Some(word) if known.contains(&&*word) => Some(word),
        told => normal.keyword(key, told.as_deref(), known).map(Cow::Owned),
    }
}

/// Reads a domain name; one that is plain already is kept as it is.
fn domain<'r>(normal: &mut Normal, key: impl Display, told: Text<'r>) -> Text<'r> {
    match told {
        Some(name) if domain_name::is_plain(&name) => Some(name),
        told => normal.domain(key, told.as_deref()).map(Cow::Owned),
    }
}

/// Reads an address; an IPv4 address in dotted-decimal form, which has no other, is kept as it is.
fn ip<'r>(normal: &mut Normal, key: &str, told: Text<'r>) -> Text<'r> {
    match told {
        Some(ip) if ip.parse::<Ipv4Addr>().is_ok() => Some(ip),
        told => normal.ip(key, told.as_deref()).map(Cow::Owned),
    }
}

fn dkim_object<'r>(told: &'r DkimAuth<'_>) -> Object<'r> {
    vec![
        ("domain", member(&told.domain)),
        ("selector", member(&told.selector)),
        ("result", member(&told.result)),
        ("human_result", member(&told.human_result)),
    ]
}

fn spf_object<'r>(told: &'r SpfAuth<'_>) -> Object<'r> {
    vec![
        ("domain", member(&told.domain)),
        ("scope", member(&told.scope)),
        ("result", member(&told.result)),
        ("human_result", member(&told.human_result)),
    ]
}

fn reason_object<'r>(told: &'r Override<'_>) -> Object<'r> {
    vec![("type", member(&told.kind)), ("comment", member(&told.comment))]
}

#[cfg(test)]
mod tests;
