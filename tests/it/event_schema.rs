//! Every event conforms to the schema printed by `dmarc-shipper schema event`.

use std::{fs, path::Path, sync::OnceLock};

use serde_json::{Value, json};

use crate::support::process::{Shipper, ndjson};

#[test]
fn every_golden_event_matches_the_schema() {
    let mut files = 0;
    for folder in fs::read_dir(root("tests/data")).unwrap().map(|entry| entry.unwrap().path()) {
        let entries = if folder.is_dir() { fs::read_dir(folder).unwrap().collect() } else { Vec::new() };
        for file in entries.into_iter().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|ending| ending == "ndjson") {
                files += 1;
                ndjson(&fs::read_to_string(&file).unwrap()).iter().for_each(|event| conforms(event, &file));
            }
        }
    }
    assert!(files > 100, "only {files} golden files");
}

#[test]
fn every_event_of_the_example_mailbox_matches_the_schema() {
    let mailbox = root("examples/mailbox");
    let events = Shipper::new(["parse".as_ref(), mailbox.as_os_str()]).exits(0).events();
    assert!(events.len() > 10);
    events.iter().for_each(|event| conforms(event, &mailbox));
}

#[test]
fn schema_violations_are_detected() {
    let folder = root("examples/mailbox");
    let event = Shipper::new(["parse".as_ref(), folder.as_os_str()]).run().events().remove(0);
    let changed = |key: &str, value: Value| {
        let mut event = event.clone();
        event[key] = value;
        event
    };
    assert_eq!(faults(&event), [""; 0]);
    for (key, value) in [
        ("count", json!("3")),
        ("begin", json!("yesterday")),
        ("event_type", json!("invoice")),
        ("parse_warnings", json!([1])),
        ("dkim_auth", json!([{"domain": null}])),
        ("not_a_key", json!(1)),
        ("source", Value::Null),
    ] {
        assert_ne!(faults(&changed(key, value)), [""; 0], "{key}");
    }
    let mut event = event.clone();
    event.as_object_mut().unwrap().remove("org");
    assert_ne!(faults(&event), [""; 0]);
}

#[track_caller]
fn conforms(event: &Value, file: &Path) {
    assert_eq!(faults(event), [""; 0], "{event} in {}", file.display());
}

/// Returns the violations of the schema of the event's type.
fn faults(event: &Value) -> Vec<String> {
    let types = schema()["oneOf"].as_array().unwrap();
    let Some(own) = types.iter().find(|own| own["properties"]["event_type"]["const"] == event["event_type"]) else {
        return vec![format!("no such type as {}", event["event_type"])];
    };
    let mut faults = Vec::new();
    check(event, own, "", &mut faults);
    // A JSON Schema accepts unknown keys; this one must list all.
    let keys = event.as_object().unwrap().keys();
    faults.extend(keys.filter(|key| own["properties"].get(key).is_none()).map(|key| format!("{key} is not listed")));
    faults
}

fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| serde_json::from_str(&Shipper::new(["schema", "event"]).exits(0).stdout).unwrap())
}

/// Validates the subset of JSON Schema (draft 2020-12) that our schema uses; any other keyword fails the test.
fn check(value: &Value, schema: &Value, path: &str, faults: &mut Vec<String>) {
    let mut fault = |what: String| faults.push(format!("{path}: {what}: {value}"));
    for (keyword, told) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "title" | "description" => {}
            "type" => {
                let is = |name: &Value| {
                    let name = name.as_str().unwrap();
                    name == kind(value)
                };
                let fits = told.as_array().map_or_else(|| is(told), |kinds| kinds.iter().any(is));
                if !fits {
                    fault(format!("is not {told}"));
                }
            }
            "const" if value != told => fault(format!("is not {told}")),
            "minimum" if value.is_number() && value.as_i64().is_none() => fault("is no i64".into()),
            "const" | "minimum" | "maximum" => {}
            "format" => {
                assert_eq!(told, "date-time");
                if value.as_str().is_some_and(|text| !text.ends_with('Z') || text.parse::<jiff::Timestamp>().is_err()) {
                    fault("is no time in UTC".into());
                }
            }
            "required" => {
                let missing = told.as_array().unwrap().iter().filter(|key| value.get(key.as_str().unwrap()).is_none());
                missing.for_each(|key| fault(format!("has no {key}")));
            }
            "properties" | "items" => {}
            other => panic!("this test does not know the keyword {other}"),
        }
    }
    for (key, own) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(key) {
            check(value, own, &format!("{path}/{key}"), faults);
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(item, &schema["items"], &format!("{path}/{index}"), faults);
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn root(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
