//! Sample events for tests: one of each type, with every field set.

use std::sync::Arc;

use super::{
    Event, Provenance,
    aggregate::{AggregateEvent, Shared},
    failure::{Addresses, FailureEvent},
    ingest_error::IngestErrorEvent,
    probe::ProbeEvent,
    report::{Outcome, ReportEvent, Tally},
    tls_rpt::{self, TlsRptEvent},
};
use crate::{
    extract::{AuthMethod, AuthResult, MailAuth},
    report::{
        Aggregate, DkimAuth, Extension, Failure, Override, Policy, PolicyName, Row, SpfAuth, TlsFailure, TlsPolicy,
        TlsRow, TlsRpt,
    },
    trouble::{Reason, Trouble},
};

pub(crate) const SHA256: [u8; 32] = [0xab; 32];

pub(crate) fn provenance() -> Provenance {
    Provenance {
        tenant: some("acme"),
        source: "rua".into(),
        mailbox: some("INBOX"),
        mail_uid: Some(4711),
        uid_validity: Some(1_700_000_000),
        mail_message_id: some("<1@receiver.example>"),
        mail_from: some("noreply@receiver.example"),
        mail_date: some("2026-10-31T04:05:06Z"),
        mail_auth: Some(Arc::new(MailAuth {
            results: vec![
                AuthResult { method: AuthMethod::Spf, result: "pass".into(), domain: some("bounce.receiver.example") },
                AuthResult { method: AuthMethod::Dmarc, result: "pass".into(), domain: some("receiver.example") },
            ],
        })),
        attachment: some("receiver.example!example.com!1793318400!1793404799.xml.gz"),
        ingest: "2026-11-01T12:00:00.123456789Z".parse().unwrap(),
    }
}

pub(crate) fn report() -> Aggregate {
    Aggregate {
        version: some("1.0"),
        xml_namespace: some("urn:ietf:params:xml:ns:dmarc-2.0"),
        org_name: some("Receiver Inc."),
        email: some("noreply@receiver.example"),
        extra_contact_info: some("https://receiver.example/dmarc"),
        generator: some("reportd 3.1"),
        report_id: some("4711-example.com"),
        begin: some("1793318400"),
        end: some("1793404799"),
        errors: vec!["DNS timed out".into()],
        policy: Policy {
            domain: some("example.com"),
            adkim: some("r"),
            aspf: some("s"),
            p: some("reject"),
            sp: some("quarantine"),
            np: some("reject"),
            pct: some("100"),
            fo: some("1"),
            testing: some("n"),
            discovery_method: some("psl"),
        },
        extensions: vec![extension("extension/mails", "284")],
        warnings: vec!["trailing_junk: data after the end of the report was skipped".into()],
    }
}

pub(crate) fn row() -> Row<'static> {
    Row {
        index: 3,
        source_ip: some("192.0.2.10"),
        count: some("42"),
        disposition: some("none"),
        dkim: some("pass"),
        spf: some("fail"),
        reasons: vec![Override { kind: some("local_policy"), comment: some("known sender") }],
        header_from: some("news.example.com"),
        envelope_from: some("bounce.example.net"),
        has_null_sender: false,
        envelope_to: some("receiver.example"),
        dkim_auth: vec![dkim("example.net", "k1"), dkim("example.com", "s1")],
        spf_auth: vec![SpfAuth {
            domain: some("bounce.example.net"),
            scope: some("mfrom"),
            result: some("pass"),
            human_result: None,
        }],
        dkim_is_cut: false,
        spf_is_cut: false,
        extensions: vec![extension("record/arc/cv", "pass")],
        warnings: vec!["several_rows: a record has several rows, each was read as a separate record".into()],
    }
}

pub(crate) fn aggregate() -> Event<'static> {
    aggregate_of(&report(), row(), provenance())
}

pub(crate) fn aggregate_of<'a>(report: &Aggregate, row: Row<'a>, provenance: Provenance) -> Event<'a> {
    let shared = Shared::new(report, SHA256, Arc::new(provenance));
    Event::Aggregate(Box::new(AggregateEvent::new(shared, row)))
}

/// A row of a report without any data.
pub(crate) fn silent() -> Event<'static> {
    let Provenance { source, ingest, .. } = provenance();
    let provenance = Provenance::of(source, ingest);
    aggregate_of(&Aggregate::default(), Row::default(), provenance)
}

pub(crate) fn tls_rpt() -> TlsRpt {
    TlsRpt {
        organization_name: some("Receiver Inc."),
        contact_info: some("tls@receiver.example"),
        report_id: some("2026-10-30-example.com"),
        begin: some("2026-10-30T00:00:00Z"),
        end: some("2026-10-30T23:59:59Z"),
        policies: vec![PolicyName { policy_type: some("sts"), domain: some("example.com") }],
        mail_domain: None,
        mail_submitter: None,
        warnings: vec!["trailing_junk: data after the end of the report was skipped".into()],
    }
}

pub(crate) fn tls_policy() -> TlsPolicy {
    TlsPolicy {
        index: 0,
        strings: vec!["version: STSv1".into(), "mode: enforce".into(), "mx: mx.example.com".into()],
        mx_hosts: vec!["mx.example.com".into()],
        successful: some("120"),
        failed: some("3"),
    }
}

pub(crate) fn tls_failure() -> TlsFailure {
    TlsFailure {
        policy: 0,
        index: 1,
        result_type: some("certificate-expired"),
        sending_mta_ip: some("192.0.2.10"),
        receiving_mx_hostname: some("mx.example.com"),
        receiving_mx_helo: some("mx1.example.com"),
        receiving_ip: some("198.51.100.7"),
        failed: some("2"),
        additional_information: some("https://receiver.example/tls/why"),
        reason_code: some("notAfter 2026-10-01"),
    }
}

pub(crate) fn tls_event(report: TlsRpt, row: TlsRow) -> Event<'static> {
    let shared = tls_rpt::Shared::new(report, SHA256, Arc::new(provenance()));
    Event::TlsRpt(Box::new(TlsRptEvent::new(shared, row)))
}

pub(crate) fn failure() -> Failure {
    Failure {
        feedback_type: some("auth-failure"),
        version: some("1"),
        user_agent: some("Failures/2.1"),
        auth_failure: some("dmarc"),
        identity_alignment: some("none"),
        delivery_result: some("reject"),
        authentication_results: vec!["mx.receiver.example; spf=pass smtp.mailfrom=b+ann=x@mail.example.net".into()],
        original_mail_from: some("<b+ann=x@mail.example.net>"),
        original_rcpt_to: vec!["<ann@receiver.example>".into()],
        original_envelope_id: some("4SVx1k0"),
        source_ip: some("192.0.2.10"),
        reported_domain: some("example.com"),
        reporting_mta: some("dns; mx.receiver.example"),
        arrival_date: some("Fri, 30 Oct 2026 22:13:20 +0000"),
        incidents: some("2"),
        dkim_domain: some("example.com"),
        dkim_identity: some("orders@example.com"),
        dkim_selector: some("s1"),
        spf_dns: vec!["txt : mail.example.net : \"v=spf1 ip4:192.0.2.0/24 -all\"".into()],
        from: some("Example Shop <orders@example.com>"),
        message_id: some("<order-1@example.com>"),
        warnings: vec!["folded_wrong: a line that is not a field was skipped".into()],
    }
}

pub(crate) fn failure_event(report: &Failure, addresses: Addresses) -> Event<'static> {
    Event::Failure(Box::new(FailureEvent::new(report, SHA256, Arc::new(provenance()), addresses)))
}

pub(crate) fn report_event() -> Event<'static> {
    let shared = Shared::new(&report(), SHA256, Arc::new(provenance()));
    let tally = Tally { rows: 12, rows_skipped: 1, count_sum: 345 };
    Event::Report(Box::new(ReportEvent::of(shared.head().clone(), Outcome::Partial, tally)))
}

pub(crate) fn unreadable() -> Event<'static> {
    Event::Report(Box::new(ReportEvent::unreadable(&SHA256, Arc::new(provenance()), Vec::new())))
}

pub(crate) fn ingest_error() -> Event<'static> {
    let trouble = Trouble::over(
        Reason::DocumentTooLarge,
        "the size of the document, in bytes,",
        "limits.document_bytes",
        1 << 30,
    );
    ingest_error_of(trouble, Some(SHA256))
}

pub(crate) fn ingest_error_of(trouble: Trouble, sha256: Option<[u8; 32]>) -> Event<'static> {
    Event::IngestError(Box::new(IngestErrorEvent::new(trouble, sha256, 2, Arc::new(provenance()))))
}

pub(crate) fn probe() -> Event<'static> {
    Event::Probe(Box::new(ProbeEvent::new(Some("acme"), "siem", provenance().ingest)))
}

fn extension(path: &str, value: &str) -> Extension {
    Extension { path: some(path), namespace: some("https://receiver.example/ns/1"), value: some(value) }
}

fn dkim(domain: &'static str, selector: &'static str) -> DkimAuth<'static> {
    DkimAuth { domain: some(domain), selector: some(selector), result: some("pass"), human_result: None }
}

pub(crate) fn some<'t, T: From<&'t str>>(text: &'t str) -> Option<T> {
    Some(text.into())
}
