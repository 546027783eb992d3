//! Transfer encodings that a header declares and the body does not have, and encodings that nothing declares.

use super::*;

/// A part whose transfer encoding is declared as `claim`; empty: not at all.
fn claiming(claim: &str, body: &[u8]) -> Vec<u8> {
    let field = if claim.is_empty() { String::new() } else { format!("Content-Transfer-Encoding: {claim}\r\n") };
    let head = format!("Content-Type: application/octet-stream; name=\"r\"\r\n{field}\r\n");
    [head.as_bytes(), body].concat()
}

fn quoted(bytes: &[u8]) -> Vec<u8> {
    let escaped: String = bytes.iter().map(|byte| format!("={byte:02X}")).collect();
    escaped.into_bytes().chunks(72).flat_map(|line| [line, b"=\r\n"].concat()).collect()
}

/// Escapes what has to be escaped, as senders of XML do.
fn sparsely_quoted(text: &[u8]) -> Vec<u8> {
    let escaped = String::from_utf8_lossy(text).replace('=', "=3D");
    escaped.into_bytes().chunks(40).flat_map(|line| [line, b"=\r\n"].concat()).collect()
}

/// Regression: XML or JSON that is declared as base64 was decoded as such, and passed over.
#[test]
fn a_body_is_decoded_by_what_it_is_and_not_by_what_is_declared() {
    const WITH_ESCAPE: &[u8] = b"<?xml version=\"1.0\"?><feedback><report_id>id=3C12</report_id></feedback>";
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain("<?xml?><feedback/>".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let marked = [b"\xef\xbb\xbf".as_slice(), XML].concat();
    for report in [XML, JSON, &utf16, &marked, WITH_ESCAPE] {
        let once = base64(report);
        let urlsafe = once.replace('+', "-").replace('/', "_");
        for (claim, body) in [
            ("base64", report.to_vec()),
            ("base64", quoted(report)),
            ("7bit", once.clone().into_bytes()),
            ("", once.clone().into_bytes()),
            ("8bit", urlsafe.into_bytes()),
            ("base64", base64(once.as_bytes()).into_bytes()),
            ("7bit", base64(base64(once.as_bytes()).as_bytes()).into_bytes()),
            ("quoted-printable", once.clone().into_bytes()),
            ("quoted-printable", quoted(once.as_bytes())),
            ("quoted-printable", report.to_vec()),
            ("x-unknown", once.into_bytes()),
        ] {
            if (claim, body.first()) == ("base64", Some(&b'=')) {
                // Fully escaped text can't be told from junk in base64; text that is escaped where it has to be can.
                continue;
            }
            let said = String::from_utf8_lossy(&body).into_owned();
            let found: Vec<Vec<u8>> =
                in_mail(&mail(&[claiming(claim, &body)])).into_iter().filter_map(bytes_of).collect();
            // Line ends around the text are not part of it.
            let found: Vec<&[u8]> = found.iter().map(|bytes| bytes.trim_ascii()).collect();
            assert_eq!(found, [report.trim_ascii()], "declared {claim:?}: {said}");
        }
    }
    let below = claiming("BASE64", &[b"\r\n\r\n".as_slice(), XML].concat());
    assert!(matches!(&in_mail(&mail(&[below]))[..], [Seen::Document { .. }]), "blank lines before the XML");
    for claim in ["base64", "7bit", ""] {
        let seen = in_mail(&mail(&[claiming(claim, &sparsely_quoted(XML))]));
        let found: Vec<Vec<u8>> = seen.into_iter().filter_map(bytes_of).collect();
        assert_eq!(found, [XML], "quoted-printable declared {claim:?}");
    }
}

#[test]
fn archives_are_read_whatever_encoding_is_declared() {
    for archive in [gzip(XML), zip(&[("a.xml", XML)]), zlib(XML), tar(&[("a.xml", XML)]), gzip(&tar(&[("a.xml", XML)]))]
    {
        let once = base64(&archive).into_bytes();
        for (claim, body) in [
            ("base64", archive.clone()),
            ("quoted-printable", archive.clone()),
            ("7bit", once.clone()),
            ("", once.clone()),
            ("quoted-printable", once.clone()),
            ("base64", base64(&once).into_bytes()),
            ("7bit", base64(&once).into_bytes()),
        ] {
            if claim == "quoted-printable" && archive.is_ascii() {
                continue;
            }
            let seen = in_mail(&mail(&[claiming(claim, &body)]));
            let found: Vec<Vec<u8>> = seen.into_iter().filter_map(bytes_of).collect();
            assert_eq!(found, [XML], "declared {claim:?}: {:?}", &archive[..4]);
        }
    }
}

/// Regression: a file that is the base64 of a gzip was no report.
#[test]
fn base64_text_is_read_wherever_it_is() {
    for packed in [gzip(XML), zip(&[("a.xml", XML)]), XML.to_vec()] {
        let text = base64(&packed).into_bytes();
        let marked = [b"\xef\xbb\xbf".as_slice(), &text].concat();
        let wide: Vec<u8> = [0xff, 0xfe].into_iter().chain(text.iter().flat_map(|&byte| [byte, 0])).collect();
        for file in [text.clone(), marked, wide, gzip(&text), zip(&[("r.b64", &text)])] {
            let found: Vec<Vec<u8>> = in_file("r.txt", &file).into_iter().filter_map(bytes_of).collect();
            assert_eq!(found, [XML], "{:?}", String::from_utf8_lossy(&file));
        }
    }
    let letter = base64(&report_mail(&[part("application/gzip", "r.gz", &gzip(XML))]));
    assert_eq!(in_file("m.txt", letter.as_bytes()), [document("m.txt/r.gz", XML)]);
    for no_base64 in ["Thanks", "eJwell this is a letter without any punctuation mark", "eJw= eNo="] {
        assert_eq!(in_file("x", no_base64.as_bytes()), [unreadable("x", Reason::NotAReport)], "{no_base64}");
    }
}

#[test]
fn base64_counts_as_nesting() {
    let mut text = XML.to_vec();
    for _ in 0..10 {
        text = base64(&text).into_bytes();
    }
    assert_eq!(in_file("x", &text), [unreadable("x", Reason::NestedTooDeep)]);
}

fn bytes_of(seen: Seen) -> Option<Vec<u8>> {
    match seen {
        Seen::Document { bytes, .. } => Some(bytes),
        Seen::Unreadable { .. } | Seen::Returned => None,
    }
}
