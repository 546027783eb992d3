//! Tests of the loader, from text to structs.

mod combinations;
mod drift;
mod hostile;
mod oauth;
mod problems;
mod urls;
mod values;

use std::{path::PathBuf, time::Duration};

use super::*;
use crate::limits::Limits;

/// A configuration of one mailbox and one stdout sink, which tests modify.
const SMALL: &str = "\
sources:
  rua:
    type: imap
    host: imap.example.com
    user: dmarc@example.com
    password: s3cret
sinks:
  out:
    type: stdout
";

/// Loads YAML with these environment variables.
fn yaml_with(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    load_as(text, Format::Yaml, "dmarc.yaml", variables)
}

fn yaml(text: &str) -> Result<Loaded, Problems> {
    yaml_with(text, &[])
}

fn load_as(text: &str, format: Format, name: &str, variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let variable =
        |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
    let fields = ["org", "domain", "source_ip", "count"];
    Loader { variable: &variable, fields: &fields }.parse(text, format, name)
}

/// Returns the problems of a text that must be refused, one line each.
#[track_caller]
fn problems(text: &str) -> Vec<String> {
    lines(yaml(text).expect_err("this configuration must be refused"))
}

fn lines(problems: Problems) -> Vec<String> {
    problems.to_string().lines().map(str::to_owned).collect()
}

fn imap(loaded: &Loaded) -> &source::Imap {
    match loaded.config.sources.values().next() {
        Some(source::SourceConfig::Imap(imap)) => imap,
        other => panic!("expected a mailbox, not {other:?}"),
    }
}

fn password(imap: &source::Imap) -> &secret::Secret {
    match &imap.credentials {
        source::Credentials::Password(password) => password,
        other => panic!("expected a password, not {other:?}"),
    }
}

fn syslog(loaded: &Loaded) -> &sink::Syslog {
    match loaded.config.sinks.values().next().map(|sink| &sink.kind) {
        Some(sink::SinkKind::Syslog(syslog)) => syslog,
        other => panic!("expected syslog, not {other:?}"),
    }
}
