//! Private mail: a mailbox that is read may be in use by people.

use super::*;

fn office() -> Vec<u8> {
    zip(&[("[Content_Types].xml", b"<?xml version=\"1.0\"?><Types/>"), ("word/document.xml", b"<w:document/>")])
}

fn locked() -> Vec<u8> {
    let mut archive = zip(&[("salaries.txt", b"secret")]);
    let central = archive.windows(4).position(|word| word == b"PK\x01\x02").unwrap();
    (archive[6], archive[central + 8]) = (1, 1);
    archive
}

fn belongings() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a.docx", office()),
        ("a.jar", zip(&[("META-INF/MANIFEST.MF", b"x"), ("A.class", b"\xca\xfe\xba\xbe")])),
        ("a.odt", zip_by(CompressionMethod::Stored, &[("mimetype", b"application/vnd.oasis.opendocument.text")])),
        ("a.pdf", b"%PDF-1.7\n".to_vec()),
        ("invoice.xml", b"<?xml version=\"1.0\"?><Invoice><Total>1</Total></Invoice>".to_vec()),
        ("data.json", b"{\"name\": \"Ann\", \"policies\": []}".to_vec()),
        ("photos.zip", zip(&[("1.jpg", b"\xff\xd8\xff"), ("2.jpg", b"\xff\xd8\xff")])),
        ("locked.zip", locked()),
        ("broken.zip", b"PK\x03\x04broken".to_vec()),
        ("src.tgz", gzip(&tar(&[("main.c", b"int main;"), ("pom.xml", b"<project/>")]))),
        ("log.gz", gzip(b"started\nstopped\n")),
        ("a.7z", b"7z\xbc\xaf\x27\x1c\0\x04".to_vec()),
        ("winmail.dat", b"\x78\x9f\x3e\x22\x01\0".to_vec()),
        ("smime.p7m", b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03\xa0\x80".to_vec()),
        ("empty.bin", b"".to_vec()),
        ("noise.bin", vec![0xa5; 5000]),
        ("letter.eml", mail(&[text("hello"), part("application/pdf", "a.pdf", b"%PDF-1.7")])),
    ]
}

#[test]
fn private_mails_give_no_events() {
    for (name, bytes) in belongings() {
        for kind in ["application/octet-stream", "text/xml", "application/zip", "application/pkcs7-mime"] {
            let seen = in_mail(&mail(&[text("Dear Bob,\r\nsee <feedback> below"), part(kind, name, &bytes)]));
            assert_eq!(seen, [], "{name} as {kind}");
        }
    }
    let html = b"Content-Type: text/html\r\n\r\n<html><form class='feedback'><feedback-form/></html>".to_vec();
    assert_eq!(in_mail(&mail(&[text("hello"), html])), []);
    assert_eq!(in_mail(b"Subject: lunch\r\n\r\n{\"or\": \"not\"}"), []);
    assert_eq!(in_mail(b"Subject: lunch\r\n\r\n"), []);
}

#[test]
fn a_bounce_gives_no_events() {
    let bounce = b"From: mailer-daemon@example.com\r\nSubject: Undelivered\r\n\
        Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
        --b\r\nContent-Type: text/plain\r\n\r\nsorry\r\n\
        --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; example.com\r\n\r\nAction: failed\r\n\
        --b\r\nContent-Type: message/rfc822\r\n\r\nFrom: a@example.com\r\nSubject: hi\r\n\r\nhi\r\n--b--\r\n";
    assert_eq!(in_mail(bounce), []);
}

/// Regression: the report of a mail that was returned to us was shipped as one about our domain.
#[test]
fn a_report_that_a_bounce_or_receipt_returns_is_not_shipped() {
    let own = report_mail(&[
        text("a report"),
        part("application/gzip", "own.gz", &gzip(XML)),
        part("application/zip", "x.zip", b"PK\x03\x04"),
    ]);
    let mut plain = b"Content-Type: message/rfc822\r\n\r\n".to_vec();
    plain.extend(&own);
    let nested = mail(&[text("fyi"), plain.clone()]);
    let returned = [
        plain.clone(),
        part("message/rfc822", "own.eml", &own),
        [b"Content-Type: message/global\r\n\r\n".as_slice(), &own].concat(),
        [b"Content-Type: message/rfc822\r\n\r\n".as_slice(), &nested].concat(),
    ];
    let status = |kind: &str| {
        format!("Content-Type: {kind}\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\nAction: failed\r\n").into_bytes()
    };
    let notifications =
        ["message/delivery-status", "message/global-delivery-status", "MESSAGE/Disposition-Notification"];
    let headers = ["From: postmaster@example.com\r\nSubject: Undelivered: Report Domain: example.com\r\n", ""];
    for mail_returned in &returned {
        for kind in notifications {
            for header in headers {
                let parts = [text("sorry"), status(kind), mail_returned.clone()];
                let whole = mail_headed(header, &parts);
                assert_eq!(in_mail(&whole), [Seen::Returned], "{kind}, {header:?}");
                let report = String::from_utf8(whole.clone()).unwrap();
                let report = report.replacen("multipart/mixed", "multipart/report; report-type=delivery-status", 1);
                assert_eq!(in_mail(report.as_bytes()), [Seen::Returned], "{kind}, {header:?}");
                // Within a list's footer, or forwarded.
                let forwarded = [b"Content-Type: message/rfc822\r\n\r\n".as_slice(), &whole].concat();
                assert_eq!(in_mail(&report_mail(&[text("see"), forwarded])), [Seen::Returned], "{kind}, {header:?}");
            }
        }
        let daemon = "From: Mail Delivery Subsystem <MAILER-DAEMON@mx.example.com>\r\nSubject: failure\r\n";
        assert_eq!(in_mail(&mail_headed(daemon, &[text("sorry"), mail_returned.clone()])), [Seen::Returned]);
    }
    // A report beside the notification, or forwarded by a person, is one for us.
    let report = part("application/gzip", "r.gz", &gzip(XML));
    assert_eq!(in_mail(&mail(&[status("message/delivery-status"), report])), [document("r.gz", XML)]);
    let seen = in_mail(&mail(&[text("fyi"), plain]));
    assert_eq!(seen, [document("own.gz", XML), unreadable("x.zip", Reason::CorruptZip)]);
}

#[test]
fn unreadable_parts_of_a_mail_marked_as_report_are_reported() {
    for (name, bytes) in belongings() {
        if name == "letter.eml" {
            continue;
        }
        let seen = in_mail(&report_mail(&[text("a report"), part("application/x", name, &bytes)]));
        assert!(!seen.is_empty(), "{name}");
        assert!(seen.iter().all(|seen| matches!(seen, Seen::Unreadable { .. })), "{name}: {seen:?}");
    }
}

#[test]
fn each_report_hint_marks_a_mail_as_a_report() {
    let odd = || part("application/octet-stream", "x.bin", b"\x01\x02\x03");
    let told = [unreadable("x.bin", Reason::NotAReport)];
    for header in [
        "Subject: Report domain: example.com\r\n",
        "Subject: [Preview] REPORT DOMAIN: example.com\r\n",
        "Subject: DMARC aggregate\r\n",
        "Subject: =?utf-8?Q?DMARC?=\r\n",
        "Subject: Your Report-ID: 1\r\n",
        "Subject: TLS-RPT\r\n",
        "From: noreply-dmarc-support@example.com\r\n",
        "From: \"TLS\" <noreply-smtp-tlsrpt@example.com>\r\n",
    ] {
        assert_eq!(in_mail(&mail_headed(header, &[odd()])), told, "{header}");
    }
    assert_eq!(in_mail(&mail_headed("From: a@dmarc.example\r\n", &[odd()])), []);
    let named = format!("{REPORT_NAME}.zip");
    assert_eq!(in_mail(&mail(&[part("a/b", &named, b"\x01")])), [unreadable(&named, Reason::NotAReport)]);
    let typed = part("application/tlsrpt+gzip", "x.bin", b"\x01");
    assert_eq!(in_mail(&mail(&[typed])), told);
    let inside = zip(&[(&format!("{REPORT_NAME}.xml"), b"\x01")]);
    let name = format!("r.zip/{REPORT_NAME}.xml");
    assert_eq!(in_mail(&mail(&[part("a/b", "r.zip", &inside)])), [unreadable(&name, Reason::NotAReport)]);
}

#[test]
fn companion_attachments_of_a_report_are_not_reported() {
    let mail = report_mail(&[
        text("This is a report."),
        b"Content-Type: text/html\r\n\r\n<p>This is a report.</p>".to_vec(),
        part("image/png", "logo.png", b"\x89PNG"),
        part("application/octet-stream", "logo", b"\x89PNG\r\n"),
        part("application/pkcs7-signature", "smime.p7s", b"\x30\x80"),
        part("text/xml", "r.xml", XML),
    ]);
    assert_eq!(in_mail(&mail), [document("r.xml", XML)]);
    let image = gzip(b"\x89PNG\r\n");
    let mail = report_mail(&[part("text/plain", &format!("{REPORT_NAME}.xml.gz"), &image)]);
    assert_eq!(in_mail(&mail), [unreadable(&format!("{REPORT_NAME}.xml.gz"), Reason::NotAReport)]);
}

#[test]
fn a_mail_that_quotes_a_report_is_not_a_report() {
    let quoted = "Bob,\r\nwhat is this?\r\nFeedback-Type: auth-failure\r\nSource-IP: 192.0.2.1\r\n\
        Sender Domain: example.com\r\nSender IP Address: 192.0.2.1\r\nSPF Alignment: no\r\n";
    assert_eq!(in_mail(&mail(&[text(quoted)])), []);
    for about in [
        "the Sender Domain: is wrong",
        "> Sender Domain: a\r\n> Sender IP Address: b\r\n> SPF Alignment: no",
        "Feedback-Type: kind words",
    ] {
        let seen = in_mail(&mail_headed("Subject: DMARC\r\n", &[text(about)]));
        assert_eq!(seen, [], "{about}");
    }
}

/// Regression: a report whose attachment had been removed, or was in a form that is not read, was a mail without a report.
#[test]
fn a_mail_with_the_header_of_a_report_and_no_report_is_told() {
    let told = [Seen::Unreadable { name: None, reason: Reason::NotAReport }];
    let subject = "Subject: Report Domain: example.com Submitter: receiver.example Report-ID: 1\r\n";
    assert_eq!(in_mail(&mail_headed(subject, &[text("The attachment was removed.")])), told);
    let typed = b"Content-Type: multipart/report; report-type=tlsrpt\r\n\r\nno parts".to_vec();
    assert_eq!(in_mail(&typed), told);
    for subject in ["Subject: Re: Report Domain: example.com Submitter: a\r\n", "Subject: DMARC\r\n"] {
        assert_eq!(in_mail(&mail_headed(subject, &[text("What is this?")])), [], "{subject}");
    }
}

/// Regression: what is beside a report in a mail that nothing marks as a report was passed over.
#[test]
fn what_can_not_be_looked_into_beside_a_report_is_told() {
    let report = || part("text/xml", "r.xml", XML);
    for (name, bytes) in belongings() {
        let seen = in_mail(&mail(&[text("hello"), part("application/octet-stream", name, &bytes), report()]));
        let is_closed = ["locked.zip", "broken.zip", "a.7z", "winmail.dat", "smime.p7m"].contains(&name);
        assert_eq!(seen.len(), 1 + usize::from(is_closed), "{name}: {seen:?}");
        assert_eq!(seen[0], document("r.xml", XML), "{name}");
    }
    let seen = in_mail(&mail(&[
        part("a/b", "locked.zip", &locked()),
        part("a/b", "a.7z", b"7z\xbc\xaf\x27\x1c\0\x04"),
        report(),
    ]));
    assert_eq!(seen[1..], [unreadable("locked.zip/salaries.txt", Reason::EncryptedZip)]);
}
