//! Draft of the new configuration, and messages about it.

use std::path::{Path, PathBuf};

use super::{ini::Ini, yaml::Table};

/// Result of a dialect's conversion.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Options of the one source, without its credentials.
    pub source: Table,
    pub sinks: Vec<(&'static str, Table)>,
    pub log: Table,
    /// True if the source has to log in.
    pub logs_in: bool,
    pub password: Option<String>,
    /// File in which dmarc-ingest remembered the reports that it had sent.
    pub processed: Option<PathBuf>,
    /// Differences in behaviour, a sentence each.
    pub differences: Vec<String>,
}

/// The options of an ini file, as taken by a dialect.
pub(super) struct Asked<'a> {
    pub ini: &'a Ini,
    /// Base of relative paths.
    pub folder: &'a Path,
    /// Unusual values, a sentence each.
    pub oddities: Vec<String>,
}

impl Asked<'_> {
    /// Takes the first of these options that has a value. Drops a comment after the value, which `configparser` counts as
    /// part of it.
    pub(super) fn text(&mut self, names: &[&str]) -> Option<String> {
        let option = self.ini.take(names)?;
        let value = match [" ;", " #", "\t;", "\t#"].iter().filter_map(|begin| option.value.find(begin)).min() {
            Some(end) => {
                self.oddities.push(format!("{option}: the text after the value was treated as a comment"));
                option.value[..end].trim_end()
            }
            None => &*option.value,
        };
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// Takes a value whole, and never shows it.
    pub(super) fn secret(&mut self, names: &[&str]) -> Option<String> {
        let option = self.ini.take(names)?;
        if option.value.contains([';', '#', '%']) {
            self.oddities.push(format!(
                "{option} was parsed as by configparser: the whole line, with %% as %; check the result"
            ));
        }
        Some(option.value.clone())
    }

    /// Parses the words of `configparser.getboolean`.
    pub(super) fn flag(&mut self, names: &[&str], default: bool) -> bool {
        let Some(value) = self.text(names) else { return default };
        match value.to_ascii_lowercase().as_str() {
            "1" | "yes" | "true" | "on" => true,
            "0" | "no" | "false" | "off" => false,
            _ => {
                self.oddities.push(format!("{}: expected true or false; using {default}", names[0]));
                default
            }
        }
    }

    pub(super) fn path(&mut self, names: &[&str]) -> Option<String> {
        self.text(names).map(|path| self.folder.join(path).display().to_string())
    }

    /// Takes a whole number; anything else is left out.
    pub(super) fn number(&mut self, names: &[&str]) -> Option<u64> {
        let value = self.text(names)?;
        let number = value.parse().ok();
        if number.is_none() {
            self.oddities.push(format!("{}: expected a whole number; omitted", names[0]));
        }
        number
    }
}

/// Returns `folder/pattern`, where the folder is literal and the pattern has dates in it.
pub(super) fn dated(folder: &str, pattern: &str) -> String {
    format!("{}/{pattern}", folder.replace('%', "%%").trim_end_matches('/'))
}

/// Returns `host:port`, with an IPv6 address in brackets.
pub(super) fn address(host: &str, port: u64) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
