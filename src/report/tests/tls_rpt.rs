//! TLS reports: each quirk by name, and hostile input.

use std::io::BufReader;

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::{PolicyName, TlsFailure, TlsPolicy, TlsRow, TlsRpt, tls_rows};
use super::*;
use crate::trouble::Reason;

struct ReadTls {
    report: TlsRpt,
    policies: Vec<TlsPolicy>,
    failures: Vec<TlsFailure>,
    damage: Option<Reason>,
}

/// Reads a document in both passes, and checks that they agree.
fn read_tls(document: &[u8], chunk: usize, limits: &Limits) -> Result<ReadTls, Trouble> {
    let (mut policies, mut failures) = (Vec::new(), Vec::new());
    let end = tls_rows(BufReader::with_capacity(chunk, document), limits, &mut |row| {
        match row {
            TlsRow::Policy(policy) => policies.push(policy),
            TlsRow::Failure(failure) => failures.push(failure),
        }
        ControlFlow::Continue(())
    });
    let scan = scan(Format::Json, || BufReader::with_capacity(chunk, document), limits)?;
    assert_eq!(scan.rows, (policies.len() + failures.len()) as u64);
    assert_eq!(scan.damage, end.err());
    let Report::TlsRpt(report) = scan.report else { panic!("no TLS report") };
    for index in policies.iter().map(|policy| policy.index).chain(failures.iter().map(|failure| failure.policy)) {
        assert!(index < report.policies.len());
    }
    Ok(ReadTls { report: *report, policies, failures, damage: scan.damage.map(|trouble| trouble.reason) })
}

fn json(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls_rpt").join(name).with_extension("json");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read_json(name: &str) -> ReadTls {
    read_tls(&json(name), 8 << 10, &Limits::default()).unwrap_or_else(|trouble| panic!("{name}: {trouble}"))
}

fn codes(read: &ReadTls) -> Vec<&str> {
    read.report.warnings.iter().filter_map(|text| text.split(':').next()).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Checks that a report with quirks has the content of the plain one.
fn is_plain(name: &str) -> ReadTls {
    let (plain, read) = (read_json("001-plain"), read_json(name));
    assert_eq!(TlsRpt { warnings: vec![], ..read.report.clone() }, plain.report, "{name}");
    assert_eq!((&read.policies, &read.failures), (&plain.policies, &plain.failures), "{name}");
    read
}

#[test]
fn a_plain_report_is_read_in_full() {
    let read = read_json("001-plain");
    let report = TlsRpt {
        organization_name: some("Receiver Inc."),
        contact_info: some("tls@receiver.example"),
        report_id: some("2023-11-14-example.com"),
        begin: some("2023-11-14T00:00:00Z"),
        end: some("2023-11-14T23:59:59Z"),
        policies: vec![PolicyName { policy_type: some("sts"), domain: some("example.com") }],
        mail_domain: None,
        mail_submitter: None,
        warnings: vec![],
    };
    assert_eq!(read.report, report);
    let strings = ["version: STSv1", "mode: enforce", "mx: mx.example.com", "max_age: 86400"];
    let policy = TlsPolicy {
        index: 0,
        strings: strings.map(str::to_owned).to_vec(),
        mx_hosts: vec!["mx.example.com".into()],
        successful: some("120"),
        failed: some("3"),
    };
    assert_eq!(read.policies, [policy]);
    let first = TlsFailure {
        policy: 0,
        index: 0,
        result_type: some("certificate-expired"),
        sending_mta_ip: some("192.0.2.1"),
        receiving_mx_hostname: some("mx.example.com"),
        receiving_mx_helo: some("mx1.example.com"),
        receiving_ip: some("198.51.100.7"),
        failed: some("2"),
        additional_information: some("https://receiver.example/why"),
        reason_code: some("notAfter 2023-11-01"),
    };
    assert_eq!(read.failures[0], first);
    assert_eq!((read.failures.len(), read.failures[1].index), (2, 1));
}

#[test]
fn a_contact_may_be_null_or_several() {
    assert_eq!(read_json("002-contact-null").report.contact_info, None);
    let several = read_json("003-contact-list").report.contact_info;
    assert_eq!(several, some("tls@receiver.example, https://receiver.example/tls"));
}

#[test]
fn lists_may_be_single_texts_under_either_key() {
    assert_eq!(read_json("004-mx-host-as-text").policies[0].mx_hosts, ["*.mail.example.com"]);
    assert_eq!(read_json("005-mx-host-pattern").policies[0].mx_hosts, ["mx1.example.com", "*.mail.example.com"]);
    assert_eq!(read_json("006-policy-string-as-text").policies[0].strings, ["version: STSv1"]);
}

#[test]
fn counts_may_be_texts() {
    is_plain("007-counts-as-text");
}

#[test]
fn times_are_kept_verbatim() {
    let report = read_json("008-times-without-zone").report;
    assert_eq!((report.begin, report.end), (some("2023-11-14T00:00:00"), some("2023-11-14 23:59:59")));
}

#[test]
fn missing_keys_are_none() {
    let domainless = read_json("009-no-policy-domain");
    assert_eq!(domainless.report.policies[0], PolicyName { policy_type: some("no-policy-found"), domain: None });
    let failures = read_json("010-no-addresses").failures;
    let told = TlsFailure { result_type: some("sts-policy-fetch-error"), failed: some("3"), ..TlsFailure::default() };
    assert_eq!(failures, [told]);
    let unsummed = read_json("012-no-summary");
    assert_eq!((&unsummed.policies[0].successful, unsummed.failures.len()), (&None, 2));
    assert_eq!(read_json("022-failures-null").failures, []);
}

#[test]
fn a_report_without_policies_is_a_report_without_rows() {
    let read = read_json("011-no-policies");
    assert_eq!((read.policies.len(), read.failures.len(), read.damage), (0, 0, None));
    assert_eq!(read.report.report_id, some("2023-11-14-example.com"));
}

#[test]
fn unknown_keys_are_skipped() {
    let read = read_json("013-unknown-keys");
    assert_eq!((read.policies.len(), codes(&read)), (1, vec![]));
}

#[test]
fn keys_are_case_insensitive() {
    assert!(codes(&is_plain("014-keys-in-another-case")).is_empty());
}

#[test]
fn encodings_are_detected_from_the_bytes() {
    is_plain("015-byte-order-mark");
    is_plain("021-utf-16");
}

#[test]
fn key_order_of_policies_and_failures_is_free() {
    let (plain, read) = (read_json("001-plain"), read_json("016-failures-before-their-policy"));
    assert_eq!((read.policies, read.failures), (plain.policies, plain.failures));
    assert_eq!(read.report.policies, plain.report.policies);
}

#[test]
fn a_list_of_one_may_be_the_object_itself() {
    let (plain, read) = (read_json("001-plain"), read_json("017-objects-for-lists"));
    assert_eq!((read.policies, &read.failures[..]), (plain.policies, &plain.failures[..1]));
}

#[test]
fn complete_policies_of_a_truncated_report_are_read() {
    let read = read_json("018-cut-off");
    assert_eq!((read.policies.len(), read.failures.len(), read.damage), (1, 3, Some(Reason::JsonTruncated)));
    assert_eq!(read.report.policies[1].domain, some("example.com"));
}

#[test]
fn data_after_the_report_gives_a_warning() {
    assert_eq!(codes(&is_plain("019-after-the-end")), ["trailing_junk"]);
}

#[test]
fn values_of_wrong_types_are_skipped_cheaply() {
    let read = read_json("020-other-types");
    assert_eq!((read.report.organization_name.as_deref(), read.report.report_id.as_deref()), (None, Some("42")));
    assert_eq!((read.policies.len(), codes(&read)), (1, vec!["wrong_type"]));
}

#[test]
fn control_characters_in_strings_are_spaces() {
    let read = read_json("023-control-characters");
    assert_eq!(read.failures[0].reason_code, some("notAfter 2023-11-01"));
    assert_eq!(
        (read.report.organization_name.as_deref(), codes(&read)),
        (Some("Receiver Inc."), vec!["control_characters"])
    );
}

#[test]
fn other_json_is_no_report() {
    let refused = |document: &[u8]| read_tls(document, 100, &Limits::default()).err().map(|trouble| trouble.reason);
    assert_eq!(refused(&json("024-another-document")), Some(Reason::NotAReport));
    assert_eq!(refused(b"{\"report-id\": \"1\", \"policies\": [{\"policy\": "), Some(Reason::JsonTruncated));
    assert_eq!(refused(b"{\"report-id\": ]"), Some(Reason::JsonMalformed));
}

#[test]
fn rows_up_to_the_limit_are_read_before_the_error() {
    let limits = Limits { rows: 2, ..Limits::default() };
    let read = read_tls(&json("001-plain"), 64, &limits).unwrap();
    assert_eq!((read.failures.len(), read.policies.len(), read.damage), (2, 0, Some(Reason::TooManyRows)));
    let exact = Limits { rows: 3, ..Limits::default() };
    assert_eq!(read_tls(&json("001-plain"), 64, &exact).unwrap().damage, None);
}

#[test]
fn lists_texts_and_policies_are_bounded() {
    let hosts = vec!["\"mx.example.com\""; 500].join(",");
    let long = "x".repeat(60_000);
    let policy = format!(r#"{{"policy": {{"mx-host": [{hosts}], "policy-string": "{long}"}}}}"#);
    let read = read_tls(format!(r#"{{"policies": [{policy}]}}"#).as_bytes(), 4096, &Limits::default()).unwrap();
    assert_eq!((read.policies[0].mx_hosts.len(), read.policies[0].strings[0].len()), (64, 4 << 10));
    assert_eq!(codes(&read), ["list_shortened", "text_shortened"]);
    let many = format!(r#"{{"policies": [{}]}}"#, vec![r#"{"policy": {"policy-type": "sts"}}"#; 257].join(","));
    let read = read_tls(many.as_bytes(), 4096, &Limits::default()).unwrap();
    assert_eq!((read.policies.len(), read.damage), (256, Some(Reason::TooManyRows)));
    // The same for a list in place of a text.
    let domains = vec![format!("\"{}\"", "d".repeat(4000)); 60].join(",");
    let named = format!(
        r#"{{"policies": [{{"policy": {{"policy-domain": [{domains}]}}, "failure-details": [{{"result-type": [{domains}]}}]}}]}}"#
    );
    let read = read_tls(named.as_bytes(), 4096, &Limits::default()).unwrap();
    assert_eq!(read.report.policies[0].domain.as_ref().map(String::len), Some(255));
    assert_eq!(read.failures[0].result_type.as_ref().map(String::len), Some(4 << 10));
}

/// Regression: each failure gave back the room of its policy and took what was left of it.
#[test]
fn a_policy_and_each_of_its_failures_have_room_of_their_own() {
    let texts = |count: usize| vec![format!("\"{}\"", "h".repeat(4_000)); count].join(",");
    let failure = format!(r#""failure-details": [{{"result-type": {}}}]"#, texts(1));
    let policy = format!(r#""policy": {{"mx-host": [{}]}}"#, texts(4));
    let thrice = vec![format!("{policy}, {failure}"); 3].join(", ");
    let document = format!(r#"{{"policies": [{{{thrice}}}]}}"#);
    let read = read_tls(document.as_bytes(), 4096, &Limits::default()).unwrap();
    assert_eq!(read.policies[0].mx_hosts.iter().map(String::len).sum::<usize>(), 32 << 10);
    assert_eq!(read.failures.len(), 3);
    assert!(read.failures.iter().all(|failure| failure.result_type.as_ref().is_some_and(|text| text.len() == 4_000)));
    assert_eq!(codes(&read), ["text_shortened"]);
}

#[test]
fn a_list_under_two_keys_is_as_long_as_under_one() {
    let hosts = vec!["\"mx.example.com\""; 40].join(",");
    let document = format!(r#"{{"policies": [{{"policy": {{"mx-host": [{hosts}], "mx-host-pattern": [{hosts}]}}}}]}}"#);
    let read = read_tls(document.as_bytes(), 4096, &Limits::default()).unwrap();
    assert_eq!((read.policies[0].mx_hosts.len(), codes(&read)), (64, vec!["list_shortened"]));
}

#[test]
fn empty_policies_and_failures_are_skipped() {
    let failures = vec!["{}"; 1_000].join(",");
    let real = r#"{"policy": {"policy-type": "sts"}, "failure-details": [{}, {"result-type": "validation-failure"}]}"#;
    let document = format!(r#"{{"policies": [{{}}, {{"failure-details": [{failures}]}}, {real}]}}"#);
    let scan = scan(Format::Json, || document.as_bytes(), &Limits::default()).unwrap();
    assert_eq!((scan.rows, scan.skipped), (2, 1_003));
}

#[test]
fn long_metadata_is_truncated_and_event_expansion_limits_the_rows() {
    let failures = vec![r#"{"result-type":"x"}"#; 20_000].join(",");
    let document = format!(
        r#"{{"organization-name": "{0}", "report-id": "{0}", "contact-info": "{0}", "policies": [{{"failure-details": [{failures}]}}]}}"#,
        "A".repeat(4_000)
    );
    let scan = scan(Format::Json, || document.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(scan.damage.map(|damage| damage.reason), Some(Reason::EventExpansion));
    assert!(scan.event_bytes <= 64 * document.len() as u64 * 11 / 10);
    let Report::TlsRpt(report) = scan.report else { panic!("it is a TLS report") };
    assert_eq!(report.organization_name.map(|name| name.len()), Some(1 << 10));
}

#[test]
fn parsing_stops_when_the_consumer_stops() {
    let mut seen = 0;
    let end = tls_rows(json("001-plain").as_slice(), &Limits::default(), &mut |_| {
        seen += 1;
        ControlFlow::Break(())
    });
    assert_eq!((end, seen), (Ok(()), 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_byte_never_panics_and_both_passes_agree(
        at in any::<Index>(), byte in any::<u8>(), cut in any::<bool>(), chunk in 1usize..200,
    ) {
        let mut document = json("001-plain");
        let at = at.index(document.len());
        document[at] = byte;
        if cut {
            document.truncate(at + 1);
        }
        let _ = read_tls(&document, chunk, &Limits::default());
    }
}

/// Regression: a report in another object had none of the keys of a report.
#[test]
fn a_report_inside_another_object_is_read() {
    let plain = String::from_utf8(json("001-plain")).unwrap();
    let plain = plain.trim();
    let string = serde_json::to_string(plain).unwrap();
    for wrapped in [
        format!("{{\"report\": {plain}}}"),
        format!("{{\"data\": [{plain}]}}"),
        format!(
            "{{\"status\": \"ok\", \"n\": 1, \"x\": null, \"list\": [1, \"{{\"], \"data\": {{\"reports\": [{{\"report\": {plain}}}]}}}}"
        ),
        format!("{{\"report\": {plain}, \"version\": 1, \"more\": {{\"report-id\": []}}}}"),
        format!("{{\"report\": {string}}}"),
        format!("[{{\"report\": {plain}}}]"),
    ] {
        let read = read_tls(wrapped.as_bytes(), 64, &Limits::default())
            .unwrap_or_else(|trouble| panic!("{wrapped}: {trouble}"));
        let bare = read_json("001-plain");
        assert_eq!(TlsRpt { warnings: vec![], ..read.report.clone() }, bare.report, "{wrapped}");
        assert_eq!((&read.policies, &read.failures), (&bare.policies, &bare.failures), "{wrapped}");
        assert!(codes(&read).contains(&"wrapped_object"), "{:?}", codes(&read));
    }
    assert!(!codes(&read_json("001-plain")).contains(&"wrapped_object"));
}

#[test]
fn a_second_report_inside_an_object_is_named_and_a_broken_one_is_damage() {
    let plain = String::from_utf8(json("001-plain")).unwrap();
    let two = read_tls(format!("{{\"data\": [{plain}, {plain}]}}").as_bytes(), 64, &Limits::default()).unwrap();
    assert_eq!(two.policies, read_json("001-plain").policies);
    assert!(codes(&two).contains(&"second_report"), "{:?}", codes(&two));
    let text = serde_json::to_string(&plain.trim()[..plain.trim().len() - 2]).unwrap();
    let cut = read_tls(format!("{{\"report\": {text}}}").as_bytes(), 64, &Limits::default()).unwrap();
    assert_eq!(cut.damage, Some(Reason::JsonMalformed));
    let none = read_tls(b"{\"report\": {\"a\": 1}, \"b\": \"{no json\"}", 64, &Limits::default());
    assert_eq!(none.err().map(|trouble| trouble.reason), Some(Reason::NotAReport));
}
