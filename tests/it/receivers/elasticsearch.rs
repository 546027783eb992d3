//! Checks `examples/elasticsearch` against the schema of the events.

use serde_json::{Value, json};

use super::{example::read, names};

#[test]
fn the_index_template_has_every_field_with_its_type() {
    let template: Value = serde_json::from_str(&read("elasticsearch/index-template.json")).unwrap();
    let mut mapped = template["template"]["mappings"]["properties"].as_object().unwrap().clone();
    assert_eq!(mapped.remove("@timestamp"), Some(json!({"type": "date"})), "of the pipeline");
    for (field, schema) in names::fields() {
        let mapping = mapped.remove(field).unwrap_or_else(|| panic!("the template has no {field}"));
        assert_eq!(mapping["type"], kind(field, schema), "{field}");
        match mapping["type"].as_str().unwrap() {
            "keyword" => assert!(is_limit(&mapping["ignore_above"]), "{field} may be of any length"),
            "ip" => assert_eq!(mapping["ignore_malformed"], true, "{field}"),
            "nested" => {
                assert_eq!(mapping["include_in_parent"], true, "{field}");
                let (mapped, told) = (&mapping["properties"], &schema["items"]["properties"]);
                let keys = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
                assert_eq!(keys(mapped), keys(told), "{field}");
                assert!(mapped.as_object().unwrap().values().all(|inner| is_limit(&inner["ignore_above"])), "{field}");
            }
            _ => {}
        }
    }
    assert!(mapped.is_empty(), "no event has {:?}", mapped.keys());
    assert_eq!(template["template"]["settings"]["index"]["default_pipeline"], "dmarc-events");
}

#[test]
fn the_ingest_pipeline_uses_event_id_as_document_id() {
    let pipeline: Value = serde_json::from_str(&read("elasticsearch/ingest-pipeline.json")).unwrap();
    let set = |field: &str| {
        let mut all = pipeline["processors"].as_array().unwrap().iter().map(|processor| &processor["set"]);
        all.find(|set| set["field"] == field).map(|set| set["value"].clone())
    };
    assert_eq!(set("_id"), Some(json!("{{{event_id}}}")));
    assert_eq!(set("@timestamp"), Some(json!("{{{ingest_timestamp}}}")));
    assert!(["event_id", "ingest_timestamp"].iter().all(|field| names::fields().contains_key(*field)));
}

/// True if this many characters are a valid limit for a keyword: its bytes, at most four per character, must stay below
/// Lucene's limit of 32,766.
fn is_limit(characters: &Value) -> bool {
    characters.as_u64().is_some_and(|characters| (256..=8191).contains(&characters))
}

fn kind(field: &str, schema: &Value) -> &'static str {
    let is = |kind: &str| schema["type"] == kind || schema["type"][0] == kind;
    match field {
        "source_ip" | "receiving_ip" => "ip",
        _ if schema["format"] == "date-time" => "date",
        _ if is("integer") => "long",
        _ if is("boolean") => "boolean",
        _ if is("array") && schema["items"]["type"] == "object" => "nested",
        _ => "keyword",
    }
}
