//! Pull parser (quick-xml over the sanitizer): tags and text, and every failure as a [`Trouble`].

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use quick_xml::Reader;
use quick_xml::events::{BytesEnd, BytesRef, BytesStart, Event};

use super::sanitizer::Sanitizer;
use crate::limits::Limits;
use crate::report::warnings::Warnings;
use crate::trouble::{Reason, Trouble};

/// A pull parser over a [`Sanitizer`]; holds one token.
pub struct Xml<R> {
    reader: Reader<Lent<R>>,
    buffer: Vec<u8>,
    /// Number of elements that quick-xml considers open.
    open: usize,
}

/// Next token of the document.
pub enum Token<'a> {
    Start { tag: BytesStart<'a>, empty: bool },
    End(BytesEnd<'a>),
    Text(Cow<'a, str>),
    Character(char),
    Eof,
}

/// Number of open elements after which the parser is recreated: quick-xml keeps the names of all elements that are never
/// closed.
const FORGET: usize = 10_000;

impl<R: BufRead> Xml<R> {
    pub fn new(source: R, limits: &Limits) -> Self {
        let sanitizer = Lent(Some(Sanitizer::new(source, limits)));
        Self { reader: reader(sanitizer), buffer: Vec::new(), open: 0 }
    }

    /// The sanitizer's repairs so far.
    pub fn warnings(&self) -> Warnings {
        self.reader.get_ref().0.as_ref().map(|sanitizer| sanitizer.warnings().clone()).unwrap_or_default()
    }

    pub fn next(&mut self) -> Result<Token<'_>, Trouble> {
        if self.open > FORGET {
            self.open = 0;
            self.reader = reader(Lent(self.reader.get_mut().0.take()));
        }
        self.buffer.clear();
        let event = self.reader.read_event_into(&mut self.buffer).map_err(|error| match error {
            quick_xml::Error::Io(error) => Trouble::from_io(&error, Reason::XmlTruncated),
            other => Trouble::new(Reason::XmlMalformed, other.to_string()),
        })?;
        Ok(match event {
            Event::Start(tag) => {
                self.open += 1;
                Token::Start { tag, empty: false }
            }
            Event::Empty(tag) => Token::Start { tag, empty: true },
            Event::End(tag) => {
                self.open = self.open.saturating_sub(1);
                Token::End(tag)
            }
            Event::Text(text) => Token::Text(text.into_inner()),
            Event::GeneralRef(reference) => Token::Character(character(&reference)),
            Event::Eof => Token::Eof,
            // The sanitizer removes all of these.
            Event::CData(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {
                Token::Text(Cow::Borrowed(""))
            }
        })
    }
}

fn reader<R: BufRead>(sanitizer: Lent<R>) -> Reader<Lent<R>> {
    let mut reader = Reader::from_reader(sanitizer);
    let config = reader.config_mut();
    config.check_end_names = false;
    config.allow_unmatched_ends = true;
    reader
}

/// Resolves a reference. The sanitizer passes on only references that are defined without a DTD.
fn character(reference: &BytesRef) -> char {
    if let Ok(Some(c)) = reference.resolve_char_ref() {
        return c;
    }
    match reference.xml10_content().as_ref() {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => char::REPLACEMENT_CHARACTER,
    }
}

/// A sanitizer that can be taken back from the reader that owns it; an empty document after that.
struct Lent<R>(Option<Sanitizer<R>>);

impl<R: BufRead> BufRead for Lent<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.as_mut().map_or(Ok(&[]), Sanitizer::fill_buf)
    }

    fn consume(&mut self, amount: usize) {
        if let Some(sanitizer) = &mut self.0 {
            sanitizer.consume(amount);
        }
    }
}

impl<R: BufRead> Read for Lent<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.as_mut().map_or(Ok(0), |sanitizer| sanitizer.read(into))
    }
}
