//! Parses TOML. The parser continues after an error, so all errors are reported.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::lines::Lines;
use crate::config::{
    node::{At, Entry, Node, Value},
    problem::Problem,
};

/// Returns the tree of a TOML document.
pub(super) fn parse(text: &str) -> Result<Node, Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let source = Source { text, lines: Lines::of(text) };
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| source.explain(error)).collect());
    }
    Ok(Node { value: source.table(document.get_ref()), at: At::File })
}

struct Source<'t> {
    text: &'t str,
    lines: Lines,
}

impl Source<'_> {
    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        let at = self.lines.at(self.text, value.span().start);
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => self.table(table),
            // Integers without their underscores; other values unchanged.
            DeValue::Integer(number) if number.radix() == 10 => Value::Text(number.as_str().to_owned()),
            _ => Value::Text(self.text.get(value.span()).unwrap_or_default().to_owned()),
        };
        Node { value, at }
    }

    fn table(&self, table: &DeTable<'_>) -> Value {
        let entries = table.iter().map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            at: self.lines.at(self.text, key.span().start),
            value: self.node(value),
        });
        Value::Table(entries.collect())
    }

    fn explain(&self, error: &toml::de::Error) -> Problem {
        let (at, key) = match error.span() {
            Some(span) => (self.lines.at(self.text, span.start), self.text.get(span).unwrap_or_default()),
            None => (At::File, ""),
        };
        match error.message() {
            "duplicate key" => Problem::new(at, key.trim(), "is set twice; keep one of them"),
            message => Problem::new(at, "", format!("invalid TOML: {message}")),
        }
    }
}
