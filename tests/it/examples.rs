//! What stands in `examples/` works as it is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::{
    ca::Ca,
    dovecot::Dovecot,
    process::Shipper,
    workplace::{Workplace, imaps, stdout},
};

#[test]
fn every_example_configuration_is_valid() {
    let files = files("config", &["yaml", "toml", "json"]);
    assert_eq!(files.len(), 5);
    for file in files {
        Shipper::new(["check".as_ref(), "--offline".as_ref(), "--config".as_ref(), file.as_os_str()]).exits(0);
    }
}

/// The numbers are those of examples/mailbox/README.md.
#[test]
fn the_example_mailbox_gives_what_its_readme_says() {
    let ca = Ca::new();
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    for file in files("mailbox", &["eml"]) {
        dovecot.mailbox().deliver("INBOX", &fs::read(file).unwrap());
    }
    let events = workplace.once(&workplace.config(imaps(&dovecot, &ca), stdout())).exits(0).events();

    let rows: Vec<_> = events.iter().filter(|event| event["event_type"] == "dmarc_aggregate").collect();
    let messages: i64 = rows.iter().map(|event| event["count"].as_i64().unwrap()).sum();
    assert_eq!((rows.len(), messages), (11, 1271));
    let outcome = |name: &str| events.iter().filter(|event| event["outcome"] == name).count();
    assert_eq!((outcome("shipped"), outcome("duplicate")), (7, 1));
    let reasons: Vec<_> = events.iter().filter_map(|event| event["reason"].as_str()).collect();
    assert_eq!(reasons, ["corrupt_gzip"]);
    assert!(rows.iter().any(|event| event["org"] == "Zürcher Beispielwerke"), "Latin-1 is read");
    let count = |folder| dovecot.mailbox().count(folder);
    assert_eq!((count("INBOX"), count("Processed"), count("Unreadable")), (1, 8, 1));
}

fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)));
    files.sort();
    files
}
