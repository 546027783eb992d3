//! Schema of all events: keys, their order, JSON types and documentation.

mod key;
mod keys;
mod others;

use serde_json::{Map, Value as Json, json};

pub use self::key::{Key, Kind, Null, Part};
use super::event_type::EventType;

/// Returns the keys of an event type, in order.
pub fn keys(event_type: EventType) -> &'static [Key] {
    match event_type {
        EventType::DmarcAggregate => keys::AGGREGATE,
        EventType::TlsRpt => others::TLS_RPT,
        EventType::DmarcFailure => others::FAILURE,
        EventType::Report => keys::REPORT,
        EventType::IngestError => keys::INGEST_ERROR,
        EventType::Probe => others::PROBE,
    }
}

/// True if a null at `path` is named in `parse_warnings`; `path` is a key, or `key[0].member` for one in an object.
pub(super) fn is_named(event_type: EventType, path: &str) -> bool {
    let (name, member) = match path.split_once('[') {
        Some((name, at)) => (name, at.split_once("].").map(|(_, member)| member)),
        None => (path, None),
    };
    keys(event_type).iter().filter(|key| key.name == name).any(|key| match (key.null, member) {
        (Null::Members(members), Some(member)) => members.contains(&member),
        (Null::Named | Null::NamedIf(..), None) => true,
        _ => false,
    })
}

/// Iterates over the keys of all event types, each once: the valid names in `encoding.only_fields` and `except_fields`.
pub fn field_names() -> impl Iterator<Item = &'static str> {
    let mut seen = std::collections::HashSet::new();
    EventType::ALL
        .iter()
        .flat_map(|event_type| keys(*event_type))
        .map(|key| key.name)
        .filter(move |name| seen.insert(*name))
}

/// JSON Schema (draft 2020-12) of an event of any type, with `encoding.fields: full`.
pub fn json_schema() -> Json {
    let types: Vec<Json> = EventType::ALL.iter().map(|event_type| type_schema(*event_type)).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dmarc-shipper event",
        "description": "Within schema_version 1 keys are only ever added.",
        "oneOf": types,
    })
}

fn type_schema(event_type: EventType) -> Json {
    let keys = keys(event_type);
    let mut properties: Map<String, Json> = keys.iter().map(|key| (key.name.to_owned(), key.schema())).collect();
    if let Some(Json::Object(property)) = properties.get_mut("event_type") {
        property.insert("const".into(), event_type.as_str().into());
    }
    json!({
        "title": event_type.as_str(),
        "type": "object",
        "properties": properties,
        "required": keys.iter().map(|key| key.name).collect::<Vec<_>>(),
    })
}

impl Key {
    pub fn is_array(&self) -> bool {
        matches!(self.kind, Kind::Texts | Kind::Objects(_))
    }

    fn schema(&self) -> Json {
        let nullable = |name: &str| if self.null.is_possible() { json!([name, "null"]) } else { json!(name) };
        let mut schema = match self.kind {
            Kind::Bool => json!({"type": nullable("boolean")}),
            Kind::Int => json!({"type": nullable("integer"), "minimum": i64::MIN, "maximum": i64::MAX}),
            Kind::Text => json!({"type": nullable("string")}),
            Kind::Time => json!({"type": nullable("string"), "format": "date-time"}),
            Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
            Kind::Objects(members) => {
                let properties: Map<String, Json> =
                    members.iter().map(|name| ((*name).to_owned(), json!({"type": ["string", "null"]}))).collect();
                json!({"type": "array", "items": {"type": "object", "properties": properties, "required": members}})
            }
        };
        if let Json::Object(schema) = &mut schema {
            schema.insert("description".into(), self.doc.into());
        }
        schema
    }
}

#[cfg(test)]
mod tests;
