use super::*;

#[test]
fn containers_are_detected_by_content_and_not_by_name() {
    let containers: Vec<(&str, Vec<u8>)> =
        vec![("xml", XML.into()), ("gzip", gzip(XML)), ("zlib", zlib(XML)), ("gzip in gzip", gzip(&gzip(XML)))];
    for (what, bytes) in containers {
        assert_eq!(in_file("x.pdf", &bytes), [document("x.pdf", XML)], "{what} as a file");
        for kind in ["application/octet-stream", "text/xml", "text/plain", "text/html", "image/png"] {
            let mail = mail(&[part(kind, "x.pdf", &bytes)]);
            assert_eq!(in_mail(&mail), [document("x.pdf", XML)], "{what} as {kind}");
        }
    }
}

#[test]
fn every_member_of_an_archive_is_read_under_its_name() {
    let members: &[(&str, &[u8])] = &[("in/a.xml", XML), ("b.xml.gz", &gzip(XML)), ("c.json", JSON)];
    let wanted = [document("r/in/a.xml", XML), document("r/b.xml.gz", XML), document("r/c.json", JSON)];
    for (what, archive) in [
        ("zip", zip(members)),
        ("stored zip", zip_by(CompressionMethod::Stored, members)),
        ("tar", tar(members)),
        ("tar.gz", gzip(&tar(members))),
        ("zip.gz", gzip(&zip(members))),
    ] {
        assert_eq!(in_file("r", &archive), wanted, "{what} as a file");
        assert_eq!(in_mail(&mail(&[part("application/x", "r", &archive)])), wanted, "{what} in a mail");
    }
}

#[test]
fn a_zip_in_a_zip_and_a_mail_in_a_zip_are_opened() {
    let inner = zip(&[("a.xml", XML)]);
    let letter = mail(&[text("see below"), part("application/zip", "r.zip", &inner)]);
    let outer = zip(&[("i.zip", &inner), ("m.eml", &letter)]);
    assert_eq!(in_file("o", &outer), [document("o/i.zip/a.xml", XML), document("o/m.eml/r.zip/a.xml", XML)]);
}

#[test]
fn members_of_the_same_name_are_all_read() {
    let mut archive = zip(&[("a.xml", XML), ("b.xml", XML)]);
    for at in 0..archive.len() - 5 {
        if &archive[at..at + 5] == b"b.xml" {
            archive[at] = b'a';
        }
    }
    assert_eq!(in_file("r", &archive), [document("r/a.xml", XML), document("r/a.xml", XML)]);
}

#[test]
fn clutter_in_archives_is_skipped() {
    let archive =
        zip(&[("d/", b""), ("d/a.xml", XML), ("__MACOSX/d/._a.xml", b"\0\x05\x16\x07"), (".DS_Store", b"\0")]);
    assert_eq!(in_file("r", &archive), [document("r/d/a.xml", XML)]);
}

#[test]
fn sizes_declared_in_a_zip_are_not_trusted() {
    let mut archive = zip(&[("a.xml", XML)]);
    let central = archive.windows(4).position(|word| word == b"PK\x01\x02").unwrap();
    for lie in [0u32, 7, u32::MAX - 1] {
        archive[central + 20..central + 24].copy_from_slice(&lie.to_le_bytes());
        archive[central + 24..central + 28].copy_from_slice(&lie.to_le_bytes());
        assert_eq!(in_file("r", &archive), [document("r/a.xml", XML)], "{lie}");
    }
}

#[test]
fn utf_16_and_byte_order_marks_are_detected() {
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain("<?xml?><feedback/>".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let bom = [b"\xef\xbb\xbf\r\n".as_slice(), XML].concat();
    assert_eq!(in_file("x", &utf16), [document("x", &utf16)]);
    assert_eq!(in_file("x", &gzip(&bom)), [document("x", &bom)]);
}

#[test]
fn unsupported_attachments_are_named() {
    let aes = {
        let mut archive = zip(&[("a.xml", XML)]);
        let central = archive.windows(4).position(|word| word == b"PK\x01\x02").unwrap();
        (archive[6], archive[central + 8]) = (1, 1);
        archive
    };
    let imploded = {
        let mut archive = zip(&[("a.xml", XML)]);
        let central = archive.windows(4).position(|word| word == b"PK\x01\x02").unwrap();
        (archive[8], archive[central + 10]) = (12, 12);
        archive
    };
    for (bytes, name, reason) in [
        (aes, "x/a.xml", Reason::EncryptedZip),
        (imploded, "x/a.xml", Reason::UnsupportedContainer),
        (b"7z\xbc\xaf\x27\x1c\0\x04".to_vec(), "x", Reason::UnsupportedContainer),
        (b"BZh91AY&SY".to_vec(), "x", Reason::UnsupportedContainer),
        (b"\xfd7zXZ\0\0".to_vec(), "x", Reason::UnsupportedContainer),
        (b"Rar!\x1a\x07\x01\0".to_vec(), "x", Reason::UnsupportedContainer),
        (b"\x78\x9f\x3e\x22\x01\0".to_vec(), "x", Reason::Tnef),
        (b"<invoice><id>1</id></invoice>".to_vec(), "x", Reason::NotAReport),
        (b"{\"a\": 1}".to_vec(), "x", Reason::NotAReport),
        (b"%PDF-1.7".to_vec(), "x", Reason::NotAReport),
        (b"".to_vec(), "x", Reason::Empty),
        (b" \r\n".to_vec(), "x", Reason::Empty),
        (gzip(b""), "x", Reason::Empty),
        (zip(&[]), "x", Reason::Empty),
        (b"unused".to_vec(), "x", Reason::Empty),
    ] {
        assert_eq!(in_file("x", &bytes), [unreadable(name, reason)], "{reason:?} as a file");
        let mail = report_mail(&[text("a report"), part("application/x", "x", &bytes)]);
        assert_eq!(in_mail(&mail), [unreadable(name, reason)], "{reason:?} in a mail");
    }
}

#[test]
fn hashes_of_unreadable_members_are_distinct_and_stable() {
    let archive = zip(&[("a", b"x"), ("b", b"x")]);
    let hashes = |name| {
        let mut hashes = Vec::new();
        open(&archive, Origin::File { name }, &Limits::default()).walk(&Room::new(&Unshared), &mut |found| {
            if let Found::Unreadable(unreadable) = found {
                hashes.push(unreadable.sha256);
            }
        });
        hashes
    };
    let first = hashes("x");
    assert_eq!(first.len(), 2);
    assert_ne!(first[0], first[1]);
    assert_eq!(first, hashes("renamed"));
}
