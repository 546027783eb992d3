//! Builds fields: converts plain values to [`Value`], and lists the blocks of keys that several event types share.

use std::{borrow::Cow, ops::Deref};

use jiff::Timestamp;

use super::{event_type::EventType, provenance::Provenance};
use crate::{extract::AuthResult, report::Extension};

/// Value of a field. The type of each key never changes; values may be null.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Text(Cow<'a, str>),
    Texts(Cow<'a, [String]>),
    /// Flat objects of texts, all with the same keys in the same order.
    Objects(Vec<Object<'a>>),
}

/// A flat object of texts within an array.
pub type Object<'a> = Vec<(&'static str, Option<Cow<'a, str>>)>;

pub type Field<'a> = (&'static str, Value<'a>);

/// Schema version of events. Within one version keys are only ever added.
const SCHEMA_VERSION: i64 = 1;

pub(super) fn text<S: AsRef<str>>(value: &Option<S>) -> Value<'_> {
    match value {
        Some(text) => Value::Text(Cow::Borrowed(text.as_ref())),
        None => Value::Null,
    }
}

pub(super) fn known(value: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(value))
}

pub(super) fn int(value: Option<i64>) -> Value<'static> {
    value.map_or(Value::Null, Value::Int)
}

pub(super) fn flag(value: Option<bool>) -> Value<'static> {
    value.map_or(Value::Null, Value::Bool)
}

pub(super) fn texts(values: &[String]) -> Value<'_> {
    Value::Texts(Cow::Borrowed(values))
}

/// `extensions`.
pub(super) fn extensions(told: &[Extension]) -> Field<'_> {
    ("extensions", Value::Objects(told.iter().map(extension).collect()))
}

fn extension(Extension { path, namespace, value }: &Extension) -> Object<'_> {
    vec![("path", member(path)), ("namespace", member(namespace)), ("value", member(value))]
}

fn auth_result(AuthResult { method, result, domain }: &AuthResult) -> Object<'_> {
    let known = |text| Some(Cow::Borrowed(text));
    vec![("method", known(method.as_str())), ("result", known(result)), ("domain", member(domain))]
}

/// Value of a key within an object.
pub(super) fn member<S: Deref<Target = str>>(value: &Option<S>) -> Option<Cow<'_, str>> {
    value.as_deref().map(Cow::Borrowed)
}

/// Converts a number of our own, which can't exceed `i64` in practice; events promise that integers fit i64.
pub(super) fn saturated(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Keys `event_type` to `tenant`, which every event has.
pub(super) fn identity<'a>(event_type: EventType, id: &'a str, provenance: &'a Provenance, out: &mut Vec<Field<'a>>) {
    out.extend([
        ("event_type", known(event_type.as_str())),
        ("schema_version", Value::Int(SCHEMA_VERSION)),
        ("event_id", known(id)),
        ("tenant", text(&provenance.tenant)),
    ]);
}

/// Keys `attachment` to `mail_auth`: provenance.
pub(super) fn provenance<'a>(provenance: &'a Provenance, out: &mut Vec<Field<'a>>) {
    let mail_auth = provenance.mail_auth.as_ref().map_or(&[][..], |auth| &auth.results);
    out.extend([
        ("attachment", text(&provenance.attachment)),
        ("source", known(&provenance.source)),
        ("mailbox", text(&provenance.mailbox)),
        ("mail_uid", int(provenance.mail_uid.map(i64::from))),
        ("mail_message_id", text(&provenance.mail_message_id)),
        ("mail_from", text(&provenance.mail_from)),
        ("mail_date", text(&provenance.mail_date)),
        ("mail_auth", Value::Objects(mail_auth.iter().map(auth_result).collect())),
    ]);
}

/// Formats a time as RFC 3339, UTC with `Z`, whole seconds.
pub(super) fn time(time: Timestamp) -> String {
    format!("{time:.0}")
}

/// Formats bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
