//! Generates the JSON Schema of the configuration from the same declarations that decode it: for editors, and for `schema
//! config`.

use serde_json::{Map, Value, json};

use super::{
    decode::Options,
    kinds::Kinds,
    option_doc::{Need, OptionDoc},
    sink::{SinkConfig, SinkKind},
    source::SourceConfig,
    top_level::Config,
};

/// Returns the schema of a whole configuration file (JSON Schema 2020-12).
pub fn schema() -> Value {
    let mut schema = object(Config::options(), None);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("dmarc-shipper configuration");
    schema["properties"]["sources"] = named(types::<SourceConfig>(&[]));
    schema["properties"]["sinks"] = named(types::<SinkKind>(&SinkConfig::options()));
    schema
}

/// All kinds, with the options that they share and those specific to each.
fn types<T: Kinds>(shared: &[OptionDoc]) -> Vec<(&'static str, Vec<OptionDoc>)> {
    T::ALL.iter().map(|kind| (kind.name, [shared, &(kind.options)()].concat())).collect()
}

/// Schema of a table of named tables, each of one of `types`.
fn named(types: Vec<(&'static str, Vec<OptionDoc>)>) -> Value {
    let types: Vec<Value> = types.into_iter().map(|(name, options)| object(options, Some(name))).collect();
    json!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": "^[A-Za-z0-9_.-]+$"},
        "additionalProperties": {"oneOf": types},
    })
}

/// Schema of a table with these options; dotted ones are put in nested tables.
fn object(options: Vec<OptionDoc>, kind: Option<&str>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    if let Some(kind) = kind {
        properties.insert("type".to_owned(), json!({"const": kind}));
        required.push("type".to_owned());
    }
    let mut inner: Vec<(String, Vec<OptionDoc>)> = Vec::new();
    for option in options {
        if let Some((table, key)) = option.key.split_once('.') {
            let option = OptionDoc { key: key.to_owned(), ..option.clone() };
            match inner.iter_mut().find(|(name, _)| name == table) {
                Some((_, options)) => options.push(option),
                None => inner.push((table.to_owned(), vec![option])),
            }
            continue;
        }
        if option.need == Need::Required {
            required.push(option.key.clone());
        }
        properties.insert(option.key.clone(), described(&option));
    }
    for (table, options) in inner {
        properties.insert(table, object(options, None));
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn described(option: &OptionDoc) -> Value {
    let mut schema = option.schema.clone();
    schema["description"] = json!(option.doc);
    match &option.need {
        Need::Default(default) if !default.is_empty() => schema["default"] = json!(default),
        _ => {}
    }
    schema
}
