//! Checks that documentation and schema match the code.

use super::*;
use serde_json::Value;

#[test]
fn configuration_md_is_up_to_date() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, docs::page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == docs::page(), "docs/configuration.md is out of date: run UPDATE_DOCS=1 cargo test");
}

#[test]
fn the_example_in_configuration_md_is_valid() {
    let page = docs::page();
    let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let config = yaml(example).unwrap().config;
    assert_eq!((config.sources.len(), config.sinks.len()), (1, 2));
}

#[test]
fn the_schema_knows_every_option_with_its_type_and_a_description() {
    let schema = schema::schema();
    assert_eq!(schema["properties"]["intake"]["properties"]["max_size"]["default"], "32 MiB");
    assert_eq!(schema["additionalProperties"], false);
    let types = schema["properties"]["sinks"]["additionalProperties"]["oneOf"].as_array().unwrap();
    let syslog = types.iter().find(|kind| kind["properties"]["type"]["const"] == "syslog").unwrap();
    assert_eq!(syslog["required"], serde_json::json!(["type", "address"]));
    assert_eq!(syslog["properties"]["tls"]["properties"]["verify_hostname"]["default"], "true");
    assert_eq!(syslog["properties"]["framing"]["properties"]["method"]["anyOf"][0]["enum"][0], "octet_counting");
    let undescribed = without_description(&schema, "");
    assert!(undescribed.is_empty(), "{undescribed:?}");
}

fn without_description(schema: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, option) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let is_table = option["properties"].is_object() || option["additionalProperties"].is_object();
        if !is_table && option.get("const").is_none() && option["description"].as_str().unwrap_or_default().is_empty() {
            found.push(path.clone());
        }
        found.extend(without_description(option, &path));
        for kind in option["additionalProperties"]["oneOf"].as_array().into_iter().flatten() {
            found.extend(without_description(kind, &path));
        }
    }
    found
}
