//! Failure reports extracted from mails: each quirk by name, and hostile input.

use base64::prelude::*;
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

fn with_line_feeds(name: &str) -> String {
    String::from_utf8(eml(name)).unwrap().replace("\r\n", "\n")
}

/// Each failure report found in a mail, or the trouble with it.
fn reports(mail: &[u8]) -> Vec<Result<Failure, Trouble>> {
    let limits = Limits::default();
    let mut found = Vec::new();
    open(mail, Origin::Mail, &limits).walk(&Room::new(&Unshared), &mut |thing| {
        if let Found::Document(document) = thing
            && document.format == Format::Feedback
        {
            found.push(scan(document.format, || document.open(), &limits).map(|scan| match scan.report {
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
        ("Sender Domain:", "Realm:"),
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
    assert_eq!(report("012-fields-within-the-text"), plain());
    let mail = with_line_feeds("012-fields-within-the-text");
    let (before, rest) = mail.split_once("Feedback-Type").unwrap();
    let (fields, after) = rest.split_once("\n\n").unwrap();
    let indented = format!("{before}  Feedback-Type{}\n\n{after}", fields.replace('\n', "\n  "));
    assert_eq!(reports(indented.as_bytes()).remove(0).unwrap(), plain());
    // The original mail in the same text.
    let alone = mail.replace("\n--=_r\nContent-Type: message/rfc822\n", "---- original ----\n");
    assert_eq!(reports(alone.as_bytes()).remove(0).unwrap(), plain());
}

#[test]
fn feedback_fields_are_found_under_any_content_type() {
    assert_eq!(
        report("013-wrong-content-type"),
        Failure { from: some("orders@example.com"), message_id: None, ..plain() }
    );
}

/// The mail with the machine-readable part and the original mail under other content types, each also in base64.
#[test]
fn a_relabelled_feedback_part_is_read_with_the_mail_that_it_is_about() {
    let mail = with_line_feeds("001-plain");
    let sections: Vec<&str> = mail.split("--=_r").collect();
    let body = |at: usize| sections[at].split_once("\n\n").unwrap().1;
    let (fields, original) = (body(2), body(3));
    let labels = [
        "Content-Type: message/feedback-report\n",
        "Content-Type: text/plain\n",
        "Content-Type: text/plain; name=a.txt\nContent-Disposition: attachment\n",
        "Content-Type: application/octet-stream\n",
        "Content-Type: application/x-unknown\n",
        "Content-Type: text/x-feedback\n",
        "",
    ];
    let originals = [
        "Content-Type: message/rfc822\n",
        "Content-Type: message/global\n",
        "Content-Type: text/rfc822-headers\n",
        "Content-Type: text/plain; name=b.txt\n",
        "Content-Type: application/octet-stream; name=b.eml\n",
        "",
    ];
    let coded = |text: &str, base64: bool| match base64 {
        true => format!("Content-Transfer-Encoding: base64\n\n{}", BASE64_STANDARD.encode(text)),
        false => format!("\n{text}"),
    };
    for (label, of_original) in labels.iter().flat_map(|label| originals.iter().map(move |original| (label, original)))
    {
        for (report_type, base64, footer) in [
            ("report", false, ""),
            ("mixed", true, ""),
            ("report", true, "\n--=_r\nContent-Type: text/plain\n\nBye.\n"),
        ] {
            let mail = [
                &sections[0].replace("multipart/report", &format!("multipart/{report_type}")),
                sections[1],
                &format!("\n{label}{}\n", coded(fields, base64)),
                &format!("\n{of_original}{}\n{footer}", coded(original, base64)),
                "--\n",
            ]
            .join("--=_r");
            let read: Vec<_> = reports(mail.as_bytes()).into_iter().map(Result::unwrap).collect();
            assert_eq!(read, [plain()], "{mail}");
        }
    }
}

#[test]
fn each_report_of_a_mail_is_about_the_mail_after_it() {
    let mail = with_line_feeds("001-plain");
    let sections: Vec<&str> = mail.split("--=_r").collect();
    let other = |section: &str| section.replace("order-1@", "order-2@");
    let mail = [sections[0], sections[2], sections[3], sections[2], &other(sections[3]), "--\n"].join("--=_r");
    let ids: Vec<_> = reports(mail.as_bytes()).into_iter().map(|read| read.unwrap().message_id).collect();
    assert_eq!(ids, [some("<order-1@example.com>"), some("<order-2@example.com>")]);
    // A mailing list wraps the report, and adds a footer.
    let whole = with_line_feeds("001-plain");
    let (_, report) = whole.split_once("MIME-Version: 1.0\n").unwrap();
    let wrapped =
        format!("Subject: x\nContent-Type: multipart/mixed; boundary=o\n\n--o\n{report}\n--o\n\nfooter\n--o--\n");
    assert_eq!(reports(wrapped.as_bytes()).remove(0), Ok(plain()));
}

#[test]
fn feedback_of_every_other_type_is_no_dmarc_feedback() {
    let mail = String::from_utf8(eml("001-plain")).unwrap();
    for other in ["abuse", "Abuse", "opt-out", "opt-out-list", "fraud", "virus", "not-spam", "OTHER", "abuse (spam)"] {
        let mail = mail.replace("Feedback-Type: auth-failure", &format!("Feedback-Type: {other}"));
        let refused = reports(mail.as_bytes()).remove(0).unwrap_err();
        assert_eq!(refused.reason, Reason::NotDmarcFeedback, "{other}");
    }
    for known in ["auth-failure", "Auth-Failure", "auth failure", "authentication-failure", "dmarc", "auth-failure (x)"]
    {
        let mail = mail.replace("Feedback-Type: auth-failure", &format!("Feedback-Type: {known}"));
        assert!(reports(mail.as_bytes()).remove(0).is_ok(), "{known}");
    }
}

/// A mail that is nothing but text, with these lines among other text.
fn text_alone(lines: &str) -> String {
    format!(
        "From: a@receiver.example\nSubject: DMARC failure report\nContent-Type: text/plain; charset=utf-8\n\n\
         Dear sirs,\nthis mail was not authenticated.\n\n{lines}\n\nNote: sent once a day.\n\n\
         ---- original ----\n\nReceived: from b.example\n\tby mx.receiver.example\nFrom: Shop <orders@example.com>\n\
         Message-ID: <order-1@example.com>\nSubject: your order\n\nDate received: never\n"
    )
}

#[test]
fn reports_in_text_alone_are_read_in_any_wording() {
    for lines in [
        "Sender Domain: example.com\nSender IP Address: 192.0.2.7\nReceived Date: DATE_\nSPF Alignment: no\n\
         DKIM Alignment: yes\nDMARC Results: Reject",
        "SENDER DOMAIN: example.com\nSENDER IP ADDRESS: 192.0.2.7\nRECEIVED DATE: DATE_\nSPF ALIGNMENT: NO\n\
         DKIM ALIGNMENT: YES\nDMARC RESULTS: REJECT, REJECT",
        "sender-domain: example.com\nsender_ip: 192.0.2.7\nArrival-Date: DATE_\nspf-alignment: fail\ndkim-alignment: pass\n\
         disposition: rejected",
        "Sender\u{2019}s domain\u{a0}: example.com\nSource IP\u{ff1a}192.0.2.7\nDate received\u{ff1a} DATE_\nSPF aligned\u{ff1a}no\n\
         DKIM aligned\u{ff1a}true\nDMARC action\u{ff1a}reject",
        "Header From = example.com\nClient IP = [192.0.2.7]\nReceived at = DATE_\nSPF aligned = false\nDKIM aligned = 1\n\
         Policy applied = reject",
        "* Domain - example.com\n* IP - 192.0.2.7\n* Received on - DATE_\n* SPF aligned - n\n* DKIM aligned - y\n\
         * Action taken - Rejected",
        "- **From domain**: example.com\n- **IP address:** 192.0.2.7\n- **Arrival date:** DATE_\n- `SPF alignment`: none\n\
         - DKIM alignment: aligned\n- Delivery result: reject",
        "Sender Domain        example.com\nSender IP            192.0.2.7\nReceived Date        DATE_\nSPF Alignment        no\n\
         DKIM Alignment       yes\nDMARC Results        Reject",
        "Sender Domain\texample.com\nSender IP\t192.0.2.7\nReceived Date\tDATE_\nSPF Alignment\tno\nDKIM Alignment\tyes\n\
         DMARC Results\tReject",
        "Sender Domain ...... example.com\nSender IP .......... 192.0.2.7\nReceived Date ...... DATE_\nSPF Alignment...: no\n\
         DKIM Alignment..: yes\nDMARC Results ...... reject",
        "| Sender Domain | example.com |\n|---|---|\n| Sender IP | 192.0.2.7 |\n| Received Date | DATE_ |\n| SPF aligned | no |\n\
         | DKIM aligned | yes |\n| DMARC result | bounced |",
        "| Domain | IP | Received Date | SPF aligned | Score | DKIM aligned | DMARC result |\n\
         |--------|----|---------------|-------------|-------|--------------|--------------|\n\
         | example.com | 192.0.2.7 | DATE_ | no | 5 | yes | refused |",
        "\u{2502} Domain \u{2502} IP \u{2502} Received Date \u{2502} SPF aligned \u{2502} DKIM aligned \u{2502} Disposition \u{2502}\n\
         \u{2502}\u{2500}\u{2500}\u{253c}\u{2500}\u{2500}\u{2502}\n\
         \u{2502} example.com \u{2502} 192.0.2.7 \u{2502} DATE_ \u{2502} no \u{2502} yes \u{2502} reject \u{2502}",
        "Domain       IP         Received Date                  SPF aligned  DKIM aligned  Disposition\n\
         example.com  192.0.2.7  DATE_  no  yes  reject",
        "Sender domain:\n    example.com\nSender IP:\n\n    192.0.2.7\nReceived date:\n    DATE_\nSPF alignment:\n    no\n\
         DKIM alignment:\n    yes\nDMARC results:\n    reject",
    ] {
        let mail = text_alone(&lines.replace("DATE_", "Wed, 20 Feb 2019 08:52:51 +0100"));
        let mut read = reports(mail.as_bytes());
        assert_eq!(read.len(), 1, "{lines}");
        let read = read.remove(0).unwrap();
        let told = Failure {
            auth_failure: some("dmarc"),
            identity_alignment: some("dkim"),
            delivery_result: some("reject"),
            source_ip: read.source_ip.clone().filter(|ip| ["192.0.2.7", "[192.0.2.7]"].contains(&ip.as_str())),
            reported_domain: some("example.com"),
            arrival_date: some("Wed, 20 Feb 2019 08:52:51 +0100"),
            from: some("Shop <orders@example.com>"),
            message_id: some("<order-1@example.com>"),
            warnings: read.warnings.clone(),
            ..Failure::default()
        };
        assert_eq!((codes(&read), &read), (vec!["prose"], &told), "{lines}");
        assert!(read.source_ip.is_some(), "{lines}");
    }
}

#[test]
fn actions_and_alignments_in_text_are_read_by_their_words() {
    let read = |result: &str, spf: &str| {
        let lines =
            format!("Domain: example.com\nIP: 192.0.2.7\nSPF aligned: {spf}\nDKIM aligned: no\nDMARC result: {result}");
        let report = reports(text_alone(&lines).as_bytes()).remove(0).unwrap();
        (report.delivery_result.unwrap(), report.identity_alignment.unwrap())
    };
    for (told, meant) in [
        ("Reject", "reject"),
        ("None, Accept", "delivered"),
        ("accepted", "delivered"),
        ("Quarantine", "policy"),
        ("Reject, Quarantine", "policy"),
        ("moved to junk", "moved to junk"),
    ] {
        assert_eq!(read(told, "no"), (meant.to_owned(), "none".to_owned()));
    }
    assert_eq!([read("reject", "Pass").1, read("reject", "perhaps").1], ["spf", "spf=perhaps"]);
    // One that is not told is not known.
    for lines in ["SPF aligned: no", "DKIM aligned: no\nDMARC verdict: reject", "SPF: pass\nDMARC: reject"] {
        let lines = format!("Domain of the sender: example.com\nSender's IP address: 192.0.2.7\n{lines}");
        let report = reports(text_alone(&lines).as_bytes()).remove(0).unwrap();
        assert_eq!((report.auth_failure, report.identity_alignment), (some("dmarc"), None), "{lines}");
    }
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
                hash = scan(document.format, || document.open(), &limits).ok().map(|scan| scan.sha256);
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
    let Report::Failure(report) = scan(Format::Feedback, || long.as_bytes(), &Limits::default()).unwrap().report else {
        panic!("no failure report")
    };
    assert_eq!((report.user_agent.map(|agent| agent.len()), report.version), (Some(4 << 10), None));
    let many = "Feedback-Type: auth-failure\r\n".to_owned() + &"SPF-DNS: txt : a : b\r\n".repeat(10_000);
    let Report::Failure(report) = scan(Format::Feedback, || many.as_bytes(), &Limits::default()).unwrap().report else {
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
