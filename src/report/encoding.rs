//! Converts a document from any encoding that reporters use to UTF-8, as a stream.

use std::io::{self, BufRead};
use std::sync::LazyLock;

use encoding_rs::{Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use crate::report::warnings::{Repair, Warnings};

/// Decodes a document chunk by chunk; holds no more than one chunk.
pub struct Utf8<R> {
    source: R,
    decoding: Decoding,
    ended: bool,
}

enum Decoding {
    /// Nothing has been read yet.
    Undecided,
    /// UTF-8, with the first bytes of a character that the end of the chunk has split.
    Utf8 {
        cut: Vec<u8>,
    },
    Other(Box<Decoder>),
}

/// Maximum size of a chunk of input, in bytes.
const CHUNK: usize = 8 << 10;
/// Bytes within which the XML declaration must be, even after white space or a comment.
const HEAD: usize = 1 << 10;

impl<R: BufRead> Utf8<R> {
    pub fn new(source: R) -> Self {
        Self { source, decoding: Decoding::Undecided, ended: false }
    }

    /// Appends the next chunk to `out`; returns false at the end of the document. An error is returned again by the next
    /// call.
    pub fn read(&mut self, out: &mut String, warnings: &mut Warnings) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        if matches!(self.decoding, Decoding::Undecided) {
            let (head, failure) = self.read_head();
            let (encoding, bom) = detect(&head, warnings);
            self.decoding = if encoding == UTF_8 {
                Decoding::Utf8 { cut: Vec::new() }
            } else {
                Decoding::Other(Box::new(encoding.new_decoder_without_bom_handling()))
            };
            self.decoding.decode(head.get(bom..).unwrap_or_default(), false, out, warnings);
            return failure.map_or(Ok(true), Err);
        }
        let available = fill(&mut self.source)?;
        let length = available.len().min(CHUNK);
        self.ended = length == 0;
        self.decoding.decode(&available[..length], self.ended, out, warnings);
        self.source.consume(length);
        Ok(!self.ended)
    }

    /// Reads enough bytes to see the declaration. Returns them, and the error that ended them early.
    fn read_head(&mut self) -> (Vec<u8>, Option<io::Error>) {
        let mut head = Vec::with_capacity(HEAD);
        while head.len() < HEAD {
            match fill(&mut self.source) {
                Ok([]) => break,
                Ok(available) => {
                    let used = available.len().min(HEAD - head.len());
                    head.extend_from_slice(&available[..used]);
                    self.source.consume(used);
                }
                Err(error) => return (head, Some(error)),
            }
        }
        (head, None)
    }
}

impl Decoding {
    /// Appends the decoded `input` to `out`; `last` means that no input follows.
    fn decode(&mut self, input: &[u8], last: bool, out: &mut String, warnings: &mut Warnings) {
        match self {
            Decoding::Undecided => {}
            Decoding::Utf8 { cut } => decode_utf8(cut, input, last, out, warnings),
            Decoding::Other(decoder) => {
                let room = decoder.max_utf8_buffer_length(input.len()).unwrap_or(input.len() * 3 + 16);
                out.reserve(room);
                if decoder.decode_to_string(input, out, last).2 {
                    warnings.once(Repair::InvalidBytes);
                }
            }
        }
    }
}

fn fill(source: &mut impl BufRead) -> io::Result<&[u8]> {
    // Calls `fill_buf` twice because a borrow that is returned from within a loop would last for the whole loop.
    while let Err(error) = source.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    source.fill_buf()
}

/// Decodes UTF-8. Invalid bytes are taken for windows-1252, the most likely code page of a reporter.
fn decode_utf8(cut: &mut Vec<u8>, input: &[u8], last: bool, out: &mut String, warnings: &mut Warnings) {
    // Fast path for nearly all input: valid UTF-8.
    if cut.is_empty()
        && let Ok(text) = std::str::from_utf8(input)
    {
        return out.push_str(text);
    }
    cut.extend_from_slice(input);
    let mut rest = cut.as_slice();
    loop {
        let error = match std::str::from_utf8(rest) {
            Ok(text) => {
                out.push_str(text);
                rest = &[];
                break;
            }
            Err(error) => error,
        };
        let (valid, bad) = rest.split_at(error.valid_up_to());
        out.push_str(&String::from_utf8_lossy(valid));
        let length = match error.error_len() {
            Some(length) => length,
            None if last => bad.len(),
            None => {
                rest = bad;
                break;
            }
        };
        let (bad, after) = bad.split_at(length);
        warnings.note(Repair::InvalidBytes, "");
        out.extend(bad.iter().map(|&byte| windows_1252(byte)));
        rest = after;
    }
    let left = rest.len();
    cut.drain(..cut.len() - left);
}

/// Characters of the bytes from 0x80 in windows-1252, with replacement characters for controls.
static WINDOWS_1252_CHARACTERS: LazyLock<Vec<char>> = LazyLock::new(|| {
    let bytes: Vec<u8> = (0x80..=0xff).collect();
    let (text, _) = WINDOWS_1252.decode_without_bom_handling(&bytes);
    text.chars().map(|character| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character }).collect()
});

fn windows_1252(byte: u8) -> char {
    let upper = usize::from(byte).checked_sub(0x80).and_then(|index| WINDOWS_1252_CHARACTERS.get(index));
    upper.copied().unwrap_or(char::from(byte))
}

/// Returns the encoding and the length of the byte order mark: determined by the mark itself, else by the position of NULs,
/// else by the declaration.
fn detect(head: &[u8], warnings: &mut Warnings) -> (&'static Encoding, usize) {
    if let Some(found) = Encoding::for_bom(head) {
        return found;
    }
    match head {
        [a, 0, b, 0, ..] if *a != 0 && *b != 0 => return (UTF_16LE, 0),
        [0, a, 0, b, ..] if *a != 0 && *b != 0 => return (UTF_16BE, 0),
        _ => {}
    }
    let Some(label) = declared(head) else { return (UTF_8, 0) };
    // ASCII is a subset of UTF-8, and a document that declares it but uses more is UTF-8. UTF-16 is impossible here: there
    // are no NULs.
    if label.eq_ignore_ascii_case(b"us-ascii") || label.eq_ignore_ascii_case(b"ascii") {
        return (UTF_8, 0);
    }
    match Encoding::for_label(label) {
        Some(encoding) if encoding.is_ascii_compatible() => (encoding, 0),
        _ => {
            warnings.note(Repair::UnknownEncoding, &String::from_utf8_lossy(label));
            (UTF_8, 0)
        }
    }
}

/// Returns the value of `encoding` in `<?xml …?>`.
fn declared(head: &[u8]) -> Option<&[u8]> {
    let declaration = &head[find(head, b"<?xml")?..];
    let declaration = &declaration[..declaration.iter().position(|&b| b == b'>')?];
    let value = &declaration[find(declaration, b"encoding")? + b"encoding".len()..];
    let value = value.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let (quote, value) = value.split_first()?;
    let end = value.iter().position(|b| b == quote)?;
    Some(value[..end].trim_ascii())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn decoded(bytes: &[u8], chunk: usize) -> (String, Vec<String>) {
        let mut source = Utf8::new(BufReader::with_capacity(chunk, bytes));
        let (mut out, mut warnings) = (String::new(), Warnings::default());
        while source.read(&mut out, &mut warnings).expect("memory can be read") {}
        (out, warnings.texts())
    }

    #[test]
    fn characters_split_between_chunks_are_joined() {
        let text = format!("{}<a>é€𝄞</a>", " ".repeat(HEAD - 4));
        for chunk in 1..9 {
            assert_eq!(decoded(text.as_bytes(), chunk), (text.clone(), vec![]));
        }
    }

    #[test]
    fn utf_16_is_detected_with_and_without_byte_order_mark() {
        for mark in ["\u{feff}", ""] {
            let units: Vec<u16> = format!("{mark}<a>é</a>").encode_utf16().collect();
            let little: Vec<u8> = units.iter().flat_map(|u| u.to_le_bytes()).collect();
            let big: Vec<u8> = units.iter().flat_map(|u| u.to_be_bytes()).collect();
            assert_eq!(decoded(&little, 3), ("<a>é</a>".into(), vec![]));
            assert_eq!(decoded(&big, 3), ("<a>é</a>".into(), vec![]));
        }
    }

    #[test]
    fn the_declared_encoding_is_used() {
        let latin = b"<?xml version='1.0' encoding = \"ISO-8859-1\" ?><a>\xe9</a>";
        assert!(decoded(latin, 7).0.ends_with("<a>\u{e9}</a>"));
        assert!(decoded(b"<?xml encoding='koi8-r'?><a>\xc1</a>", 7).0.ends_with("<a>\u{430}</a>"));
    }

    #[test]
    fn a_wrong_encoding_declaration_is_read_as_utf_8() {
        for label in ["utf-16", "x-klingon"] {
            let (text, warnings) = decoded(format!("<?xml encoding='{label}'?><a>é</a>").as_bytes(), 7);
            assert!(text.ends_with("<a>é</a>"));
            assert!(warnings[0].starts_with("unknown_encoding"), "{warnings:?}");
        }
    }

    #[test]
    fn a_byte_that_is_not_utf_8_is_read_as_windows_1252() {
        let (text, warnings) = decoded(b"<a>Soci\xe9t\xe9 \x91x\x92 \x81</a>\xe2\x82", 5);
        assert_eq!(text, "<a>Société ‘x’ \u{fffd}</a>â‚");
        assert!(warnings[0].starts_with("invalid_bytes"), "{warnings:?}");
    }
}
