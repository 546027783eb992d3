//! Text codec: the key=value line of dmarc-ingest: `org=… report_id=… domain=… policy=… ip=… count=… …`.
//!
//! A value is unquoted if it is unambiguous; all others are JSON strings, so that no text of a reporter can start a field or
//! a line. `-` is null; arrays are joined.

use super::{
    fields::joined,
    json::{self, Charset},
};
use crate::event::{Field, Value};

pub(super) fn line(fields: &[Field<'_>], charset: Charset, out: &mut Vec<u8>) {
    for (position, field) in fields.iter().enumerate() {
        if position > 0 {
            out.push(b' ');
        }
        pair(field, charset, out);
    }
}

/// Writes `key=value`.
pub(super) fn pair((key, value): &Field<'_>, charset: Charset, out: &mut Vec<u8>) {
    // The one key whose name differs from the JSON.
    let key = if *key == "source_ip" { "ip" } else { key };
    out.extend(key.as_bytes());
    out.push(b'=');
    match value {
        Value::Null => out.push(b'-'),
        Value::Bool(true) => out.extend(b"true"),
        Value::Bool(false) => out.extend(b"false"),
        Value::Int(number) => json::integer(*number, out),
        Value::Text(text) => quoted(text, charset, out),
        Value::Texts(_) | Value::Objects(_) => match joined(value) {
            Some(text) => quoted(&text, charset, out),
            None => out.push(b'-'),
        },
    }
}

fn quoted(text: &str, charset: Charset, out: &mut Vec<u8>) {
    let bare = |c: char| charset.shows(c) && !c.is_whitespace() && !matches!(c, '"' | '=' | '\\');
    if text.is_empty() || text == "-" || !text.chars().all(bare) {
        json::string(text, charset, out);
    } else {
        out.extend(text.as_bytes());
    }
}
