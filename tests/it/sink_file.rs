//! The `file` sink with compression: what the standard tools read of it.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{
    process::ndjson,
    server::installed,
    workplace::{Workplace, with},
};

/// Returns the events of a compressed file, as `zcat` or `zstdcat` prints them.
fn unpacked(program: &str, file: &std::path::Path) -> Vec<Value> {
    let output = Command::new(installed(program)).arg(file).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    ndjson(&String::from_utf8(output.stdout).unwrap())
}

#[test]
fn compressed_files_hold_the_same_events_over_several_runs_and_check_leaves_nothing() {
    for (compression, suffix, program) in [("gzip", "gz", "zcat"), ("zstd", "zst", "zstdcat")] {
        let workplace = Workplace::new();
        let packed = json!({
            "type": "file", "path": workplace.path(&format!("out/%Y.ndjson.{suffix}")), "compression": compression,
        });
        let plain = json!({"type": "file", "path": workplace.path("plain.ndjson")});
        let config = json!({
            "sources": {"rua": {"type": "file", "path": concat!(env!("CARGO_MANIFEST_DIR"), "/examples/mailbox")}},
            "sinks": {"packed": packed, "plain": plain},
        });
        for runs in 1..=2 {
            workplace.once(&config).run();
            let files: Vec<_> =
                std::fs::read_dir(workplace.path("out")).unwrap().map(|file| file.unwrap().path()).collect();
            assert_eq!(files.len(), 1, "{files:?}");
            let events = unpacked(program, &files[0]);
            assert!(events.len() >= runs * 19, "{}", events.len());
            assert_eq!(events, ndjson(&workplace.read("plain.ndjson")));
            workplace.shipper(&["check", "--config"], &config).exits(0);
            assert_eq!(std::fs::read_dir(workplace.path("out")).unwrap().count(), 1, "the probe's file is gone");
            assert_eq!(unpacked(program, &files[0]), events);
        }
        let array = with(config["sinks"]["packed"].clone(), json!({"encoding": {"codec": "array"}}));
        let refused = with(config, json!({"sinks": {"packed": array}}));
        workplace.once(&refused).exits(78).says(&["array is not supported by sinks of type file with compression"]);
    }
}
