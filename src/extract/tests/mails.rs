use super::*;

fn bare(bytes: &[u8]) -> Seen {
    Seen::Document { name: None, format: Format::Xml, bytes: bytes.into(), end: None }
}

#[test]
fn header_fields_are_known_before_unpacking() {
    let letter = b"From ann@example.com Mon Jan 01 00:00:00 2024\r\n\
        Message-ID: <1@example.com>\r\nDate: Tue, 14 Nov 2023 22:13:20 +0100\r\n\
        From: \"Ann, A.\" <ann@example.com>, bob@example.com\r\nSubject: =?utf-8?B?R3LDvMOfZQ==?=\r\n =?utf-8?Q?_all?=\r\n\r\nhi";
    for origin in [Origin::Mail, Origin::File { name: "x" }] {
        let limits = Limits::default();
        let opened = open(letter, origin, &limits);
        assert_eq!(
            opened.envelope().as_ref(),
            &Envelope {
                message_id: Some("1@example.com".into()),
                from: Some("ann@example.com".into()),
                date: Some("2023-11-14T21:13:20Z".parse().unwrap()),
                subject: Some("Grüße all".into()),
                ..Envelope::default()
            }
        );
    }
    let limits = Limits::default();
    assert_eq!(open(b"\r\nno header", Origin::Mail, &limits).envelope().as_ref(), &Envelope::default());
}

#[test]
fn a_date_that_is_not_read_or_needs_an_assumption_is_named() {
    let limits = Limits::default();
    for (told, date, warning) in [
        ("Fri, 2 Jan 2026 03:04:05 GMT+01:00 (CET)", Some("2026-01-02T02:04:05Z"), None),
        ("2026-01-02T03:04:05\r\n +05:30", Some("2026-01-01T21:34:05Z"), None),
        ("", None, None),
        (
            "Fri Jan  2\r\n 03:04:05 2026",
            Some("2026-01-02T03:04:05Z"),
            Some("\"Fri Jan 2 03:04:05 2026\" has no time zone, is read as 2026-01-02T03:04:05Z"),
        ),
        (
            "Fri, 2 Jan 2026 03:04:05 CEST",
            None,
            Some("\"Fri, 2 Jan 2026 03:04:05 CEST\" has an unknown or ambiguous time zone"),
        ),
        ("tomorrow\u{e4}", None, Some("\"tomorrow\u{e4}\" is not a valid time")),
    ] {
        let mail = format!("Subject: dates\r\nDate: {told}\r\nFrom: a@example.com\r\n\r\n");
        let envelope = open(mail.as_bytes(), Origin::Mail, &limits).envelope();
        assert_eq!(envelope.date, date.map(|date| date.parse().unwrap()), "{told}");
        assert_eq!(envelope.warnings, Vec::from_iter(warning.map(|warning| format!("mail_date: {warning}"))), "{told}");
    }
    let raw = open(b"Date: Fri, 2 Jan 2026 \xe4\r\nFrom: a@example.com\r\n\r\n", Origin::Mail, &limits).envelope();
    assert_eq!(raw.warnings, ["mail_date: \"Fri, 2 Jan 2026 \u{fffd}\" is not a valid time"]);
}

#[test]
fn a_mail_that_is_nothing_but_the_report_is_read() {
    for bytes in [XML.to_vec(), gzip(XML), zip(&[("a.xml", XML)])] {
        let seen = in_mail(&part("application/zip", "r", &bytes));
        assert!(matches!(&seen[..], [Seen::Document { bytes, .. }] if bytes == XML), "{seen:?}");
    }
    assert_eq!(in_mail(&[b"X-A: b\r\n\r\n".as_slice(), XML].concat()), [bare(XML)]);
    assert_eq!(in_mail(&[b"X-A: b\r\n\r\n".as_slice(), &gzip(XML)].concat()), [bare(XML)]);
    assert_eq!(in_mail(XML), [bare(XML)]);
}

#[test]
fn bytes_without_a_header_are_no_mail() {
    for bytes in [&b""[..], b"\x01\x02", b"just text"] {
        assert_eq!(in_mail(bytes), [Seen::Unreadable { name: None, reason: Reason::MailUnreadable }]);
    }
}

#[test]
fn base64_with_junk_or_without_padding_is_read() {
    let text = base64(&gzip(XML));
    let unpadded = text.trim_end_matches('=').to_owned();
    for body in [unpadded, text.replace("\r\n", " \n!\n"), format!("\r\n\r\n{text}\r\n\r\n-- \r\nfooter of a list\r\n")]
    {
        let part = format!("Content-Transfer-Encoding: BASE64\r\n\r\n{body}").into_bytes();
        assert_eq!(in_mail(&mail(&[part])), [bare(XML)]);
    }
    let unlabelled = format!("Content-Type: application/gzip\r\n\r\n{text}").into_bytes();
    assert_eq!(in_mail(&mail(&[unlabelled])), [bare(XML)]);
}

#[test]
fn quoted_printable_and_latin_1_arrive_as_bytes() {
    let quoted: String = gzip(XML).iter().map(|byte| format!("={byte:02X}=\r\n")).collect();
    let part = format!("Content-Type: text/xml\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n{quoted}");
    assert_eq!(in_mail(&mail(&[part.into_bytes()])), [bare(XML)]);
    let latin = b"Content-Type: text/xml; charset=iso-8859-1\r\n\r\n<feedback>\xe9\xff</feedback>".to_vec();
    assert_eq!(in_mail(&mail(&[latin])), [bare(b"<feedback>\xe9\xff</feedback>")]);
}

#[test]
fn attachment_names_are_decoded_and_truncated() {
    let long = "n".repeat(400);
    for (field, name) in [
        ("Content-Disposition: attachment; filename*=utf-8''%C3%BC.xml", "ü.xml".into()),
        ("Content-Disposition: attachment; filename=\"=?utf-8?B?w7wueG1s?=\"", "ü.xml".into()),
        ("Content-Disposition: attachment; filename*0=\"a!b\"; filename*1=\"!1!2.xml\"", "a!b!1!2.xml".into()),
        ("Content-Disposition: attachment; filename=\"../../etc/passwd\"", "../../etc/passwd".into()),
        ("Content-Type: text/xml; name=a.xml", "a.xml".into()),
        ("Content-Type: text/xml;\r\nname=a.xml\r\nX-B: c", "a.xml".into()),
        (&format!("Content-Disposition: attachment; filename=\"{long}\""), "n".repeat(255)),
    ] {
        let part = [field.as_bytes(), b"\r\n\r\n", XML].concat();
        assert_eq!(in_mail(&mail(&[part])), [document(&name, XML)], "{field}");
    }
}

#[test]
fn reports_in_forwarded_mails_are_found() {
    let inner = report_mail(&[text("see"), part("application/gzip", "r.gz", &gzip(XML))]);
    let plain = [b"Content-Type: message/rfc822\r\n\r\n".as_slice(), &inner].concat();
    let encoded = part("message/rfc822", "fwd.eml", &inner);
    let octets = part("application/octet-stream", "fwd.eml", &inner);
    assert_eq!(in_mail(&mail(&[text("fyi"), plain])), [document("r.gz", XML)]);
    assert_eq!(
        in_mail(&mail(&[text("fyi"), encoded, octets])),
        [document("fwd.eml/r.gz", XML), document("fwd.eml/r.gz", XML)]
    );
    let digest = [
        b"Subject: digest\r\nContent-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\n".as_slice(),
        &inner,
        b"\r\n--d--\r\n",
    ]
    .concat();
    assert_eq!(in_mail(&digest), [document("r.gz", XML)]);
}

#[test]
fn malformed_multiparts_are_read_as_far_as_possible() {
    let report = part("application/gzip", "r.gz", &gzip(XML));
    let parts = [text("see"), report];
    let boundary = format!("=_b{}", parts[0].len() + parts[1].len());
    let whole = String::from_utf8(report_mail(&parts)).unwrap().replace(&boundary, "=_b");
    for broken in [
        whole.replace("--=_b--\r\n", ""),
        whole.replace("boundary=\"=_b\"", "boundary=\"other\"").replace("preamble\r\n", ""),
        whole.replace("; boundary=\"=_b\"", "").replace("preamble\r\n", "\r\n"),
        whole.replace("\r\n", "\n"),
        whole.replace("--=_b\r\n", "--=_b  \r\n"),
        format!("From x@example.com Mon Jan 01 00:00:00 2024\r\n{whole}"),
        whole.replace("base64\r\n\r\n", "base64\r\n"),
    ] {
        assert_eq!(in_mail(broken.as_bytes()), [document("r.gz", XML)], "{broken}");
    }
}

#[test]
fn a_failure_report_is_its_machine_readable_part_and_two_fields_of_the_mail_that_it_is_about() {
    let fields = b"Feedback-Type: auth-failure\r\nSource-IP: 192.0.2.1\r\n";
    let about = mail(&[part("application/zip", "evil.zip", &zip(&[("a.xml", XML)]))]);
    let report = [
        b"Content-Type: multipart/report; report-type=feedback-report; boundary=r\r\n\r\n--r\r\n\r\nread this\r\n--r\r\n\
          Content-Type: message/feedback-report\r\n\r\n"
            .as_slice(),
        fields,
        b"\r\n--r\r\nContent-Type: message/rfc822\r\n\r\n",
        &about,
        b"\r\n--r--\r\n",
    ]
    .concat();
    let bytes = [fields.as_slice(), b"\r\nFrom: Ann <ann@example.com>\r\n"].concat();
    assert_eq!(in_mail(&report), [Seen::Document { name: None, format: Format::Feedback, bytes, end: None }]);
}

#[test]
fn lines_may_end_in_a_carriage_return_alone() {
    let letter = report_mail(&[text("see"), part("application/gzip", "r.gz", &gzip(XML))]);
    let letter: Vec<u8> = letter.into_iter().filter(|&byte| byte != b'\n').collect();
    assert_eq!(in_mail(&letter), [document("r.gz", XML)]);
    assert_eq!(in_file("m.eml", &letter), [document("r.gz", XML)]);
    let limits = Limits::default();
    assert_eq!(open(&letter, Origin::Mail, &limits).envelope().from.as_deref(), Some("noreply@receiver.example"));
    // Bytes that are no mail are not converted: the hash is that of the original bytes.
    let xml: Vec<u8> = XML.iter().map(|&byte| if byte == b'\n' { b'\r' } else { byte }).collect();
    assert_eq!(in_file("x.xml", &xml), [document("x.xml", &xml)]);
}

#[test]
fn encrypted_mails_are_reported_if_a_report_was_meant() {
    let pgp =
        b"Content-Type: multipart/encrypted; boundary=e\r\n\r\n--e\r\nContent-Type: application/pgp-encrypted\r\n\r\n\
        Version: 1\r\n--e\r\nContent-Type: application/octet-stream\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n--e--\r\n";
    let told = [Seen::Unreadable { name: None, reason: Reason::EncryptedMail }];
    assert_eq!(in_mail(&[b"Subject: DMARC report\r\n".as_slice(), pgp].concat()), told);
    assert_eq!(in_mail(&[b"Subject: love letter\r\n".as_slice(), pgp].concat()), []);
    let smime = part("application/pkcs7-mime; smime-type=enveloped-data", "smime.p7m", b"\x30\x80");
    assert_eq!(in_mail(&report_mail(&[smime])), [unreadable("smime.p7m", Reason::EncryptedMail)]);
}

#[test]
fn a_file_that_is_a_mail_is_read_by_the_rules_of_a_mailbox() {
    let letter = mail(&[text("see"), part("application/gzip", "r.gz", &gzip(XML))]);
    assert_eq!(in_file("m.eml", &letter), [document("r.gz", XML)]);
    assert_eq!(in_file("m.eml", &mail(&[text("hi")])), []);
    let odd = part("application/zip", "x.zip", b"PK\x03\x04broken");
    assert_eq!(in_file("m.eml", &mail(&[text("hi"), odd.clone()])), []);
    assert_eq!(in_file("m.eml", &report_mail(&[odd])), [unreadable("x.zip", Reason::CorruptZip)]);
}

#[test]
fn a_file_that_is_neither_report_nor_mail_is_reported() {
    for (bytes, reason) in [
        (&b"just text"[..], Reason::NotAReport),
        (b"<html><p/></html>", Reason::NotAReport),
        (b"PK\x03\x04broken", Reason::CorruptZip),
        (b"", Reason::Empty),
    ] {
        assert_eq!(in_file("x", bytes), [unreadable("x", reason)]);
    }
}

#[test]
fn a_mails_authentication_results_are_read_from_its_own_header_alone() {
    let limits = Limits::default();
    let trusted = ["mx.example.com".to_owned()];
    let field =
        |domain: &str| format!("Authentication-Results: mx.example.com;\r\n\tdmarc=pass header.from={domain}\r\n");
    let read = |mail: &str| {
        let auth = open(mail.as_bytes(), Origin::Mail, &limits).mail_auth(&trusted);
        auth.map(|auth| auth.authenticated_domain().map(str::to_owned))
    };
    let mail = format!("Received: x\r\n{}{}From: a@b.example\r\n\r\nbody\r\n", field("a.example"), field("b.example"));
    assert_eq!(read(&mail), Some(Some("a.example".to_owned())), "folded, and the topmost");
    let arc = "ARC-Authentication-Results: i=1; mx.example.com; dmarc=pass header.from=a.example\r\nX-Authentication-Results: \
               mx.example.com; dmarc=pass header.from=a.example\r\nFrom: a@b.example\r\n\r\n";
    assert_eq!(read(&format!("{arc}{}", field("a.example"))), None);
    let long =
        format!("Authentication-Results: mx.example.com; {}\r\n{}\r\n", "dkim=fail; ".repeat(2000), field("a.example"));
    assert_eq!(read(&long), Some(None), "a field that is too long makes no room for the next");
}
