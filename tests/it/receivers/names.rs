//! Names of fields and metrics, and extraction of names from queries.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::OnceLock,
};

use serde_json::Value;

use crate::support::process::Shipper;

/// Returns every field of any event, with its schema.
pub fn fields() -> &'static BTreeMap<String, Value> {
    static FIELDS: OnceLock<BTreeMap<String, Value>> = OnceLock::new();
    FIELDS.get_or_init(|| {
        let schema: Value = serde_json::from_str(&Shipper::new(["schema", "event"]).exits(0).stdout).unwrap();
        let types = schema["oneOf"].as_array().unwrap().iter();
        let fields = types.flat_map(|own| own["properties"].as_object().unwrap().clone());
        fields.collect()
    })
}

/// Returns the metrics of docs/metrics.md, each with its labels.
pub fn metrics() -> &'static BTreeMap<String, BTreeSet<String>> {
    static METRICS: OnceLock<BTreeMap<String, BTreeSet<String>>> = OnceLock::new();
    METRICS.get_or_init(|| {
        let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap();
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `dmarc_shipper_"));
        let metrics: BTreeMap<_, _> = rows
            .map(|row| {
                let cells: Vec<&str> = row.split('|').map(str::trim).collect();
                let labels = cells[2].replace("component_*", "component_id, component_kind, component_type");
                let labels = labels.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty());
                (format!("dmarc_shipper_{}", cells[0].trim_end_matches('`')), labels.collect())
            })
            .collect();
        assert!(metrics.len() > 20, "docs/metrics.md is not read as it is written");
        metrics
    })
}

/// Returns the words of a query outside of quotes, each with the word before it and the character after it; without
/// variables such as `$domain` and numbers with units.
pub fn words(query: &str) -> Vec<(String, String, char)> {
    let bare: String = query.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_$@".contains(letter);
    let mut found: Vec<(String, String, char)> = Vec::new();
    let (mut rest, mut before) = (bare.as_str(), String::new());
    while let Some(begin) = rest.find(is_part) {
        rest = &rest[begin..];
        let (word, after) = rest.split_at(rest.find(|letter| !is_part(letter)).unwrap_or(rest.len()));
        let mut signs = after.trim_start().chars();
        let sign = signs.next().unwrap_or(' ');
        // `a = 1` assigns a name, `a == 1` compares it.
        let sign = if sign == '=' && signs.next() == Some('=') { '≡' } else { sign };
        if word.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_') {
            found.push((word.to_owned(), std::mem::replace(&mut before, word.to_owned()), sign));
        }
        rest = after;
    }
    found
}

/// Fails if the query contains a word that is not a field, not a word of its language, and not defined in the query
/// itself.
#[track_caller]
pub fn assert_fields(query: &str, language: &[&str], gives: impl Fn(&str, char) -> bool) {
    let words = words(query);
    let given: BTreeSet<&str> =
        words.iter().filter(|(_, before, sign)| gives(before, *sign)).map(|(word, ..)| word.as_str()).collect();
    let mut used = 0;
    for (word, ..) in &words {
        let known = fields().contains_key(word);
        used += usize::from(known);
        let fine = known || language.contains(&word.as_str()) || given.contains(word.as_str());
        assert!(fine, "no event has {word}, which stands in {query}");
    }
    assert!(used > 1, "no field is used in {query}");
}

/// Fails if a PromQL query uses a metric or a label that does not exist.
#[track_caller]
pub fn assert_metrics(query: &str) {
    let mut labels: BTreeSet<&str> = ["instance", "job"].into();
    let mut used = 0;
    for (at, _) in query.match_indices("dmarc_shipper_") {
        let name: &str =
            query[at..].split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next().unwrap();
        let own = metrics().get(name).unwrap_or_else(|| panic!("there is no metric {name}, which stands in {query}"));
        if let Some(selector) = query[at + name.len()..].strip_prefix('{') {
            for (label, _, _) in words(selector.split('}').next().unwrap()) {
                assert!(own.contains(&label), "{name} has no label {label}, which stands in {query}");
            }
        }
        labels.extend(own.iter().map(String::as_str));
        used += 1;
    }
    assert!(used > 0, "no metric of ours in {query}");
    for grouped in query.split(" by (").skip(1).chain(query.split(" on (").skip(1)) {
        for (label, _, _) in words(grouped.split(')').next().unwrap()) {
            assert!(labels.contains(label.as_str()), "no label {label}, which stands in {query}");
        }
    }
}

/// Words of LogQL, and stream labels of the examples.
pub const LOGQL: &[&str] = &[
    "app",
    "json",
    "unwrap",
    "topk",
    "sum",
    "by",
    "sum_over_time",
    "count_over_time",
    "unless",
    "offset",
    "__error__",
];

#[test]
#[should_panic(expected = "no event has sourceip")]
fn a_field_that_does_not_exist_is_found() {
    assert_fields(
        r#"sum by (sourceip) (sum_over_time({app="x"} | json | dkim="y" | unwrap count [7d]))"#,
        LOGQL,
        |_, _| false,
    );
}

#[test]
#[should_panic(expected = "dmarc_shipper_mails_total has no label reason")]
fn a_label_that_does_not_exist_is_found() {
    assert_metrics(r#"sum(dmarc_shipper_mails_total{reason="x"})"#);
}
