//! Computes the `event_id`, which identifies a fact and not its delivery: it contains nothing about the mail or the run.
//!
//! It is the first 128 bits, in lower-case hex, of SHA-256 over a version byte and a sequence of values, each as its length
//! in bytes (64 bits, big-endian) and its bytes. Values are the reporter's, trimmed, before they are normalised, masked or
//! shortened for a sink; a missing one is empty; numbers are in decimal digits; a list is its length followed by the values
//! of its elements. The first value is the type of the event, the second the tenant; then follow:
//!
//! * `dmarc_aggregate`: the report's version, xml_namespace, org_name, email, extra_contact_info, generator, report_id, begin,
//!   end, errors (a list), domain, adkim, aspf, p, sp, np, pct, fo, testing, discovery_method; then the row's record_index,
//!   source_ip, count, disposition, dkim, spf, reasons (type, comment), header_from, envelope_from, envelope_to, dkim_auth
//!   (domain, selector, result, human_result), spf_auth (domain, scope, result, human_result), extensions (path, namespace,
//!   value).
//! * `tls_rpt`: organization-name, contact-info, report-id, start-datetime, end-datetime, policy-type, policy-domain. Of a
//!   policy then the word `policy`, its position, policy-string (a list), mx-host (a list), successful and failed session
//!   counts. Of a failure the word `failure`, the position of its policy, its own, result-type, sending-mta-ip,
//!   receiving-mx-hostname, receiving-mx-helo, receiving-ip, failed-session-count, additional-information, failure-reason-code.
//!   Not what the header of the mail says instead of the report: the same report may come in another mail.
//! * `dmarc_failure`: the document's SHA-256 (32 bytes).
//! * `report`: the document's SHA-256 (32 bytes), outcome.
//! * `ingest_error`: the SHA-256 of the bytes that could not be read, reason. Where there are no bytes (a mail that was not
//!   fetched or opened): source, mailbox, UIDVALIDITY, mail_uid, mail_message_id, reason. With `sink_rejected`, the SHA-256
//!   is that of the document, and the name of the sink follows.
//! * `probe`: name of the sink, time in nanoseconds since 1970.
//!
//! So an event with any different value of a row or a published policy has another id: a forged copy of a report is stored
//! next to the real one in a store that keeps one event per id, and never replaces it. Parsed structs are destructured
//! without `..`, so that a new field does not compile until it is hashed or left out by name. Left out are the warnings,
//! which tell how a report was parsed, and everything that a row does not repeat of its report.

use std::{fmt, ops::Deref};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{event_type::EventType, provenance::Provenance};
use crate::{
    report::{
        Aggregate, DkimAuth, Extension, Override, Policy, PolicyName, Row, SpfAuth, TlsFailure, TlsPolicy, TlsRpt,
    },
    trouble::Reason,
};

/// Version byte. Incremented when the hashed values change, so that no old id identifies a new fact.
const VERSION: u8 = 2;

/// `event_id`: 32 hex digits in lower case, without an allocation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId([u8; 32]);

impl EventId {
    fn of(hash: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [b'0'; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(hash) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        Self(digits)
    }
}

impl Deref for EventId {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.0).expect("hex digits are ASCII")
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// Hash of the values that all rows of one aggregate report share, computed once.
#[derive(Debug, Clone)]
pub struct RowIds(Recipe);

impl RowIds {
    pub fn new(tenant: Option<&str>, report: &Aggregate) -> Self {
        let Aggregate {
            version,
            xml_namespace,
            org_name,
            email,
            extra_contact_info,
            generator,
            report_id,
            begin,
            end,
            errors,
            policy,
            extensions: _,
            warnings: _,
        } = report;
        let Policy { domain, adkim, aspf, p, sp, np, pct, fo, testing, discovery_method } = policy;
        let mut recipe = Recipe::new(EventType::DmarcAggregate, tenant);
        recipe.values([version, xml_namespace, org_name, email, extra_contact_info, generator, report_id, begin, end]);
        recipe.texts(errors);
        recipe.values([domain, adkim, aspf, p, sp, np, pct, fo, testing, discovery_method]);
        Self(recipe)
    }

    /// Returns the id of one row, before normalisation.
    pub fn row(&self, row: &Row<'_>) -> EventId {
        let Row {
            index,
            source_ip,
            count,
            disposition,
            dkim,
            spf,
            reasons,
            header_from,
            envelope_from,
            // As the id of a missing value and that of an empty one are the same.
            has_null_sender: _,
            envelope_to,
            dkim_auth,
            spf_auth,
            dkim_is_cut: _,
            spf_is_cut: _,
            extensions,
            warnings: _,
        } = row;
        let mut recipe = self.0.clone();
        recipe.number(*index);
        recipe.values([source_ip, count, disposition, dkim, spf]);
        recipe.list(reasons, |Override { kind, comment }| [kind, comment]);
        recipe.values([header_from, envelope_from, envelope_to]);
        recipe.list(dkim_auth, |DkimAuth { domain, selector, result, human_result }| {
            [domain, selector, result, human_result]
        });
        recipe.list(spf_auth, |SpfAuth { domain, scope, result, human_result }| [domain, scope, result, human_result]);
        recipe.list(extensions, |Extension { path, namespace, value }| [path, namespace, value]);
        recipe.finish()
    }
}

/// Hash of the values that all rows of one TLS report share, computed once.
#[derive(Debug, Clone)]
pub struct TlsIds(Recipe);

impl TlsIds {
    pub fn new(tenant: Option<&str>, report: &TlsRpt) -> Self {
        let TlsRpt {
            organization_name,
            contact_info,
            report_id,
            begin,
            end,
            policies: _,
            mail_domain: _,
            mail_submitter: _,
            warnings: _,
        } = report;
        let mut recipe = Recipe::new(EventType::TlsRpt, tenant);
        recipe.values([organization_name, contact_info, report_id, begin, end]);
        Self(recipe)
    }

    pub fn policy(&self, name: &PolicyName, policy: &TlsPolicy) -> EventId {
        let TlsPolicy { index, strings, mx_hosts, successful, failed } = policy;
        let mut recipe = self.under(name, "policy");
        recipe.number(*index as u64);
        recipe.texts(strings);
        recipe.texts(mx_hosts);
        recipe.values([successful, failed]);
        recipe.finish()
    }

    pub fn failure(&self, name: &PolicyName, failure: &TlsFailure) -> EventId {
        let TlsFailure {
            policy,
            index,
            result_type,
            sending_mta_ip,
            receiving_mx_hostname,
            receiving_mx_helo,
            receiving_ip,
            failed,
            additional_information,
            reason_code,
        } = failure;
        let mut recipe = self.under(name, "failure");
        recipe.number(*policy as u64);
        recipe.number(*index);
        recipe.values([
            result_type,
            sending_mta_ip,
            receiving_mx_hostname,
            receiving_mx_helo,
            receiving_ip,
            failed,
            additional_information,
            reason_code,
        ]);
        recipe.finish()
    }

    fn under(&self, PolicyName { policy_type, domain }: &PolicyName, kind: &str) -> Recipe {
        let mut recipe = self.0.clone();
        recipe.values([policy_type, domain]);
        recipe.text(Some(kind));
        recipe
    }
}

pub fn failure(tenant: Option<&str>, sha256: &[u8; 32]) -> EventId {
    let mut recipe = Recipe::new(EventType::DmarcFailure, tenant);
    recipe.bytes(sha256);
    recipe.finish()
}

pub fn report(tenant: Option<&str>, sha256: &[u8; 32], outcome: &str) -> EventId {
    let mut recipe = Recipe::new(EventType::Report, tenant);
    recipe.bytes(sha256);
    recipe.text(Some(outcome));
    recipe.finish()
}

pub fn ingest_error(sha256: Option<&[u8; 32]>, reason: Reason, provenance: &Provenance) -> EventId {
    error(sha256, reason, provenance).finish()
}

pub fn rejection(sha256: Option<&[u8; 32]>, reason: Reason, provenance: &Provenance, sink: &str) -> EventId {
    let mut recipe = error(sha256, reason, provenance);
    recipe.text(Some(sink));
    recipe.finish()
}

fn error(sha256: Option<&[u8; 32]>, reason: Reason, provenance: &Provenance) -> Recipe {
    let mut recipe = Recipe::new(EventType::IngestError, provenance.tenant.as_deref());
    match sha256 {
        Some(sha256) => recipe.bytes(sha256),
        None => {
            recipe.text(Some(&provenance.source));
            recipe.text(provenance.mailbox.as_deref());
            recipe.text(provenance.uid_validity.map(|validity| validity.to_string()).as_deref());
            recipe.text(provenance.mail_uid.map(|uid| uid.to_string()).as_deref());
            recipe.text(provenance.mail_message_id.as_deref());
        }
    }
    recipe.text(Some(reason.code()));
    recipe
}

pub fn probe(tenant: Option<&str>, sink: &str, at: Timestamp) -> EventId {
    let mut recipe = Recipe::new(EventType::Probe, tenant);
    recipe.text(Some(sink));
    recipe.text(Some(&at.as_nanosecond().to_string()));
    recipe.finish()
}

#[derive(Debug, Clone)]
struct Recipe(Sha256);

impl Recipe {
    fn new(event_type: EventType, tenant: Option<&str>) -> Self {
        let mut recipe = Self(Sha256::new_with_prefix([VERSION]));
        recipe.text(Some(event_type.as_str()));
        recipe.text(tenant);
        recipe
    }

    fn values<const N: usize>(&mut self, values: [&Option<impl Deref<Target = str>>; N]) {
        values.into_iter().for_each(|value| self.text(value.as_deref()));
    }

    fn texts(&mut self, list: &[String]) {
        self.number(list.len() as u64);
        list.iter().for_each(|value| self.text(Some(value)));
    }

    fn text(&mut self, value: Option<&str>) {
        self.bytes(value.unwrap_or_default().trim().as_bytes());
    }

    fn number(&mut self, value: u64) {
        self.bytes(value.to_string().as_bytes());
    }

    fn list<T, S: Deref<Target = str>, const N: usize>(
        &mut self,
        elements: &[T],
        values: impl Fn(&T) -> [&Option<S>; N],
    ) {
        self.number(elements.len() as u64);
        elements.iter().for_each(|element| self.values(values(element)));
    }

    fn bytes(&mut self, value: &[u8]) {
        self.0.update((value.len() as u64).to_be_bytes());
        self.0.update(value);
    }

    fn finish(self) -> EventId {
        EventId::of(&self.0.finalize()[..16])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::event::sample;

    fn tls(tenant: Option<&str>) -> TlsIds {
        TlsIds::new(tenant, &sample::tls_rpt())
    }

    #[test]
    fn event_ids_are_frozen() {
        let row = RowIds::new(None, &sample::report()).row(&sample::row());
        let tenant = RowIds::new(Some("acme"), &sample::report()).row(&sample::row());
        let provenance = sample::provenance();
        let unfetched = Provenance { tenant: None, ..provenance.clone() };
        assert_eq!(
            [
                row,
                tenant,
                report(None, &sample::SHA256, "shipped"),
                report(Some("acme"), &sample::SHA256, "shipped"),
                ingest_error(Some(&sample::SHA256), Reason::CorruptGzip, &provenance),
                ingest_error(None, Reason::MailTooLarge, &unfetched),
                tls(None).policy(&sample::tls_rpt().policies[0], &sample::tls_policy()),
                tls(None).failure(&sample::tls_rpt().policies[0], &sample::tls_failure()),
                tls(Some("acme")).failure(&sample::tls_rpt().policies[0], &sample::tls_failure()),
                failure(None, &sample::SHA256),
                failure(Some("acme"), &sample::SHA256),
                probe(None, "siem", provenance.ingest),
                probe(Some("acme"), "siem", provenance.ingest),
            ]
            .map(|id| id.to_string()),
            [
                "fc636c90d398d7092ee3bb8f8d53ecbd",
                "bfd49ea31c049e2fddf3f42ea9e69554",
                "4ec23fdbc6d888c6d827c0c88199a3b3",
                "adb56e9a5928749647a4f80e56c8117b",
                "0531b100a233e209e4d6185a7015ea92",
                "5bfb8975bc3035e594caee990f8a2e49",
                "be11d6c16ee42c305b3a510656fd4edc",
                "d77669ad3c940904d5f91498a2706002",
                "6f25c4c77f71dc403c18afe0912aa6c8",
                "a558dcc4caba0be5b06722bf63f974c2",
                "fdf4d11226925cffc6c3f977c1acddd5",
                "6ff96b6139a73277da8c22715a8d1cec",
                "df22957ecec2e224b6e81ce2b072a211",
            ]
        );
    }

    #[test]
    fn event_id_follows_the_documented_recipe() {
        let told = Aggregate { org_name: Some(" Org ".into()), errors: vec!["slow".into()], ..Default::default() };
        let row = Row { index: 7, count: Some("2".into()), ..Default::default() };
        let mut bytes = vec![2];
        let report = ["", "", "Org", "", "", "", "", "", "", "1", "slow", "", "", "", "", "", "", "", "", "", ""];
        let row_values = ["7", "", "2", "", "", "", "0", "", "", "", "0", "0", "0"];
        for value in ["dmarc_aggregate", "acme"].into_iter().chain(report).chain(row_values) {
            bytes.extend((value.len() as u64).to_be_bytes());
            bytes.extend(value.as_bytes());
        }
        assert_eq!(RowIds::new(Some("acme"), &told).row(&row), EventId::of(&Sha256::digest(&bytes)[..16]));
    }

    /// Returns the id of the same row after `change` to its report.
    fn id_after(change: impl FnOnce(&mut Aggregate)) -> EventId {
        let mut report = sample::report();
        change(&mut report);
        RowIds::new(None, &report).row(&sample::row())
    }

    fn other<T: From<&'static str>>() -> Option<T> {
        Some("another".into())
    }

    #[test]
    fn a_forged_copy_with_another_policy_has_another_event_id() {
        let real = id_after(|_| {});
        assert_ne!(id_after(|report| report.policy.p = Some("none".into())), real);
        assert_ne!(id_after(|report| report.policy.testing = Some("y".into())), real);
        assert_ne!(id_after(|report| report.policy.sp = None), real);
    }

    #[test]
    fn every_report_value_repeated_in_rows_changes_event_id() {
        let ids = [
            id_after(|_| {}),
            id_after(|report| report.version = other()),
            id_after(|report| report.xml_namespace = other()),
            id_after(|report| report.org_name = other()),
            id_after(|report| report.email = other()),
            id_after(|report| report.extra_contact_info = other()),
            id_after(|report| report.generator = other()),
            id_after(|report| report.report_id = other()),
            id_after(|report| report.begin = other()),
            id_after(|report| report.end = other()),
            id_after(|report| report.errors.push("another".into())),
            id_after(|report| report.policy.domain = other()),
            id_after(|report| report.policy.adkim = other()),
            id_after(|report| report.policy.aspf = other()),
            id_after(|report| report.policy.p = other()),
            id_after(|report| report.policy.sp = other()),
            id_after(|report| report.policy.np = other()),
            id_after(|report| report.policy.pct = other()),
            id_after(|report| report.policy.fo = other()),
            id_after(|report| report.policy.testing = other()),
            id_after(|report| report.policy.discovery_method = other()),
        ];
        assert_eq!(HashSet::from(ids).len(), ids.len());
        assert_eq!(id_after(|report| report.warnings.clear()), ids[0], "how it was read is no part of it");
        assert_eq!(id_after(|report| report.extensions.clear()), ids[0], "a row does not repeat them");
    }

    #[test]
    fn only_values_of_the_row_change_event_id() {
        let id_after = |change: fn(&mut Row)| {
            let mut row = sample::row();
            change(&mut row);
            RowIds::new(None, &sample::report()).row(&row)
        };
        let ids = [
            id_after(|_| {}),
            id_after(|row| row.index += 1),
            id_after(|row| row.source_ip = other()),
            id_after(|row| row.count = other()),
            id_after(|row| row.disposition = other()),
            id_after(|row| row.dkim = other()),
            id_after(|row| row.spf = other()),
            id_after(|row| row.header_from = other()),
            id_after(|row| row.envelope_from = other()),
            id_after(|row| row.envelope_to = other()),
            id_after(|row| row.header_from = row.envelope_from.take()),
            id_after(|row| row.reasons.clear()),
            id_after(|row| row.reasons[0].kind = other()),
            id_after(|row| row.reasons[0].comment = other()),
            id_after(|row| row.dkim_auth.swap(0, 1)),
            id_after(|row| row.dkim_auth[1].domain = other()),
            id_after(|row| row.dkim_auth[1].selector = other()),
            id_after(|row| row.dkim_auth[1].result = other()),
            id_after(|row| row.dkim_auth[1].human_result = other()),
            id_after(|row| row.spf_auth[0].domain = other()),
            id_after(|row| row.spf_auth[0].scope = other()),
            id_after(|row| row.spf_auth[0].result = other()),
            id_after(|row| row.spf_auth[0].human_result = other()),
            id_after(|row| row.extensions[0].path = other()),
            id_after(|row| row.extensions[0].namespace = other()),
            id_after(|row| row.extensions[0].value = other()),
        ];
        assert_eq!(HashSet::from(ids).len(), ids.len());
        assert_eq!(id_after(|row| row.warnings.clear()), ids[0], "how it was read is no part of it");
    }

    #[test]
    fn every_value_of_a_tls_row_changes_event_id() {
        let (name, policy, failure) = (&sample::tls_rpt().policies[0], sample::tls_policy(), sample::tls_failure());
        let contact = TlsRpt { contact_info: other(), ..sample::tls_rpt() };
        let ids = [
            tls(None).policy(name, &policy),
            TlsIds::new(None, &contact).policy(name, &policy),
            tls(None).policy(&PolicyName::default(), &policy),
            tls(None).policy(name, &TlsPolicy { index: 1, ..policy.clone() }),
            tls(None).policy(name, &TlsPolicy { mx_hosts: vec![], ..policy.clone() }),
            tls(None).policy(name, &TlsPolicy { failed: None, ..policy }),
            tls(None).failure(name, &failure),
            tls(None).failure(name, &TlsFailure { index: 0, ..failure.clone() }),
            tls(None).failure(name, &TlsFailure { policy: 1, ..failure.clone() }),
            tls(None).failure(name, &TlsFailure { receiving_ip: None, ..failure.clone() }),
            tls(None).failure(name, &TlsFailure { reason_code: None, ..failure }),
        ];
        assert_eq!(HashSet::from(ids).len(), ids.len());
    }

    #[test]
    fn uidvalidity_change_changes_the_event_id_of_an_error() {
        let first = Provenance { uid_validity: Some(1), ..sample::provenance() };
        let second = Provenance { uid_validity: Some(2), ..sample::provenance() };
        let id = |provenance| ingest_error(None, Reason::MailTooLarge, provenance);
        assert_ne!(id(&first), id(&second));
    }

    #[test]
    fn rejections_of_one_document_by_two_sinks_have_different_ids() {
        let provenance = sample::provenance();
        let id = |sink| rejection(Some(&sample::SHA256), Reason::SinkRejected, &provenance, sink);
        assert_ne!(id("a"), id("b"));
    }

    #[test]
    fn outcome_and_reason_of_the_same_name_have_different_event_ids() {
        let provenance = Provenance { tenant: None, ..sample::provenance() };
        assert_ne!(
            report(None, &sample::SHA256, "empty"),
            ingest_error(Some(&sample::SHA256), Reason::Empty, &provenance)
        );
    }
}
