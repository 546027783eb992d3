//! Authentication of senders: events show the results of trusted servers, and mails without the required ones are turned away.

use super::*;

const TRUSTED: &str = "trusted_authserv_ids: [mx.example.com]";

fn with_results(results: &[&str], mail: &[u8]) -> Vec<u8> {
    let fields = results.iter().map(|results| format!("Authentication-Results: {results}\r\n"));
    let mut bytes = b"Received: by mx.example.com\r\n".to_vec();
    fields.for_each(|field| bytes.extend(field.into_bytes()));
    bytes.extend_from_slice(mail);
    bytes
}

fn honest(id: usize) -> Vec<u8> {
    mail("reports@receiver.example", &[&told(id)])
}

/// A report with an email address at receiver.example in its metadata.
fn told(id: usize) -> Vec<u8> {
    let report = String::from_utf8(report("example.com", id, 2)).unwrap();
    report.replacen("<report_metadata>", "<report_metadata><email>dmarc@receiver.example</email>", 1).into_bytes()
}

#[test]
fn events_tell_how_their_mail_was_authenticated() {
    let mut source = Source::of(TRUSTED);
    let passed = "mx.example.com; dkim=pass header.d=receiver.example; dmarc=pass header.from=receiver.example";
    source.mail(&with_results(&[passed], &honest(1)));
    let told = serde_json::json!([
        {"method": "dkim", "result": "pass", "domain": "receiver.example"},
        {"method": "dmarc", "result": "pass", "domain": "receiver.example"},
    ]);
    assert_eq!(source.out.events.len(), 3);
    for event in &source.out.events {
        assert_eq!(event["mail_auth"], told, "{event}");
        assert_eq!(event["reporter_aligned"], true, "{event}");
    }
}

/// Each event repeats all of them, so 30 rows are 45 KB without them, and 150 KB with them.
#[test]
fn what_servers_say_of_a_sender_counts_as_size_of_each_event() {
    let mut source = Source::configured("limits: {mail_event_bytes: 64KiB}", TRUSTED);
    let reported = mail("reports@receiver.example", &[&report("example.com", 1, 30)]);
    let signer = ["a"; 60].join("bc.");
    let passed = format!("mx.example.com{}", format!("; dkim=pass header.d={signer}").repeat(16));
    let trouble = quarantined(&source.mail(&with_results(&[&passed], &reported)));
    assert_eq!(trouble.reason.code(), "too_many_event_bytes");
    assert_eq!(source.mail(&reported).verdict(), Verdict::Archive);
}

#[test]
fn the_word_of_servers_that_are_not_trusted_is_ignored() {
    let passed = "mx.example.org; dmarc=pass header.from=receiver.example";
    for source in ["", TRUSTED] {
        let mut source = Source::of(source);
        source.mail(&with_results(&[passed], &honest(1)));
        assert_eq!(source.out.events[0]["mail_auth"], serde_json::json!([]));
        assert_eq!(source.out.events[0]["reporter_aligned"], Value::Null);
    }
}

#[test]
fn a_mail_that_is_authenticated_for_another_domain_than_the_reports_is_not_aligned() {
    let mut source = Source::of(TRUSTED);
    let passed =
        "mx.example.com; dkim=pass header.d=evil.example; spf=pass smtp.mailfrom=receiver.example.evil.example";
    source.mail(&with_results(&[passed, "mx.example.com; dmarc=pass header.from=receiver.example"], &honest(1)));
    assert_eq!(source.out.events[0]["reporter_aligned"], false);
    source.mail(&with_results(&["mx.example.com; none"], &honest(2)));
    assert_eq!(source.out.events.last().unwrap()["reporter_aligned"], false, "nothing vouches for it");
}

#[test]
fn a_report_of_an_unauthenticated_sender_is_quarantined_where_that_is_asked_for() {
    let mut source = Source::of(&format!("{TRUSTED}, require_authenticated: true"));
    let forged = [
        honest(1),
        with_results(&["mx.example.org; dmarc=pass header.from=receiver.example"], &honest(1)),
        with_results(
            &["mx.example.com; spf=softfail smtp.mailfrom=a.example; dmarc=fail header.from=receiver.example"],
            &honest(1),
        ),
        with_results(&["mx.example.com; none", "mx.example.com; dmarc=pass header.from=receiver.example"], &honest(1)),
        mail("reports@receiver.example", &[&told(1), b"\x1f\x8bbroken"]),
        told(1),
    ];
    for (mails, forged) in forged.iter().enumerate() {
        let reading = source.mail(forged);
        assert_eq!(quarantined(&reading).reason.code(), "sender_not_authenticated");
        assert!(reading.documents.is_empty(), "it is not remembered as shipped");
        assert_eq!(source.out.events.len(), mails + 1, "one event a mail, and that is the error");
    }
    let passed = with_results(&["mx.example.com; dkim=pass header.d=receiver.example"], &honest(1));
    assert_eq!(source.mail(&passed).verdict(), Verdict::Archive);
    assert_eq!(source.out.rows(), 2, "the same report of the real sender is shipped");
}

#[test]
fn a_mail_without_a_report_is_left_alone_whoever_sent_it() {
    let mut source = Source::of(&format!("{TRUSTED}, require_authenticated: true"));
    let letter = b"From: friend@example.org\r\nSubject: lunch\r\n\r\nat noon?\r\n";
    assert_eq!(source.mail(letter).verdict(), Verdict::WithoutReport);
    assert!(source.out.events.is_empty());
}
