//! Messages as parsed by a syslog receiver, in the same form for every receiver.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

/// One message as parsed by the receiver.
#[derive(Debug, Clone)]
pub struct Received {
    pub hostname: String,
    pub app_name: String,
    pub procid: String,
    pub msgid: String,
    pub severity: u8,
    pub facility: u8,
    /// RFC 3339.
    pub timestamp: String,
    /// SD-ID → parameter → value, unescaped.
    pub structured_data: BTreeMap<String, BTreeMap<String, String>>,
    /// MSG as parsed by the receiver's own JSON parser; null if it failed.
    pub json: Value,
    /// MSG as received.
    pub message: String,
}

impl Received {
    /// Parses the JSON object in MSG here, because receivers change types.
    #[track_caller]
    pub fn event(&self) -> Value {
        serde_json::from_str(&self.message).unwrap_or_else(|error| panic!("MSG is no JSON: {error}: {}", self.message))
    }
}

/// Returns the lines that a receiver has written to `path` so far; skips an incomplete last line.
pub fn read(path: &Path, take: impl Fn(&Value) -> Received) -> Vec<Received> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| take(&serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))))
        .collect()
}

/// Returns the fields that both receivers write under the same names; `json` and structured data differ.
pub fn common(line: &Value, structured_data: &Value, json: &Value) -> Received {
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| line[key].as_str().and_then(|value| value.parse().ok()).unwrap_or(u8::MAX);
    Received {
        hostname: text("hostname"),
        app_name: text("app_name"),
        procid: text("procid"),
        msgid: text("msgid"),
        severity: number("severity"),
        facility: number("facility"),
        timestamp: text("timestamp"),
        structured_data: serde_json::from_value(structured_data.clone()).unwrap_or_default(),
        json: json.clone(),
        message: text("msg"),
    }
}
