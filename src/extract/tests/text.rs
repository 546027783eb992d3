//! Reports in the text of a mail, and mails in mboxes and archives.

use super::*;

const REPORT: &str =
    "<?xml version=\"1.0\"?>\n<feedback><report_metadata><org_name>x</org_name></report_metadata></feedback>";

fn bodies(seen: &[Seen]) -> Vec<String> {
    let body = |seen: &Seen| match seen {
        Seen::Document { bytes, end: None, .. } => String::from_utf8_lossy(bytes).trim().to_owned(),
        other => format!("{other:?}"),
    };
    seen.iter().map(body).collect()
}

fn uuencoded(bytes: &[u8], name: &str) -> String {
    let digit = |value: u8| char::from(if value & 63 == 0 { b'`' } else { (value & 63) + b' ' });
    let mut text = format!("begin 644 {name}\r\n");
    for line in bytes.chunks(45) {
        text.push(digit(line.len() as u8));
        for group in line.chunks(3) {
            let [a, b, c] = [0, 1, 2].map(|at| group.get(at).copied().unwrap_or(0));
            text.extend([a >> 2, a << 4 | b >> 4, b << 2 | c >> 6, c].map(digit));
        }
        text.push_str("\r\n");
    }
    text + "`\r\nend\r\n"
}

fn with_text(kind: &str, encoding: &str, body: &str) -> Vec<u8> {
    format!("From: a@example.com\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}")
        .into_bytes()
}

/// Regression: a report behind a greeting was a mail without a report.
#[test]
fn reports_within_the_text_of_a_mail_are_read_whatever_is_around_them() {
    let base64_lines = base64(&gzip(REPORT.as_bytes()));
    let bare = REPORT.split_once('\n').unwrap().1;
    let wrapped = REPORT.replace("<feedback>", "<f:feedback xmlns:f='urn:x'>").replace("</feedback>", "</f:feedback>");
    for (what, body, wanted) in [
        ("a greeting", format!("Hello,\r\n\r\n{REPORT}"), vec![REPORT]),
        ("text on both sides", format!("Hello {bare} bye, Ann"), vec![bare]),
        ("two", format!("One:\r\n{REPORT}\r\nTwo:\r\n{bare}\r\n-- \r\nAnn"), vec![REPORT, bare]),
        ("a prefix", format!("see\r\n{wrapped}"), vec![&wrapped]),
        ("uuencode", format!("Hi\r\n{}bye", uuencoded(REPORT.as_bytes(), "r.xml")), vec![REPORT]),
        ("packed", format!("Hi\r\n{}bye", uuencoded(&zip(&[("a.xml", REPORT.as_bytes())]), "r.zip")), vec![REPORT]),
        ("base64 of a gzip", format!("Hi\r\n\r\n{base64_lines}\r\n\r\nbye"), vec![REPORT]),
        ("begin-base64", format!("Hi\r\nbegin-base64 644 r.gz\r\n{base64_lines}\r\n====\r\n"), vec![REPORT]),
        ("JSON", format!("Hi\r\n{}\r\nbye", String::from_utf8_lossy(JSON)), vec![std::str::from_utf8(JSON).unwrap()]),
    ] {
        let quoted: String =
            body.bytes().flat_map(|byte| format!("={byte:02X}").into_bytes()).map(char::from).collect();
        let encoded = base64(body.as_bytes());
        for (encoding, body) in [("8bit", body), ("quoted-printable", quoted), ("base64", encoded)] {
            let plain = with_text("text/plain", encoding, &body);
            assert_eq!(bodies(&in_mail(&plain)), wanted, "{what}, {encoding}");
            let forwarded = mail(&[text("fyi"), part("message/rfc822", "m.eml", &plain)]);
            assert_eq!(bodies(&in_mail(&forwarded)), wanted, "{what}, {encoding}, forwarded");
        }
    }
}

#[test]
fn the_text_of_html_is_read_if_there_is_no_other_form_of_it() {
    let escaped = REPORT.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let spans = escaped.replace("&gt;", "&gt;</span><span class=\"x\">").replace('\n', "<br>");
    for html in [
        escaped.clone(),
        format!("<html><p>Hi</p><div><span>{spans}</span></div></html>"),
        format!("<pre>{REPORT}</pre>"),
    ] {
        let seen = bodies(&in_mail(&with_text("text/html", "8bit", &html)));
        assert_eq!(seen.len(), 1, "{html}: {seen:?}");
        assert!(seen[0].contains("</feedback>") && seen[0].contains("<org_name>x</org_name>"), "{seen:?}");
    }
    let html = |text: &str| format!("Content-Type: text/html\r\n\r\n<pre>{text}</pre>").into_bytes();
    let both = [html(&escaped), html(&escaped.replace("&gt;x&lt;", "&gt;y&lt;"))];
    assert_eq!(bodies(&in_mail(&mail(&both))).len(), 2);
    let alternative = mail(&[html(&escaped), text(&format!("Hi\r\n{REPORT}"))]);
    assert_eq!(bodies(&in_mail(&alternative)), [REPORT]);
}

#[test]
fn a_content_type_twice_and_a_missing_boundary_hide_no_report() {
    let whole = String::from_utf8(report_mail(&[text("see"), part("application/gzip", "r.gz", &gzip(XML))])).unwrap();
    let line = whole.lines().find(|line| line.starts_with("Content-Type: multipart")).unwrap().to_owned();
    for types in [
        format!("Content-Type: text/plain\r\n{line}"),
        format!("{line}\r\nContent-Type: text/plain"),
        format!("Content-Type: text/plain;\r\n charset=utf-8\r\nX-A: b\r\n{line}"),
        "Content-Type: multipart/mixed".into(),
        "Content-Type: multipart/mixed; boundary=\"\"".into(),
        "Content-Type: multipart/mixed; boundary=other".into(),
    ] {
        assert_eq!(in_mail(whole.replacen(&line, &types, 1).as_bytes()), [document("r.gz", XML)], "{types}");
    }
}

#[test]
fn what_is_before_and_behind_the_parts_of_a_mail_is_read() {
    let uuencoded = uuencoded(&gzip(XML), "r.gz");
    let whole = String::from_utf8(mail(&[text("see")])).unwrap();
    assert_eq!(in_mail(format!("{whole}\r\n{uuencoded}").as_bytes()), [document("r.gz", XML)]);
    assert_eq!(in_mail(whole.replace("preamble\r\n", &uuencoded).as_bytes()), [document("r.gz", XML)]);
    let report = String::from_utf8(part("text/xml", "r.xml", XML)).unwrap();
    let boundary = whole.lines().last().unwrap().trim_end_matches("--");
    let closed_early = format!("{whole}{boundary}\r\n{report}\r\n{boundary}--\r\n");
    assert_eq!(in_mail(closed_early.as_bytes()), [document("r.xml", XML)]);
}

fn mbox(mails: &[Vec<u8>]) -> Vec<u8> {
    mails
        .iter()
        .flat_map(|mail| [b"From a@example.com Wed Nov 15 06:00:00 2023\r\n".as_slice(), mail, b"\r\n"].concat())
        .collect()
}

/// Regression: of an mbox in an archive, the first mail was read.
#[test]
fn every_mail_of_an_mbox_inside_anything_is_read() {
    let letter = |name: &str| mail(&[text(">From here on\r\n"), part("text/xml", name, XML)]);
    let mailbox = mbox(&[letter("1.xml"), mail(&[text("private")]), letter("2.xml")]);
    let lf = String::from_utf8(mailbox.clone()).unwrap().replace("\r\n", "\n").into_bytes();
    let marked = [fields::BYTE_ORDER_MARK, &mailbox].concat();
    for (what, mailbox) in [("CRLF", mailbox), ("LF", lf), ("a byte order mark", marked)] {
        for (container, bytes) in [
            ("gzip", gzip(&mailbox)),
            ("gzip in gzip", gzip(&gzip(&mailbox))),
            ("zlib", zlib(&mailbox)),
            ("zip", zip(&[("old", &mailbox)])),
            ("tar.gz", gzip(&tar(&[("old", &mailbox)]))),
        ] {
            for seen in [in_file("x", &bytes), in_mail(&mail(&[part("a/b", "x", &bytes)]))] {
                let name = |seen: &Seen| match seen {
                    Seen::Document { name: Some(name), bytes, .. } if bytes == XML => {
                        name.split('/').filter(|name| *name != "x" && *name != "old").collect::<Vec<_>>().join("/")
                    }
                    other => format!("{other:?}"),
                };
                let names: Vec<String> = seen.iter().map(name).collect();
                assert_eq!(names, ["mail 1/1.xml", "mail 3/2.xml"], "{container} of {what}");
            }
        }
        let attached = mail(&[part("application/mbox", "m", &mailbox)]);
        assert_eq!(in_mail(&attached).len(), 2, "attached, {what}");
        let nested = mbox(&[mail(&[part("application/octet-stream", "m", &gzip(&mailbox))])]);
        assert_eq!(in_file("x", &gzip(&nested)).len(), 2, "in an mbox, {what}");
    }
}

#[test]
fn a_mail_in_an_archive_or_mbox_has_its_own_envelope() {
    let letter = |id: u8, parts: &[Vec<u8>]| {
        mail_headed(&format!("From: {id}@example.com\r\nMessage-ID: <{id}@example.com>\r\n"), parts)
    };
    let report = || part("text/xml", "r.xml", XML);
    let forwarded = || part("message/rfc822", "f.eml", &letter(9, &[report()]));
    let ids = |input: &[u8], origin| {
        let mut ids = Vec::new();
        let limits = Limits::default();
        open(input, origin, &limits).walk(&Room::new(&Unshared), &mut |found| {
            let (Found::Document(Document { envelope, .. }) | Found::Unreadable(Unreadable { envelope, .. })) = found
            else {
                panic!("no mail is returned here")
            };
            ids.push(envelope.and_then(|envelope| envelope.message_id.clone()));
        });
        ids
    };
    let own = |id: u8| Some(format!("{id}@example.com"));
    let file = Origin::File { name: "x" };
    assert_eq!(ids(&letter(1, &[report(), forwarded()]), Origin::Mail), [None, None], "that of the mail at hand");
    let archive =
        zip(&[("a", &letter(1, &[report(), forwarded()])), ("b", &gzip(&letter(2, &[report()]))), ("c.xml", XML)]);
    assert_eq!(ids(&archive, file), [own(1), own(1), own(2), None]);
    assert_eq!(ids(&gzip(&letter(1, &[report()])), file), [own(1)]);
    assert_eq!(ids(&gzip(&mbox(&[letter(1, &[report()]), letter(2, &[report()])])), file), [own(1), own(2)]);
    assert_eq!(ids(&letter(3, &[part("a/b", "x.zip", &archive)]), Origin::Mail), [own(1), own(1), own(2), None]);
    let locked = zip(&[("a", &letter(1, &[part("a/b", "dmarc.gz", b"\x1f\x8b\x08broken")]))]);
    assert_eq!(ids(&locked, file), [own(1)], "also of what can't be read");
}

#[test]
fn a_byte_order_mark_before_anything_is_no_part_of_it() {
    let marked = |bytes: &[u8]| [fields::BYTE_ORDER_MARK, bytes].concat();
    let letter = mail(&[part("text/xml", "r.xml", XML)]);
    assert_eq!(in_mail(&marked(&letter)), [document("r.xml", XML)]);
    assert_eq!(in_file("x", &marked(&letter)), [document("r.xml", XML)]);
    for (what, bytes) in
        [("gzip", gzip(XML)), ("zip", zip(&[("a", XML)])), ("mail", letter.clone()), ("zlib", zlib(XML))]
    {
        for seen in [in_file("x", &gzip(&marked(&bytes))), in_mail(&mail(&[part("a/b", "x", &marked(&bytes))]))] {
            assert_eq!(bodies(&seen), [String::from_utf8_lossy(XML).trim()], "{what}");
        }
    }
    for text in [XML, JSON] {
        assert_eq!(
            in_file("x", &marked(text)),
            [Seen::Document {
                name: Some("x".into()),
                format: if text == XML { Format::Xml } else { Format::Json },
                bytes: marked(text),
                end: None,
            }]
        );
    }
    let headed = String::from_utf8(marked(&letter)).unwrap();
    let limits = Limits::default();
    let opened = open(headed.as_bytes(), Origin::Mail, &limits);
    assert_eq!(opened.envelope().from.as_deref(), Some("ann@example.com"));
}
