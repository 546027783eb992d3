//! Value syntax of options: parsing, and the expected form for messages and documentation.

use std::{marker::PhantomData, num::NonZeroU32, path::PathBuf};

use serde_json::json;

use super::{
    decoder::{Decoder, Told},
    near::nearest,
    node::{Node, Value},
};

/// Syntax of a value. Implemented by types with a single syntax, and by marker types (`Size`, `Time`, …) for others.
pub(crate) trait Form {
    type Value;

    /// Description of valid values, for a problem: "a duration such as 30s, 5m or 1h30m".
    fn expected() -> String;

    /// Description of valid values, for a table column in the documentation.
    fn kind() -> String {
        Self::expected()
    }

    /// Parses a scalar's text. The error is a complete message.
    fn parse(text: &str) -> Result<Self::Value, String>;

    /// `Ok(None)` if the value is null, or if variables leave it empty.
    fn read(node: &Node, key: &str, decoder: &Decoder<'_>) -> Result<Option<Self::Value>, Told> {
        let Some(text) = decoder.text(node, key, &Self::expected())? else { return Ok(None) };
        Self::parse(&text).map(Some).map_err(|message| decoder.problem(&node.at, key, message))
    }

    /// Formats a value as in the configuration; empty for no value.
    fn written(value: &Self::Value) -> String;

    /// JSON Schema of the value.
    fn schema() -> serde_json::Value {
        json!({"type": "string"})
    }
}

impl Form for String {
    type Value = String;

    fn expected() -> String {
        "a text".to_owned()
    }

    fn kind() -> String {
        "text".to_owned()
    }

    fn parse(text: &str) -> Result<String, String> {
        if text.is_empty() {
            return Err("must not be empty".to_owned());
        }
        // A line end in a user or folder name would end an IMAP command.
        if text.contains(char::is_control) {
            return Err(format!("must not contain control characters, as {text:?} does"));
        }
        Ok(text.to_owned())
    }

    fn written(value: &String) -> String {
        value.clone()
    }
}

impl Form for PathBuf {
    type Value = PathBuf;

    fn expected() -> String {
        "a path".to_owned()
    }

    fn kind() -> String {
        "path".to_owned()
    }

    fn parse(text: &str) -> Result<PathBuf, String> {
        String::parse(text).map(PathBuf::from)
    }

    fn written(value: &PathBuf) -> String {
        value.display().to_string()
    }
}

impl Form for bool {
    type Value = bool;

    fn expected() -> String {
        "true or false".to_owned()
    }

    fn parse(text: &str) -> Result<bool, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("expected true or false, not {text:?}")),
        }
    }

    fn written(value: &bool) -> String {
        value.to_string()
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": r"\$\{"}]})
    }
}

/// An integer from `MIN` to `MAX`.
pub(crate) struct Whole<T, const MIN: u64, const MAX: u64>(PhantomData<T>);

impl<T: TryFrom<u64> + ToString, const MIN: u64, const MAX: u64> Form for Whole<T, MIN, MAX> {
    type Value = T;

    fn expected() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }

    fn kind() -> String {
        if MAX >= u64::from(u32::MAX) { format!("number, from {MIN}") } else { format!("number, {MIN} to {MAX}") }
    }

    fn parse(text: &str) -> Result<T, String> {
        let number = text.parse().ok().filter(|number| (MIN..=MAX).contains(number));
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("expected {}, not {text:?}", Self::expected()))
    }

    fn written(value: &T) -> String {
        value.to_string()
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [
            {"type": "integer", "minimum": MIN, "maximum": MAX},
            {"type": "string", "pattern": r"\$\{"},
        ]})
    }
}

/// Gives `Whole` and `Size` a type that can't be zero; `MIN` must be at least 1.
pub(crate) struct NonZero<F>(PhantomData<F>);

impl<F: Form<Value = u32>> Form for NonZero<F> {
    type Value = NonZeroU32;

    fn expected() -> String {
        F::expected()
    }

    fn kind() -> String {
        F::kind()
    }

    fn parse(text: &str) -> Result<NonZeroU32, String> {
        NonZeroU32::new(F::parse(text)?).ok_or_else(|| format!("expected {}, not {text:?}", F::expected()))
    }

    fn written(value: &NonZeroU32) -> String {
        F::written(&value.get())
    }

    fn schema() -> serde_json::Value {
        F::schema()
    }
}

/// An optional value.
impl<F: Form> Form for Option<F> {
    type Value = Option<F::Value>;

    fn expected() -> String {
        F::expected()
    }

    fn kind() -> String {
        F::kind()
    }

    fn parse(text: &str) -> Result<Self::Value, String> {
        F::parse(text).map(Some)
    }

    fn read(node: &Node, key: &str, decoder: &Decoder<'_>) -> Result<Option<Self::Value>, Told> {
        Ok(F::read(node, key, decoder)?.map(Some))
    }

    fn written(value: &Self::Value) -> String {
        value.as_ref().map(F::written).unwrap_or_default()
    }

    fn schema() -> serde_json::Value {
        F::schema()
    }
}

/// A list, or its items in one text, separated by commas.
impl<F: Form> Form for Vec<F> {
    type Value = Vec<F::Value>;

    fn expected() -> String {
        format!("a list, each {}", F::expected())
    }

    fn kind() -> String {
        format!("list: {}", F::kind())
    }

    fn parse(text: &str) -> Result<Self::Value, String> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(F::parse).collect()
    }

    fn read(node: &Node, key: &str, decoder: &Decoder<'_>) -> Result<Option<Self::Value>, Told> {
        let Value::List(items) = &node.value else {
            let Some(text) = decoder.text(node, key, &Self::expected())? else { return Ok(None) };
            return Self::parse(&text).map(Some).map_err(|message| decoder.problem(&node.at, key, message));
        };
        let read = items.iter().enumerate().map(|(index, item)| F::read(item, &format!("{key}[{index}]"), decoder));
        // All items are read before the first problem is returned, so that all problems are reported.
        let read: Vec<_> = read.collect();
        Ok(Some(read.into_iter().collect::<Result<Vec<_>, Told>>()?.into_iter().flatten().collect()))
    }

    fn written(value: &Self::Value) -> String {
        value.iter().map(F::written).collect::<Vec<_>>().join(", ")
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [{"type": "array", "items": F::schema()}, {"type": "string"}]})
    }
}

/// Message for a word that is not in `known`.
pub(crate) fn not_one_of(text: &str, known: &[&str]) -> String {
    let expected = format!("expected one of {}, not {text:?}", known.join(", "));
    match nearest(text, known.iter().copied()) {
        Some(name) => format!("{expected}; did you mean {name}?"),
        None => expected,
    }
}

/// Describes choices: "`tls` (TLS from the first byte), `none`".
pub(crate) fn choices_in_words(choices: &[(&str, &[&str])]) -> String {
    let words = choices.iter().map(|(word, lines)| {
        let doc = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        let doc = doc.trim_end_matches('.');
        if doc.is_empty() { format!("`{word}`") } else { format!("`{word}` ({doc})") }
    });
    format!("one of {}", words.collect::<Vec<_>>().join(", "))
}
