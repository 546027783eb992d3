//! Other files beside a report, in a mail or in an archive.

use super::*;

/// Files that no report is mistaken for.
const OTHERS: &[(&str, &str, &[u8])] = &[
    ("text/x-vcard", "ann.vcf", b"BEGIN:VCARD\r\nEND:VCARD\r\n"),
    ("application/pdf", "about.pdf", b"%PDF-1.7\n"),
    ("application/octet-stream", "disclaimer.txt", b"This mail is confidential."),
    ("text/plain", "readme.txt", b"Read me"),
    ("text/html", "report.html", b"<html><body>see the report</body></html>"),
    ("application/octet-stream", "page.htm", b"<html></html>"),
    ("application/msword", "letter.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ("text/csv", "rows.csv", b"a,b\r\n1,2\r\n"),
    ("text/calendar", "invite.ics", b"BEGIN:VCALENDAR"),
    ("application/pgp-keys", "key.asc", b"-----BEGIN PGP PUBLIC KEY BLOCK-----"),
    ("application/pgp-signature", "signature.asc", b"-----BEGIN PGP SIGNATURE-----"),
    ("image/png", "logo.png", b"\x89PNG"),
    ("image/svg+xml", "logo.svg", b"<svg/>"),
    ("application/octet-stream", "desktop.ini", b"[.ShellClassInfo]"),
    ("application/octet-stream", "empty.txt", b""),
];

fn attachments() -> Vec<Vec<u8>> {
    OTHERS.iter().map(|(kind, name, bytes)| part(kind, name, bytes)).collect()
}

/// Regression: each of them was an error, and the mail was quarantined.
#[test]
fn other_files_beside_a_report_are_no_errors() {
    let report = part("application/gzip", "r.xml.gz", &gzip(XML));
    let before = report_mail(&[vec![report.clone()], attachments()].concat());
    let after = report_mail(&[attachments(), vec![report]].concat());
    for mail in [before, after] {
        assert_eq!(in_mail(&mail), [document("r.xml.gz", XML)]);
    }
}

#[test]
fn other_files_beside_a_report_in_an_archive_are_no_errors() {
    let clutter: &[(&str, &[u8])] = &[
        ("__MACOSX/._r.xml", b"\0\x05\x16\x07"),
        ("._r.xml", b"\0\x05"),
        (".DS_Store", b"\0"),
        ("a/Thumbs.db", b"\xd0\xcf"),
    ];
    let others = OTHERS.iter().map(|(_, name, bytes)| (*name, *bytes)).chain(clutter.iter().copied());
    let members: Vec<_> = others.chain([("r.xml", XML)]).collect();
    for (name, archive) in [("x.zip", zip(&members)), ("x.tar", tar(&members)), ("x.tgz", gzip(&tar(&members)))] {
        let expected = [document(&format!("{name}/r.xml"), XML)];
        assert_eq!(in_file(name, &archive), expected);
        assert_eq!(in_mail(&report_mail(&[text("a report"), part("application/zip", name, &archive)])), expected);
    }
}

#[test]
fn what_is_named_or_typed_like_a_report_is_an_error_beside_one() {
    let report = part("application/gzip", "r.xml.gz", &gzip(XML));
    let junk = b"\x01\x02\x03";
    for (kind, name) in [
        ("application/octet-stream", "other.xml"),
        ("application/octet-stream", "OTHER.XML.GZ"),
        ("application/octet-stream", "other.json"),
        ("application/octet-stream", "receiver.example!example.com!1700000000!1700086399"),
        ("application/octet-stream", "dmarc.txt"),
        ("application/zip", "other"),
        ("text/xml", "other.txt"),
        ("application/tlsrpt+gzip", "other"),
    ] {
        let seen = in_mail(&report_mail(&[report.clone(), part(kind, name, junk)]));
        assert_eq!(seen, [document("r.xml.gz", XML), unreadable(name, Reason::NotAReport)], "{kind} {name}");
    }
    let nameless = b"Content-Type: application/octet-stream\r\n\r\n\x01\x02".to_vec();
    let seen = in_mail(&report_mail(&[report.clone(), nameless]));
    assert_eq!(seen, [document("r.xml.gz", XML), Seen::Unreadable { name: None, reason: Reason::NotAReport }]);
    // What can hold a report and can't be opened is an error whatever its name, and so is an archive without one.
    for (name, bytes, reason) in [
        ("files.bin", b"Rar!\x1a\x07\0".to_vec(), Reason::UnsupportedContainer),
        ("winmail.dat", b"\x78\x9f\x3e\x22\x01\0".to_vec(), Reason::Tnef),
        ("files", gzip(XML)[..30].to_vec(), Reason::CorruptGzip),
    ] {
        let seen = in_mail(&report_mail(&[report.clone(), part("application/octet-stream", name, &bytes)]));
        assert_eq!(seen, [document("r.xml.gz", XML), unreadable(name, reason)], "{name}");
    }
    let second = zip(&[("readme.txt", b"Read me")]);
    let seen = in_mail(&report_mail(&[report.clone(), part("application/zip", "second.zip", &second)]));
    assert_eq!(seen, [document("r.xml.gz", XML), unreadable("second.zip/readme.txt", Reason::NotAReport)]);
}

#[test]
fn other_files_are_errors_where_no_report_is() {
    let names = ["ann.vcf", "about.pdf", "disclaimer.txt"];
    let seen = in_mail(&report_mail(&[text("a report"), attachments()[..3].concat()]));
    assert_eq!(seen.len(), 1, "{seen:?}");
    let seen = in_mail(&report_mail(&attachments()[..3]));
    assert_eq!(seen, names.map(|name| unreadable(name, Reason::NotAReport)));
    // A forwarded conversation beside a report is another file too.
    let conversation = mail(&[text("see"), part("application/pdf", "a.pdf", b"%PDF-1.7")]);
    let beside = part("message/rfc822", "fwd.eml", &conversation);
    let report = part("application/gzip", "r.xml.gz", &gzip(XML));
    assert_eq!(in_mail(&report_mail(&[beside.clone(), report])), [document("r.xml.gz", XML)]);
    assert_eq!(in_mail(&report_mail(&[beside])), [unreadable("fwd.eml/a.pdf", Reason::NotAReport)]);
}

#[test]
fn of_a_thousand_other_files_the_first_are_reported() {
    let many: Vec<Vec<u8>> =
        (0..1_000).map(|number| part("application/pdf", &format!("{number}.pdf"), b"%PDF")).collect();
    let limits = Limits { mail_parts: 2_000, ..Limits::default() };
    let seen = within(&report_mail(&many), Origin::Mail, &limits);
    assert_eq!(seen.len(), crate::limits::OTHER_FILES);
    let report = part("application/gzip", "r.xml.gz", &gzip(XML));
    let seen = within(&report_mail(&[many, vec![report]].concat()), Origin::Mail, &limits);
    assert_eq!(seen, [document("r.xml.gz", XML)]);
}
