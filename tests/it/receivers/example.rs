//! Files of `examples/` with the paths and ports of a test, and shipping to the receivers configured with them.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{
    process::ndjson,
    wait::{LONG, eventually},
    workplace::Workplace,
};

/// Returns the text of a file under `examples/`.
pub fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the text of a file with replacements, each of which must apply.
pub fn adapted(path: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(read(path), |text, (from, to)| {
        assert!(text.contains(from), "{path} has no {from}");
        text.replace(from, to)
    })
}

/// Ships the example mailbox, and returns the events that were sent, as recorded in an NDJSON file.
pub fn ship(sink: Value) -> Vec<Value> {
    let workplace = Workplace::new();
    let mailbox = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/mailbox");
    let mut config = workplace.config(json!({"type": "file", "path": mailbox}), sink);
    config["sinks"]["told"] = json!({"type": "file", "path": workplace.path("told.ndjson")});
    workplace.once(&config).exits(0);
    let told = ndjson(&workplace.read("told.ndjson"));
    assert_eq!(told.len(), 11 + 8, "the numbers of examples/README.md");
    told
}

/// Waits until the file whose name has this suffix contains `count` events, and returns them.
#[track_caller]
pub fn written(folder: &Path, ending: &str, count: usize) -> Vec<Value> {
    eventually(LONG, &format!("{count} lines in a file {ending}"), || {
        let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let file = files.find(|path| path.to_string_lossy().ends_with(ending))?;
        Some(fs::read_to_string(file).unwrap())
            .filter(|text| text.ends_with('\n') && text.lines().count() >= count)
            .map(|text| ndjson(&text))
    })
}
