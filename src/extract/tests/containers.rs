//! Containers besides the usual archives: signed S/MIME, PEM, JSON strings, Outlook messages, zips without their directory.

use super::*;

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [_, _, high, low] = (content.len() as u32).to_be_bytes();
    [&[tag, 0x82, high, low], content].concat()
}

/// Signed data around `content`, without signatures.
fn signed(content: &[u8]) -> Vec<u8> {
    let oid = |kind: u8| [b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07".as_slice(), &[kind]].concat();
    let encapsulated = der(0x30, &[oid(1), der(0xa0, &der(4, content))].concat());
    let data = der(0x30, &[b"\x02\x01\x01\x31\x00".as_slice(), &encapsulated, b"\x31\x00"].concat());
    der(0x30, &[oid(2), der(0xa0, &data)].concat())
}

fn smime(name: &str, bytes: &[u8]) -> Vec<u8> {
    part("application/pkcs7-mime; smime-type=signed-data", name, bytes)
}

/// Regression: an opaque-signed mail was called encrypted.
#[test]
fn an_opaque_signed_mail_is_read() {
    let entity = mail_headed("", &[text("see"), part("application/gzip", "r.gz", &gzip(XML))]);
    let letter = signed(&entity);
    let pem = format!("-----BEGIN PKCS7-----\n{}-----END PKCS7-----\n", base64(&letter)).into_bytes();
    for bytes in [letter.clone(), base64(&letter).into_bytes(), pem.clone(), gzip(&letter)] {
        assert_eq!(in_mail(&report_mail(&[smime("smime.p7m", &bytes)])), [document("smime.p7m/r.gz", XML)]);
        assert_eq!(in_mail(&mail(&[part("application/octet-stream", "a.p7m", &bytes)])), [document("a.p7m/r.gz", XML)]);
        assert_eq!(in_file("smime.p7m", &bytes), [document("smime.p7m/r.gz", XML)]);
    }
    let whole = [b"From: a@example.com\r\nSubject: DMARC\r\n".as_slice(), &smime("smime.p7m", &letter)].concat();
    assert_eq!(in_mail(&whole), [document("smime.p7m/r.gz", XML)]);
    // Signed twice, a signed file, and one whose type is wrong.
    let twice = signed(&smime("inner.p7m", &letter));
    assert_eq!(in_mail(&report_mail(&[smime("smime.p7m", &twice)])), [document("smime.p7m/inner.p7m/r.gz", XML)]);
    assert_eq!(in_mail(&report_mail(&[smime("smime.p7m", &signed(XML))])), [document("smime.p7m", XML)]);
    assert_eq!(in_mail(&report_mail(&[smime("smime.p7m", &entity)])), [document("smime.p7m/r.gz", XML)]);
}

#[test]
fn a_damaged_or_encrypted_smime_mail_is_an_error() {
    let entity = mail_headed("", &[part("application/gzip", "r.gz", &gzip(XML))]);
    let letter = signed(&entity);
    let cut = in_mail(&report_mail(&[smime("smime.p7m", &letter[..letter.len() - 40])]));
    let [Seen::Document { end: Some(Reason::CorruptGzip), .. }, told] = &cut[..] else { panic!("{cut:?}") };
    assert_eq!(*told, unreadable("smime.p7m", Reason::CorruptMessage));
    let encrypted = der(0x30, &[b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03".as_slice(), &der(0xa0, XML)].concat());
    for bytes in
        [encrypted.clone(), base64(&encrypted).into_bytes(), signed(&smime("e.p7m", &encrypted)), b"?".to_vec()]
    {
        let seen = in_mail(&report_mail(&[smime("smime.p7m", &bytes)]));
        assert!(matches!(seen[..], [Seen::Unreadable { reason: Reason::EncryptedMail, .. }]), "{seen:?}");
    }
    // Certificates alone, or a detached signature that is typed like a mail, beside a report.
    let report = part("application/gzip", "r.gz", &gzip(XML));
    let oid = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02".as_slice();
    let data = der(0x30, b"\x02\x01\x01\x31\x00\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01\x31\x00");
    let alone = der(0x30, &[oid, &der(0xa0, &data)].concat());
    assert_eq!(in_mail(&report_mail(&[report, smime("certs.p7c", &alone)])), [document("r.gz", XML)]);
    assert_eq!(in_mail(&report_mail(&[smime("certs.p7c", &alone)])), [unreadable("certs.p7c", Reason::Empty)]);
    assert_eq!(in_mail(&mail(&[smime("smime.p7m", &signed(b"Content-Type: text/plain\r\n\r\nDear Bob"))])), []);
}

#[test]
fn a_report_in_a_json_string_is_read() {
    for report in [JSON, XML] {
        let string = serde_json::to_string(std::str::from_utf8(report).unwrap()).unwrap();
        assert_eq!(in_file("r.json", string.as_bytes()), [document("r.json", report)]);
        let twice = serde_json::to_string(&string).unwrap();
        assert_eq!(
            in_mail(&report_mail(&[part("application/json", "r.json", twice.as_bytes())])),
            [document("r.json", report)]
        );
    }
    assert_eq!(in_file("x", b"\"just a string\""), [unreadable("x", Reason::NotAReport)]);
}

/// Regression: nothing was read of a zip whose end is missing.
#[test]
fn members_of_a_zip_without_its_directory_are_read() {
    let second = XML.repeat(3);
    let members = [("a.xml", XML), ("b/c.xml", &second[..])];
    let whole = [document("x/a.xml", XML), document("x/b/c.xml", &second), unreadable("x", Reason::CorruptZip)];
    for method in [CompressionMethod::Deflated, CompressionMethod::Stored] {
        let archive = zip_by(method, &members);
        let central = archive.windows(4).position(|word| word == b"PK\x01\x02").unwrap();
        assert_eq!(in_file("x", &archive[..central]), whole, "{method}");
        assert_eq!(in_file("x", &archive[..archive.len() - 10]), whole, "a part of the directory is there: {method}");
        let cut = in_file("x", &archive[..central - 20]);
        assert_eq!(cut[0], document("x/a.xml", XML));
        let Seen::Document { bytes, end: Some(Reason::CorruptZip), .. } = &cut[1] else { panic!("{cut:?}") };
        assert!(second.starts_with(bytes));
        assert_eq!(cut[2..], whole[2..]);
    }
}

#[test]
fn data_descriptors_of_a_zip_without_its_directory_are_found() {
    let member = |name: &str, method: u8, data: &[u8], descriptor: &[u8]| {
        let mut header = b"PK\x03\x04\x14\x00\x08\x00".to_vec();
        header.extend([method, 0, 0, 0, 0, 0]);
        header.extend([0; 12]);
        header.extend([name.len() as u8, 0, 0, 0]);
        [&header, name.as_bytes(), data, descriptor].concat()
    };
    let mut crc = flate2::Crc::new();
    crc.update(XML);
    let deflated = &zlib(XML)[2..zlib(XML).len() - 4];
    for (method, data) in [(8, deflated), (0, XML)] {
        let (sum, size) = (crc.sum().to_le_bytes(), (data.len() as u32).to_le_bytes());
        let wide = (data.len() as u64).to_le_bytes();
        for descriptor in [
            [b"PK\x07\x08".as_slice(), &sum, &size, &size].concat(),
            [sum, size, size].concat(),
            [b"PK\x07\x08".as_slice(), &sum, &wide, &wide].concat(),
            [sum.as_slice(), &wide, &wide].concat(),
        ] {
            let archive =
                [member("a.xml", method, data, &descriptor), member("b.xml", method, data, &descriptor)].concat();
            let expected = [document("x/a.xml", XML), document("x/b.xml", XML), unreadable("x", Reason::CorruptZip)];
            assert_eq!(in_file("x", &archive), expected, "{method}, {} bytes", descriptor.len());
        }
    }
}

#[test]
fn containers_that_are_not_supported_are_named() {
    for (bytes, named) in [
        (&b"\x60\xea\x28\x00"[..], "arj"),
        (b"\x21\x5c-lh5-\0\0", "lzh"),
        (b"]\0\0\x80\0", "lzma"),
        (b"\x02\x21\x4c\x18", "lz4"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"MSCF\0\0\0\0", "cab"),
        (b"Rar!\x1a\x07\x01\0", "rar"),
        (b"!BDN", "Outlook data file"),
        (b"(This file must be converted with BinHex 4.0)", "BinHex"),
    ] {
        let mut told = Vec::new();
        open(bytes, Origin::File { name: "x" }, &Limits::default()).walk(&Room::new(&Unshared), &mut |found| {
            if let Found::Unreadable(unreadable) = found {
                told.push(unreadable.trouble);
            }
        });
        let [Trouble { reason: Reason::UnsupportedContainer, detail, .. }] = &told[..] else { panic!("{told:?}") };
        assert!(detail.contains(named), "{detail}");
    }
}

/// Messages made by `make.py`, with streams below and above the size of those in the mini stream.
mod outlook {
    use super::*;

    fn message() -> Vec<u8> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mail/066-outlook-message.eml");
        let letter = std::fs::read_to_string(path).unwrap();
        let text = letter.split("\r\n\r\n").find(|part| part.starts_with("0M8R")).unwrap();
        let text: String = text.lines().take_while(|line| !line.starts_with("--")).collect();
        ::base64::Engine::decode(&::base64::prelude::BASE64_STANDARD, text).unwrap()
    }

    fn read(file: &[u8]) -> Vec<Seen> {
        in_mail(&report_mail(&[part("application/octet-stream", "a.msg", file)]))
    }

    #[test]
    fn attachments_of_an_outlook_message_are_read() {
        let seen = read(&message());
        let [Seen::Document { name: Some(first), bytes, .. }, Seen::Document { name: Some(second), bytes: more, .. }] =
            &seen[..]
        else {
            panic!("{seen:?}")
        };
        assert_eq!((&first[..6], second.as_str()), ("a.msg/", "a.msg/r-2.xml.gz"));
        assert!(bytes.starts_with(b"<?xml") && more.len() > 10_000 && more.ends_with(b"</feedback>\n"));
        assert_eq!(in_file("a.msg", &gzip(&message())).len(), 2);
    }

    #[test]
    fn a_damaged_outlook_message_is_an_error_and_an_office_document_is_not_beside_a_report() {
        let whole = message();
        for length in [8, 30, 76, 511, 512, 600, 1024, whole.len() / 2] {
            let seen = read(&whole[..length]);
            assert!(matches!(seen.last(), Some(Seen::Unreadable { .. })), "{length}: {seen:?}");
        }
        // The name of the stream that each message has.
        let name: Vec<u8> = "__properties_version1.0".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let attached: Vec<u8> = "__attach".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut office = whole;
        for at in 0..office.len() - name.len() {
            if office[at..].starts_with(&name) || office[at..].starts_with(&attached) {
                office[at] = b'W';
            }
        }
        let report = part("application/gzip", "r.gz", &gzip(XML));
        let beside = part("application/msword", "letter.doc", &office);
        assert_eq!(in_mail(&report_mail(&[report, beside.clone()])), [document("r.gz", XML)]);
        assert_eq!(in_mail(&report_mail(&[beside])), [unreadable("letter.doc", Reason::NotAReport)]);
    }

    #[test]
    fn sectors_that_form_a_circle_end() {
        let whole = message();
        for at in (0..whole.len() - 4).step_by(4) {
            let mut changed = whole.clone();
            for sector in [0u32, 1, 3] {
                changed[at..at + 4].copy_from_slice(&sector.to_le_bytes());
                if let Some(Ok(attachments)) = crate::extract::outlook::attachments(&changed) {
                    assert!(attachments.len() < 20, "{at}");
                }
            }
        }
    }
}
