//! Content type detection by magic numbers and content alone: the names and content types of reports are wrong too often.

use std::borrow::Cow;

use super::{decode::base64_head, failure, fields, json_string::JsonString, pem, signed_data::is_signed};

/// Type of a stream, detected from its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// No bytes, or white space only.
    Empty,
    Gzip,
    Zlib,
    Zip,
    Tar,
    /// XML with a `feedback` element.
    Report,
    /// A JSON object with keys of a TLS report, or an array of them.
    TlsReport,
    /// The fields of a feedback report.
    Feedback,
    Mail,
    /// Base64 of one of these.
    Base64,
    /// Base64 of one of these between the lines of PEM.
    Pem,
    /// A JSON string with one of these in it.
    JsonString,
    /// CMS signed or compressed data.
    Signed,
    /// A compound file: an Outlook message, or another document of Microsoft Office.
    Compound,
    Tnef,
    /// PGP or CMS encrypted data.
    Encrypted,
    /// A container that is not supported, with its name.
    Unsupported(&'static str),
    /// An image, by far the most frequent other attachment of a report.
    Image,
    /// The word `unused`, which some reporters send in place of a report.
    Unused,
    Unknown,
}

impl Kind {
    /// True for content of which a byte order mark before it is no part.
    pub fn is_bytes(self) -> bool {
        matches!(self, Kind::Gzip | Kind::Zlib | Kind::Zip | Kind::Tar | Kind::Feedback | Kind::Mail)
    }
}

/// Magic numbers of containers, encrypted mail and images.
const MAGICS: &[(&[u8], Kind)] = &[
    (&[0x1f, 0x8b, 8], Kind::Gzip),
    (b"PK\x03\x04", Kind::Zip),
    (b"PK\x05\x06", Kind::Zip),
    (&[0x78, 0x9f, 0x3e, 0x22], Kind::Tnef),
    (b"-----BEGIN PGP MESSAGE-----", Kind::Encrypted),
    (b"BZh", Kind::Unsupported("bzip2")),
    (b"\xfd7zXZ\0", Kind::Unsupported("xz")),
    (b"7z\xbc\xaf\x27\x1c", Kind::Unsupported("7z")),
    (b"Rar!\x1a\x07", Kind::Unsupported("rar")),
    (&[0x28, 0xb5, 0x2f, 0xfd], Kind::Unsupported("zstd")),
    (&[0x04, 0x22, 0x4d, 0x18], Kind::Unsupported("lz4")),
    (b"LZIP", Kind::Unsupported("lzip")),
    (b"MSCF\0\0\0\0", Kind::Unsupported("cab")),
    (&[0x1f, 0x9d], Kind::Unsupported("compress")),
    (&[0x1f, 0xa0], Kind::Unsupported("lzh (compress)")),
    (&[0x1f, 0x1e], Kind::Unsupported("pack")),
    (&[0x60, 0xea], Kind::Unsupported("arj")),
    (&[0x5d, 0, 0], Kind::Unsupported("lzma")),
    (&[0x02, 0x21, 0x4c, 0x18], Kind::Unsupported("lz4")),
    (b"\x89LZO\0", Kind::Unsupported("lzop")),
    (b"\xff\x06\0\0sNaPpY", Kind::Unsupported("snappy")),
    (b"StuffIt", Kind::Unsupported("StuffIt")),
    (b"SIT!", Kind::Unsupported("StuffIt")),
    (b"(This file must be converted with BinHex", Kind::Unsupported("BinHex")),
    (b"=ybegin ", Kind::Unsupported("yEnc")),
    (b"xar!", Kind::Unsupported("xar")),
    (b"!<arch>\n", Kind::Unsupported("ar")),
    (b"Rar!", Kind::Unsupported("rar")),
    (b"RE\x7e\x5e", Kind::Unsupported("rar")),
    (b"!BDN", Kind::Unsupported("an Outlook data file (pst)")),
    (&[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1], Kind::Compound),
    (b"\x89PNG", Kind::Image),
    (b"GIF8", Kind::Image),
    (&[0xff, 0xd8, 0xff], Kind::Image),
];

/// Bytes right after the outer length of CMS enveloped data (RFC 5652 section 6), and of authenticated enveloped data
/// (RFC 5083).
const ENCRYPTED_DATA: [&[u8]; 2] =
    [b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03", b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17"];

/// Methods of lzh archives, two bytes from the start.
const LZH: [&[u8]; 2] = [b"-lh", b"-lz"];

/// Minimum number of bytes that are taken for base64: fewer are a word, and no report.
const LEAST_BASE64_BYTES: usize = 12;

/// Header fields; every mail has at least one of them.
const MAIL_FIELDS: &[&str] = &[
    "from",
    "received",
    "return-path",
    "delivered-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
];

/// Keys of a TLS report in any case; all keys of one of these sets are required (RFC 8460 section 4.4). `policies` alone is
/// too common in JSON.
const TLS_REPORT_KEYS: &[&[&[u8]]] = &[
    &[b"\"organization-name\""],
    &[b"\"report-id\""],
    &[b"\"policies\"", b"\"policy-type\""],
    &[b"\"policies\"", b"\"result-type\""],
];

/// Detects the type of a stream from its first bytes.
pub(super) fn kind(head: &[u8]) -> Kind {
    if let Some((_, kind)) = MAGICS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return *kind;
    }
    if is_zlib(head) {
        return Kind::Zlib;
    }
    if is_tar(head) {
        return Kind::Tar;
    }
    if head.first() == Some(&0x30) {
        let begin = &head[..head.len().min(32)];
        if ENCRYPTED_DATA.iter().any(|oid| contains(begin, oid)) {
            return Kind::Encrypted;
        }
        if is_signed(head) {
            return Kind::Signed;
        }
    }
    if head.get(2..).is_some_and(|rest| rest.get(4) == Some(&b'-') && LZH.iter().any(|method| rest.starts_with(method)))
    {
        return Kind::Unsupported("lzh");
    }
    let text = as_ascii(head);
    let text = text.trim_ascii();
    match text {
        b"" => Kind::Empty,
        b"unused" => Kind::Unused,
        [b'<', ..] if has_feedback_element(text) => Kind::Report,
        [b'{' | b'[', ..] if has_tls_report_keys(text) => Kind::TlsReport,
        _ if failure::is_fields(head) => Kind::Feedback,
        _ if is_mail(head) => Kind::Mail,
        [b'"', ..] if is_json_string(text) => Kind::JsonString,
        [b'-', ..] if pem::body(text).is_some_and(|body| is_base64(&text[body])) => Kind::Pem,
        _ if is_base64(text) => Kind::Base64,
        _ => Kind::Unknown,
    }
}

/// True if the text begins with the base64 of known content.
fn is_base64(text: &[u8]) -> bool {
    let (decoded, length) = base64_head(text);
    if decoded.len() < LEAST_BASE64_BYTES {
        return false;
    }
    match kind(&decoded) {
        Kind::Empty | Kind::Unused | Kind::Image | Kind::Unknown => false,
        // Only two bytes are known of these, which words can be too.
        Kind::Zlib | Kind::Unsupported(_) => !text[..length].trim_ascii().contains(&b' '),
        _ => true,
    }
}

/// True if the text is a JSON string that begins like a report.
fn is_json_string(text: &[u8]) -> bool {
    let mut inside = Vec::new();
    JsonString::default().decode(text, &mut inside);
    matches!(kind(&inside), Kind::Report | Kind::TlsReport | Kind::JsonString | Kind::Base64)
}

/// True if the bytes begin with the header of a mail.
pub(super) fn is_mail(head: &[u8]) -> bool {
    fields::lines(head)
        .skip_while(|line| line.trim_ascii().is_empty())
        .skip_while(|line| fields::is_mailbox_line(line))
        .filter(|line| !matches!(line, [b' ' | b'\t', ..]))
        .map_while(fields::field_name)
        .any(|name| fields::field_of(name, MAIL_FIELDS).is_some())
}

/// True for text: no control characters but white space.
pub(super) fn is_text(head: &[u8]) -> bool {
    head.iter().all(|&byte| byte >= b' ' || byte.is_ascii_whitespace())
}

fn has_tls_report_keys(text: &[u8]) -> bool {
    // A report may be in a string inside another object.
    let text: Vec<u8> = text.iter().filter(|&&byte| byte != b'\\').map(u8::to_ascii_lowercase).collect();
    TLS_REPORT_KEYS.iter().any(|keys| keys.iter().all(|key| contains(&text, key)))
}

/// True for a zlib header (RFC 1950 section 2.2) with the 32 KiB window that every writer of reports uses; smaller windows
/// would match text. `x^` counts only if bytes other than text follow.
fn is_zlib(head: &[u8]) -> bool {
    match head {
        [0x78, 0x01 | 0x9c | 0xda, ..] => true,
        [0x78, 0x5e, rest @ ..] => {
            rest.iter().take(32).any(|byte| !byte.is_ascii_graphic() && !byte.is_ascii_whitespace())
        }
        _ => false,
    }
}

/// True for a header block with the right checksum, also without `ustar`, which old writers leave out (POSIX.1-1988,
/// 10.1.1).
fn is_tar(head: &[u8]) -> bool {
    let Some(block) = head.get(..512) else { return false };
    let told = block[148..156].trim_ascii_start();
    let digits = told.iter().take_while(|byte| (b'0'..=b'7').contains(byte)).count();
    if digits == 0 || block[0] == 0 {
        return false;
    }
    let told = told[..digits].iter().fold(0u32, |sum, digit| sum * 8 + u32::from(digit - b'0'));
    let sum: u32 = block[..148].iter().chain(&[b' '; 8]).chain(&block[156..]).map(|&byte| u32::from(byte)).sum();
    told == sum
}

/// The text without its byte order mark; for UTF-16, converted to ASCII, with `?` for other characters.
fn as_ascii(head: &[u8]) -> Cow<'_, [u8]> {
    let (unit, text): (fn([u8; 2]) -> u16, _) = match head {
        [0xef, 0xbb, 0xbf, text @ ..] => return text.into(),
        [0xff, 0xfe, text @ ..] => (u16::from_le_bytes, text),
        [0xfe, 0xff, text @ ..] => (u16::from_be_bytes, text),
        [b'<' | b'{' | b'[', 0, ..] => (u16::from_le_bytes, head),
        [0, b'<' | b'{' | b'[', ..] => (u16::from_be_bytes, head),
        _ => return head.into(),
    };
    let ascii = |pair: &[u8]| match pair {
        &[a, b] => u8::try_from(unit([a, b])).unwrap_or(b'?'),
        _ => b'?',
    };
    text.chunks_exact(2).map(ascii).collect()
}

/// True if the text contains a start tag `feedback`, with or without a prefix. It need not be the root element: one reporter
/// wraps its report into the schema.
fn has_feedback_element(text: &[u8]) -> bool {
    const NAME: &[u8] = b"feedback";
    text.windows(NAME.len()).enumerate().filter(|(_, word)| word.eq_ignore_ascii_case(NAME)).any(|(at, _)| {
        let after = text.get(at + NAME.len()).copied().unwrap_or(b'>');
        let before = &text[..at];
        let before = before.strip_suffix(b":").map_or(before, |prefixed| {
            let prefix = prefixed.iter().rev().take(64).take_while(|byte| is_name_byte(**byte)).count();
            &prefixed[..prefixed.len() - prefix]
        });
        before.ends_with(b"<") && !is_name_byte(after) && after != b':'
    })
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_xml_report_is_detected_by_its_root_element() {
        let utf16 =
            |text: &str| [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
        let reports: Vec<Vec<u8>> = vec![
            b"<feedback>".into(),
            b"\xef\xbb\xbf \n<?xml version='1.0'?><!-- hello --><Feedback xmlns='x'>".into(),
            b"<d:feedback xmlns:d='x'>".into(),
            b"<xs:schema><feedback\n>".into(),
            utf16("<?xml version='1.0' encoding='utf-16'?><feedback>"),
        ];
        for report in reports {
            assert_eq!(kind(&report), Kind::Report, "{}", String::from_utf8_lossy(&report));
        }
        for other in ["<invoice/>", "<feedback-form>", "<a>feedback</a>", "<html>", "see <feedback>", "<feedback:x>"] {
            assert_eq!(kind(other.as_bytes()), Kind::Unknown, "{other}");
        }
    }

    #[test]
    fn a_tls_report_is_detected_by_its_keys() {
        assert_eq!(kind(b"\xef\xbb\xbf{\"report-id\": \"1\"}"), Kind::TlsReport);
        assert_eq!(kind(b" { \"policies\": [ {\"policy\": {\"policy-type\""), Kind::TlsReport);
        assert_eq!(kind(b"{\"policies\": [\"allow\"]}"), Kind::Unknown);
    }

    #[test]
    fn a_mail_is_detected_by_its_header() {
        assert_eq!(kind(b"\r\nFrom a@b Mon Jan 1\nX-A: b\n c\nSubject: d\n\n"), Kind::Mail);
        assert_eq!(kind(b"Note: this is\nText: as it is\n"), Kind::Unknown);
        assert_eq!(kind(b"hello\nSubject: none"), Kind::Unknown);
    }

    #[test]
    fn unsupported_containers_are_named() {
        assert_eq!(kind(b"7z\xbc\xaf\x27\x1c\0"), Kind::Unsupported("7z"));
        assert_eq!(kind(b"BZh91AY&SY"), Kind::Unsupported("bzip2"));
        assert_eq!(kind(b"\xfd7zXZ\0"), Kind::Unsupported("xz"));
        assert_eq!(kind(b"Rar!\x1a\x07\0"), Kind::Unsupported("rar"));
    }
}
