//! `event_id`: the name of a fact, not of its delivery. Nothing about the mail or the run is in it.
//!
//! The first 128 bits, in lower-case hex, of SHA-256 over a version byte and then values, each as its length in bytes
//! (64 bits, big-endian) and its bytes. Values are as the reporter told them, trimmed; a missing one is empty; numbers are
//! in decimal digits; a list is its length and then the values of its elements.
//!
//! * `dmarc_aggregate`: tenant, org, domain, report_id, begin, end, record_index, then the row: source_ip, count,
//!   disposition, dkim, spf, reasons (type, comment), header_from, envelope_from, envelope_to, dkim_auth (domain,
//!   selector, result, human_result), spf_auth (domain, scope, result, human_result).
//! * `tls_rpt` of a policy: `tls_rpt`, tenant, organization-name, report-id, start-datetime, end-datetime, position of the
//!   policy, nothing, policy-type, policy-domain, policy-string (a list), mx-host (a list), successful and failed session counts.
//! * `tls_rpt` of a failure: the same to position of the policy, then position of the failure, policy-type, policy-domain,
//!   result-type, sending-mta-ip, receiving-mx-hostname, receiving-mx-helo, receiving-ip, failed-session-count,
//!   additional-information, failure-reason-code.
//! * `dmarc_failure`: `dmarc_failure`, tenant, the document's SHA-256 (32 bytes).
//! * `report`: `report`, tenant, the document's SHA-256 (32 bytes), outcome.
//! * `ingest_error`: `ingest_error`, tenant, the SHA-256 of the bytes that could not be read, reason. Where there are no
//!   bytes (a mail that was not fetched or opened): `ingest_error`, tenant, source, mailbox, mail_uid, mail_message_id, reason.
//! * `probe`: `probe`, tenant, name of the sink, time in nanoseconds since 1970.
//!
//! Within a kind the lists' lengths tell values apart; between kinds the number of values and the first one do.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{EventType, Provenance, field::hex};
use crate::{
    report::{self, DkimAuth, Override, PolicyName, Row, SpfAuth, TlsFailure, TlsPolicy, TlsRpt},
    trouble::Reason,
};

/// Raised when the recipe changes, so that no old id names a new fact.
const VERSION: u8 = 1;

/// What all rows of one report have in common, hashed once.
#[derive(Debug, Clone)]
pub struct RowIds(Recipe);

impl RowIds {
    pub fn new(tenant: Option<&str>, report: &report::Aggregate) -> Self {
        let mut recipe = Recipe::new();
        recipe.text(tenant);
        for value in [&report.org_name, &report.policy.domain, &report.report_id, &report.begin, &report.end] {
            recipe.text(value.as_deref());
        }
        Self(recipe)
    }

    /// The id of one row, as told.
    pub fn row(&self, row: &Row) -> String {
        let mut recipe = self.0.clone();
        recipe.number(row.index);
        for value in [&row.source_ip, &row.count, &row.disposition, &row.dkim, &row.spf] {
            recipe.text(value.as_deref());
        }
        recipe.list(&row.reasons, |Override { kind, comment }| [kind, comment]);
        for value in [&row.header_from, &row.envelope_from, &row.envelope_to] {
            recipe.text(value.as_deref());
        }
        recipe.list(&row.dkim_auth, |DkimAuth { domain, selector, result, human_result }| {
            [domain, selector, result, human_result]
        });
        recipe.list(&row.spf_auth, |SpfAuth { domain, scope, result, human_result }| {
            [domain, scope, result, human_result]
        });
        recipe.finish()
    }
}

/// What all rows of one TLS report have in common, hashed once.
#[derive(Debug, Clone)]
pub struct TlsIds(Recipe);

impl TlsIds {
    pub fn new(tenant: Option<&str>, report: &TlsRpt) -> Self {
        let mut recipe = Recipe::new();
        recipe.text(Some(EventType::TlsRpt.as_str()));
        recipe.text(tenant);
        for value in [&report.organization_name, &report.report_id, &report.begin, &report.end] {
            recipe.text(value.as_deref());
        }
        Self(recipe)
    }

    pub fn policy(&self, name: &PolicyName, policy: &TlsPolicy) -> String {
        let mut recipe = self.row(policy.index, None, name);
        for list in [&policy.strings, &policy.mx_hosts] {
            recipe.number(list.len() as u64);
            list.iter().for_each(|value| recipe.text(Some(value)));
        }
        recipe.text(policy.successful.as_deref());
        recipe.text(policy.failed.as_deref());
        recipe.finish()
    }

    pub fn failure(&self, name: &PolicyName, failure: &TlsFailure) -> String {
        let mut recipe = self.row(failure.policy, Some(failure.index), name);
        for value in [
            &failure.result_type,
            &failure.sending_mta_ip,
            &failure.receiving_mx_hostname,
            &failure.receiving_mx_helo,
            &failure.receiving_ip,
            &failure.failed,
            &failure.additional_information,
            &failure.reason_code,
        ] {
            recipe.text(value.as_deref());
        }
        recipe.finish()
    }

    fn row(&self, policy: usize, failure: Option<u64>, name: &PolicyName) -> Recipe {
        let mut recipe = self.0.clone();
        recipe.number(policy as u64);
        recipe.text(failure.map(|index| index.to_string()).as_deref());
        recipe.text(name.policy_type.as_deref());
        recipe.text(name.domain.as_deref());
        recipe
    }
}

pub fn failure(tenant: Option<&str>, sha256: &[u8; 32]) -> String {
    let mut recipe = Recipe::new();
    recipe.text(Some(EventType::DmarcFailure.as_str()));
    recipe.text(tenant);
    recipe.bytes(sha256);
    recipe.finish()
}

pub fn report(tenant: Option<&str>, sha256: &[u8; 32], outcome: &str) -> String {
    let mut recipe = Recipe::new();
    recipe.text(Some(EventType::Report.as_str()));
    recipe.text(tenant);
    recipe.bytes(sha256);
    recipe.text(Some(outcome));
    recipe.finish()
}

pub fn ingest_error(sha256: Option<&[u8; 32]>, reason: Reason, provenance: &Provenance) -> String {
    let mut recipe = Recipe::new();
    recipe.text(Some(EventType::IngestError.as_str()));
    recipe.text(provenance.tenant.as_deref());
    match sha256 {
        Some(sha256) => recipe.bytes(sha256),
        None => {
            recipe.text(Some(&provenance.source));
            recipe.text(provenance.mailbox.as_deref());
            recipe.text(provenance.mail_uid.map(|uid| uid.to_string()).as_deref());
            recipe.text(provenance.mail_message_id.as_deref());
        }
    }
    recipe.text(Some(reason.code()));
    recipe.finish()
}

pub fn probe(tenant: Option<&str>, sink: &str, at: Timestamp) -> String {
    let mut recipe = Recipe::new();
    recipe.text(Some(EventType::Probe.as_str()));
    recipe.text(tenant);
    recipe.text(Some(sink));
    recipe.text(Some(&at.as_nanosecond().to_string()));
    recipe.finish()
}

#[derive(Debug, Clone)]
struct Recipe(Sha256);

impl Recipe {
    fn new() -> Self {
        Self(Sha256::new_with_prefix([VERSION]))
    }

    fn text(&mut self, value: Option<&str>) {
        self.bytes(value.unwrap_or_default().trim().as_bytes());
    }

    fn number(&mut self, value: u64) {
        self.bytes(value.to_string().as_bytes());
    }

    fn list<T, const N: usize>(&mut self, elements: &[T], values: impl Fn(&T) -> [&Option<String>; N]) {
        self.number(elements.len() as u64);
        for value in elements.iter().flat_map(values) {
            self.text(value.as_deref());
        }
    }

    fn bytes(&mut self, value: &[u8]) {
        self.0.update((value.len() as u64).to_be_bytes());
        self.0.update(value);
    }

    fn finish(self) -> String {
        let hash = self.0.finalize();
        hex(&hash[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::sample;

    fn tls(tenant: Option<&str>) -> TlsIds {
        TlsIds::new(tenant, &sample::tls_rpt())
    }

    #[test]
    fn ids_are_frozen() {
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
            ],
            [
                "067a6773f7a2e2bf56018a829ce31cc9",
                "11da2f5818a8cbc2b6a055651c4a7abf",
                "47d4db50950460470800e183bdb21d0d",
                "520875bf1875162207c7c8e00600b4c0",
                "41673ad4c82833abfa32b70b595e20f0",
                "cb0ae3be6073d878ecb7f6aa75c229d8",
                "8818b06e1e052a7ae5e58df401feb5eb",
                "2f5c72ca9bb34c861f541f0245a1697e",
                "8afebc9233a3eeff90fbf7e44888d091",
                "c2734a24dac52c3e77d05ccc7d8d6050",
                "39f2939ea10bcf769c76e1aac71a8e51",
                "dc17c0d673776bc24ceaf2b1c2ff8550",
                "43100d7c41eff6fda20af9544a876ae1",
            ]
        );
    }

    #[test]
    fn the_recipe_is_the_one_in_the_documentation() {
        let told = crate::report::Aggregate { org_name: Some(" Org ".into()), ..Default::default() };
        let row = Row { index: 7, count: Some("2".into()), ..Default::default() };
        let mut bytes = vec![1];
        let values = ["", "Org", "", "", "", "", "7", "", "2", "", "", "", "0", "", "", "", "0", "0"];
        for value in values {
            bytes.extend((value.len() as u64).to_be_bytes());
            bytes.extend(value.as_bytes());
        }
        assert_eq!(RowIds::new(None, &told).row(&row), hex(&Sha256::digest(&bytes)[..16]));
    }

    #[test]
    fn every_value_of_a_row_counts_and_nothing_else_does() {
        let ids = RowIds::new(None, &sample::report());
        let row = sample::row();
        let first = ids.row(&row);
        let mut changed = vec![row.clone(); 8];
        changed[0].index += 1;
        changed[1].source_ip = None;
        changed[2].reasons.pop();
        changed[3].dkim_auth.swap(0, 1);
        changed[4].spf_auth[0].human_result = Some("x".into());
        changed[5].envelope_to = Some("x".into());
        changed[6].header_from = changed[6].envelope_from.take();
        changed[7].count = Some("43".into());
        for row in changed {
            assert_ne!(ids.row(&row), first);
        }
        let warned = Row { warnings: vec!["repaired".into()], ..row };
        assert_eq!(ids.row(&warned), first);
    }

    #[test]
    fn every_value_of_a_tls_row_counts() {
        let (name, policy, failure) = (&sample::tls_rpt().policies[0], sample::tls_policy(), sample::tls_failure());
        let mut seen = std::collections::HashSet::new();
        seen.insert(tls(None).policy(name, &policy));
        seen.insert(tls(None).policy(&PolicyName::default(), &policy));
        seen.insert(tls(None).policy(name, &TlsPolicy { index: 1, ..policy.clone() }));
        seen.insert(tls(None).policy(name, &TlsPolicy { mx_hosts: vec![], ..policy.clone() }));
        seen.insert(tls(None).policy(name, &TlsPolicy { failed: None, ..policy }));
        seen.insert(tls(None).failure(name, &failure));
        seen.insert(tls(None).failure(name, &TlsFailure { index: 0, ..failure.clone() }));
        seen.insert(tls(None).failure(name, &TlsFailure { policy: 1, ..failure.clone() }));
        seen.insert(tls(None).failure(name, &TlsFailure { receiving_ip: None, ..failure.clone() }));
        seen.insert(tls(None).failure(name, &TlsFailure { reason_code: None, ..failure }));
        assert_eq!(seen.len(), 10);
    }

    #[test]
    fn an_outcome_and_a_reason_of_the_same_name_have_different_ids() {
        let provenance = Provenance { tenant: None, ..sample::provenance() };
        assert_ne!(
            report(None, &sample::SHA256, "empty"),
            ingest_error(Some(&sample::SHA256), Reason::Empty, &provenance)
        );
    }
}
