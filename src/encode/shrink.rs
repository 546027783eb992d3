//! Shrinks a message to the size limit: removes the least important data first; the result is a complete message, marked
//! `truncated`.
//!
//! Arrays are trimmed, then the longest strings are shortened. If the limit is so small that the keys alone exceed it (a UDP
//! datagram), nulls are removed, and then whole fields from the end. `event_id` and `event_type` are never changed; numbers
//! are removed only if nothing else is left to remove.

use std::borrow::Cow;

use super::{
    json::{self, Charset},
    message::Message,
};
use crate::event::{Field, Value};

/// Maximum width of a string within an array: these are comments and names; a longer warning is an excerpt.
const MAX_ELEMENT_WIDTH: usize = 256;
/// Width below which strings are not shortened: shorter ones are addresses and times, which would become wrong values.
const MIN_TEXT_WIDTH: usize = 48;

/// Shrinks `fields` to at most `room` bytes as a message, if that is possible: see [`super::SMALLEST_LIMIT`].
pub(super) fn fit(fields: &mut Vec<Field<'_>>, message: Message, room: usize) {
    let mut scale = Scale { message, scratch: Vec::new() };
    if scale.message(fields) <= room {
        return;
    }
    mark(fields);
    shorten_elements(fields, message.charset());
    trim_arrays(fields, &mut scale, room, room / 4);
    shorten_texts(fields, &mut scale, room);
    trim_arrays(fields, &mut scale, room, 0);
    if scale.message(fields) > room {
        fields.retain(|(_, value)| *value != Value::Null && !is_empty(value));
    }
    drop_fields(fields, &mut scale, room, |value| !matches!(value, Value::Int(_)));
    drop_fields(fields, &mut scale, room, |_| true);
}

/// Measures sizes by writing, so that they are exact.
struct Scale {
    message: Message,
    scratch: Vec<u8>,
}

impl Scale {
    fn message(&mut self, fields: &[Field<'_>]) -> usize {
        self.scratch.clear();
        self.message.write(fields, &mut self.scratch);
        self.scratch.len()
    }

    /// Size of a field, with its separator.
    fn field(&mut self, field: &Field<'_>) -> usize {
        self.scratch.clear();
        self.message.write_field(field, &mut self.scratch);
        self.scratch.len() + 1
    }
}

/// Sets `truncated`, or adds it if the sink does not write it otherwise.
fn mark(fields: &mut Vec<Field<'_>>) {
    fields.retain(|(key, _)| *key != "truncated");
    fields.push(("truncated", Value::Bool(true)));
}

fn shorten_elements(fields: &mut [Field<'_>], charset: Charset) {
    for (_, value) in fields {
        match value {
            Value::Texts(texts) => {
                if texts.iter().any(|text| !fits(text, charset, MAX_ELEMENT_WIDTH)) {
                    for text in texts.to_mut() {
                        text.truncate(cut(text, charset, MAX_ELEMENT_WIDTH));
                    }
                }
            }
            Value::Objects(objects) => {
                for text in objects.iter_mut().flatten().filter_map(|(_, text)| text.as_mut()) {
                    shorten(text, charset, MAX_ELEMENT_WIDTH);
                }
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Text(_) => {}
        }
    }
}

/// Removes elements from the end of the largest array until the message fits, or all arrays together take `keep` bytes.
fn trim_arrays(fields: &mut [Field<'_>], scale: &mut Scale, room: usize, keep: usize) {
    let mut size = scale.message(fields);
    let mut arrays: Vec<(usize, usize)> = Vec::new();
    for (at, field) in fields.iter().enumerate() {
        if array_len(&field.1) > 0 {
            arrays.push((at, scale.field(field)));
        }
    }
    while size > room && arrays.iter().map(|(_, width)| width).sum::<usize>() > keep {
        let Some((at, width)) = arrays.iter_mut().max_by_key(|(_, width)| *width) else { break };
        let Some(field) = fields.get_mut(*at) else { break };
        halve(&mut field.1);
        let left = scale.field(field);
        size = size.saturating_sub(width.saturating_sub(left));
        // An empty array can't be trimmed further.
        *width = if array_len(&field.1) > 0 { left } else { 0 };
        arrays.retain(|(_, width)| *width > 0);
    }
}

/// Removes half of a long array at once, so that thousands of elements take little time, and one element of a short one.
fn halve(array: &mut Value<'_>) {
    let len = array_len(array);
    let left = if len > 16 { len / 2 } else { len.saturating_sub(1) };
    match array {
        Value::Texts(texts) => texts.to_mut().truncate(left),
        Value::Objects(objects) => objects.truncate(left),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Text(_) => {}
    }
}

fn array_len(value: &Value<'_>) -> usize {
    match value {
        Value::Texts(texts) => texts.len(),
        Value::Objects(objects) => objects.len(),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Text(_) => 0,
    }
}

fn is_empty(value: &Value<'_>) -> bool {
    matches!(value, Value::Texts(_) | Value::Objects(_)) && array_len(value) == 0
}

/// Shortens all strings to a common width, the largest with which the message fits.
fn shorten_texts(fields: &mut [Field<'_>], scale: &mut Scale, room: usize) {
    let excess = scale.message(fields).saturating_sub(room);
    let charset = scale.message.charset();
    let widths: Vec<usize> = fields.iter().filter_map(shortenable).map(|text| width(text, charset)).collect();
    let saved = |most: usize| widths.iter().map(|width| width.saturating_sub(most)).sum::<usize>();
    let (mut enough, mut too_wide) = (MIN_TEXT_WIDTH, widths.iter().max().map_or(0, |widest| widest + 1));
    if excess == 0 || too_wide <= enough {
        return;
    }
    while enough + 1 < too_wide {
        let middle = enough.midpoint(too_wide);
        if saved(middle) >= excess { enough = middle } else { too_wide = middle }
    }
    for field in fields {
        if shortenable(field).is_some()
            && let Value::Text(text) = &mut field.1
        {
            shorten(text, charset, enough);
        }
    }
}

/// Returns the text that may be shortened. Hashes are excluded: a part of one is useless.
fn shortenable<'f>((key, value): &'f Field<'_>) -> Option<&'f str> {
    match value {
        Value::Text(text) if !matches!(*key, "event_id" | "event_type" | "document_sha256") => Some(text),
        _ => None,
    }
}

/// Removes fields that `may_go`, from the end, until the message fits.
fn drop_fields(fields: &mut Vec<Field<'_>>, scale: &mut Scale, room: usize, may_go: impl Fn(&Value<'_>) -> bool) {
    let mut size = scale.message(fields);
    let mut at = fields.len();
    while size > room && at > 0 {
        at -= 1;
        let Some(field) = fields.get(at) else { break };
        if may_go(&field.1) && !matches!(field.0, "event_id" | "event_type" | "truncated") {
            size = size.saturating_sub(scale.field(field));
            fields.remove(at);
        }
    }
}

fn shorten(text: &mut Cow<'_, str>, charset: Charset, most: usize) {
    let end = cut(text, charset, most);
    match text {
        Cow::Borrowed(borrowed) => *borrowed = borrowed.get(..end).unwrap_or_default(),
        Cow::Owned(owned) => owned.truncate(end),
    }
}

/// Width of a quoted string; unquoted values of the text codec are narrower.
fn width(text: &str, charset: Charset) -> usize {
    2 + text.chars().map(|c| json::width(c, charset)).sum::<usize>()
}

fn fits(text: &str, charset: Charset, most: usize) -> bool {
    cut(text, charset, most) == text.len()
}

/// Returns the character boundary at which to cut `text` so that it is at most `most` wide.
fn cut(text: &str, charset: Charset, most: usize) -> usize {
    let mut wide = 2;
    for (at, c) in text.char_indices() {
        wide += json::width(c, charset);
        if wide > most {
            return at;
        }
    }
    text.len()
}
