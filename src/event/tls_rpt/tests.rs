use super::*;
use crate::event::{
    Event,
    sample::{self, some},
};

fn value<'a>(event: &'a Event, key: &str) -> Value<'a> {
    let mut fields = Vec::new();
    event.fields(&mut fields);
    fields.into_iter().find(|(name, _)| *name == key).unwrap().1
}

fn quiet() -> TlsRpt {
    TlsRpt { warnings: vec![], ..sample::tls_rpt() }
}

fn policy(policy: TlsPolicy) -> Event<'static> {
    sample::tls_event(quiet(), TlsRow::Policy(policy))
}

fn failure(failure: TlsFailure) -> Event<'static> {
    sample::tls_event(quiet(), TlsRow::Failure(failure))
}

#[test]
fn a_policy_counts_all_its_sessions_and_a_failure_its_own() {
    let event = policy(sample::tls_policy());
    assert_eq!((value(&event, "record_type"), value(&event, "count")), (known("policy"), Value::Int(123)));
    let unsummed = policy(TlsPolicy { successful: None, failed: None, ..sample::tls_policy() });
    assert_eq!(value(&unsummed, "count"), Value::Null);
    let Value::Texts(warnings) = value(&unsummed, "parse_warnings") else { panic!("a list") };
    assert!(
        warnings.contains(&"count: null, as successful_sessions and failed_sessions are".to_owned()),
        "{warnings:?}"
    );
    let event = failure(sample::tls_failure());
    assert_eq!((value(&event, "record_type"), value(&event, "count")), (known("failure"), Value::Int(2)));
    assert_eq!(value(&event, "failed_sessions"), Value::Null);
}

#[test]
fn sessions_of_failures_are_not_added_up_twice() {
    let shared = Shared::new(quiet(), sample::SHA256, Arc::new(sample::provenance()));
    let sessions = |row| TlsRptEvent::new(shared.clone(), row).sessions();
    assert_eq!(sessions(TlsRow::Policy(sample::tls_policy())), Some(123));
    assert_eq!(sessions(TlsRow::Failure(sample::tls_failure())), None);
}

#[test]
fn policies_for_one_domain_in_u_labels_and_a_labels_are_for_one_domain() {
    let policies =
        ["bücher.example", "xn--bcher-kva.example"].map(|name| PolicyName { policy_type: None, domain: some(name) });
    let report = TlsRpt { policies: policies.to_vec(), ..quiet() };
    let shared = Shared::new(report, sample::SHA256, Arc::new(sample::provenance()));
    assert_eq!(shared.head().domain.as_deref(), Some("bücher.example"));
}

#[test]
fn tls_values_are_normalised_and_invalid_ones_named() {
    let report = TlsRpt {
        begin: some("2026-10-30T00:00:00"),
        end: some("later"),
        policies: vec![PolicyName { policy_type: some("STS"), domain: some(" Example.COM. ") }],
        ..quiet()
    };
    let told = TlsFailure {
        result_type: some("quota-exceeded"),
        sending_mta_ip: some("unknown"),
        receiving_ip: some("2001:DB8::1"),
        failed: some("-1"),
        ..sample::tls_failure()
    };
    let event = sample::tls_event(report, TlsRow::Failure(told));
    assert_eq!([value(&event, "policy_type"), value(&event, "domain")], [known("sts"), known("example.com")]);
    assert_eq!([value(&event, "begin"), value(&event, "end")], [known("2026-10-30T00:00:00Z"), Value::Null]);
    assert_eq!([value(&event, "source_ip"), value(&event, "receiving_ip")], [Value::Null, known("2001:db8::1")]);
    assert_eq!([value(&event, "result_type"), value(&event, "count")], [known("quota-exceeded"), Value::Null]);
    let Value::Texts(warnings) = value(&event, "parse_warnings") else { panic!("a list") };
    assert_eq!(
        *warnings,
        [
            "begin: \"2026-10-30T00:00:00\" has no time zone, is read as 2026-10-30T00:00:00Z",
            "end: \"later\" is not a valid time",
            "domain: \"Example.COM.\" is read as example.com",
            "result_type: unknown value \"quota-exceeded\"",
            "source_ip: \"unknown\" is not a valid IP address",
            "count: \"-1\" is not a valid count",
        ]
    );
}

#[test]
fn every_type_and_result_of_the_rfc_is_known() {
    for result in ["starttls-not-supported", "validation-failure", "dane-required", "sts-webpki-invalid"] {
        let event = failure(TlsFailure { result_type: some(result), ..sample::tls_failure() });
        assert_eq!(value(&event, "parse_warnings"), texts(&[]), "{result}");
    }
}

#[test]
fn what_a_report_lacks_is_taken_from_the_header_of_its_mail() {
    let report = TlsRpt {
        organization_name: None,
        policies: vec![PolicyName { policy_type: some("sts"), domain: None }],
        mail_domain: some("Example.net (the domain)"),
        mail_submitter: some("mx.receiver.example."),
        ..quiet()
    };
    let told = TlsRpt { mail_domain: None, mail_submitter: None, ..report.clone() };
    let [with, without] = [report, told].map(|report| sample::tls_event(report, TlsRow::Policy(sample::tls_policy())));
    assert_eq!([value(&with, "domain"), value(&with, "org")], [known("example.net"), known("mx.receiver.example")]);
    let Value::Texts(warnings) = value(&with, "parse_warnings") else { panic!("a list") };
    assert_eq!(
        *warnings,
        [
            "org: missing, taken from the header field TLS-Report-Submitter",
            "domain: missing, taken from the header field TLS-Report-Domain",
        ]
    );
    assert_eq!(with.event_id(), without.event_id(), "the same report may come in a mail without these fields");
    let other = TlsRpt { mail_domain: some("example.net"), mail_submitter: some("other.example"), ..quiet() };
    let event = sample::tls_event(other, TlsRow::Policy(sample::tls_policy()));
    assert_eq!([value(&event, "domain"), value(&event, "org")], [known("example.com"), known("Receiver Inc.")]);
    assert_eq!(value(&event, "parse_warnings"), texts(&[]));
}

#[test]
fn the_report_has_a_domain_where_its_policies_have_one() {
    let named = |domains: &[Option<&str>]| {
        let name = |domain: &Option<&str>| PolicyName { policy_type: None, domain: domain.map(str::to_owned) };
        let report = TlsRpt { policies: domains.iter().map(name).collect(), ..quiet() };
        Shared::new(report, sample::SHA256, Arc::new(sample::provenance())).head().domain.clone()
    };
    assert_eq!(named(&[Some("example.com"), None, Some("EXAMPLE.com")]), some("example.com"));
    assert_eq!(named(&[Some("example.com"), Some("example.net")]), None);
    assert_eq!(named(&[]), None);
}
