//! Runs with some of the sinks of the configuration file.

use std::sync::Arc;

use super::*;
use crate::{config::Arguments, ledger::backend, pipeline::settlement::Settlement};

/// Regression: the second of two sinks that the ledger distinguishes by their order took the key of the first, which then
/// never got what was shipped to the second.
#[test]
fn a_sink_has_its_name_in_the_ledger_also_in_a_run_without_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let text = "sources: {rua: {type: file, path: /nowhere}}\n\
                sinks: {a: {type: syslog, address: \"h:1\"}, b: {type: syslog, address: \"h:1\", encoding: {codec: text}}}\n";
    std::fs::write(&file, text).unwrap();
    let keys = |to: &[&str]| {
        let to: Vec<String> = to.iter().map(ToString::to_string).collect();
        let arguments = Arguments { file: Some(&file), from: &[], to: &to, ask: &|_| None };
        let config = config::from_arguments(&arguments).unwrap().config;
        let settlement = Settlement::new(backend::in_memory(), Arc::default(), &config, Options::default());
        settlement.route("rua", &config).keys().to_vec()
    };
    let both = keys(&[]);
    assert_eq!(keys(&["a"]), both[..1]);
    assert_eq!(keys(&["b"]), both[1..]);
}
