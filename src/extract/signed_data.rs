//! Reads the content of an opaque-signed S/MIME mail: a streaming parser of CMS (RFC 5652), in DER or BER, that passes on the
//! octets of the encapsulated content and skips everything else. Signatures are not verified.

use crate::trouble::{Reason, Trouble};

/// Bytes right after the outer length of CMS signed data (RFC 5652 section 5), and of compressed data (RFC 3274), whose
/// content is in the same place.
const WITH_CONTENT: [&[u8]; 2] =
    [b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02", b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x09"];

/// Path to the content, as the number of each element among its siblings: ContentInfo, its content, SignedData,
/// EncapsulatedContentInfo, eContent, and the octet string in it.
const PATH: [u32; 6] = [0, 1, 0, 2, 1, 0];

/// Maximum nesting of elements: the content is six deep, and its pieces one or two more.
const DEPTH: usize = 16;
/// Maximum size of the tag and length of an element, in bytes.
const HEADER_BYTES: usize = 12;

const CONSTRUCTED: u8 = 0x20;

/// True if the bytes begin with CMS data that has a content to read.
pub(super) fn is_signed(head: &[u8]) -> bool {
    let begin = &head[..head.len().min(32)];
    head.first() == Some(&0x30) && WITH_CONTENT.iter().any(|oid| memchr::memmem::find(begin, oid).is_some())
}

/// State of the parser.
#[derive(Debug, Default)]
pub(super) struct SignedData {
    /// Elements that are open, outermost first.
    open: Vec<Open>,
    /// Tag and length of the next element, as far as they were read.
    header: Vec<u8>,
    /// Number of bytes read.
    at: u64,
    /// Rest of the element whose bytes are passed on or skipped.
    rest: u64,
    is_content: bool,
    /// True once the content has begun.
    begun: bool,
    end: Option<Result<(), ()>>,
}

#[derive(Debug)]
struct Open {
    /// Offset of its end; `None` for an indefinite length.
    end: Option<u64>,
    children: u32,
    /// True on the path to the content, and inside the content.
    is_on_path: bool,
}

/// Tag and length of an element.
struct Element {
    is_constructed: bool,
    is_end_of_contents: bool,
    length: Option<u64>,
}

impl SignedData {
    pub fn decode(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while self.end.is_none() && !bytes.is_empty() {
            if self.rest > 0 {
                let length = usize::try_from(self.rest).unwrap_or(usize::MAX).min(bytes.len());
                let (taken, after) = bytes.split_at(length);
                if self.is_content {
                    out.extend_from_slice(taken);
                }
                (bytes, self.rest, self.at) = (after, self.rest - length as u64, self.at + length as u64);
                if self.rest == 0 {
                    self.close();
                }
                continue;
            }
            self.header.push(bytes[0]);
            (bytes, self.at) = (&bytes[1..], self.at + 1);
            match Element::of(&self.header) {
                Some(element) => {
                    self.header.clear();
                    self.begin(&element);
                }
                None if self.header.len() == HEADER_BYTES => self.end = Some(Err(())),
                None => {}
            }
        }
    }

    /// Returns the trouble if the content is not whole.
    pub fn finish(&self) -> Result<(), Trouble> {
        match self.end {
            Some(Ok(())) if self.begun => Ok(()),
            Some(Ok(())) => Err(Trouble::new(Reason::Empty, "the S/MIME signature has no content with it")),
            Some(Err(())) => Err(Trouble::new(Reason::CorruptMessage, "the S/MIME signed mail is damaged")),
            None => Err(Trouble::new(Reason::CorruptMessage, "the S/MIME signed mail is cut off")),
        }
    }

    fn begin(&mut self, element: &Element) {
        let depth = self.open.len();
        if element.is_end_of_contents && self.open.last().is_some_and(|parent| parent.end.is_none()) {
            return self.end_of_contents();
        }
        let (number, is_parent_on_path) = match self.open.last_mut() {
            Some(parent) => {
                parent.children += 1;
                (parent.children - 1, parent.is_on_path)
            }
            None => (0, true),
        };
        let is_on_path = is_parent_on_path && PATH.get(depth).is_none_or(|&wanted| wanted == number);
        let is_in_content = is_on_path && depth >= PATH.len() - 1;
        self.begun |= is_in_content;
        let is_entered = element.is_constructed && (is_on_path || element.length.is_none());
        match element.length {
            _ if is_entered && depth == DEPTH => self.end = Some(Err(())),
            // Definite lengths are within the parent's.
            length if is_entered => {
                let end = length.map(|length| self.at.saturating_add(length));
                self.open.push(Open { end, children: 0, is_on_path });
                self.close();
            }
            Some(length) => {
                (self.rest, self.is_content) = (length, is_in_content);
                if length == 0 {
                    self.close();
                }
            }
            None => self.end = Some(Err(())),
        }
    }

    /// Ends the elements that end here.
    fn close(&mut self) {
        // A content in one piece.
        if self.is_content && self.rest == 0 && self.open.len() == PATH.len() - 1 {
            self.end = Some(Ok(()));
        }
        self.is_content = false;
        while self.end.is_none() && self.open.last().is_some_and(|open| open.end.is_some_and(|end| end <= self.at)) {
            self.pop();
        }
    }

    fn end_of_contents(&mut self) {
        self.pop();
        self.close();
    }

    fn pop(&mut self) {
        let ended = self.open.pop();
        let is_whole = self.open.is_empty() || (self.begun && self.open.len() == PATH.len() - 1);
        if is_whole && ended.is_some_and(|ended| ended.is_on_path) {
            self.end = Some(Ok(()));
        }
    }
}

impl Element {
    /// `None` if more bytes are needed, or if the header is longer than any.
    fn of(header: &[u8]) -> Option<Self> {
        let (&tag, mut after) = header.split_first()?;
        if tag & 0x1f == 0x1f {
            let last = after.iter().position(|byte| byte & 0x80 == 0)?;
            after = after.get(last + 1..)?;
        }
        let (&first, after) = after.split_first()?;
        let length = match first {
            0x80 => None,
            0..0x80 => Some(u64::from(first)),
            _ => {
                let bytes = after.get(..usize::from(first & 0x7f))?;
                Some(
                    bytes.iter().fold(0u64, |length, &byte| length.saturating_mul(256).saturating_add(u64::from(byte))),
                )
            }
        };
        let is_end_of_contents = tag == 0 && length == Some(0);
        Some(Self { is_constructed: tag & CONSTRUCTED != 0, is_end_of_contents, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OID: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
    const DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let length = if length < 0x80 { vec![length as u8] } else { vec![0x82, (length >> 8) as u8, length as u8] };
        [&[tag], length.as_slice(), content].concat()
    }

    fn ber(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, 0x80], content, &[0, 0]].concat()
    }

    /// Signed data around this octet string; `None`: a signature alone.
    fn signed(wrap: fn(u8, &[u8]) -> Vec<u8>, octets: Option<&[u8]>) -> Vec<u8> {
        let content = octets.map(|octets| wrap(0xa0, octets)).unwrap_or_default();
        let encapsulated = wrap(0x30, &[DATA, &content].concat());
        let certificates = wrap(0xa0, &wrap(0x30, &der(0x04, b"no content")));
        let parts = [&b"\x02\x01\x01"[..], &der(0x31, b"\x30\x00"), &encapsulated, &certificates, b"\x31\x00"].concat();
        wrap(0x30, &[OID, &wrap(0xa0, &wrap(0x30, &parts))].concat())
    }

    fn read(bytes: &[u8], at_once: usize) -> (Vec<u8>, Option<Reason>) {
        let (mut parser, mut out) = (SignedData::default(), Vec::new());
        bytes.chunks(at_once).for_each(|chunk| parser.decode(chunk, &mut out));
        (out, parser.finish().err().map(|trouble| trouble.reason))
    }

    #[test]
    fn content_is_read_from_der_and_ber_in_one_piece_and_in_several() {
        let long = b"hello, ".repeat(100);
        let pieces = [der(0x04, &long[..300]), der(0x04, b""), der(0x04, &long[300..])].concat();
        let nested = ber(0x24, &[ber(0x24, &der(0x04, &long[..300])), der(0x04, &long[300..])].concat());
        for octets in [der(0x04, &long), der(0x24, &pieces), ber(0x24, &pieces), nested] {
            for wrap in [der, ber] {
                let bytes = signed(wrap, Some(&octets));
                assert!(is_signed(&bytes));
                for at_once in [1, 2, 7, 64, bytes.len()] {
                    assert_eq!(read(&bytes, at_once), (long.clone(), None), "{at_once}");
                }
                let cut = bytes.windows(5).rposition(|word| word == b"hello").unwrap();
                assert_eq!(read(&bytes[..cut], 50).1, Some(Reason::CorruptMessage));
            }
        }
    }

    #[test]
    fn a_signature_alone_and_an_empty_content_are_told_apart() {
        for wrap in [der, ber] {
            assert_eq!(read(&signed(wrap, None), 7), (Vec::new(), Some(Reason::Empty)));
            assert_eq!(read(&signed(wrap, Some(b"\x04\x00")), 7), (Vec::new(), None));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_without_panic(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            at in 0..200usize,
            byte in proptest::prelude::any::<u8>(),
        ) {
            read(&bytes, 3);
            let mut sound = signed(ber, Some(&der(0x24, &der(0x04, b"hello"))));
            let at = at % sound.len();
            sound[at] = byte;
            read(&sound, 5);
        }
    }
}
