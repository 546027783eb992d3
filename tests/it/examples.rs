//! The files in `examples/` work as they are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::support::{
    ca::Ca,
    dovecot::Dovecot,
    process::Shipper,
    workplace::{Workplace, imaps, stdout},
};

#[test]
fn every_example_configuration_is_valid() {
    let files = files("config", &["yaml", "toml", "json"]);
    assert_eq!(files.len(), 7);
    for file in files {
        Shipper::new(["check".as_ref(), "--offline".as_ref(), "--config".as_ref(), file.as_os_str()]).exits(0);
    }
}

#[test]
fn every_source_in_the_page_on_mailboxes_is_valid() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/imap.md")).unwrap();
    let blocks: Vec<&str> = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 9);
    for block in blocks {
        // A code block within a list is indented like its first line.
        let margin = block.len() - block.trim_start().len();
        let lines: Vec<&str> = block.lines().map(|line| line.get(margin..).unwrap_or_default()).collect();
        let workplace = Workplace::new();
        let file = workplace.write("config.yaml", lines.join("\n") + "\nsinks: {out: {type: stdout}}\n");
        Shipper::new(["check", "--offline", "--config", file.to_str().unwrap()]).exits(0);
    }
}

/// The numbers are those given in examples/README.md.
#[test]
fn the_example_mailbox_gives_the_events_of_its_readme() {
    let ca = Ca::new();
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    for file in files("mailbox", &["eml"]).into_iter().chain(files("demo", &["eml"])) {
        dovecot.mailbox().deliver("INBOX", &fs::read(file).unwrap());
    }
    let events = workplace.once(&workplace.config(imaps(&dovecot, &ca), stdout())).exits(0).events();

    assert_example_events(&events);
    let reasons: Vec<_> = events.iter().filter_map(|event| event["reason"].as_str()).collect();
    assert_eq!(reasons, ["corrupt_gzip"]);
    let count = |folder| dovecot.mailbox().count(folder);
    assert_eq!((count("INBOX"), count("Processed"), count("Unreadable")), (1, 8, 1));
}

#[test]
fn the_first_command_of_the_readme_prints_events_without_warnings() {
    let command = section("    cargo run -- ", "\n");
    let finished = Shipper::new(command.split(' ')).exits(0);
    let events = finished.events();
    assert_example_events(&events);
    assert_eq!(events.len(), 11 + 8);
    assert_eq!(finished.stderr.matches("without a report").count(), 1, "{}", finished.stderr);
    for complaint in ["WARN", "ERROR", "warn", "error", "could not", "can't"] {
        assert!(!finished.stderr.contains(complaint), "{complaint} in {}", finished.stderr);
    }
}

#[test]
fn the_configuration_in_the_readme_is_valid() {
    let workplace = Workplace::new();
    let file = workplace.write("config.yaml", section("```yaml\n", "```"));
    Shipper::new(["check", "--offline", "--config", file.to_str().unwrap()]).exits(0).says(&["sources", "sinks"]);
}

/// Commands that read or write outside of the source tree (all but `parse`): their URLs and options are accepted.
#[test]
fn every_command_line_of_the_readme_parses() {
    let readme = readme().replace("\\\n", " ");
    let commands: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("    dmarc-shipper ")).collect();
    assert_eq!(commands.len(), 4, "{commands:?}");
    let workplace = Workplace::new();
    workplace.write("config.yaml", section("```yaml\n", "```"));
    for command in commands.into_iter().filter(|command| !command.starts_with("parse")) {
        // `check` only reads what `run` would ship.
        let words = command.split('#').next().unwrap().split_whitespace().filter(|word| *word != "--once");
        let words = words.map(|word| match word.trim_matches('\'') {
            "run" => "check".to_owned(),
            "config.yaml" => workplace.path("config.yaml").display().to_string(),
            word => word.to_owned(),
        });
        let words = words.filter(|word| word != "--offline").chain(["--offline".to_owned()]);
        Shipper::new(words).env("DMARC_SHIPPER_PASSWORD", "secret").exits(0);
    }
}

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// Returns the text of the README between the first `begin` and the next `end`.
fn section(begin: &str, end: &str) -> String {
    let readme = readme();
    let (_, rest) = readme.split_once(begin).unwrap();
    rest.split_once(end).unwrap().0.to_owned()
}

/// Returns the events of the example mailbox, without those for unreadable mails.
#[track_caller]
fn assert_example_events(events: &[Value]) {
    let rows: Vec<_> = events.iter().filter(|event| event["event_type"] == "dmarc_aggregate").collect();
    let messages: i64 = rows.iter().map(|event| event["count"].as_i64().unwrap()).sum();
    assert_eq!((rows.len(), messages), (11, 1271));
    let outcome = |name: &str| events.iter().filter(|event| event["outcome"] == name).count();
    assert_eq!((outcome("shipped"), outcome("duplicate")), (7, 1));
    assert!(rows.iter().any(|event| event["org"] == "Zürcher Beispielwerke"), "Latin-1 is read");
}

fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)));
    files.sort();
    files
}
