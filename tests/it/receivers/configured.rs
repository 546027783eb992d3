//! Example configurations of receivers that are not available for tests: checks their syntax, and that every name used in
//! one is defined.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

use super::{example::read, names, yaml};
use crate::support::process::Shipper;

#[test]
fn vector_components_have_existing_inputs_and_remaps() {
    let files = files("vector", "yaml");
    assert_eq!(files.len(), 5);
    for file in files {
        let config = yaml::parse(&read(&file));
        let mut outputs: Vec<String> = keys(&config["sources"]);
        for (name, transform) in config["transforms"].as_object().unwrap() {
            outputs.push(name.clone());
            outputs.extend(transform["reroute_dropped"].as_bool().map(|_| format!("{name}.dropped")));
        }
        for part in ["transforms", "sinks"] {
            for (name, component) in config[part].as_object().unwrap() {
                let inputs = texts(&component["inputs"]);
                assert!(!inputs.is_empty() && inputs.iter().all(|input| outputs.contains(input)), "{name} in {file}");
                if let Some(program) = component["file"].as_str() {
                    read(&program.replace("/etc/vector/", "vector/"));
                }
            }
        }
    }
}

/// Regressions, all found by running the files in Vector 0.58.0: the key of `id_key` is removed from the document; since 0.57
/// variables are not interpolated, and templates of a sink need a constant prefix; without acknowledgements, what was read
/// from a file and not sent on is lost.
#[test]
fn vector_keeps_the_id_interpolates_nothing_and_acknowledges_where_it_can() {
    for file in files("vector", "yaml") {
        let text = read(&file);
        assert!(!text.contains("${"), "{file}");
        let config = yaml::parse(&text);
        for (name, sink) in config["sinks"].as_object().unwrap() {
            if let Some(id) = sink["id_key"].as_str() {
                let own = &config["transforms"][sink["inputs"][0].as_str().unwrap()]["source"];
                assert_eq!(own.as_str(), Some(&*format!(".{id} = .event_id")), "{name} in {file}");
                assert!(!names::fields().contains_key(id), "{name} in {file}");
            }
            let begins_with_a_field = text.contains(r#": "{{"#);
            assert_eq!(
                sink["dangerously_allow_unconfined_template_resolution"] == true,
                begins_with_a_field,
                "{name} in {file}"
            );
        }
        let kinds: Vec<&str> =
            config["sources"].as_object().unwrap().values().map(|source| source["type"].as_str().unwrap()).collect();
        let can_acknowledge = kinds.iter().any(|kind| ["file", "http_server"].contains(kind));
        assert_eq!(config["acknowledgements"]["enabled"] == true, can_acknowledge, "{file}");
        if text.contains("SECRET[") {
            assert!(config["secret"]["files"]["path"].is_string() && !text.contains("SECRET[env"), "{file}");
        }
    }
}

#[test]
fn fluent_bit_parsers_and_tags_exist() {
    let parsers = yaml::parse(&read("fluent-bit/parsers.yaml"));
    let parsers: Vec<&Value> = parsers["parsers"].as_array().unwrap().iter().map(|parser| &parser["name"]).collect();
    for file in fluent_bit_files() {
        let config = yaml::parse(&read(&file));
        let input = &config["pipeline"]["inputs"][0];
        for part in ["inputs", "filters", "outputs"] {
            for step in config["pipeline"][part].as_array().into_iter().flatten() {
                let parser = step.get("parser");
                assert!(parser.is_none_or(|parser| parsers.contains(&parser)), "{file}");
                if parser.is_some() {
                    assert_eq!(config["service"]["parsers_file"], "/etc/fluent-bit/parsers.yaml", "{file}");
                }
                if let Some(id) = step["id_key"].as_str() {
                    assert!(names::fields().contains_key(id));
                }
                if part != "inputs" {
                    let tag = if input["name"] == "forward" { "dmarc.*" } else { input["tag"].as_str().unwrap() };
                    assert_eq!(step["match"], tag, "{file}");
                }
            }
        }
    }
}

/// Regressions, all found by running the files in Fluent Bit 5.1.1: a parser of `stdin` gets many lines as one, and takes none;
/// what is in memory is lost with the process, and by default what could not be sent twice; a label is taken out of the
/// line; only `tls.verify_client_cert` asks for certificates; the first run of a command is after the first interval.
#[test]
fn fluent_bit_stores_what_it_has_read_and_drops_nothing() {
    for file in fluent_bit_files() {
        let text = read(&file);
        let config = yaml::parse(&text);
        let input = &config["pipeline"]["inputs"][0];
        match input["name"].as_str().unwrap() {
            "stdin" => assert_eq!(input["parser"], Value::Null),
            "exec" => assert!(input["interval_sec"].as_u64().unwrap() <= 300),
            _ => {
                assert_eq!(input["storage.type"], "filesystem", "{file}");
                assert!(config["service"]["storage.path"].is_string(), "{file}");
            }
        }
        for output in config["pipeline"]["outputs"].as_array().unwrap() {
            assert!(output["name"] == "stdout" || output["retry_limit"] == "no_limits", "{file}");
            for (_, label) in
                output["labels"].as_str().unwrap_or_default().split(", ").filter_map(|l| l.split_once("=$"))
            {
                assert!(!names::fields().contains_key(label), "{label} would be taken out of the line");
            }
        }
        assert_eq!(text.contains("certificate"), text.contains("tls.verify_client_cert"), "{file}");
    }
}

fn fluent_bit_files() -> Vec<String> {
    let files: Vec<String> =
        files("fluent-bit", "yaml").into_iter().filter(|file| !file.ends_with("parsers.yaml")).collect();
    assert_eq!(files.len(), 5);
    files
}

/// Versions that the files of other programs were run in; those of Vector and Fluent Bit are the ones that the chart's
/// collectors have.
#[test]
fn the_first_comment_names_the_version_that_a_file_was_seen_with() {
    let chart = ["helm/dmarc-shipper/templates/_collector.tpl"].map(|path| read(&format!("../{path}"))).concat();
    for (folder, ending, program, version) in [
        ("vector", "yaml", "Vector", "0.58.0"),
        ("fluent-bit", "yaml", "Fluent Bit", "5.1.1"),
        ("rsyslog", "conf", "rsyslog", "8.2302.0"),
        ("syslog-ng", "conf", "syslog-ng", "3.38.1"),
    ] {
        for file in files(folder, ending) {
            let text = read(&file);
            let comment: Vec<&str> = text
                .lines()
                .skip_while(|line| !line.starts_with('#'))
                .take_while(|line| line.starts_with('#'))
                .collect();
            assert!(comment.join(" ").contains(&format!("ith {program} {version}")), "{file}");
        }
        if ending == "yaml" {
            assert!(chart.contains(&format!("# Seen with {program} {version}.")));
            assert!(chart.contains(&format!(":{version}")), "the chart's image of {program}");
        }
    }
}

#[test]
fn opentelemetry_collector_pipelines_use_defined_components() {
    let files = files("opentelemetry", "yaml");
    assert_eq!(files.len(), 2);
    for file in files {
        let config = yaml::parse(&read(&file));
        for part in ["receivers", "processors", "exporters"] {
            assert_eq!(texts(&config["service"]["pipelines"]["logs"][part]), keys(&config[part]), "{part} of {file}");
        }
        assert_eq!(texts(&config["service"]["extensions"]), keys(&config["extensions"]), "{file}");
    }
}

#[test]
fn splunk_transforms_and_sourcetypes_exist_and_parse_our_timestamps() {
    let (inputs, props) = (sections("splunk/inputs.conf"), sections("splunk/props.conf"));
    let transforms = sections("splunk/transforms.conf");
    for kind in inputs.values().filter_map(|input| input.get("sourcetype")) {
        assert!(props.contains_key(kind), "{kind}");
    }
    let named: Vec<&str> = props["dmarc:syslog"]["TRANSFORMS-dmarc"].split(", ").collect();
    assert_eq!(named, transforms.keys().collect::<Vec<_>>());
    assert!(props.contains_key(transforms["dmarc_event_type"]["FORMAT"].strip_prefix("sourcetype::").unwrap()));
    let event = Shipper::new(["parse", "examples/mailbox/01-gzip.eml"]).exits(0).stdout;
    for own in props.values() {
        let prefix = own["TIME_PREFIX"].replace("\\s*", "");
        let (_, time) = event.split_once(&prefix).expect("TIME_PREFIX is in our events");
        let time = time.split('"').next().unwrap();
        assert_eq!(own["TIME_FORMAT"], "%Y-%m-%dT%H:%M:%SZ");
        assert!(jiff::civil::DateTime::strptime(&own["TIME_FORMAT"], time).is_ok(), "{time}");
    }
}

#[test]
fn logstash_s_brackets_close_and_its_document_id_is_a_field() {
    let config = read("logstash/dmarc.conf");
    let bare: String = config
        .lines()
        .map(|line| line.split(" #").next().unwrap())
        .filter(|line| !line.trim_start().starts_with('#'))
        .map(|line| line.split('"').step_by(2).collect::<String>())
        .collect();
    let mut open = Vec::new();
    for sign in bare.chars() {
        match sign {
            '{' | '[' => open.push(sign),
            '}' => assert_eq!(open.pop(), Some('{')),
            ']' => assert_eq!(open.pop(), Some('[')),
            _ => {}
        }
    }
    assert!(open.is_empty(), "{open:?} left open");
    for field in ["event_id", "ingest_timestamp"] {
        assert!(config.contains(field) && names::fields().contains_key(field));
    }
}

#[test]
fn the_fields_in_the_rule_for_graylog_exist() {
    let rule = read("graylog/dmarc.rule");
    let named: Vec<&str> = rule
        .split("fields.")
        .skip(1)
        .map(|rest| rest.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_').next().unwrap())
        .collect();
    assert_eq!(named.len(), 4);
    assert!(named.iter().all(|field| names::fields().contains_key(*field)), "{named:?}");
    assert_eq!(rule.matches('(').count(), rule.matches(')').count());
}

/// Each folder of examples is in the index, and its README says how it is tested.
#[test]
fn every_examples_folder_is_indexed_and_documents_its_test() {
    let index = read("README.md");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let folders = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).filter(|entry| entry.path().is_dir());
    let names: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(names.len() >= 14);
    for name in names {
        assert!(index.contains(&format!("]({name}")), "{name} is not in examples/README.md");
        if !["config", "demo", "mailbox"].contains(&name.as_str()) && !name.starts_with("systemd") {
            let own = read(&format!("{name}/README.md"));
            assert!(own.contains("**Tested**") || own.contains("**Not run**"), "{name}");
        }
    }
}

/// Returns the paths, relative to `examples/`, of the files in this folder with this suffix.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(folder);
    let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> =
        names.filter(|name| name.ends_with(&format!(".{ending}"))).map(|name| format!("{folder}/{name}")).collect();
    files.sort();
    files
}

fn keys(table: &Value) -> Vec<String> {
    table.as_object().unwrap().keys().cloned().collect()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Parses a Splunk .conf file: sections of `key = value`.
fn sections(path: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut sections = BTreeMap::new();
    let mut name = String::new();
    for line in read(path).lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if let Some(section) = line.strip_prefix('[') {
            name = section.strip_suffix(']').expect("a section's name ends with its line").to_owned();
            assert!(sections.insert(name.clone(), BTreeMap::new()).is_none(), "{name} twice");
        } else {
            let (key, value) = line.split_once(" = ").unwrap_or_else(|| panic!("no key and value: {line}"));
            sections.get_mut(&name).unwrap().insert(key.to_owned(), value.to_owned());
        }
    }
    sections
}
