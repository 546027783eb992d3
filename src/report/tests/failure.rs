//! Failure reports extracted from mails: each quirk by name, and hostile input.

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::Failure;
use super::*;
use crate::extract::{Found, Origin, Room, Unshared, open};
use crate::trouble::Reason;

fn eml(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/failure").join(name).with_extension("eml");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Each failure report found in a mail, or the trouble with it.
fn reports(mail: &[u8]) -> Vec<Result<Failure, Trouble>> {
    let limits = Limits::default();
    let mut found = Vec::new();
    open(mail, Origin::Mail, &limits).walk(&Room::new(&Unshared), &mut |thing| {
        if let Found::Document(document) = thing
            && document.format == Format::Feedback
        {
            found.push(scan(document.format, document.open(), &limits).map(|scan| match scan.report {
                Report::Failure(report) => *report,
                other => panic!("{other:?}"),
            }));
        }
    });
    found
}

fn report(name: &str) -> Failure {
    let mut found = reports(&eml(name));
    assert_eq!(found.len(), 1, "{name}");
    found.remove(0).unwrap_or_else(|trouble| panic!("{name}: {trouble}"))
}

fn codes(report: &Failure) -> Vec<&str> {
    report.warnings.iter().filter_map(|text| text.split(':').next()).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn plain() -> Failure {
    Failure {
        feedback_type: some("auth-failure"),
        version: some("1"),
        user_agent: some("Failures/2.1"),
        auth_failure: some("dmarc"),
        identity_alignment: some("none"),
        delivery_result: some("reject"),
        authentication_results: vec![
            "mx.receiver.example; dkim=fail header.d=example.com header.i=@example.com; spf=pass \
             smtp.mailfrom=bounce+ann=receiver.example@mail.example.net; dmarc=fail header.from=example.com"
                .into(),
        ],
        original_mail_from: some("<bounce+ann=receiver.example@mail.example.net>"),
        original_rcpt_to: vec!["<ann@receiver.example>".into()],
        original_envelope_id: some("4SVx1k0"),
        source_ip: some("192.0.2.7"),
        reported_domain: some("Example.com"),
        reporting_mta: some("dns; mx.receiver.example"),
        arrival_date: some("Tue, 14 Nov 2023 22:13:20 +0000"),
        incidents: some("2"),
        dkim_domain: some("example.com"),
        dkim_identity: some("orders@example.com"),
        dkim_selector: some("s1"),
        spf_dns: vec!["txt : mail.example.net : \"v=spf1 ip4:192.0.2.0/24 -all\"".into()],
        from: some("Example Shop <orders@example.com>"),
        message_id: some("<order-1@example.com>"),
        warnings: vec![],
    }
}

#[test]
fn a_plain_report_is_read_in_full() {
    assert_eq!(report("001-plain"), plain());
}

#[test]
fn a_report_in_base64_in_a_mail_that_is_no_report_is_read() {
    assert_eq!(report("002-base64"), plain());
}

#[test]
fn text_after_the_source_ip_is_kept() {
    assert_eq!(report("003-source-ip-with-name").source_ip, some("192.0.2.7 (mail.example.net)"));
}

#[test]
fn missing_and_empty_fields_are_none() {
    let told = Failure { feedback_type: some("auth-failure"), version: some("1"), ..Failure::default() };
    assert_eq!(report("004-only-what-must-be"), told);
    let empty = report("014-empty-fields");
    assert_eq!((empty.original_mail_from, empty.source_ip, empty.original_rcpt_to), (None, None, vec!["<>".into()]));
}

#[test]
fn repeated_list_fields_are_kept_in_order() {
    let report = report("005-lists-with-comments");
    assert_eq!(report.auth_failure, some("dmarc (p=none), SPF"));
    assert_eq!(report.identity_alignment, some("DKIM (d=example.com) , spf"));
}

#[test]
fn repeatable_fields_are_lists_and_of_others_the_first_is_kept() {
    let report = report("006-repeated-fields");
    assert_eq!(report.original_rcpt_to, ["<ann@receiver.example>", "bob@receiver.example"]);
    assert_eq!(report.authentication_results.len(), 2);
    assert_eq!((report.reported_domain.as_deref(), codes(&report)), (Some("Example.com"), vec!["repeated"]));
}

#[test]
fn the_original_header_alone_gives_the_same_fields() {
    assert_eq!(report("007-headers-only"), plain());
}

#[test]
fn a_missing_feedback_type_is_recognised_by_other_fields() {
    let report = report("008-no-feedback-type");
    assert_eq!((report.auth_failure.as_deref(), codes(&report)), (Some("spf"), vec!["no_feedback_type"]));
}

#[test]
fn abuse_and_opt_out_reports_are_not_dmarc_feedback() {
    for (name, kind) in [("009-abuse", "abuse"), ("010-opt-out", "opt-out")] {
        let refused = reports(&eml(name)).remove(0).unwrap_err();
        assert_eq!(refused.reason, Reason::NotDmarcFeedback);
        assert!(refused.detail.contains(kind), "{refused}");
    }
}

#[test]
fn the_human_readable_part_is_parsed_if_it_has_report_fields() {
    let report = report("011-text-for-people");
    let told = Failure {
        auth_failure: some("dmarc"),
        identity_alignment: some("dkim"),
        delivery_result: some("reject"),
        source_ip: some("192.0.2.7"),
        reported_domain: some("example.com"),
        arrival_date: some("Tue, 14 Nov 2023 22:13:20 +0000"),
        from: some("Example Shop <orders@example.com>"),
        message_id: some("<order-1@example.com>"),
        warnings: report.warnings.clone(),
        ..Failure::default()
    };
    assert_eq!((&report, codes(&report)), (&told, vec!["prose"]));
}

#[test]
fn a_human_readable_part_without_report_fields_is_ignored() {
    let mail = String::from_utf8(eml("011-text-for-people")).unwrap();
    for (from, to) in [
        ("Sender Domain:", "Domain:"),
        ("Sender IP Address:", "Address:"),
        ("Alignment: ", "Alignment "),
        ("  S", "> S"),
        ("Subject: DMARC Forensic Report for example.com from IP 192.0.2.7", "Subject: lunch"),
    ] {
        let mut other = mail.replace(from, to);
        if from.contains("Align") {
            other = other.replace("DMARC Results:", "");
        }
        if from.contains("Subject") {
            other = other.replace("multipart/report", "multipart/mixed");
        }
        assert!(reports(other.as_bytes()).is_empty(), "{from}");
    }
}

#[test]
fn fields_inside_the_human_readable_part_are_found() {
    let report = report("012-fields-within-the-text");
    assert_eq!(report, Failure { from: None, message_id: None, ..plain() });
}

#[test]
fn feedback_fields_are_found_under_any_content_type() {
    assert_eq!(report("013-wrong-content-type"), Failure { from: None, message_id: None, ..plain() });
}

#[test]
fn any_header_folding_is_unfolded() {
    let report = report("015-folded-anyhow");
    assert_eq!(
        (report.feedback_type.as_deref(), report.auth_failure.as_deref()),
        (Some("auth-failure"), Some("dmarc"))
    );
    assert_eq!(report.authentication_results, ["mx.receiver.example; dmarc=fail header.from=example.com"]);
    assert_eq!((report.source_ip.as_deref(), codes(&report)), (Some("2001:DB8::7"), vec!["folded_wrong"]));
}

#[test]
fn an_mbox_from_line_before_the_mail_is_skipped() {
    let told = Failure { original_mail_from: None, ..plain() };
    assert_eq!(report("016-mailbox-line"), told);
}

#[test]
fn content_of_the_original_mail_is_never_read() {
    assert_eq!(report("017-body-among-the-fields"), plain());
    for name in ["001-plain", "007-headers-only", "011-text-for-people", "017-body-among-the-fields"] {
        let told = format!("{:?}", report(name));
        assert!(!told.contains("parcel") && !told.contains("your order") && !told.contains("RGVhc"), "{told}");
    }
}

#[test]
fn arrival_dates_are_kept_verbatim() {
    let date = report("018-weekday-and-zone").arrival_date;
    assert_eq!(date, some("Mon, 14 Nov 2023 17:13:20 EST (really Tuesday)"));
}

#[test]
fn two_reports_that_differ_only_in_the_mail_they_are_about_are_two_documents() {
    let mail = String::from_utf8(eml("001-plain")).unwrap();
    let limits = Limits::default();
    let hash = |mail: &str| {
        let mut hash = None;
        open(mail.as_bytes(), Origin::Mail, &limits).walk(&Room::new(&Unshared), &mut |found| {
            if let Found::Document(document) = found {
                hash = scan(document.format, document.open(), &limits).ok().map(|scan| scan.sha256);
            }
        });
        hash.expect("a report")
    };
    assert_ne!(hash(&mail), hash(&mail.replace("<order-1@", "<order-2@")));
    assert_eq!(hash(&mail), hash(&mail.replace("Dear Ann", "Dear Bob")));
}

#[test]
fn feedback_fields_are_read_up_to_their_limit() {
    let long = "Feedback-Type: auth-failure\r\nUser-Agent: ".to_owned() + &"x".repeat(3 << 20) + "\r\nVersion: 1\r\n";
    let Report::Failure(report) = scan(Format::Feedback, long.as_bytes(), &Limits::default()).unwrap().report else {
        panic!("no failure report")
    };
    assert_eq!((report.user_agent.map(|agent| agent.len()), report.version), (Some(4 << 10), None));
    let many = "Feedback-Type: auth-failure\r\n".to_owned() + &"SPF-DNS: txt : a : b\r\n".repeat(10_000);
    let Report::Failure(report) = scan(Format::Feedback, many.as_bytes(), &Limits::default()).unwrap().report else {
        panic!("no failure report")
    };
    assert_eq!(report.spf_dns.len(), 16);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_byte_never_panics(at in any::<Index>(), byte in any::<u8>(), cut in any::<bool>(), prose in any::<bool>()) {
        let mut mail = eml(if prose { "011-text-for-people" } else { "001-plain" });
        let at = at.index(mail.len());
        mail[at] = byte;
        if cut {
            mail.truncate(at + 1);
        }
        reports(&mail);
    }
}
