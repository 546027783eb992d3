//! Budget of bytes that are kept of the texts of an aggregate report, so that no event is much larger than a usual one.

use super::report::{Override, Row};

/// Maximum bytes kept of a text that is no comment: a name, an address, a number. The longest is a sentence with an address.
pub const NAME: usize = 1 << 10;
/// Maximum bytes kept of all texts outside the records, which the event of every row repeats. Real reports have some 300.
pub const HEAD: usize = 4 << 10;
/// Maximum bytes kept of the reasons, signatures and SPF results of a record. 64 signatures and 64 SPF results take some
/// 10,000.
pub const RESULTS: usize = 32 << 10;

/// Part of a report that a text is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Outside the records.
    Head,
    /// A reason, a signature or an SPF result.
    Result,
    /// Elsewhere in a record.
    Record,
}

/// Remaining room for texts.
pub struct TextRoom {
    head: usize,
    results: usize,
}

impl TextRoom {
    pub fn new() -> Self {
        Self { head: HEAD, results: RESULTS }
    }

    /// Returns as much of a text as may be kept.
    pub fn fitting<'t>(&self, part: Part, text: &'t str) -> &'t str {
        let room = match part {
            Part::Head => self.head.min(NAME),
            Part::Result => self.results,
            Part::Record => NAME,
        };
        &text[..text.floor_char_boundary(room)]
    }

    /// Uses up the room of a text that is kept.
    pub fn take(&mut self, part: Part, text: &str) {
        match part {
            Part::Head => self.head = self.head.saturating_sub(text.len()),
            Part::Result => self.results = self.results.saturating_sub(text.len()),
            Part::Record => {}
        }
    }

    /// True if more than half of the room for results is used: then rows that are held until their record ends have to be
    /// passed on.
    pub fn is_short(&self) -> bool {
        self.results < RESULTS / 2
    }

    /// Frees the room of a row's reasons, which no other row of its record shares, once the row has been passed on.
    pub fn give_back(&mut self, row: &Row) {
        let reasons = row.reasons.iter().flat_map(|Override { kind, comment }| [kind, comment]).flatten();
        self.results = (self.results + reasons.map(|text| text.len()).sum::<usize>()).min(RESULTS);
    }

    /// Resets the room for results at the end of a record.
    pub fn end_record(&mut self) {
        self.results = RESULTS;
    }
}
