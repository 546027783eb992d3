//! Sanitizes XML below quick-xml: for any input, the output is only tags, references and text that quick-xml parses as
//! intended.
//!
//! quick-xml can't recover from errors itself: after one wrong byte the rest is lost, or is buffered without a bound. So
//! this reader decodes the input, drops characters that XML forbids, escapes a `<` or `&` that starts no markup, removes
//! comments, processing instructions and the XML declaration, converts CDATA to plain text, refuses a DOCTYPE, and passes on
//! a tag only when it is complete. It looks at each byte at most twice and holds one chunk and one tag. A document that goes
//! on for too long without a tag is refused, so that data is not inflated at length only to be dropped.

use std::io::{self, BufRead, Read};

use super::character::{is_forbidden, is_reference, may_be_forbidden};
use super::tag_scanner::{self, Step, Tag};
use crate::limits::Limits;
use crate::report::encoding::Utf8;
use crate::report::warnings::{Repair, Warnings};
use crate::trouble::{LimitHit, Reason, Trouble};

/// Turns any bytes into well-formed tokens; see the module.
pub struct Sanitizer<R> {
    source: Utf8<R>,
    /// Decoded input that is not yet processed.
    chunk: String,
    /// Processed output; the bytes from `given` on are returned next.
    out: Vec<u8>,
    given: usize,
    state: State,
    tag: Tag,
    /// `&` and the bytes after it, until they are known to be a reference or not.
    reference: Vec<u8>,
    /// Bytes of text since the last tag.
    text: u64,
    /// True if the rest of the text up to the next tag is dropped, and if that is more than white space.
    overlong: bool,
    shortened: bool,
    /// True once the first element has begun.
    begun: bool,
    /// Bytes since the last tag outside any tag, including the `<` of the next one.
    untagged: u64,
    token_bytes: u64,
    end: Option<Result<(), Trouble>>,
    warnings: Warnings,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Text,
    Reference,
    Tag,
    /// With the number of dashes just read.
    Comment(u8),
    /// With true if a `?` was just read.
    Instruction(bool),
    /// With the number of `]` just read.
    Cdata(u8),
}

/// Maximum length of a reference: `&#x0010FFFF;`.
const REFERENCE: usize = 12;

/// Multiple of `limits.xml_token_bytes` that may come without a tag; text, white space and comments of reports are shorter.
const UNTAGGED: u64 = 16;

impl<R: BufRead> Sanitizer<R> {
    pub fn new(source: R, limits: &Limits) -> Self {
        Self {
            source: Utf8::new(source),
            chunk: String::new(),
            out: Vec::new(),
            given: 0,
            state: State::Text,
            tag: Tag::default(),
            reference: Vec::new(),
            text: 0,
            overlong: false,
            shortened: false,
            begun: false,
            untagged: 0,
            token_bytes: limits.xml_token_bytes,
            end: None,
            warnings: Warnings::default(),
        }
    }

    /// Repairs up to the current input position, which is ahead of the consumer's.
    pub fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    fn read_chunk(&mut self) {
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.clear();
        let read = self.source.read(&mut chunk, &mut self.warnings);
        self.out.reserve(chunk.len());
        let looked = if may_be_forbidden(chunk.as_bytes()) {
            self.look_around_forbidden(&chunk)
        } else {
            self.look_at(chunk.as_bytes())
        };
        self.chunk = chunk;
        self.end = match (looked, read) {
            (Err(trouble), _) => Some(Err(trouble)),
            (Ok(()), Ok(true)) => None,
            (Ok(()), Ok(false)) => Some(Ok(())),
            (Ok(()), Err(error)) => Some(Err(Trouble::from_io(&error, Reason::XmlTruncated))),
        };
    }

    fn look_around_forbidden(&mut self, chunk: &str) -> Result<(), Trouble> {
        for (number, piece) in chunk.split(is_forbidden).enumerate() {
            if number > 0 {
                self.warnings.note(Repair::ForbiddenCharacters, "");
                self.count_untagged(1)?;
            }
            self.look_at(piece.as_bytes())?;
        }
        Ok(())
    }

    fn look_at(&mut self, mut input: &[u8]) -> Result<(), Trouble> {
        while let [byte, after @ ..] = input {
            let taken = match self.state {
                State::Text => {
                    input = self.text(input)?;
                    continue;
                }
                State::Cdata(brackets) => {
                    input = self.cdata(input, brackets)?;
                    continue;
                }
                State::Reference => self.reference(*byte),
                State::Tag => self.tag(*byte)?,
                State::Comment(dashes) => self.comment(*byte, dashes)?,
                State::Instruction(mark) => self.instruction(*byte, mark)?,
            };
            if taken {
                input = after;
            }
        }
        Ok(())
    }

    fn count_untagged(&mut self, bytes: usize) -> Result<(), Trouble> {
        self.untagged += bytes as u64;
        let most = self.token_bytes.saturating_mul(UNTAGGED);
        if self.untagged <= most {
            return Ok(());
        }
        let setting = "limits.xml_token_bytes";
        let detail = format!("more than {most} bytes without a tag, {UNTAGGED} times {setting}; raise it to read on");
        let limit = Some(LimitHit { setting, value: self.token_bytes });
        Err(Trouble { limit, ..Trouble::new(Reason::XmlTokenTooLarge, detail) })
    }

    /// Consumes text up to possible markup, and returns the rest of the input.
    fn text<'i>(&mut self, input: &'i [u8]) -> Result<&'i [u8], Trouble> {
        let run = input.iter().position(|b| matches!(b, b'<' | b'&')).unwrap_or(input.len());
        let (run, rest) = input.split_at(run);
        self.count_untagged(run.len() + usize::from(!rest.is_empty()))?;
        self.give_text(run);
        Ok(match rest.split_first() {
            Some((b'<', after)) => match tag_scanner::simple(after) {
                Some(length) if length as u64 <= self.token_bytes => {
                    self.give_tag(&rest[..=length]);
                    &after[length..]
                }
                _ => {
                    self.tag.begin();
                    self.state = State::Tag;
                    after
                }
            },
            Some((_, after)) => {
                self.reference.clear();
                self.reference.push(b'&');
                self.state = State::Reference;
                after
            }
            None => rest,
        })
    }

    /// Consumes one run or one character of CDATA, and returns the rest of the input.
    fn cdata<'i>(&mut self, input: &'i [u8], brackets: u8) -> Result<&'i [u8], Trouble> {
        let run = input.iter().position(|b| matches!(b, b'<' | b'&' | b']' | b'>')).unwrap_or(input.len());
        let (run, rest) = input.split_at(run.max(1));
        self.count_untagged(run.len())?;
        match run {
            b"]" if brackets < 2 => self.state = State::Cdata(brackets + 1),
            b"]" => self.give_text(run),
            b">" if brackets == 2 => self.state = State::Text,
            _ => {
                self.give_text(&b"]]"[..usize::from(brackets.min(2))]);
                match run {
                    b"<" => self.give_unit(b"&lt;"),
                    b"&" => self.give_unit(b"&amp;"),
                    _ => self.give_text(run),
                }
                self.state = State::Cdata(0);
            }
        }
        Ok(rest)
    }

    fn comment(&mut self, byte: u8, dashes: u8) -> Result<bool, Trouble> {
        self.count_untagged(1)?;
        self.state = match byte {
            b'-' => State::Comment((dashes + 1).min(2)),
            b'>' if dashes == 2 => State::Text,
            _ => State::Comment(0),
        };
        Ok(true)
    }

    /// Returns false if the byte is not part of the reference.
    fn reference(&mut self, byte: u8) -> bool {
        match byte {
            b';' if is_reference(&self.reference[1..]) => {
                let mut whole = std::mem::take(&mut self.reference);
                whole.push(b';');
                self.give_unit(&whole);
                self.reference = whole;
                self.state = State::Text;
                true
            }
            b'#' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' if self.reference.len() < REFERENCE => {
                self.reference.push(byte);
                true
            }
            _ => {
                let held = std::mem::take(&mut self.reference);
                self.give_ampersand();
                self.give_text(&held[1..]);
                self.reference = held;
                self.state = State::Text;
                false
            }
        }
    }

    /// Returns false if the byte is not part of the tag.
    fn tag(&mut self, byte: u8) -> Result<bool, Trouble> {
        match self.tag.push(byte) {
            Step::More if self.tag.len() as u64 <= self.token_bytes => return Ok(true),
            Step::More => {
                let name: String = String::from_utf8_lossy(self.tag.bytes()).chars().take(40).collect();
                let what = format!("the tag that begins with {name:?}");
                return Err(Trouble::over(Reason::XmlTokenTooLarge, what, "limits.xml_token_bytes", self.token_bytes));
            }
            Step::Doctype => {
                return Err(Trouble::new(
                    Reason::XmlDoctype,
                    "the document has a DOCTYPE; expected a report without one",
                ));
            }
            Step::Comment => self.state = State::Comment(0),
            Step::Cdata => self.state = State::Cdata(0),
            Step::Instruction => self.state = State::Instruction(false),
            Step::Whole => {
                if self.tag.mended() {
                    self.warnings.note(Repair::BrokenTag, "");
                }
                let whole = self.tag.whole();
                self.give_tag(&whole);
            }
            Step::Cut => {
                self.warnings.note(Repair::BrokenTag, "");
                let cut = self.tag.cut();
                self.give_tag(&cut.tag);
                self.give_plain(&cut.text);
                return Ok(false);
            }
            Step::Text => {
                self.state = State::Text;
                if self.begun {
                    self.warnings.note(Repair::StrayLessThan, "");
                }
                self.give_unit(b"&lt;");
                let held = std::mem::take(&mut self.tag);
                self.give_plain(&held.bytes()[1..]);
                self.tag = held;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Consumes a byte of a processing instruction. A `<` never occurs in the declarations of reports, so it means that the
    /// end is missing.
    fn instruction(&mut self, byte: u8, mark: bool) -> Result<bool, Trouble> {
        self.count_untagged(1)?;
        match byte {
            b'<' => {
                self.warnings.note(Repair::BrokenTag, "");
                self.state = State::Text;
                return Ok(false);
            }
            b'>' if mark => self.state = State::Text,
            _ => self.state = State::Instruction(byte == b'?'),
        }
        Ok(true)
    }

    fn give_tag(&mut self, tag: &[u8]) {
        self.begun = true;
        self.untagged = 0;
        self.text = 0;
        self.overlong = false;
        self.shortened = false;
        self.state = State::Text;
        self.out.extend_from_slice(tag);
    }

    /// Passes on text that may contain references, but no `<`.
    fn give_plain(&mut self, text: &[u8]) {
        let mut parts = text.split(|&b| b == b'&');
        self.give_text(parts.next().unwrap_or_default());
        for part in parts {
            match part.iter().position(|&b| b == b';') {
                Some(end) if end < REFERENCE && is_reference(&part[..end]) => {
                    self.give_unit(&[b"&", &part[..=end]].concat());
                    self.give_text(&part[end + 1..]);
                }
                _ => {
                    self.give_ampersand();
                    self.give_text(part);
                }
            }
        }
    }

    fn give_ampersand(&mut self) {
        if self.begun {
            self.warnings.note(Repair::StrayAmpersand, "");
        }
        self.give_unit(b"&amp;");
    }

    /// Passes on a reference, as a whole or not at all.
    fn give_unit(&mut self, unit: &[u8]) {
        if self.room(unit) == unit.len() {
            self.text += unit.len() as u64;
            self.out.extend_from_slice(unit);
        }
    }

    /// Passes on text unchanged, as far as there is room; `text` begins and ends at character boundaries.
    fn give_text(&mut self, text: &[u8]) {
        let mut room = self.room(text);
        while text.get(room).is_some_and(|byte| byte & 0xc0 == 0x80) {
            room -= 1;
        }
        self.text = self.text.saturating_add(room as u64);
        self.out.extend_from_slice(&text[..room]);
    }

    /// Number of bytes of this text that are passed on: none before the first element, and none up to the next tag once a
    /// text exceeds the limit on a token, which no field's value does.
    fn room(&mut self, text: &[u8]) -> usize {
        if !self.begun {
            if !text.trim_ascii().is_empty() {
                self.warnings.once(Repair::LeadingJunk);
            }
            return 0;
        }
        let room = usize::try_from(self.token_bytes.saturating_sub(self.text)).unwrap_or(usize::MAX);
        let room = if self.overlong { 0 } else { text.len().min(room) };
        self.overlong |= room < text.len();
        if !self.shortened && !text[room..].trim_ascii().is_empty() {
            self.shortened = true;
            self.warnings.note(Repair::TextShortened, "");
        }
        room
    }
}

impl<R: BufRead> BufRead for Sanitizer<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.given == self.out.len() {
            match &self.end {
                Some(Ok(())) => return Ok(&[]),
                Some(Err(trouble)) => return Err(trouble.clone().into()),
                None => {}
            }
            self.out.clear();
            self.given = 0;
            self.read_chunk();
        }
        Ok(&self.out[self.given..])
    }

    fn consume(&mut self, amount: usize) {
        self.given = (self.given + amount).min(self.out.len());
    }
}

impl<R: BufRead> Read for Sanitizer<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}
