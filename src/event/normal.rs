//! Normalises a report's texts to typed values; a value that is not understood becomes null, with a warning that quotes it.

use std::{
    borrow::Cow,
    fmt::{self, Display},
    str::FromStr,
};

use jiff::Timestamp;

use crate::{
    date::{self, Form},
    report::values,
};

/// Maximum bytes of a value that a warning quotes.
const QUOTED: usize = 160;

/// Normalises values one by one and collects the warnings about them.
#[derive(Debug, Default)]
pub(super) struct Normal {
    pub(super) warnings: Vec<String>,
}

impl Normal {
    /// Normalises a word of a closed list to lower case. An unknown word is kept, with a warning.
    pub(super) fn keyword(&mut self, key: impl Display, told: Option<&str>, known: &[&str]) -> Option<String> {
        let word = values::keyword(present(told)?);
        if word.is_empty() {
            return None;
        }
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

    /// Reads a time. Warns about a form other than the `expected` one, if one is, and about what was assumed.
    pub(super) fn time(&mut self, key: &str, told: Option<&str>, expected: Option<Form>) -> Option<Timestamp> {
        let told = present(told)?;
        match date::read(told) {
            Ok(date) => {
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
            Err(fault) => {
                self.warn_of(key, told, format_args!("{fault}"));
                None
            }
        }
    }

    /// Normalises a list of words to lower case, joined by commas, without comments. Words not in the closed list are kept,
    /// with a warning.
    pub(super) fn keywords(&mut self, key: &str, told: Option<&str>, known: &[&str]) -> Option<String> {
        let words = values::keywords(present(told)?);
        for word in words.iter().filter(|word| !known.contains(&word.as_str())) {
            self.unknown(key, word);
        }
        (!words.is_empty()).then(|| words.join(","))
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
        wanted: &str,
    ) -> Option<T> {
        let told = present(told)?;
        let value = parse(told);
        match &value {
            None => self.warn_of(key, told, format_args!("is not a valid {wanted}")),
            Some(value) if told.parse().ok().as_ref() != Some(value) => {
                self.warn_of(key, told, format_args!("is read as {value}"));
            }
            Some(_) => {}
        }
        value
    }
}

fn quoted(told: &str) -> Cow<'_, str> {
    let end = told.floor_char_boundary(QUOTED);
    if end < told.len() { format!("{}…", &told[..end]).into() } else { told.into() }
}

/// Trims a value; `None` if it is empty then.
pub(super) fn present(told: Option<&str>) -> Option<&str> {
    told.map(str::trim).filter(|text| !text.is_empty())
}

pub(super) fn plain(told: &Option<String>) -> Option<String> {
    present(told.as_deref()).map(str::to_owned)
}

pub(super) fn domain(told: &Option<String>) -> Option<String> {
    present(told.as_deref()).map(values::domain).filter(|domain| !domain.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessed_values_give_a_warning_with_the_original() {
        let mut normal = Normal::default();
        let mut read = |told| normal.read("begin", Some(told), |_| Some(1500), "time");
        assert_eq!([read("1500"), read(" 01500 "), read("1.5e3")], [Some(1500); 3]);
        assert_eq!(normal.warnings, ["begin: \"1.5e3\" is read as 1500"]);
    }

    #[test]
    fn white_space_counts_as_missing() {
        let mut normal = Normal::default();
        assert_eq!(normal.keyword("dkim", Some(" \n"), &[]), None);
        assert_eq!(normal.count("count", Some(" ")), None);
        assert_eq!(normal.warnings, [""; 0]);
    }
}
