//! Estimates, from above, of the size of the events that a document's rows become, and the caps on it.
//!
//! A row's event repeats the texts of the report's head and derives some of its own, so that a document of tiny rows under
//! a long head becomes many times its size. The estimate is made as the rows are read, before any event is: a cap
//! ends both readings of a document at the same row.

use super::{DkimAuth, Extension, Failure, Override, PolicyName, Row, SpfAuth, TlsFailure, TlsPolicy, TlsRow};
use crate::extract::{AuthResult, MailAuth};
use crate::limits::Limits;
use crate::trouble::{Reason, Trouble};

/// Bytes of an event beside the texts of its report: keys, hashes, times, what tells of the mail. Of real reports' events
/// 1,100 to 1,500.
const EVENT: u64 = 1_536;
/// Bytes of a signature or an SPF result beside its texts: keys, and what is said of a result that is unknown.
const ENTRY: u64 = 128;
/// Events below this are never too many for their document, so that a short one of short rows is not taken for a bomb.
const FREE: u64 = 1 << 20;

/// Adds up what a document was read of, and what its events come to.
pub(super) struct Weight<'l> {
    limits: &'l Limits,
    read: u64,
    /// Texts of the report's head, as far as they are known.
    head: u64,
    events: u64,
    rows: u64,
}

impl<'l> Weight<'l> {
    pub fn new(limits: &'l Limits) -> Self {
        Self { limits, read: 0, head: 0, events: 0, rows: 0 }
    }

    /// So many bytes more of the document have been read.
    pub fn read(&mut self, bytes: usize) {
        self.read += bytes as u64;
    }

    /// A text of the report's head, which all events repeat.
    pub fn head(&mut self, text: &str) {
        self.head += escaped(text);
    }

    /// Counts a row's event.
    ///
    /// # Errors
    ///
    /// The document makes more of events than it may; the row is not counted.
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

    /// Bytes of all events that were counted, as JSON, under the whole head.
    pub fn total(&self) -> u64 {
        self.events.saturating_add(self.head.saturating_mul(self.rows))
    }
}

/// What has events of an estimated size.
pub(super) trait Weighed {
    /// Bytes of its event as JSON, without the texts of the report's head.
    fn weight(&self) -> u64;
}

impl Weighed for Row {
    /// Texts count twice: those of the results that explain the verdict are told twice, and so is what is not understood.
    fn weight(&self) -> u64 {
        let Row { dkim_auth, spf_auth, reasons, extensions, warnings, .. } = self;
        let entries = (dkim_auth.len() + spf_auth.len() + reasons.len() + extensions.len()) as u64;
        EVENT + 2 * (self.texts().map(escaped).sum::<u64>()) + ENTRY * entries + lines(warnings)
    }
}

impl Row {
    /// All that is told. Taken apart without `..`, so that no new text goes uncounted.
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
            envelope_to,
            dkim_auth,
            spf_auth,
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
        own.into_iter().chain(reasons).chain(dkim).chain(spf).chain(extensions).filter_map(|text| text.as_deref())
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

/// Bytes that each event of a mail has for what servers say of its sender.
pub fn of_sender(auth: &MailAuth) -> u64 {
    let texts = |AuthResult { method: _, result, domain }: &AuthResult| {
        escaped(result) + domain.as_deref().map(escaped).unwrap_or_default()
    };
    auth.results.iter().map(|told| ENTRY + texts(told)).sum()
}

/// Bytes of a failure report's one event: a report is read up to 1 MiB, so it needs no cap.
pub(super) fn failure(report: &Failure, document: u64) -> u64 {
    EVENT + document.min(super::failure::HELD).saturating_mul(2) + lines(&report.warnings)
}

fn all<const N: usize>(texts: [&Option<String>; N]) -> u64 {
    texts.into_iter().flatten().map(|text| escaped(text)).sum()
}

fn lines(texts: &[String]) -> u64 {
    texts.iter().map(|text| escaped(text) + 3).sum()
}

/// The width of a text in JSON.
fn escaped(text: &str) -> u64 {
    let wider = |byte: u8| match byte {
        b'"' | b'\\' => 1,
        0..=31 => 5,
        _ => 0,
    };
    text.bytes().map(|byte| 1 + wider(byte)).sum()
}
