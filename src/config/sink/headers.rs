//! `request.headers` and `request.headers_file`: header fields by name.

use std::path::PathBuf;

use hyper::header::{self, HeaderName, HeaderValue};
use serde_json::json;

use crate::config::{
    decoder::{Decoder, Told, join},
    form::Form,
    node::{Node, Value},
    secret::Secret,
};

/// Header fields by name. Values may be secrets, and are not shown.
pub struct Headers;

/// Files with the values of header fields, by name.
pub struct HeaderFiles;

/// Fields that the program itself sets, as they depend on the body or the connection.
const OWN: &[HeaderName] = &[
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::HOST,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
];

impl Form for Headers {
    type Value = Vec<(HeaderName, HeaderValue)>;

    fn expected() -> String {
        "a table of header fields, such as X-Api-Key: ${KEY}".to_owned()
    }

    fn kind() -> String {
        "a table of texts".to_owned()
    }

    fn parse(_: &str) -> Result<Self::Value, String> {
        Err(format!("expected {}", Self::expected()))
    }

    fn read(node: &Node, key: &str, decoder: &Decoder<'_>) -> Result<Option<Self::Value>, Told> {
        fields(node, key, decoder, &Self::expected(), |text| {
            let mut value = HeaderValue::from_str(&text).map_err(|_| "must be visible ASCII without line ends")?;
            value.set_sensitive(true);
            Ok(value)
        })
    }

    fn written(_: &Self::Value) -> String {
        String::new()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "object", "additionalProperties": {"type": "string"}})
    }
}

impl Form for HeaderFiles {
    type Value = Vec<(HeaderName, Secret)>;

    fn expected() -> String {
        "a table of header fields, each with the path of a file, such as X-Api-Key: /run/secrets/key".to_owned()
    }

    fn kind() -> String {
        "a table of paths".to_owned()
    }

    fn parse(_: &str) -> Result<Self::Value, String> {
        Err(format!("expected {}", Self::expected()))
    }

    fn read(node: &Node, key: &str, decoder: &Decoder<'_>) -> Result<Option<Self::Value>, Told> {
        fields(node, key, decoder, &Self::expected(), |path| Ok(Secret::File(PathBuf::from(path))))
    }

    fn written(_: &Self::Value) -> String {
        String::new()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "object", "additionalProperties": {"type": "string"}})
    }
}

/// Reads a table of header fields, of which each text becomes a value.
fn fields<V>(
    node: &Node,
    key: &str,
    decoder: &Decoder<'_>,
    expected: &str,
    value: impl Fn(String) -> Result<V, &'static str>,
) -> Result<Option<Vec<(HeaderName, V)>>, Told> {
    match node.value {
        Value::Table(_) => {}
        Value::Null => return Ok(None),
        _ => return Err(decoder.problem(&node.at, key, format!("expected {expected}"))),
    }
    let mut fields: Vec<(HeaderName, V)> = Vec::new();
    for entry in node.entries() {
        let key = join(key, &entry.key);
        let refuse = |message: &str| decoder.problem(&entry.at, &key, message);
        let Ok(name) = HeaderName::from_bytes(entry.key.as_bytes()) else {
            return Err(refuse("is not the name of a header field"));
        };
        if OWN.contains(&name) {
            return Err(refuse("is set by the program; remove it"));
        }
        if fields.iter().any(|(other, _)| *other == name) {
            return Err(refuse("is set twice; keep one of them"));
        }
        let Some(text) = decoder.text(&entry.value, &key, "a text")? else { continue };
        fields.push((name, value(text).map_err(refuse)?));
    }
    Ok(Some(fields))
}
