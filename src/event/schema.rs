//! The tables of all events: which keys, in which order, of which JSON type, and what they mean.

mod keys;
mod others;

use serde_json::{Map, Value as Json, json};

use super::EventType;

/// One key of an event.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub nullable: bool,
    pub part: Part,
    /// What it is, its unit, when it is null, and the element it comes from.
    pub doc: &'static str,
}

/// A key's JSON type, the same for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bool,
    /// Fits i64.
    Int,
    Text,
    /// A string: RFC 3339, UTC with `Z`, whole seconds.
    Time,
    /// An array of strings, `[]` where there are none.
    Texts,
    /// An array of flat objects of nullable strings with these keys, `[]` where there are none.
    Objects(&'static [&'static str]),
}

/// The part that a key plays; what the presets of `encoding.fields` choose by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The schema that users of dmarc-ingest have dashboards for.
    Seed,
    /// What the event is.
    Identity,
    /// What the reporter, or the program, says.
    Told,
    /// What follows from other keys.
    Derived,
    /// The way here.
    Provenance,
}

/// The keys of an event type, in their order.
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

/// Every key of any event type, once: what `encoding.only_fields` and `except_fields` may name.
pub fn field_names() -> impl Iterator<Item = &'static str> {
    let mut seen = std::collections::HashSet::new();
    EventType::ALL
        .iter()
        .flat_map(|event_type| keys(*event_type))
        .map(|key| key.name)
        .filter(move |name| seen.insert(*name))
}

/// JSON Schema (draft 2020-12) of an event of any type, as it is with `encoding.fields: full`.
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
        let nullable = |name: &str| if self.nullable { json!([name, "null"]) } else { json!(name) };
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
