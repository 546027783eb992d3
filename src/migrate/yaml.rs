//! Writes YAML with comments, as a person would write it: `Table`s that are written below their names.

use std::fmt::Write;

/// Options of one table, and the comments between them.
#[derive(Debug, Default)]
pub(super) struct Table {
    lines: Vec<Line>,
}

#[derive(Debug)]
enum Line {
    Comment(String),
    /// The value is YAML already.
    Option(&'static str, String),
}

impl Table {
    pub(super) fn comment(&mut self, text: &str) {
        self.lines.push(Line::Comment(text.to_owned()));
    }

    pub(super) fn set(&mut self, key: &'static str, value: &str) {
        self.lines.push(Line::Option(key, scalar(value)));
    }

    /// Sets the option if there is a value.
    pub(super) fn set_if(&mut self, key: &'static str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.set(key, value.as_ref());
        }
    }

    pub(super) fn set_list(&mut self, key: &'static str, values: &[&str]) {
        let values: Vec<_> = values.iter().map(|value| scalar(value)).collect();
        self.lines.push(Line::Option(key, format!("[{}]", values.join(", "))));
    }

    /// Sets a table on one line; nothing if it would be empty.
    pub(super) fn set_table(&mut self, key: &'static str, values: &[(&str, Option<String>)]) {
        let set = values.iter().filter_map(|(key, value)| Some(format!("{key}: {}", scalar(value.as_ref()?))));
        let set: Vec<_> = set.collect();
        if !set.is_empty() {
            self.lines.push(Line::Option(key, format!("{{{}}}", set.join(", "))));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn write(&self, out: &mut String, indent: usize) {
        for line in &self.lines {
            let written = match line {
                Line::Comment(text) => writeln!(out, "{:indent$}# {text}", ""),
                Line::Option(key, value) => writeln!(out, "{:indent$}{key}: {value}", ""),
            };
            written.expect("a String takes everything");
        }
    }
}

/// Quotes a text so that the configuration reads exactly this text: `$` is escaped, and quotes are added if needed.
fn scalar(text: &str) -> String {
    let text = text.replace('$', "$$");
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_./@%-".contains(c))
        && !text.eq_ignore_ascii_case("null");
    // A JSON string is a double-quoted YAML one.
    if plain { text } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{self, Format};

    #[test]
    fn yaml_writer_nests_comments_lists_and_tables() {
        let mut table = Table::default();
        table.comment("why");
        table.set("host", "mail.example.com");
        table.set_list("events", &["tls_rpt", "a b"]);
        table.set_table("tls", &[("ca_file", Some("/etc/ca.pem".into())), ("crt_file", None)]);
        table.set_table("none", &[("x", None)]);
        let mut out = String::new();
        table.write(&mut out, 2);
        assert_eq!(
            out,
            "  # why\n  host: mail.example.com\n  events: [tls_rpt, \"a b\"]\n  tls: {ca_file: /etc/ca.pem}\n"
        );
    }

    proptest! {
        #[test]
        fn any_text_survives_the_yaml_writer(text in "[^\\p{Cc}\u{feff}\u{2028}\u{2029}\u{fffe}\u{ffff}]{1,40}|[$%{}a:# \"'\\\\-]{1,20}|null|~|0123") {
            prop_assume!(text.trim() == text);
            let mut table = Table::default();
            table.set("tenant", &text);
            let mut out = String::new();
            table.write(&mut out, 0);
            out.push_str("sources: {a: {type: file, path: /x}}\nsinks: {b: {type: stdout}}\n");
            let loaded = config::parse(&out, Format::Yaml, "made").map_err(|problems| TestCaseError::fail(problems.to_string()))?;
            prop_assert_eq!(loaded.config.tenant, Some(text));
        }
    }
}
