//! Writes flat JSON objects without spaces or line ends, and without characters that a terminal or a log reader would
//! interpret.

use std::io::Write as _;

use crate::{
    event::{Field, Object, Value},
    invisible::is_invisible,
};

/// Characters that are not escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Charset {
    /// Printable US-ASCII only.
    Ascii,
    /// All but control characters, line separators, and invisible characters that reorder or hide text.
    Visible,
}

impl Charset {
    /// True if `c` needs no escape, inside and outside of quotes. Quotes and backslashes are not considered here.
    pub(super) fn shows(self, c: char) -> bool {
        match c {
            ' '..='~' => true,
            _ => self == Charset::Visible && !c.is_ascii() && !is_invisible(c),
        }
    }
}

pub(super) fn object(fields: &[Field<'_>], charset: Charset, out: &mut Vec<u8>) {
    out.push(b'{');
    separated(fields, out, |(key, value), out| member(key, value, charset, out));
    out.push(b'}');
}

/// Writes `"key":value`.
pub(super) fn member(key: &str, value: &Value<'_>, charset: Charset, out: &mut Vec<u8>) {
    name(key, out);
    match value {
        Value::Null => out.extend(b"null"),
        Value::Bool(true) => out.extend(b"true"),
        Value::Bool(false) => out.extend(b"false"),
        Value::Int(number) => integer(*number, out),
        Value::Text(text) => string(text, charset, out),
        Value::Texts(texts) => {
            out.push(b'[');
            separated(texts, out, |text, out| string(text, charset, out));
            out.push(b']');
        }
        Value::Objects(objects) => {
            out.push(b'[');
            separated(objects, out, |object, out| flat(object, charset, out));
            out.push(b']');
        }
    }
}

fn flat(object: &Object<'_>, charset: Charset, out: &mut Vec<u8>) {
    out.push(b'{');
    separated(object, out, |(key, value), out| {
        name(key, out);
        match value {
            Some(text) => string(text, charset, out),
            None => out.extend(b"null"),
        }
    });
    out.push(b'}');
}

pub(super) fn integer(number: i64, out: &mut Vec<u8>) {
    write!(out, "{number}").expect("a vector takes all that is written");
}

/// Writes `text` in quotes, escaped.
pub(super) fn string(text: &str, charset: Charset, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut plain = 0;
    // Nearly every text needs no escapes. Does not stop at the first, so that many bytes are compared in one step.
    let is_odd = |byte: u8| !matches!(byte, b' '..=b'~') | (byte == b'"') | (byte == b'\\');
    let is_plain = !text.bytes().fold(false, |odd, byte| odd | is_odd(byte));
    let odd = if is_plain { "" } else { text };
    for (at, c) in odd.char_indices() {
        if matches!(c, '"' | '\\') || !charset.shows(c) {
            out.extend(&text.as_bytes()[plain..at]);
            escape(c, out);
            plain = at + c.len_utf8();
        }
    }
    out.extend(&text.as_bytes()[plain..]);
    out.push(b'"');
}

/// Number of bytes that one character takes within a string.
pub(super) fn width(c: char, charset: Charset) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        _ if charset.shows(c) => c.len_utf8(),
        _ => 6 * c.len_utf16(),
    }
}

fn escape(c: char, out: &mut Vec<u8>) {
    match c {
        '"' => out.extend(b"\\\""),
        '\\' => out.extend(b"\\\\"),
        '\n' => out.extend(b"\\n"),
        '\r' => out.extend(b"\\r"),
        '\t' => out.extend(b"\\t"),
        _ => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("a vector takes all that is written");
            }
        }
    }
}

/// Writes a key without escapes: all keys are letters, digits and underscores.
fn name(key: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend(key.as_bytes());
    out.extend(b"\":");
}

fn separated<T>(items: &[T], out: &mut Vec<u8>, mut write: impl FnMut(&T, &mut Vec<u8>)) {
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write(item, out);
    }
}
