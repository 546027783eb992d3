//! Formats a record as one line: nothing in it can end the line, control a terminal, or look like another field.

use std::fmt::{self, Write};

use crate::invisible::is_invisible;

use tracing::{
    Level,
    field::{Field, Visit},
};

/// Value of `logger` in the JSON lines: users split a shared stream by it.
const LOGGER: &str = "DMARC_SCRIPT";

/// Maximum number of characters of a value; longer ones are cut, as a record is for reading.
const MAX_CHARS: usize = 4096;

/// The message and fields of a record, in their order.
#[derive(Debug, Default)]
pub(super) struct Fields {
    message: String,
    rest: Vec<(&'static str, Value)>,
}

#[derive(Debug)]
enum Value {
    Text(String),
    /// A number or boolean, which JSON has as such.
    Plain(String),
}

impl Fields {
    /// A record that has only a message.
    pub(super) fn saying(message: String) -> Self {
        Self { message, rest: Vec::new() }
    }

    fn push(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::Text(text) | Value::Plain(text)) => self.message = text,
            (name, value) => self.rest.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, Value::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, Value::Text(value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Value::Plain(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Value::Plain(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Value::Plain(value.to_string()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        let text = value.to_string();
        self.push(field, if value.is_finite() { Value::Plain(text) } else { Value::Text(text) });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.push(field, Value::Text(value.to_string()));
    }
}

/// Formats a record as JSON: `{"timestamp":…,"level":…,"logger":…,"target":…,"message":…,` and the fields; each key once.
pub(super) fn json(now: &str, level: &str, target: &str, fields: &Fields) -> String {
    let mut line = String::with_capacity(256);
    let mut known = Vec::new();
    line.push('{');
    let text = |text: &str| Value::Text(text.into());
    for (key, value) in [
        ("timestamp", text(now)),
        ("level", text(level)),
        ("logger", text(LOGGER)),
        ("target", text(target)),
        ("message", text(&fields.message)),
    ] {
        member(&mut line, key, &value, &mut known);
    }
    for (key, value) in &fields.rest {
        member(&mut line, key, value, &mut known);
    }
    line.push_str("}\n");
    line
}

/// Formats a record as text: `2026-01-02T03:04:05.678Z  INFO message key=value`.
pub(super) fn text(now: &str, level: Level, colours: bool, fields: &Fields) -> String {
    let mut line = String::with_capacity(256);
    let (before, after) = if colours { (colour(level), "\x1b[0m") } else { ("", "") };
    line.push_str(&format!("{now} {before}{:>5}{after} ", level.as_str()));
    escape(&mut line, &fields.message, false, text_escape);
    for (key, value) in &fields.rest {
        line.push(' ');
        line.push_str(key);
        line.push('=');
        match value {
            Value::Plain(value) => line.push_str(value),
            Value::Text(value) => {
                let bare = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || "\"'=\\".contains(c));
                let quote = if bare { "" } else { "\"" };
                line.push_str(quote);
                escape(&mut line, value, !bare, text_escape);
                line.push_str(quote);
            }
        }
    }
    line.push('\n');
    line
}

fn member(line: &mut String, key: &str, value: &Value, known: &mut Vec<String>) {
    let mut key = key.to_owned();
    while known.contains(&key) {
        key.push('_');
    }
    if !known.is_empty() {
        line.push(',');
    }
    line.push('"');
    escape(line, &key, true, json_escape);
    line.push_str("\":");
    match value {
        Value::Plain(value) => line.push_str(value),
        Value::Text(value) => {
            line.push('"');
            escape(line, value, true, json_escape);
            line.push('"');
        }
    }
    known.push(key);
}

fn escape(line: &mut String, text: &str, quoted: bool, one: fn(&mut String, char)) {
    for (count, c) in text.chars().enumerate() {
        match c {
            _ if count == MAX_CHARS => return line.push('…'),
            '"' | '\\' if quoted => line.extend(['\\', c]),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            _ if is_unsafe(c) => one(line, c),
            _ => line.push(c),
        }
    }
}

fn json_escape(line: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        write!(line, "\\u{unit:04x}").ok(); // writing to a String can't fail
    }
}

fn text_escape(line: &mut String, c: char) {
    line.extend(c.escape_unicode());
}

/// True for control characters, which terminals obey, and for those that reorder or hide text.
fn is_unsafe(c: char) -> bool {
    c.is_control() || is_invisible(c)
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG | Level::TRACE => "\x1b[2m",
    }
}
