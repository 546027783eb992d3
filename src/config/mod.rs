//! What the user wrote, checked: one struct per stage. After [`load`] nothing is checked twice.
//!
//! ```text
//! text ─▶ syntax: a tree with places ─▶ decode: structs, all problems ─▶ together: what only shows side by side
//! ```
//!
//! Each group of options is declared once (`options!`): struct, decoding, JSON Schema and `docs/configuration.md` come from
//! the one declaration.

pub mod api;
pub(crate) mod decode;
pub mod docs;
mod domain;
pub mod folder;
pub(crate) mod form;
mod interpolate;
mod loader;
mod near;
mod node;
pub mod oauth;
pub(crate) mod options;
mod problem;
pub mod schema;
pub mod search;
pub mod secret;
pub mod senders;
pub mod sink;
pub mod source;
mod syntax;
pub mod syslog;
mod template;
#[cfg(test)]
mod tests;
pub mod tls;
mod together;
pub(crate) mod units;
mod url;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use self::{
    domain::DomainName,
    form::Whole,
    options::{choices, options},
    units::{Size, Time},
};
use crate::limits::Limits;

pub use self::{
    loader::{Arguments, Loaded, Loader, from_arguments, load, parse},
    problem::{Problem, Problems},
    syntax::Format,
};

options! {
    /// The whole configuration of `run`.
    #[derive(Debug, Clone)]
    pub struct Config {
        /// Folder for what is remembered between runs. None: nothing is, and mails left in place are shipped again.
        pub data_dir: Option<PathBuf> = None,
        /// Name put into every event, to tell apart who shares a destination.
        pub tenant: Option<String> = None,
        /// Where mails come from.
        pub sources: BTreeMap<String, source::SourceConfig> = BTreeMap::new() => "at least one is needed",
        /// Where events go.
        pub sinks: BTreeMap<String, sink::SinkConfig> = BTreeMap::new() => "at least one is needed",
        /// Sinks of the file that `--to` leaves out, by name; `None` where one can't be read, which nobody needs to repair for
        /// a run without it.
        pub left_out: BTreeMap<String, Option<sink::SinkConfig>> = from |_view| Some(BTreeMap::new()),
        /// How much of an address in a failure report is shown. Other people's mail is never shown, whatever this says.
        pub failure_reports: FailureReports = FailureReports::Masked,
        /// Domains whose reports are wanted, subdomains included. A report for another domain is not shipped: its mail is
        /// quarantined, and an `ingest_error` says so. Set it where anyone could mail reports on domains of their own.
        pub domains: Vec<String> as Vec<DomainName> = Vec::new() => "all",
        /// What one mail, and one sender, may cost.
        pub limits: Limits = nested,
        /// What has been shipped.
        pub ledger: Ledger = nested,
        /// The program's own log, on stderr and in a file.
        pub log: Log = nested,
        /// How the process tells how it is.
        pub api: api::Api = nested,
        /// File that the metrics are written to once a minute and at the end, for the node exporter's textfile collector.
        pub metrics_file: Option<PathBuf> = None,
        /// `--once` gives up on a mail server that is of no use for this long, be it away or flooding, and on a required sink that
        /// confirms nothing of what it was sent. The time in which mails are read or a sink waits for its own rate limit does
        /// not count.
        pub give_up_after: Duration as Time<0, 86_400_000> = Duration::from_secs(300),
        /// Tries at a mail that kills the process, that the server can't send, or that a sink does not take while it takes
        /// others, before it is quarantined. A server or a sink that is away counts for none.
        pub max_attempts: u32 as Whole<u32, 1, 1_000> = 3,
        /// How long a clean stop may take. Kubernetes kills after 30 s.
        pub shutdown_timeout: Duration as Time<0, 3_600_000> = Duration::from_secs(25),
        /// Memory for mails that were fetched and not read yet, and for archives and mails inside archives that are open, over
        /// all sources. A larger mail is read with no other in memory, and one reader at a time may open one archive more,
        /// which takes up to `limits.mail_bytes`. docs/kubernetes.md says what the process needs as a whole.
        pub intake_max_size("intake.max_size"): u32 as Size<u32, 1_048_576, 2_147_483_648> = 32 << 20,
    }
}

impl Config {
    /// Whose events those of a source are.
    pub fn tenant_of(&self, source: &str) -> Option<&str> {
        let source = self.sources.get(source);
        source.and_then(source::SourceConfig::tenant).or(self.tenant.as_deref())
    }

    /// Names of the sinks that a source's mails have to wait for, and that `--to` leaves out.
    pub fn left_out_of(&self, source: &str) -> impl Iterator<Item = &str> {
        let lacks = |sink: &sink::SinkConfig| sink.required && sink.takes_from(source);
        let left_out = self.left_out.iter().filter(move |(_, sink)| sink.as_ref().is_none_or(lacks));
        left_out.map(|(name, _)| name.as_str())
    }
}

options! {
    #[derive(Debug, Clone)]
    pub struct Ledger: Default {
        /// Days after which what was not seen again is forgotten.
        pub retention_days: u32 as Whole<u32, 1, 36_500> = 400,
    }
}

options! {
    #[derive(Debug, Clone)]
    pub struct Log: Default {
        /// The least severe messages that are logged.
        pub level: LogLevel = LogLevel::Info,
        /// How they are written.
        pub format: LogFormat = LogFormat::Auto,
        /// Where `run` writes them besides.
        pub file: LogFile = nested,
    }
}

options! {
    /// `log.file.*`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct LogFile: Default {
        /// File that `run` logs to as well, as JSON unless `log.format` is `text`. A file that logrotate has moved away,
        /// truncated or deleted is noticed at the next line, without a signal. One that can't be written to is complained of on stderr.
        pub path: Option<PathBuf> = None,
        /// Size at which the file is renamed to `path.1`, what was `path.1` to `path.2`, and so on.
        pub max_size: u32 as Size<u32, 1_024, 2_147_483_648> = 10 << 20,
        /// How many such older files are kept.
        pub max_files: u32 as Whole<u32, 1, 1_000> = 5,
    }
}

choices! {
    /// How much is logged.
    pub enum LogLevel = Info {
        Error = "error",
        Warn = "warn" | "warning",
        Info = "info",
        Debug = "debug",
        Trace = "trace",
    }
}

choices! {
    /// How much of an address in a failure report is shown.
    pub enum FailureReports = Masked {
        /// The domain alone: `***@example.com`.
        Masked = "masked",
        /// All of it.
        Full = "full",
    }
}

choices! {
    /// How `check` tells what it found.
    pub enum CheckFormat = Text {
        /// Lines for people.
        Text = "text",
        /// A JSON object a step.
        Json = "json",
    }
}

choices! {
    /// How log messages are written.
    pub enum LogFormat = Auto {
        /// Text on a terminal, JSON otherwise.
        Auto = "auto",
        Text = "text",
        Json = "json",
    }
}
