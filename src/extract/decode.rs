//! Content-Transfer-Encodings, as tolerant as mail gateways require: nothing in the text makes decoding fail.

use std::borrow::Cow;

/// How a part's bytes were made fit for mail (RFC 2045 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Encoding {
    /// 7bit, 8bit, binary, or one that is not known.
    #[default]
    Identity,
    Base64,
    QuotedPrintable,
}

impl Encoding {
    pub fn named(name: &str) -> Self {
        match name.trim().trim_matches('"').to_ascii_lowercase().as_str() {
            "base64" => Encoding::Base64,
            "quoted-printable" => Encoding::QuotedPrintable,
            _ => Encoding::Identity,
        }
    }

    pub fn decode<'a>(self, raw: &'a [u8]) -> Cow<'a, [u8]> {
        match self {
            Encoding::Base64 => base64(raw).into(),
            Encoding::QuotedPrintable => quoted_printable(raw).into(),
            Encoding::Identity if is_unlabelled_base64(raw) => base64(raw).into(),
            Encoding::Identity => raw.into(),
        }
    }
}

/// Some gateways drop the Content-Transfer-Encoding of a part: base64 of a gzip or a zip member begins like this.
fn is_unlabelled_base64(raw: &[u8]) -> bool {
    let text = raw.trim_ascii_start();
    text.starts_with(b"H4sI") || text.starts_with(b"UEsDB")
}

/// Bytes outside the alphabet are skipped, padding may be missing, and what follows padding goes on: gateways break
/// lines with anything, and some reporters join encoded pieces.
fn base64(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut have) = (0u32, 0u32);
    while let [letter, after @ ..] = text {
        // As nearly all of it comes: four letters that make three bytes.
        if have == 0
            && let [a, b, c, d, after @ ..] = text
            && let [a, b, c, d] = [a, b, c, d].map(|&letter| u32::from(VALUES[usize::from(letter)]))
            && a | b | c | d < 64
        {
            let [_, three @ ..] = (a << 18 | b << 12 | c << 6 | d).to_be_bytes();
            bytes.extend_from_slice(&three);
            text = after;
            continue;
        }
        text = after;
        match VALUES[usize::from(*letter)] {
            PADDING => have = 0,
            value @ ..64 => {
                bits = bits << 6 | u32::from(value);
                have += 6;
            }
            _ => {}
        }
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have) as u8);
        }
    }
    bytes
}

/// What `=` is taken for. Values above are those of letters outside the alphabet.
const PADDING: u8 = 64;

/// By letter, in the alphabet of RFC 4648 section 4 and the two letters that section 5 has instead.
const VALUES: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value = 0;
    while value < alphabet.len() {
        values[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    values[b'-' as usize] = values[b'+' as usize];
    values[b'_' as usize] = values[b'/' as usize];
    values[b'=' as usize] = PADDING;
    values
};

/// An `=` that begins no escape stands for itself (RFC 2045 section 6.7, note 1 of rule 5).
fn quoted_printable(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let (content, end) = match line {
            [content @ .., b'\r', b'\n'] => (content, &b"\r\n"[..]),
            [content @ .., b'\n'] => (content, &b"\n"[..]),
            content => (content, &b""[..]),
        };
        // Blanks at a line's end were added on the way.
        let mut rest = content.trim_ascii_end();
        let soft_break = rest.last() == Some(&b'=');
        if soft_break {
            rest = &rest[..rest.len() - 1];
        }
        while let [first, tail @ ..] = rest {
            rest = match (first, tail) {
                (b'=', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    bytes.push(hex(*high) << 4 | hex(*low));
                    after
                }
                _ => {
                    bytes.push(*first);
                    tail
                }
            };
        }
        if !soft_break {
            bytes.extend_from_slice(end);
        }
    }
    bytes
}

fn hex(digit: u8) -> u8 {
    (digit as char).to_digit(16).map_or(0, |value| value as u8)
}

#[cfg(test)]
mod tests {
    use ::base64::prelude::{BASE64_STANDARD as STANDARD, Engine as _};

    use super::*;

    #[test]
    fn base64_needs_neither_padding_nor_clean_lines() {
        for text in ["aGVsbG8=", "aGVsbG8", "aG Vs\r\nbG!8=\r\n", "aGU=bGxv", "aGVs*****bG8=="] {
            assert_eq!(base64(text.as_bytes()), b"hello", "{text}");
        }
    }

    #[test]
    fn base64_is_the_same_wherever_its_lines_are_broken() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = STANDARD.encode(&bytes);
        for length in 1..=80 {
            let lines: Vec<u8> = text.as_bytes().chunks(length).flat_map(|line| [line, b"\r\n"].concat()).collect();
            assert_eq!(base64(&lines), bytes, "{length}");
        }
    }

    #[test]
    fn quoted_printable_keeps_what_is_no_escape() {
        assert_eq!(quoted_printable(b"a=3Db=\r\nc \r\n=zz=4"), b"a=bc\r\n=zz=4");
        assert_eq!(quoted_printable(b"=1F=8b=08=00"), b"\x1f\x8b\x08\x00");
    }

    #[test]
    fn base64_of_an_archive_is_decoded_even_when_the_header_got_lost() {
        assert_eq!(&*Encoding::Identity.decode(b"\r\nH4sIAAAA"), b"\x1f\x8b\x08\x00\x00\x00");
        assert_eq!(&*Encoding::Identity.decode(b"H4 is a paper size"), b"H4 is a paper size");
    }
}
