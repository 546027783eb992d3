//! Sanitizes the JSON of reporters so that serde_json parses it at a bounded cost.
//!
//! This reader is below the parser, so that the parser never buffers more than one short string: it converts any encoding to
//! UTF-8, fails where a string or the nesting exceeds its limit, and replaces control characters in strings, which JSON
//! forbids, by spaces.

use std::io::{self, BufRead, Read};

use crate::report::encoding::Utf8;
use crate::report::warnings::{Repair, Warnings};
use crate::trouble::{Reason, Trouble};

/// Maximum bytes of a string: many times as much as a policy or an explanation takes. The parser holds one at a time.
const STRING: usize = 64 << 10;
/// Maximum nesting of objects and arrays; a report is seven deep.
const DEPTH: usize = 32;

/// Sanitizing reader of a document; holds one chunk.
pub struct Sanitizer<R> {
    source: Utf8<R>,
    chunk: Vec<u8>,
    given: usize,
    ended: bool,
    /// Number of bytes of the current string.
    string: Option<usize>,
    escaped: bool,
    depth: usize,
    failure: Option<Trouble>,
    pub warnings: Warnings,
}

impl<R: BufRead> Sanitizer<R> {
    pub fn new(source: R) -> Self {
        Self {
            source: Utf8::new(source),
            chunk: Vec::new(),
            given: 0,
            ended: false,
            string: None,
            escaped: false,
            depth: 0,
            failure: None,
            warnings: Warnings::default(),
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone().into());
        }
        let mut text = String::new();
        self.ended = !self.source.read(&mut text, &mut self.warnings)?;
        self.chunk = text.into_bytes();
        self.given = 0;
        let mut chunk = std::mem::take(&mut self.chunk);
        let sound =
            chunk.iter_mut().map_while(|byte| self.pass(byte).map_err(|trouble| self.failure = Some(trouble)).ok());
        let sound = sound.count();
        chunk.truncate(sound);
        self.chunk = chunk;
        Ok(())
    }

    fn pass(&mut self, byte: &mut u8) -> Result<(), Trouble> {
        match (&mut self.string, *byte) {
            (Some(length), _) if *length >= STRING => {
                return Err(malformed(format_args!("a string is longer than the maximum of {STRING} bytes")));
            }
            (Some(length), _) if self.escaped => {
                *length += 1;
                self.escaped = false;
            }
            (Some(_), b'"') => self.string = None,
            (Some(length), inside) => {
                *length += 1;
                self.escaped = inside == b'\\';
                if inside < b' ' {
                    *byte = b' ';
                    self.warnings.note(Repair::ControlCharacters, "");
                }
            }
            (None, b'"') => self.string = Some(0),
            (None, b'{' | b'[') if self.depth == DEPTH => {
                return Err(malformed(format_args!("objects are nested more than {DEPTH} levels deep")));
            }
            (None, b'{' | b'[') => self.depth += 1,
            (None, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
            // Padding.
            (None, 0) if self.depth == 0 => *byte = b' ',
            (None, _) => {}
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Sanitizer<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.given == self.chunk.len() && !(self.ended && self.failure.is_none()) {
            self.refill()?;
        }
        let read = self.chunk.get(self.given..).unwrap_or_default().read(into)?;
        self.given += read;
        Ok(read)
    }
}

fn malformed(what: std::fmt::Arguments<'_>) -> Trouble {
    Trouble::new(Reason::JsonMalformed, what.to_string())
}

/// Converts an error of the parser: the trouble of the reader below it, or the position where the text is no JSON.
pub fn trouble_of(error: serde_json::Error) -> Trouble {
    match error.classify() {
        serde_json::error::Category::Io => Trouble::from_io(&error.into(), Reason::JsonTruncated),
        serde_json::error::Category::Eof => Trouble::new(
            Reason::JsonTruncated,
            format!("the document ends at line {} before its objects are closed", error.line()),
        ),
        _ => Trouble::new(Reason::JsonMalformed, format!("invalid JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(json: &[u8]) -> (String, Option<Reason>) {
        let mut text = Vec::new();
        let end = Sanitizer::new(json).read_to_end(&mut text);
        (String::from_utf8(text).unwrap(), end.err().map(|error| Trouble::from_io(&error, Reason::ReaderPanic).reason))
    }

    #[test]
    fn valid_json_is_not_changed() {
        let json = r#"{"a": ["\"{[", "\\", 1.5e3, null], "é": {}}"#;
        assert_eq!(passed(json.as_bytes()), (json.into(), None));
    }

    #[test]
    fn other_encodings_and_control_characters_in_json_are_repaired() {
        assert_eq!(passed(b"\xef\xbb\xbf{\"a\": \"b\tc\n\"}").0, "{\"a\": \"b c \"}");
        let utf16: Vec<u8> = "\u{feff}{\"é\": 1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(passed(&utf16).0, "{\"é\": 1}");
        assert_eq!(passed(b"{\"a\": \"\xe9\"}").0, "{\"a\": \"é\"}");
    }

    #[test]
    fn long_strings_and_deep_nesting_end_the_json_document() {
        let (text, end) = passed(format!("[\"{}\"]", "x".repeat(STRING + 1)).as_bytes());
        assert_eq!((text.len(), end), (2 + STRING, Some(Reason::JsonMalformed)));
        assert_eq!(passed("[".repeat(100).as_bytes()), ("[".repeat(DEPTH), Some(Reason::JsonMalformed)));
        assert_eq!(passed("[]".repeat(100).as_bytes()).1, None);
    }
}
