//! Reads the dates of mail headers and reports, in all forms that are in use: RFC 5322 with its obsolete parts, RFC 3339 and
//! ISO 8601, asctime, and numbers of seconds or fractions of them since 1970. Pure.
//!
//! A date that could mean two instants is refused ([`Fault`]), or read by a rule that [`Date::note`] names.

use std::fmt;

use jiff::{Timestamp, civil, tz::Offset};

use crate::invisible::is_invisible;

/// The last second of the year 2199. No report's times are later: a later one is in another unit, or an overflow.
const LAST_SECOND: i64 = 7_258_118_399;
/// Smallest number, other than 0, that is read as a time: seconds reached it in 1973. Smaller ones are years or counts.
const SMALLEST: i64 = 100_000_000;
/// Maximum offset from UTC, in hours: that of Kiribati.
const OFFSET_HOURS: i64 = 14;

const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
/// From Monday, as ISO 8601 counts them.
const WEEKDAYS: &[&str] = &["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Names of UTC; an offset may follow them (`GMT+01:00`).
const UTC: &[&str] = &["utc", "gmt", "ut"];
/// Other names of zones with one meaning, and their hours from UTC (RFC 5322 section 4.3). All other names mean several
/// zones (IST, BST, CST), or have been found in dates of the other half of the year (CEST in winter).
const ZONES: &[(&str, i64)] =
    &[("z", 0), ("est", -5), ("edt", -4), ("cst", -6), ("cdt", -5), ("mst", -7), ("mdt", -6), ("pst", -8), ("pdt", -7)];

/// A date that was read: whole seconds, in the years 1970 to 2199.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Date {
    pub time: Timestamp,
    pub form: Form,
    /// Assumptions, and contradictions to the date.
    notes: Vec<&'static str>,
}

/// Form of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Whole seconds since 1970, as in aggregate reports.
    Seconds,
    /// Year, month and day as numbers, as in RFC 3339 and TLS reports.
    Rfc3339,
    /// Day, name of the month, and year, as in RFC 5322: mails and failure reports.
    Rfc5322,
    Other,
}

impl Date {
    /// Describes what was assumed to read the date, or contradicts it: `has no time zone`. `None` if it has one meaning.
    pub fn note(&self) -> Option<String> {
        (!self.notes.is_empty()).then(|| self.notes.join(", "))
    }
}

/// Reason why a date is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    NotATime,
    /// A time zone that is not known, has several meanings, or contradicts the offset beside it.
    Zone,
    /// Day and month as numbers before the year.
    Order,
    Range,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Fault::NotATime => "is not a valid time",
            Fault::Zone => "has an unknown or ambiguous time zone",
            Fault::Order => "has day and month in an unknown order",
            Fault::Range => "is not in the years 1970 to 2199",
        })
    }
}

/// Reads a date.
pub fn read(text: &str) -> Result<Date, Fault> {
    let text = text.trim_matches(is_blank);
    match (Parser::new(text).date(), since_1970(text)) {
        (Err(_), Some((seconds, form))) => Ok(Date { time: timestamp(seconds)?, form, notes: Vec::new() }),
        // As a number, a compact date such as 20260102 would be in 1970.
        (date, _) => date,
    }
}

fn timestamp(seconds: i64) -> Result<Timestamp, Fault> {
    let seconds = Some(seconds).filter(|seconds| (0..=LAST_SECOND).contains(seconds)).ok_or(Fault::Range)?;
    Timestamp::from_second(seconds).map_err(|_| Fault::Range)
}

/// Reads a number of seconds, milli-, micro- or nanoseconds, also with a fraction or as a float, as seconds.
fn since_1970(text: &str) -> Option<(i64, Form)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let value: i64 = if is_digits(whole) && (fraction.is_empty() || is_digits(fraction)) {
        whole.parse().unwrap_or(i64::MAX)
    } else if text.starts_with(|c: char| c.is_ascii_digit()) && text.contains(['e', 'E']) {
        // A float holds every time that a report can have; one that is too large becomes `i64::MAX`.
        text.parse::<f64>().ok()? as i64
    } else {
        return None;
    };
    if (1..SMALLEST).contains(&value) {
        return None;
    }
    // Seconds reach 10^11 in the year 5138, milliseconds did in 1973.
    let parts = [1, 1_000, 1_000_000].into_iter().find(|parts| value / parts < 100_000_000_000);
    let form = if parts == Some(1) && is_digits(text) { Form::Seconds } else { Form::Other };
    Some((value / parts.unwrap_or(1_000_000_000), form))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || is_invisible(c)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    Number(&'t str),
    Word(&'t str),
    Sign(char),
}

/// Splits a date into tokens, each with true if it follows another without a blank. Comments in parentheses (RFC 5322
/// section 3.2.2) are blanks.
fn tokens(mut text: &str) -> Vec<(Token<'_>, bool)> {
    let mut tokens = Vec::new();
    let mut is_glued = false;
    while let Some(first) = text.chars().next() {
        if first == '(' {
            text = after_comment(text);
            is_glued = false;
            continue;
        }
        let of_kind: fn(char) -> bool = match first {
            c if is_blank(c) => is_blank,
            '0'..='9' => |c| c.is_ascii_digit(),
            c if c.is_alphabetic() => char::is_alphabetic,
            _ => |_| false,
        };
        let end = text.char_indices().skip(1).find(|(_, c)| !of_kind(*c)).map_or(text.len(), |(end, _)| end);
        let (token, rest) = text.split_at(end);
        match first {
            c if is_blank(c) => {}
            '0'..='9' => tokens.push((Token::Number(token), is_glued)),
            c if c.is_alphabetic() => tokens.push((Token::Word(token), is_glued)),
            c => tokens.push((Token::Sign(c), is_glued)),
        }
        is_glued = !is_blank(first);
        text = rest;
    }
    tokens
}

/// Returns the text after the comment at its start, which may contain others. A comment that is not closed ends the text.
fn after_comment(text: &str) -> &str {
    let (mut depth, mut is_quoted) = (0u32, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_quoted => is_quoted = false,
            '\\' => is_quoted = true,
            '(' => depth += 1,
            ')' if depth == 1 => return &text[at + 1..],
            ')' => depth -= 1,
            _ => {}
        }
    }
    ""
}

/// Index of the name that the word is or abbreviates, with at least three letters.
fn index_of(word: &str, names: &[&str]) -> Option<usize> {
    let begins = |name: &&str| name.get(..word.len()).is_some_and(|name| name.eq_ignore_ascii_case(word));
    names.iter().position(begins).filter(|_| word.len() >= 3)
}

/// Parser of a date that is not a number.
struct Parser<'t> {
    tokens: Vec<(Token<'t>, bool)>,
    at: usize,
    form: Form,
    notes: Vec<&'static str>,
}

/// Day of a date; the year may follow the time.
struct Day {
    year: Option<i64>,
    month: i64,
    day: i64,
}

/// Zone of a date, as far as it was told.
#[derive(Default)]
struct Zone {
    name: Option<Name>,
    /// Seconds from UTC.
    offset: Option<i64>,
    is_offset_first: bool,
}

#[derive(Clone, Copy)]
enum Name {
    Utc,
    /// One of `ZONES`, with its hours.
    Fixed(i64),
    /// A letter of RFC 822's military zones, which were defined with the wrong sign (RFC 5322 section 4.3).
    Military,
    Unknown,
}

impl Name {
    fn of(word: &str) -> Self {
        let word = word.to_ascii_lowercase();
        match ZONES.iter().find(|(name, _)| *name == word) {
            Some((_, hours)) => Name::Fixed(*hours),
            None if UTC.contains(&word.as_str()) => Name::Utc,
            None if matches!(word.as_bytes(), [b'a'..=b'i' | b'k'..=b'y']) => Name::Military,
            None => Name::Unknown,
        }
    }
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Self {
        Self { tokens: tokens(text), at: 0, form: Form::Other, notes: Vec::new() }
    }

    fn date(mut self) -> Result<Date, Fault> {
        let weekday = self.weekday();
        let Day { year, month, day } = self.day()?;
        let is_t = self.separator();
        let clock = self.clock(is_t)?;
        let (zone, late_year) = self.zone(clock.is_some(), year.is_none())?;
        let offset = self.offset_of(&zone, clock.is_some())?;
        let year = year.or(late_year).ok_or(Fault::NotATime)?;
        let part = |value: i64| i8::try_from(value).map_err(|_| Fault::NotATime);
        let date = i16::try_from(year).ok().and_then(|year| Some((year, part(month).ok()?, part(day).ok()?)));
        let (year, month, day) = date.ok_or(Fault::NotATime)?;
        let date = civil::Date::new(year, month, day).map_err(|_| Fault::NotATime)?;
        if weekday.is_some_and(|weekday| i64::from(date.weekday().to_monday_zero_offset()) != weekday as i64) {
            self.notes.push("has another weekday than its day");
        }
        let midnight = Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).map_err(|_| Fault::Range)?.as_second();
        let time = timestamp(midnight + clock.unwrap_or_default() - offset)?;
        Ok(Date { time, form: self.form, notes: self.notes })
    }

    fn peek(&self, ahead: usize) -> Option<Token<'t>> {
        self.tokens.get(self.at + ahead).map(|(token, _)| *token)
    }

    fn is_glued(&self, ahead: usize) -> bool {
        self.tokens.get(self.at + ahead).is_some_and(|(_, is_glued)| *is_glued)
    }

    fn next(&mut self) -> Option<Token<'t>> {
        let token = self.peek(0)?;
        self.at += 1;
        Some(token)
    }

    /// Skips one sign of `signs`, and returns it.
    fn sign(&mut self, signs: &[char]) -> Option<char> {
        let Some(Token::Sign(sign)) = self.peek(0) else { return None };
        signs.contains(&sign).then(|| self.at += 1)?;
        Some(sign)
    }

    /// Reads a number of one or two digits.
    fn number(&mut self) -> Result<i64, Fault> {
        match self.next() {
            Some(Token::Number(digits)) if digits.len() <= 2 => digits.parse().map_err(|_| Fault::NotATime),
            _ => Err(Fault::NotATime),
        }
    }

    fn month(&mut self) -> Result<i64, Fault> {
        match self.next() {
            Some(Token::Word(word)) => index_of(word, MONTHS).map(|month| month as i64 + 1).ok_or(Fault::NotATime),
            _ => Err(Fault::NotATime),
        }
    }

    fn weekday(&mut self) -> Option<usize> {
        let Some(Token::Word(word)) = self.peek(0) else { return None };
        let weekday = index_of(word, WEEKDAYS)?;
        self.at += 1;
        self.sign(&['.']);
        self.sign(&[',']);
        Some(weekday)
    }

    fn day(&mut self) -> Result<Day, Fault> {
        match self.peek(0) {
            Some(Token::Number(digits)) => match digits.len() {
                4 => self.year_first(),
                8 | 12 | 14 => self.compact(digits),
                1 | 2 => self.day_first(),
                _ => Err(Fault::NotATime),
            },
            _ => self.month_first(),
        }
    }

    /// Reads `2026-01-02`, `2026/01/02`, `2026-Jan-02` or `2026 Jan 2`.
    fn year_first(&mut self) -> Result<Day, Fault> {
        let year = self.year();
        let separator = self.sign(&['-', '/', '.']);
        let month = match self.peek(0) {
            Some(Token::Number(_)) if separator.is_some() => {
                self.form = if separator == Some('-') { Form::Rfc3339 } else { Form::Other };
                self.number()?
            }
            _ => self.month()?,
        };
        if separator.is_some_and(|separator| self.sign(&[separator]).is_none()) {
            return Err(Fault::NotATime);
        }
        Ok(Day { year, month, day: self.number()? })
    }

    /// Reads `20260102`, and leaves the time of `202601020304` or `20260102030405` to be read.
    fn compact(&mut self, digits: &'t str) -> Result<Day, Fault> {
        let (date, clock) = digits.split_at(8);
        let part = |from: usize, to: usize| date[from..to].parse().map_err(|_| Fault::NotATime);
        let day = Day { year: Some(part(0, 4)?), month: part(4, 6)?, day: part(6, 8)? };
        match clock {
            "" => self.at += 1,
            _ => self.tokens[self.at] = (Token::Number(clock), true),
        }
        Ok(day)
    }

    /// Reads `2 Jan 2026`, `02-Jan-26` or `2. January 2026`.
    fn day_first(&mut self) -> Result<Day, Fault> {
        let day = self.number()?;
        self.sign(&['-', '/', '.']);
        if matches!(self.peek(0), Some(Token::Number(_))) {
            return Err(Fault::Order);
        }
        let month = self.month()?;
        self.form = Form::Rfc5322;
        self.sign(&['.']);
        self.sign(&['-', '/', ',']);
        Ok(Day { year: self.year(), month, day })
    }

    /// Reads `Jan 2` or `January 2, 2026`.
    fn month_first(&mut self) -> Result<Day, Fault> {
        let month = self.month()?;
        self.sign(&['.']);
        self.sign(&['-', '/']);
        let day = self.number()?;
        self.sign(&[',', '-', '/']);
        let is_year = matches!(self.peek(0), Some(Token::Number(digits)) if digits.len() == 4);
        Ok(Day { year: if is_year { self.year() } else { None }, month, day })
    }

    /// Reads a year of four digits, or of two or three (RFC 5322 section 4.3). `None` if the next number is an hour.
    fn year(&mut self) -> Option<i64> {
        let Some(Token::Number(digits)) = self.peek(0) else { return None };
        let year: i64 = digits.parse().ok()?;
        let year = match digits.len() {
            4 => year,
            2 | 3 if self.peek(1) == Some(Token::Sign(':')) => return None,
            2 if year < 50 => 2000 + year,
            2 | 3 => 1900 + year,
            _ => return None,
        };
        self.at += 1;
        Some(year)
    }

    /// Skips what stands between the day and the time. Returns true for `T`.
    fn separator(&mut self) -> bool {
        self.sign(&[',', ':']);
        let Some(Token::Word(word)) = self.peek(0) else {
            // The time of a compact date is glued to it.
            return self.is_glued(0) && self.peek(1) != Some(Token::Sign(':'));
        };
        let is_t = word.eq_ignore_ascii_case("t");
        let is_before_time =
            matches!(self.peek(1), Some(Token::Number(_))) && (is_t || word.eq_ignore_ascii_case("at"));
        self.at += usize::from(is_before_time);
        is_t && is_before_time
    }

    /// Reads a time of day, as seconds; `None` if there is none. `03:04`, `03:04:05.678`, `3:04:05 pm`; `030405` only where
    /// it can't be anything else.
    fn clock(&mut self, is_compact: bool) -> Result<Option<i64>, Fault> {
        let Some(Token::Number(digits)) = self.peek(0) else { return Ok(None) };
        let (hour, minute, second) = match digits.len() {
            1 | 2 if self.peek(1) == Some(Token::Sign(':')) => {
                let hour = self.number()?;
                self.sign(&[':']);
                let minute = self.number()?;
                let second = if self.sign(&[':']).is_some() { self.number()? } else { 0 };
                (hour, minute, second)
            }
            4 | 6 if is_compact => {
                self.at += 1;
                let part = |from: usize| digits.get(from..from + 2).map_or(Ok(0), str::parse).unwrap_or_default();
                (part(0), part(2), part(4))
            }
            _ => return Ok(None),
        };
        let is_fraction = matches!(self.peek(0), Some(Token::Sign('.' | ','))) && self.is_glued(0);
        if is_fraction && matches!(self.peek(1), Some(Token::Number(_))) && self.is_glued(1) {
            self.at += 2;
        }
        let hour = match (self.half_of_day(), hour) {
            (None, hour) => hour,
            (Some(half), 1..=12) => hour % 12 + half,
            (Some(_), _) => return Err(Fault::NotATime),
        };
        match (hour, minute, second) {
            (24, 0, 0) => self.notes.push("has hour 24"),
            (0..24, 0..60, 0..=60) => {}
            _ => return Err(Fault::NotATime),
        }
        Ok(Some(hour * 3600 + minute * 60 + second))
    }

    /// Reads `AM` as 0 and `PM` as 12 hours, also as `a.m.`
    fn half_of_day(&mut self) -> Option<i64> {
        let word = |ahead| match self.peek(ahead) {
            Some(Token::Word(word)) => word.to_ascii_lowercase(),
            _ => String::new(),
        };
        let (half, tokens) = match (word(0).as_str(), self.peek(1), word(2).as_str()) {
            ("am", ..) => (0, 1),
            ("pm", ..) => (12, 1),
            ("a", Some(Token::Sign('.')), "m") => (0, 3),
            ("p", Some(Token::Sign('.')), "m") => (12, 3),
            _ => return None,
        };
        self.at += tokens;
        self.sign(&['.']);
        Some(half)
    }

    /// Reads the rest: the zone's name and offset, and the year if it is still `wanted`.
    fn zone(&mut self, has_clock: bool, mut wanted: bool) -> Result<(Zone, Option<i64>), Fault> {
        let (mut zone, mut year) = (Zone::default(), None);
        while let Some(token) = self.peek(0) {
            let is_glued = self.is_glued(0);
            let follows_name =
                is_glued && matches!(self.tokens.get(self.at.wrapping_sub(1)), Some((Token::Word(_), _)));
            self.at += 1;
            match token {
                Token::Number(digits) if wanted && digits.len() == 4 => {
                    (year, wanted) = (digits.parse().ok(), false);
                }
                Token::Sign(sign @ ('+' | '-' | '\u{2212}')) if has_clock && zone.offset.is_none() => {
                    // In a POSIX zone (`CET-1`), the sign is the opposite.
                    if follows_name && !matches!(zone.name, None | Some(Name::Utc)) {
                        return Err(Fault::Zone);
                    }
                    zone.is_offset_first = zone.name.is_none();
                    zone.offset = Some(self.offset(if sign == '+' { 1 } else { -1 })?);
                }
                Token::Word(word) => {
                    zone.name = Some(if zone.name.is_none() { Name::of(word) } else { Name::Unknown });
                    // Europe/Berlin
                    if self.sign(&['/', '_']).is_some() {
                        zone.name = Some(Name::Unknown);
                    }
                }
                // The zone in brackets of RFC 9557.
                Token::Sign('[') => {
                    while self.next().is_some_and(|token| token != Token::Sign(']')) {}
                    zone.name.get_or_insert(Name::Unknown);
                }
                Token::Sign(',') => {}
                Token::Sign('.' | ';') if self.peek(0).is_none() => {}
                _ => return Err(Fault::NotATime),
            }
        }
        Ok((zone, year))
    }

    /// Reads the digits of an offset, as seconds: `1`, `01`, `0100` or `01:00`.
    fn offset(&mut self, sign: i64) -> Result<i64, Fault> {
        let Some(Token::Number(digits)) = self.next() else { return Err(Fault::NotATime) };
        let number = |digits: &str| digits.parse::<i64>().map_err(|_| Fault::NotATime);
        let (hours, minutes) = match digits.len() {
            1 | 2 if self.is_glued(0) && self.sign(&[':']).is_some() => (number(digits)?, self.number()?),
            1 | 2 => (number(digits)?, 0),
            4 => (number(&digits[..2])?, number(&digits[2..])?),
            _ => return Err(Fault::Zone),
        };
        if minutes > 59 || hours * 60 + minutes > OFFSET_HOURS * 60 {
            return Err(Fault::Zone);
        }
        Ok(sign * (hours * 3600 + minutes * 60))
    }

    /// Returns the seconds from UTC of the zone, and notes what was assumed.
    fn offset_of(&mut self, zone: &Zone, has_clock: bool) -> Result<i64, Fault> {
        match (zone.name, zone.offset) {
            (None | Some(Name::Unknown | Name::Military), Some(offset)) => Ok(offset),
            (Some(Name::Utc), Some(offset)) if !zone.is_offset_first || offset == 0 => Ok(offset),
            (Some(Name::Fixed(hours)), Some(offset)) if hours * 3600 == offset => Ok(offset),
            (Some(_), Some(_)) | (Some(Name::Unknown), None) => Err(Fault::Zone),
            // The T before a time that is missing.
            (Some(Name::Military), None) if !has_clock => Err(Fault::NotATime),
            (name, None) => {
                match name {
                    _ if !has_clock => self.notes.push("has no time of day"),
                    None => self.notes.push("has no time zone"),
                    Some(Name::Military) => self.notes.push("has a time zone that is read as UTC"),
                    // RFC 5322 defines these names for dates of its form alone: elsewhere CST may be China's.
                    Some(Name::Fixed(..=-1)) if self.form != Form::Rfc5322 => {
                        self.notes.push("has a time zone that is read as in North America");
                    }
                    _ => {}
                }
                Ok(match name {
                    Some(Name::Fixed(hours)) => hours * 3600,
                    _ => 0,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests;
