//! A configuration of ours in the making, and what is to be said about it.

use std::path::{Path, PathBuf};

use super::{ini::Ini, yaml::Table};

/// What a dialect makes of its options.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Of the one source, without its credentials.
    pub source: Table,
    pub sinks: Vec<(&'static str, Table)>,
    pub log: Table,
    /// Whether the source has to log in.
    pub logs_in: bool,
    pub password: Option<String>,
    /// Where dmarc-ingest remembered what it had sent.
    pub processed: Option<PathBuf>,
    /// What runs otherwise here, a sentence each.
    pub differences: Vec<String>,
}

/// The options of a file, as a dialect asks for them.
pub(super) struct Asked<'a> {
    pub ini: &'a Ini,
    /// Relative paths begin here.
    pub folder: &'a Path,
    /// What was odd about values, a sentence each.
    pub oddities: Vec<String>,
}

impl Asked<'_> {
    /// The first of these that has a value. A comment after it, which `configparser` takes for a part of it, is left out.
    pub(super) fn text(&mut self, names: &[&str]) -> Option<String> {
        let option = self.ini.take(names)?;
        let value = match [" ;", " #", "\t;", "\t#"].iter().filter_map(|begin| option.value.find(begin)).min() {
            Some(end) => {
                self.oddities.push(format!("{option}: what follows the value was taken for a comment"));
                option.value[..end].trim_end()
            }
            None => &*option.value,
        };
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// Taken whole, and never shown.
    pub(super) fn secret(&mut self, names: &[&str]) -> Option<String> {
        let option = self.ini.take(names)?;
        if option.value.contains([';', '#', '%']) {
            self.oddities.push(format!(
                "{option} was taken as configparser takes it: all of it, with %% as one %; look at what was written"
            ));
        }
        Some(option.value.clone())
    }

    /// The words of `configparser.getboolean`.
    pub(super) fn flag(&mut self, names: &[&str], default: bool) -> bool {
        let Some(value) = self.text(names) else { return default };
        match value.to_ascii_lowercase().as_str() {
            "1" | "yes" | "true" | "on" => true,
            "0" | "no" | "false" | "off" => false,
            _ => {
                self.oddities.push(format!("{}: expected true or false; taken as {default}", names[0]));
                default
            }
        }
    }

    pub(super) fn path(&mut self, names: &[&str]) -> Option<String> {
        self.text(names).map(|path| self.folder.join(path).display().to_string())
    }

    /// A whole number; what is none is left out.
    pub(super) fn number(&mut self, names: &[&str]) -> Option<u64> {
        let value = self.text(names)?;
        let number = value.parse().ok();
        if number.is_none() {
            self.oddities.push(format!("{}: expected a whole number; left out", names[0]));
        }
        number
    }
}

/// `folder/pattern`, where the folder is taken literally and the pattern has dates in it.
pub(super) fn dated(folder: &str, pattern: &str) -> String {
    format!("{}/{pattern}", folder.replace('%', "%%").trim_end_matches('/'))
}

/// `host:port`, with an IPv6 address in brackets.
pub(super) fn address(host: &str, port: u64) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
