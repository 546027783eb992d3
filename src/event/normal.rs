//! Normalises a report's texts to typed values; a value that is not understood becomes null, with a warning that quotes it.

use std::{
    borrow::Cow,
    fmt::{self, Display},
    ops::Deref,
    str::FromStr,
};

use jiff::Timestamp;

use super::{event_type::EventType, schema};
use crate::{
    date::{self, Form},
    report::values,
};

/// Maximum bytes of a value that a warning quotes.
const QUOTED: usize = 160;

/// Normalises the values of one event one by one, and collects the warnings about them.
///
/// A value that the schema declares as named ([`Null::Named`](super::schema::Null::Named)) has to be read here: each reading
/// ends in [`Normal::value`], which returns the value or notes why there is none.
#[derive(Debug)]
pub(super) struct Normal {
    event_type: EventType,
    pub(super) warnings: Vec<String>,
}

/// Why a value is null.
enum Reason<'t> {
    Missing,
    /// The text that is there, and what was expected.
    Unreadable(&'t str, &'static str),
    NoTime(&'t str, date::Fault),
}

type Told<'t, T> = Result<T, Reason<'t>>;

impl Normal {
    pub(super) fn new(event_type: EventType, warnings: Vec<String>) -> Self {
        Self { event_type, warnings }
    }

    /// Trims a text.
    pub(super) fn text(&mut self, key: &str, told: &Option<impl Deref<Target = str>>) -> Option<String> {
        self.value(key, there(told.as_deref()).map(str::to_owned))
    }

    /// Normalises a word of a closed list to lower case. An unknown word is kept, with a warning.
    pub(super) fn keyword(&mut self, key: impl Display, told: Option<&str>, known: &[&str]) -> Option<String> {
        let word = there(told).map(values::keyword);
        let word = word.and_then(|word| if word.is_empty() { Err(Reason::Missing) } else { Ok(word) });
        let word = self.value(&key, word)?;
        if !known.contains(&word.as_str()) {
            self.unknown(key, &word);
        }
        Some(word)
    }

    pub(super) fn ip(&mut self, key: &str, told: Option<&str>) -> Option<String> {
        self.read(key, told, values::ip, "IP address").map(|ip| ip.to_string())
    }

    pub(super) fn count(&mut self, key: &str, told: Option<&str>) -> Option<i64> {
        self.read(key, told, values::count, "count")
    }

    pub(super) fn percent(&mut self, key: &str, told: Option<&str>) -> Option<i64> {
        self.read(key, told, values::percent, "percentage")
    }

    /// Returns the domain in a text, in lower case; a text without one is kept, with a warning.
    pub(super) fn domain(&mut self, key: impl Display, told: Option<&str>) -> Option<String> {
        let domain = there(told).and_then(|told| match values::domain(told) {
            domain if domain.is_empty() => Err(Reason::Unreadable(told, "domain name")),
            domain => Ok((told, domain)),
        });
        let (told, domain) = self.value(&key, domain)?;
        if !values::is_domain(&domain) {
            self.warn_of(key, told, format_args!("is not a valid domain name"));
        } else if domain != told.to_lowercase() {
            self.warn_of(key, told, format_args!("is read as {}", quoted(&domain)));
        }
        Some(domain)
    }

    /// Reads a time. Warns about a form other than the `expected` one, if one is, and about what was assumed.
    pub(super) fn time(&mut self, key: &str, told: Option<&str>, expected: Option<Form>) -> Option<Timestamp> {
        let read = |told| date::read(told).map(|date| (told, date)).map_err(|fault| Reason::NoTime(told, fault));
        let (told, date) = self.value(key, there(told).and_then(read))?;
        let time = date.time;
        match date.note() {
            Some(note) => self.warn_of(key, told, format_args!("{note}, is read as {time}")),
            None if expected.is_some_and(|form| form != date.form) => {
                self.warn_of(key, told, format_args!("is read as {time}"));
            }
            None => {}
        }
        Some(time)
    }

    /// Normalises a list of words to lower case, joined by commas, without comments. Words not in the closed list are kept,
    /// with a warning.
    pub(super) fn keywords(&mut self, key: &str, told: Option<&str>, known: &[&str]) -> Option<String> {
        let words = there(told).and_then(|told| match values::keywords(told) {
            words if words.is_empty() => Err(Reason::Unreadable(told, "list of words")),
            words => Ok(words),
        });
        let words = self.value(key, words)?;
        for word in words.iter().filter(|word| !known.contains(&word.as_str())) {
            self.unknown(key, word);
        }
        Some(words.join(","))
    }

    /// Takes a value out of a text, such as the domain out of an address.
    pub(super) fn within<T>(
        &mut self,
        key: &str,
        told: Option<&str>,
        find: impl Fn(&str) -> Option<T>,
        wanted: &'static str,
    ) -> Option<T> {
        let value = there(told).and_then(|told| find(told).ok_or(Reason::Unreadable(told, wanted)));
        self.value(key, value)
    }

    /// Copies the value of another key; a null has the same reason.
    pub(super) fn same<T: Clone>(&mut self, key: &str, other: &str, value: &Option<T>) -> Option<T> {
        if value.is_none() {
            self.warn(key, format_args!("null, as {other} is"));
        }
        value.clone()
    }

    /// Warns of a period whose begin is after its end.
    pub(super) fn period(&mut self, begin: Option<Timestamp>, end: Option<Timestamp>) {
        if let (Some(begin), Some(end)) = (begin, end)
            && begin > end
        {
            self.warn("begin", format_args!("{begin:.0} is after the end, {end:.0}"));
        }
    }

    /// Returns the value; without one, notes the reason, unless the value is missing and optional.
    fn value<T>(&mut self, key: impl Display, told: Told<'_, T>) -> Option<T> {
        match told {
            Ok(value) => return Some(value),
            Err(Reason::Unreadable(text, wanted)) => self.warn_of(key, text, format_args!("is not a valid {wanted}")),
            Err(Reason::NoTime(text, fault)) => self.warn_of(key, text, format_args!("{fault}")),
            Err(Reason::Missing) => self.missing(key),
        }
        None
    }

    /// Notes that a value is missing, unless it is optional.
    fn missing(&mut self, key: impl Display) {
        let key = key.to_string();
        if schema::is_named(self.event_type, &key) {
            self.warn(key, format_args!("missing"));
        }
    }

    pub(super) fn warn(&mut self, key: impl Display, what: fmt::Arguments<'_>) {
        self.warnings.push(format!("{key}: {what}"));
    }

    /// Warns about a value, and quotes it.
    fn warn_of(&mut self, key: impl Display, told: &str, what: fmt::Arguments<'_>) {
        self.warn(key, format_args!("\"{}\" {what}", quoted(told)));
    }

    fn unknown(&mut self, key: impl Display, word: &str) {
        self.warn(key, format_args!("unknown value \"{}\"", quoted(word)));
    }

    /// Parses a value; warns if that fails, or if the value is not written in the plain form.
    fn read<T: FromStr + PartialEq + Display>(
        &mut self,
        key: &str,
        told: Option<&str>,
        parse: impl Fn(&str) -> Option<T>,
        wanted: &'static str,
    ) -> Option<T> {
        let value = there(told).and_then(|told| Ok((told, parse(told).ok_or(Reason::Unreadable(told, wanted))?)));
        let (told, value) = self.value(key, value)?;
        if told.parse().ok().as_ref() != Some(&value) {
            self.warn_of(key, told, format_args!("is read as {value}"));
        }
        Some(value)
    }
}

/// Trims a value; missing if it is empty then.
fn there(told: Option<&str>) -> Told<'_, &str> {
    present(told).ok_or(Reason::Missing)
}

fn quoted(told: &str) -> Cow<'_, str> {
    let end = told.floor_char_boundary(QUOTED);
    if end < told.len() { format!("{}…", &told[..end]).into() } else { told.into() }
}

/// Trims a value; `None` if it is empty then.
pub(super) fn present(told: Option<&str>) -> Option<&str> {
    told.map(str::trim).filter(|text| !text.is_empty())
}

pub(super) fn plain(told: &Option<impl Deref<Target = str>>) -> Option<String> {
    present(told.as_deref()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessed_values_give_a_warning_with_the_original() {
        let mut normal = Normal::new(EventType::DmarcAggregate, Vec::new());
        let mut read = |told| normal.read("begin", Some(told), |_| Some(1500), "time");
        assert_eq!([read("1500"), read(" 01500 "), read("1.5e3")], [Some(1500); 3]);
        assert_eq!(normal.warnings, ["begin: \"1.5e3\" is read as 1500"]);
    }

    #[test]
    fn white_space_counts_as_missing() {
        let mut normal = Normal::new(EventType::DmarcAggregate, Vec::new());
        assert_eq!(normal.keyword("dkim", Some(" \n"), &[]), None);
        assert_eq!(normal.keyword("spf", Some("\u{200b}"), &[]), None);
        assert_eq!(normal.count("count", Some(" ")), None);
        assert_eq!(normal.warnings, ["dkim: missing", "spf: missing", "count: missing"]);
    }

    #[test]
    fn a_missing_value_is_named_if_the_schema_says_so() {
        let mut normal = Normal::new(EventType::DmarcAggregate, Vec::new());
        assert_eq!(normal.percent("pct", None), None);
        assert_eq!(normal.domain("envelope_to", None), None);
        assert_eq!(normal.keyword("dkim_auth[3].result", None, &[]), None);
        assert_eq!(normal.keyword("spf_auth[3].scope", None, &[]), None);
        assert_eq!(normal.warnings, ["dkim_auth[3].result: missing"]);
    }

    #[test]
    fn an_address_or_a_url_where_a_domain_belongs_is_named() {
        let mut normal = Normal::new(EventType::DmarcAggregate, Vec::new());
        let mut read = |told| normal.domain("header_from", Some(told));
        let domains =
            ["Example.com", "Bücher.example", "a@example.com", "https://example.com/", "example.com."].map(&mut read);
        assert_eq!(
            domains.map(Option::unwrap),
            ["example.com", "bücher.example", "example.com", "example.com", "example.com"]
        );
        assert_eq!((read("A b"), read(".")), (Some("a b".to_owned()), None));
        assert_eq!(
            normal.warnings,
            [
                "header_from: \"a@example.com\" is read as example.com",
                "header_from: \"https://example.com/\" is read as example.com",
                "header_from: \"example.com.\" is read as example.com",
                "header_from: \"A b\" is not a valid domain name",
                "header_from: \".\" is not a valid domain name",
            ]
        );
    }
}
