//! Checks options of sources and sinks against each other.

use std::collections::BTreeMap;

use super::{
    decoder::Decoder,
    near::nearest,
    node::{At, Node, Value},
    sink::SinkConfig,
    top_level::Config,
};

/// Reports conflicts in `root`; `config` is its decoded form, if decoding succeeded.
pub(super) fn check(root: &Node, config: Option<&Config>, decoder: &Decoder<'_>) {
    if !matches!(root.value, Value::Table(_) | Value::Null) {
        return;
    }
    let sources = names(root, "sources");
    for (key, example) in [("sources", "--from"), ("sinks", "--to")] {
        if root.child(key).is_none_or(|node| node.is_null() || matches!(&node.value, Value::Table(t) if t.is_empty())) {
            let one = key.trim_end_matches('s');
            decoder.problem(&At::File, key, format!("no {one} is configured; add one under {key}, or use {example}"));
        }
    }
    for sink in root.child("sinks").map(Node::entries).unwrap_or_default() {
        let read = config.and_then(|config| config.sinks.get(&sink.key));
        inputs(&sink.key, &sink.value, read, &sources, decoder);
    }
    let Some(config) = config else { return };
    let all_read = config.sinks.len() == names(root, "sinks").len();
    if all_read && !config.sinks.is_empty() && !config.sinks.values().any(|sink| sink.required) {
        let at = root.child("sinks").map_or(&At::File, |node| &node.at);
        let message = "no sink is required, so mails would be archived unconfirmed; set required: true on one";
        decoder.problem(at, "sinks", message);
    }
    outputs(root, config, decoder);
    // Sources on the command line are for occasional runs, and there is no argument for a data_dir.
    let is_from_file = |sources: &Node| !sources.entries().iter().any(|source| matches!(source.at, At::Argument(_)));
    if config.data_dir.is_none() && root.child("sources").is_none_or(is_from_file) {
        decoder.warn(
            "data_dir is not set: nothing is remembered between runs, so reports that arrive twice are shipped twice, \
             and mails and files left in place are read again"
                .to_owned(),
        );
    }
}

/// Checks `inputs` of a sink. `read` is the decoded sink; without it, only values without variables are checked.
fn inputs(name: &str, sink: &Node, read: Option<&SinkConfig>, sources: &[&str], decoder: &Decoder<'_>) {
    let Some(node) = sink.child("inputs") else { return };
    let plain = |node: &Node| match &node.value {
        Value::Text(text) if !text.contains('$') => Some(text.clone()),
        _ => None,
    };
    let written: Vec<(String, &At)> = match (read, &node.value) {
        (Some(sink), Value::List(items)) => {
            sink.inputs.iter().cloned().zip(items.iter().map(|item| &item.at)).collect()
        }
        (Some(sink), _) => sink.inputs.iter().map(|input| (input.clone(), &node.at)).collect(),
        (None, Value::List(items)) => items.iter().filter_map(|item| Some((plain(item)?, &item.at))).collect(),
        (None, _) => Vec::new(),
    };
    for (source, at) in written.iter().filter(|(source, _)| !sources.contains(&source.as_str())) {
        let message = match nearest(source, sources.iter().copied()) {
            Some(near) => format!("unknown source {source:?}; did you mean {near}?"),
            None => format!("unknown source {source:?}; known: {}", sources.join(", ")),
        };
        decoder.problem(at, &format!("sinks.{name}.inputs"), message);
    }
}

/// Checks that no two sinks write to the same destination, where their lines would be interleaved.
fn outputs(root: &Node, config: &Config, decoder: &Decoder<'_>) {
    let mut taken = BTreeMap::new();
    for (name, sink) in &config.sinks {
        let Some((key, place)) = sink.kind.options().exclusive() else { continue };
        if let Some(other) = taken.insert((key, place.clone()), name) {
            let at = root.child("sinks").and_then(|sinks| sinks.child(name)).and_then(|sink| sink.child(key));
            let message = format!("{place} is already written by the sink {other}; set another");
            decoder.problem(at.map_or(&At::File, |node| &node.at), &format!("sinks.{name}.{key}"), message);
        }
    }
}

fn names<'n>(root: &'n Node, key: &str) -> Vec<&'n str> {
    root.child(key).map(Node::entries).unwrap_or_default().iter().map(|entry| entry.key.as_str()).collect()
}
