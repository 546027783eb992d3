//! Bytes that are kept of the texts of an aggregate report, so that no event is much larger than an honest one.

use super::{Override, Row};

/// Bytes kept of a text that is no comment: a name, an address, a number. The longest is a sentence with an address.
const NAME: usize = 1 << 10;
/// Bytes kept of all texts outside the records, which the event of every row repeats. Real ones come to some 300.
const HEAD: usize = 4 << 10;
/// Bytes kept of the reasons, signatures and SPF results of a record. 64 signatures and 64 SPF results take some 10,000.
const RESULTS: usize = 32 << 10;

/// The part of a report that a text stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Outside the records.
    Head,
    /// A reason, a signature or an SPF result.
    Result,
    /// Elsewhere in a record.
    Record,
}

/// Room that is left for texts.
pub struct TextRoom {
    head: usize,
    results: usize,
}

impl TextRoom {
    pub fn new() -> Self {
        Self { head: HEAD, results: RESULTS }
    }

    /// As much of a text as is kept.
    pub fn fitting<'t>(&self, part: Part, text: &'t str) -> &'t str {
        let room = match part {
            Part::Head => self.head.min(NAME),
            Part::Result => self.results,
            Part::Record => NAME,
        };
        &text[..text.floor_char_boundary(room)]
    }

    /// Takes the room of a text that is kept.
    pub fn take(&mut self, part: Part, text: &str) {
        match part {
            Part::Head => self.head = self.head.saturating_sub(text.len()),
            Part::Result => self.results = self.results.saturating_sub(text.len()),
            Part::Record => {}
        }
    }

    /// More than half of the room for results is taken: rows that are held for what they share are to be given.
    pub fn is_short(&self) -> bool {
        self.results < RESULTS / 2
    }

    /// Gives back the room of a row's reasons, which no other row of its record shares, once the row has been given.
    pub fn give_back(&mut self, row: &Row) {
        let reasons = row.reasons.iter().flat_map(|Override { kind, comment }| [kind, comment]).flatten();
        self.results = (self.results + reasons.map(String::len).sum::<usize>()).min(RESULTS);
    }

    /// A record has ended.
    pub fn end_record(&mut self) {
        self.results = RESULTS;
    }
}
