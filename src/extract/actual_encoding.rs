//! Determines the transfer encoding that a body has, whatever its header declares: gateways decode bodies and keep the field,
//! drop it, or replace it by another.

use super::{
    decode::{Encoding, base64_head},
    sniff::{self, Kind},
    stream::PEEK_BYTES,
};

/// Number of bytes at the start of a body that has no base64, of which one at least is not of its alphabet: field names of
/// mails are shorter.
const TELLING_BYTES: usize = 64;

/// Base64 of the magic numbers of gzip and zip.
const BASE64_MAGICS: [&[u8]; 2] = [b"H4sI", b"UEsDB"];

/// Returns the encoding of `body`, for which the header declares `declared`. Base64 of base64, or of anything else that the
/// header does not tell, is found in the decoded bytes.
pub(super) fn of(body: &[u8], declared: Encoding) -> Encoding {
    let head = &body[..body.len().min(PEEK_BYTES)];
    let text = head.trim_ascii_start();
    match declared {
        Encoding::Base64 if is_no_base64(text) => {
            if is_quoted(text) {
                Encoding::QuotedPrintable
            } else {
                Encoding::Identity
            }
        }
        Encoding::QuotedPrintable if is_unquoted(text) => Encoding::Identity,
        Encoding::Identity if BASE64_MAGICS.iter().any(|magic| text.starts_with(magic)) => Encoding::Base64,
        Encoding::Identity if text.starts_with(b"<") && is_quoted(text) => Encoding::QuotedPrintable,
        _ => declared,
    }
}

/// True if the text is known content as it is, and can't be base64.
fn is_no_base64(text: &[u8]) -> bool {
    base64_head(&text[..text.len().min(TELLING_BYTES)]).1 < text.len().min(TELLING_BYTES) && is_known(sniff::kind(text))
}

/// True if the bytes can't be quoted-printable: they are binary, or XML whose attributes are not escaped.
fn is_unquoted(text: &[u8]) -> bool {
    match sniff::kind(text) {
        Kind::Report => {
            let is_escaped = is_quoted(text) || contains(text, b"=\n") || contains(text, b"=\r\n");
            !is_escaped && (contains(text, b"=\"") || contains(text, b"='"))
        }
        Kind::Gzip | Kind::Zlib | Kind::Zip | Kind::Tar | Kind::Tnef | Kind::Unsupported(_) => !text.is_ascii(),
        _ => false,
    }
}

/// True if attributes of XML are escaped as in quoted-printable.
fn is_quoted(text: &[u8]) -> bool {
    contains(text, b"=3D\"") || contains(text, b"=3D'")
}

fn is_known(kind: Kind) -> bool {
    !matches!(kind, Kind::Empty | Kind::Unused | Kind::Unknown | Kind::Base64)
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(text, word).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_decoded_by_what_it_is() {
        let plain = b"<?xml version=\"1.0\"?>\n<feedback a=\"12\">";
        let quoted = b"<?xml version=3D\"1.0\"?>=\n<feedback>";
        let base64 = b"PD94bWwgdmVyc2lvbj0iMS4wIj8+PGZlZWRiYWNrPjwvZmVlZGJhY2s+";
        for (body, declared, actual) in [
            (&plain[..], Encoding::Base64, Encoding::Identity),
            (plain, Encoding::QuotedPrintable, Encoding::Identity),
            (plain, Encoding::Identity, Encoding::Identity),
            (quoted, Encoding::Base64, Encoding::QuotedPrintable),
            (quoted, Encoding::QuotedPrintable, Encoding::QuotedPrintable),
            (quoted, Encoding::Identity, Encoding::QuotedPrintable),
            (base64, Encoding::Base64, Encoding::Base64),
            (b"\x1f\x8b\x08\0", Encoding::Base64, Encoding::Identity),
            (b"\x1f\x8b\x08\0\xff", Encoding::QuotedPrintable, Encoding::Identity),
            (b"PK\x03\x04=00", Encoding::QuotedPrintable, Encoding::QuotedPrintable),
            (b"\r\nH4sIAAAA", Encoding::Identity, Encoding::Base64),
            (b"H4 is a paper size", Encoding::Identity, Encoding::Identity),
            // Base64 that begins like bzip2, or with junk.
            (
                b"BZhwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                Encoding::Base64,
                Encoding::Base64,
            ),
            (b"!aGVsbG8=", Encoding::Base64, Encoding::Base64),
            (b"{\"report-id\": \"1\"}", Encoding::Base64, Encoding::Identity),
            (b"Content-Type: text/xml\r\n\r\n<feedback>", Encoding::Base64, Encoding::Identity),
        ] {
            assert_eq!(of(body, declared), actual, "{:?} declared {declared:?}", String::from_utf8_lossy(body));
        }
    }
}
