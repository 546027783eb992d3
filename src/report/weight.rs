//! Estimates the size of a document's events (upper bounds), and enforces the limits on it.
//!
//! The event of each row repeats the texts of the report's head and adds some derived ones, so a document of tiny rows under
//! a long head becomes many times its size. The estimate is made as rows are read, before any event is built: so a limit
//! ends both readings of a document at the same row.

use crate::extract::{AuthResult, Envelope, MailAuth};
use crate::limits::Limits;
use crate::report::aggregate::extension::Extension;
use crate::report::aggregate::report::{Aggregate, DkimAuth, Override, Policy, Row, SpfAuth};
use crate::report::tls_rpt::report::{PolicyName, TlsFailure, TlsPolicy, TlsRow};
use crate::trouble::{Reason, Trouble};

/// Bytes of an event without the texts of its report: keys, hashes, times, data about the mail. In events of real reports,
/// 1,100 to 1,500.
const EVENT: u64 = 1_536;
/// Bytes of a signature or an SPF result without its texts: keys, and the warnings about its domain and its result.
const ENTRY: u64 = 192;
/// Size of events, in bytes, up to which the expansion is not checked: a small document of short rows is no bomb.
const FREE: u64 = 1 << 20;

/// Counts the bytes read of a document, and the estimated bytes of its events.
pub(in crate::report) struct Weight<'l> {
    limits: &'l Limits,
    read: u64,
    /// Bytes of the texts of the report's head, as far as they are known.
    head: u64,
    events: u64,
    rows: u64,
}

impl<'l> Weight<'l> {
    pub fn new(limits: &'l Limits) -> Self {
        Self { limits, read: 0, head: 0, events: 0, rows: 0 }
    }

    /// Counts `bytes` more read of the document.
    pub fn read(&mut self, bytes: usize) {
        self.read += bytes as u64;
    }

    /// Counts a text of the report's head, which all events repeat.
    pub fn head(&mut self, text: &str) {
        self.head += escaped(text);
    }

    /// Counts all texts of a report's head, which is known as far as it was read.
    pub fn heads(&mut self, report: &Aggregate) {
        self.head = report.texts().map(escaped).sum();
    }

    /// Counts a row's event.
    ///
    /// # Errors
    ///
    /// If the document's events exceed a limit; the row is not counted then.
    pub fn row(&mut self, row: &impl Weighed) -> Result<(), Trouble> {
        let own = row.weight();
        let events = self.events.saturating_add(own);
        let all = events.saturating_add(self.head.saturating_mul(self.rows + 1));
        let Limits { document_event_bytes: most, event_expansion: times, .. } = *self.limits;
        if all > most {
            let what = "the size of the report's events, in bytes,";
            return Err(Trouble::over(Reason::TooManyEventBytes, what, "limits.document_event_bytes", most));
        }
        if all > FREE && all > self.read.saturating_mul(times) {
            let what = "the ratio of the events' size to the report's";
            return Err(Trouble::over(Reason::EventExpansion, what, "limits.event_expansion", times));
        }
        self.events = events;
        self.rows += 1;
        Ok(())
    }

    /// Size of all counted events as JSON, in bytes, with the complete head.
    pub fn total(&self) -> u64 {
        self.events.saturating_add(self.head.saturating_mul(self.rows))
    }
}

/// Rows whose events have an estimated size.
pub(in crate::report) trait Weighed {
    /// Size of its event as JSON, in bytes, without the texts of the report's head.
    fn weight(&self) -> u64;
}

impl Weighed for Row<'_> {
    /// Texts count three times: the event repeats those of the results that explain the verdict, and those that are not in
    /// their plain form.
    fn weight(&self) -> u64 {
        let Row { dkim_auth, spf_auth, reasons, extensions, warnings, .. } = self;
        let entries = (dkim_auth.len() + spf_auth.len() + reasons.len() + extensions.len()) as u64;
        EVENT + 3 * (self.texts().map(escaped).sum::<u64>()) + ENTRY * entries + lines(warnings)
    }
}

impl Aggregate {
    /// All texts of the head but extensions and warnings. Destructured without `..`, so that no new text goes uncounted.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let Aggregate {
            version,
            xml_namespace: _,
            org_name,
            email,
            extra_contact_info,
            generator,
            report_id,
            begin,
            end,
            errors,
            policy: Policy { domain, adkim, aspf, p, sp, np, pct, fo, testing, discovery_method },
            extensions: _,
            warnings: _,
        } = self;
        let metadata = [version, org_name, email, extra_contact_info, generator, report_id, begin, end];
        let policy = [domain, adkim, aspf, p, sp, np, pct, fo, testing, discovery_method];
        let texts = metadata.into_iter().chain(policy).filter_map(|text| text.as_deref());
        texts.chain(errors.iter().map(String::as_str))
    }
}

impl Row<'_> {
    /// All texts of the row. Destructured without `..`, so that no new text goes uncounted.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let Row {
            index: _,
            source_ip,
            count,
            disposition,
            dkim,
            spf,
            reasons,
            header_from,
            envelope_from,
            has_null_sender: _,
            envelope_to,
            dkim_auth,
            spf_auth,
            dkim_is_cut: _,
            spf_is_cut: _,
            extensions,
            warnings: _,
        } = self;
        let own = [source_ip, count, disposition, dkim, spf, header_from, envelope_from, envelope_to];
        let reasons = reasons.iter().flat_map(|Override { kind, comment }| [kind, comment]);
        let dkim = dkim_auth
            .iter()
            .flat_map(|DkimAuth { domain, selector, result, human_result }| [domain, selector, result, human_result]);
        let spf = spf_auth
            .iter()
            .flat_map(|SpfAuth { domain, scope, result, human_result }| [domain, scope, result, human_result]);
        let extensions = extensions.iter().flat_map(|Extension { path, namespace, value }| [path, namespace, value]);
        let own = own.into_iter().chain(reasons).chain(dkim).chain(spf).filter_map(|text| text.as_deref());
        own.chain(extensions.filter_map(|text| text.as_deref()))
    }
}

impl Weighed for (&PolicyName, &TlsRow) {
    fn weight(&self) -> u64 {
        let (PolicyName { policy_type, domain }, row) = self;
        let of_policy = all([policy_type, domain]);
        EVENT
            + 2 * of_policy
            + match row {
                TlsRow::Policy(TlsPolicy { strings, mx_hosts, successful, failed, .. }) => {
                    lines(strings) + lines(mx_hosts) + 2 * all([successful, failed])
                }
                TlsRow::Failure(TlsFailure {
                    result_type,
                    sending_mta_ip,
                    receiving_mx_hostname,
                    receiving_mx_helo,
                    receiving_ip,
                    failed,
                    additional_information,
                    reason_code,
                    ..
                }) => {
                    2 * all([
                        result_type,
                        sending_mta_ip,
                        receiving_mx_hostname,
                        receiving_mx_helo,
                        receiving_ip,
                        failed,
                        additional_information,
                        reason_code,
                    ])
                }
            }
    }
}

/// Bytes that each event of a mail has for the authentication results of its sender, and for its header.
pub fn of_mail(auth: Option<&MailAuth>, header: &Envelope) -> u64 {
    let texts = |AuthResult { method: _, result, domain }: &AuthResult| {
        escaped(result) + domain.as_deref().map(escaped).unwrap_or_default()
    };
    let results = auth.map_or(&[][..], |auth| &auth.results);
    results.iter().map(|told| ENTRY + texts(told)).sum::<u64>()
        + lines(&header.warnings)
        + all([&header.tls_report_domain, &header.tls_report_submitter])
}

/// Size of the only event of a failure report, in bytes; `read` is what was read of the document, which is little enough to
/// need no limit.
pub(in crate::report) fn failure(read: u64, warnings: &[String]) -> u64 {
    EVENT + read.saturating_mul(2) + lines(warnings)
}

fn all<const N: usize>(texts: [&Option<String>; N]) -> u64 {
    texts.into_iter().flatten().map(|text| escaped(text)).sum()
}

fn lines(texts: &[String]) -> u64 {
    texts.iter().map(|text| escaped(text) + 3).sum()
}

/// Length of a text in JSON, in bytes.
fn escaped(text: &str) -> u64 {
    let wider = |byte: u8| match byte {
        b'"' | b'\\' => 1,
        0..=31 => 5,
        _ => 0,
    };
    text.bytes().map(|byte| 1 + wider(byte)).sum()
}
