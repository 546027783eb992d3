//! `dmarc_failure`: one event per failure report. Never contains the body of the original mail, and of addresses only the
//! domains, unless configured otherwise.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    event_type::EventType,
    field::{self, Field, Value, int, known, text, texts},
    head::{Head, Moment, org_of},
    id::{self, EventId},
    mask,
    normal::{Normal, domain, plain, present},
    provenance::Provenance,
};
use crate::report::{Failure, values};

/// Masking of e-mail addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addresses {
    /// `***@domain`
    #[default]
    Masked,
    Full,
}

impl Addresses {
    fn show(self, told: &Option<String>) -> Option<String> {
        let told = present(told.as_deref())?;
        let told = bare(told);
        Some(match self {
            Addresses::Masked => mask::address(told),
            Addresses::Full => told.to_owned(),
        })
    }

    /// Like [`Self::show`], for a text that may contain addresses.
    fn within(self, told: &str) -> String {
        match self {
            Addresses::Masked => mask::addresses(told),
            Addresses::Full => told.to_owned(),
        }
    }

    fn all_within(self, told: &[String]) -> Vec<String> {
        told.iter().map(|told| self.within(told)).collect()
    }
}

/// A normalised failure report.
#[derive(Debug, Clone)]
pub struct FailureEvent {
    head: Arc<Head>,
    id: EventId,
    source_ip: Option<String>,
    count: Option<i64>,
    header_from: Option<String>,
    auth_failure: Option<String>,
    identity_alignment: Option<String>,
    delivery_result: Option<String>,
    dkim_domain: Option<String>,
    dkim_selector: Option<String>,
    dkim_identity: Option<String>,
    spf_dns: Vec<String>,
    authentication_results: Vec<String>,
    envelope_from: Option<String>,
    original_mail_from: Option<String>,
    original_rcpt_to: Vec<String>,
    original_envelope_id: Option<String>,
    original_message_id: Option<String>,
    reporting_mta: Option<String>,
    generator: Option<String>,
    version: Option<String>,
}

impl FailureEvent {
    /// `sha256` is the hash of the document.
    pub fn new(report: &Failure, sha256: [u8; 32], provenance: Arc<Provenance>, addresses: Addresses) -> Self {
        let mut normal = Normal { warnings: report.warnings.clone() };
        let reporting_mta = plain(&report.reporting_mta);
        let source_ip = normal.ip("source_ip", report.source_ip.as_deref());
        // Defaults to 1 without Incidents (RFC 5965 section 3.2).
        let count = normal.count("count", report.incidents.as_deref().or(Some("1")));
        normal.keyword("feedback_type", report.feedback_type.as_deref(), values::FEEDBACK_TYPES);
        let auth_failure = normal.keywords("auth_failure", report.auth_failure.as_deref(), values::AUTH_FAILURES);
        let alignment = report.identity_alignment.as_deref();
        let identity_alignment = normal.keywords("identity_alignment", alignment, values::IDENTITY_ALIGNMENTS);
        let delivery_result = report.delivery_result.as_deref();
        let delivery_result = normal.keyword("delivery_result", delivery_result, values::DELIVERY_RESULTS);
        let mut head = Head::new(EventType::DmarcFailure, sha256, provenance);
        head.domain = domain(&report.reported_domain);
        head.begin = normal.time("begin", report.arrival_date.as_deref(), None).map(Moment::from);
        head.end = head.begin.clone();
        head.reporter = reporting_mta.as_deref().and_then(host);
        head.org = head
            .reporter
            .clone()
            .or_else(|| report.authentication_results.first().and_then(|told| authenticator(told)))
            .or_else(|| org_of(head.provenance.mail_from.as_deref(), &mut normal));
        head.warnings = addresses.all_within(&normal.warnings);
        Self {
            id: id::failure(head.provenance.tenant.as_deref(), &sha256),
            source_ip,
            count,
            header_from: report.from.as_deref().and_then(domain_of),
            auth_failure,
            identity_alignment,
            delivery_result,
            dkim_domain: domain(&report.dkim_domain),
            dkim_selector: plain(&report.dkim_selector),
            dkim_identity: plain(&report.dkim_identity).map(|told| addresses.within(&told)),
            spf_dns: addresses.all_within(&report.spf_dns),
            authentication_results: addresses.all_within(&report.authentication_results),
            envelope_from: report.original_mail_from.as_deref().and_then(domain_of),
            original_mail_from: addresses.show(&report.original_mail_from),
            original_rcpt_to: report
                .original_rcpt_to
                .iter()
                .filter_map(|told| addresses.show(&Some(told.clone())))
                .collect(),
            original_envelope_id: plain(&report.original_envelope_id).map(|told| addresses.within(&told)),
            original_message_id: plain(&report.message_id).map(|told| bare(&told).to_owned()),
            reporting_mta: reporting_mta.map(|told| addresses.within(&told)),
            generator: plain(&report.user_agent).map(|told| addresses.within(&told)),
            version: plain(&report.version),
            head: Arc::new(head),
        }
    }

    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }

    /// Number of incidents, which [`super::report::Tally`] adds up.
    pub fn count(&self) -> Option<i64> {
        self.count
    }

    pub fn event_id(&self) -> EventId {
        self.id
    }

    pub fn provenance(&self) -> &Arc<Provenance> {
        &self.head.provenance
    }

    pub fn period(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        self.head.period()
    }

    pub fn fields<'a>(&'a self, out: &mut Vec<Field<'a>>) {
        let head = &*self.head;
        out.extend([
            ("org", text(&head.org)),
            ("domain", text(&head.domain)),
            ("source_ip", text(&self.source_ip)),
            ("count", int(self.count)),
            ("header_from", text(&self.header_from)),
            ("begin", text(&head.begin)),
            ("end", text(&head.end)),
            ("dkim_domain", text(&self.dkim_domain)),
            ("ingest_timestamp", known(&head.ingest)),
        ]);
        field::identity(EventType::DmarcFailure, &self.id, &head.provenance, out);
        out.extend([
            ("generator", text(&self.generator)),
            ("report_version", text(&self.version)),
            ("reporting_mta", text(&self.reporting_mta)),
            ("auth_failure", text(&self.auth_failure)),
            ("identity_alignment", text(&self.identity_alignment)),
            ("delivery_result", text(&self.delivery_result)),
            ("authentication_results", texts(&self.authentication_results)),
            ("dkim_selector", text(&self.dkim_selector)),
            ("dkim_identity", text(&self.dkim_identity)),
            ("spf_dns", texts(&self.spf_dns)),
            ("envelope_from", text(&self.envelope_from)),
            ("original_mail_from", text(&self.original_mail_from)),
            ("original_rcpt_to", texts(&self.original_rcpt_to)),
            ("original_envelope_id", text(&self.original_envelope_id)),
            ("original_message_id", text(&self.original_message_id)),
            ("document_sha256", known(&head.sha256)),
        ]);
        field::provenance(&head.provenance, out);
        out.push(("reporter_aligned", field::flag(head.reporter_aligned())));
        out.extend([("parse_warnings", texts(&head.warnings)), ("truncated", Value::Bool(false))]);
    }
}

/// Removes enclosing angle brackets; `<>` is kept.
fn bare(told: &str) -> &str {
    let bare = told.strip_prefix('<').and_then(|told| told.strip_suffix('>'));
    bare.filter(|bare| !bare.is_empty()).unwrap_or(told)
}

/// Returns the host name in `dns; mx.example.com` (RFC 3464 section 2.2.2).
fn host(reporting_mta: &str) -> Option<String> {
    let name = reporting_mta.rsplit_once(';').map_or(reporting_mta, |(_, name)| name);
    let name = values::domain(name);
    name.contains('.').then_some(name)
}

/// Returns the authserv-id (RFC 8601 section 2.5), which some servers leave out.
fn authenticator(results: &str) -> Option<String> {
    let name = results.split([';', ' ']).next()?;
    (name.contains('.') && !name.contains(['=', '@', '(', '"'])).then(|| values::domain(name))
}

/// Returns the domain of the first address in a From or an envelope address, in lower case.
fn domain_of(addresses: &str) -> Option<String> {
    let address = first_address(addresses);
    let (_, rest) = address.rsplit_once('@')?;
    let end = rest.find(|c: char| c.is_whitespace() || "<>()[],;:\"".contains(c)).unwrap_or(rest.len());
    let domain = values::domain(rest.get(..end)?);
    (!domain.is_empty()).then_some(domain)
}

/// Returns the first address of a list (RFC 5322 section 3.4), without display name, quoted text and comments; the list as it
/// is if there is none outside of these.
fn first_address(list: &str) -> String {
    let (mut address, mut comments, mut is_quoted, mut is_in_brackets) = (String::new(), 0u32, false, false);
    let mut characters = list.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' if is_quoted || comments > 0 => drop(characters.next()),
            '"' if comments == 0 => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '(' => comments += 1,
            ')' => comments = comments.saturating_sub(1),
            _ if comments > 0 => {}
            '<' => {
                is_in_brackets = true;
                address.clear();
            }
            '>' if is_in_brackets => break,
            // A display name may have a comma, and the name of a group ends in a colon.
            ',' | ';' if !is_in_brackets && address.contains('@') => break,
            ',' | ';' | ':' if !is_in_brackets => address.clear(),
            c => address.push(c),
        }
    }
    if is_in_brackets || address.contains('@') { address } else { list.to_owned() }
}

#[cfg(test)]
mod tests;
