//! `check` against real servers: its findings and its advice, and that it changes nothing.

mod local;
mod mailbox;
mod receivers;
mod whole;

use serde_json::Value;

use crate::support::{
    process::{Finished, ndjson},
    workplace::Workplace,
};

/// Runs `check --format json` with more arguments; expects this exit code.
#[track_caller]
fn check(workplace: &Workplace, config: &Value, arguments: &[&str], code: i32) -> Findings {
    let arguments = [&["check", "--format", "json"], arguments, &["--config"]].concat();
    Findings::of(&workplace.shipper(&arguments, config).exits(code))
}

/// The steps of a report.
struct Findings(Vec<Value>);

impl Findings {
    #[track_caller]
    fn of(finished: &Finished) -> Self {
        Self(ndjson(&finished.stdout))
    }

    /// Returns the only step of this name, of the part with that name.
    #[track_caller]
    fn step(&self, name: &str, step: &str) -> &Value {
        let mut found = self.0.iter().filter(|line| line["name"] == name && line["step"] == step);
        let first = found.next().unwrap_or_else(|| panic!("no step {step} of {name} in {:#?}", self.0));
        assert!(found.next().is_none(), "{step} of {name} is told twice: {:#?}", self.0);
        first
    }

    /// Fails unless the step has this result and its text contains each of `words`.
    #[track_caller]
    fn has(&self, name: &str, step: &str, result: &str, words: &[&str]) {
        let line = self.step(name, step);
        assert_eq!(line["result"], result, "{line}");
        let said = format!("{} {}", line["detail"].as_str().unwrap(), line["advice"].as_str().unwrap_or_default());
        words.iter().for_each(|word| assert!(said.contains(word), "{step} of {name} does not say {word:?}: {said}"));
    }

    /// Returns the names of the steps with this result.
    fn with(&self, result: &str) -> Vec<&str> {
        let found = self.0.iter().filter(|line| line["result"] == result);
        found.map(|line| line["step"].as_str().unwrap()).collect()
    }
}
