//! Options at the top level of the configuration, and those of the program itself: log, ledger.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{
    api,
    domain::DomainName,
    form::Whole,
    options::{choices, options},
    sink::SinkConfig,
    source::SourceConfig,
    units::{Size, Time},
};
use crate::limits::Limits;

options! {
    /// The whole configuration of `run`.
    #[derive(Debug, Clone)]
    pub struct Config {
        /// Folder for state that is kept between runs. None: no state is kept, and mails left in place are shipped again.
        pub data_dir: Option<PathBuf> = None,
        /// Tenant name, added to every event, to distinguish the tenants that share a destination.
        pub tenant: Option<String> = None,
        /// Sources of mails.
        pub sources: BTreeMap<String, SourceConfig> = BTreeMap::new() => "at least one is needed",
        /// Destinations of events.
        pub sinks: BTreeMap<String, SinkConfig> = BTreeMap::new() => "at least one is needed",
        /// Sinks of the file that `--to` leaves out, by name; `None` for one that can't be decoded, which need not be
        /// repaired for a run without it.
        pub left_out: BTreeMap<String, Option<SinkConfig>> = from |_view| Some(BTreeMap::new()),
        /// Masking of e-mail addresses in events of failure reports. The content of the original mail is never included,
        /// with any setting.
        pub failure_reports: FailureReports = FailureReports::Masked,
        /// Domains whose reports are wanted, subdomains included, in U-labels (`bücher.example`) or A-labels. A report for another domain is not shipped: its mail is
        /// quarantined, with an `ingest_error`. Set this if anyone could mail reports about domains of their own.
        pub domains: Vec<String> as Vec<DomainName> = Vec::new() => "all",
        /// Limits on the cost of one mail, and of one sender.
        pub limits: Limits = nested,
        /// The ledger: a record of everything shipped.
        pub ledger: Ledger = nested,
        /// The program's own log, on stderr and in a file.
        pub log: Log = nested,
        /// Health probes and metrics.
        pub api: api::Api = nested,
        /// File that the metrics are written to every minute and at exit, for the node exporter's textfile collector.
        pub metrics_file: Option<PathBuf> = None,
        /// Time after which `--once` gives up on a mail server that is unusable (unreachable, or flooding), and on a
        /// required sink that confirms none of its events. Time in which mails are read, or a sink waits for its own rate
        /// limit, does not count.
        pub give_up_after: Duration as Time<0, 86_400_000> = Duration::from_secs(300),
        /// Maximum number of attempts at a mail that crashes the process, that the server can't send, or that a sink does
        /// not accept while it accepts others; then the mail is quarantined. An unavailable server or sink does not count as
        /// an attempt.
        pub max_attempts: u32 as Whole<u32, 1, 1_000> = 3,
        /// Maximum duration of a graceful shutdown. Kubernetes kills after 30 s.
        pub shutdown_timeout: Duration as Time<0, 3_600_000> = Duration::from_secs(25),
        /// Memory limit, over all sources, for mails that were fetched and not read yet, and for open archives and mails
        /// inside archives. A larger mail is read with no other in memory, and one reader at a time may open one archive
        /// more, which takes up to `limits.mail_bytes`. docs/kubernetes.md gives the memory that the whole process needs.
        pub intake_max_size("intake.max_size"): u32 as Size<u32, 1_048_576, 2_147_483_648> = 32 << 20,
    }
}

impl Config {
    /// Tenant of the events of a source.
    pub fn tenant_of(&self, source: &str) -> Option<&str> {
        let source = self.sources.get(source);
        source.and_then(|source| source.options().tenant()).or(self.tenant.as_deref())
    }

    /// Names of the sinks that a source's mails require, and that `--to` leaves out.
    pub fn left_out_of(&self, source: &str) -> impl Iterator<Item = &str> {
        let lacks = |sink: &SinkConfig| sink.required && sink.takes_from(source);
        let left_out = self.left_out.iter().filter(move |(_, sink)| sink.as_ref().is_none_or(lacks));
        left_out.map(|(name, _)| name.as_str())
    }
}

options! {
    #[derive(Debug, Clone)]
    pub struct Ledger: Default {
        /// Days after which an entry that was not seen again is deleted.
        pub retention_days: u32 as Whole<u32, 1, 36_500> = 400,
    }
}

options! {
    #[derive(Debug, Clone)]
    pub struct Log: Default {
        /// Minimum severity of logged messages.
        pub level: LogLevel = LogLevel::Info,
        /// Format of log messages.
        pub format: LogFormat = LogFormat::Auto,
        /// Log file of `run`, in addition to stderr.
        pub file: LogFile = nested,
    }
}

options! {
    /// `log.file.*`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct LogFile: Default {
        /// File that `run` logs to in addition to stderr, as JSON unless `log.format` is `text`. If logrotate moves,
        /// truncates or deletes the file, this is detected at the next line, without a signal. If it can't be written to,
        /// that is reported on stderr.
        pub path: Option<PathBuf> = None,
        /// Size at which the file is rotated: it is renamed to `path.1`, `path.1` to `path.2`, and so on.
        pub max_size: u32 as Size<u32, 1_024, 2_147_483_648> = 10 << 20,
        /// Number of rotated files that are kept.
        pub max_files: u32 as Whole<u32, 1, 1_000> = 5,
    }
}

choices! {
    /// Log level.
    pub enum LogLevel = Info {
        Error = "error",
        Warn = "warn" | "warning",
        Info = "info",
        Debug = "debug",
        Trace = "trace",
    }
}

choices! {
    /// Masking of addresses in failure reports.
    pub enum FailureReports = Masked {
        /// Only the domain: `***@example.com`.
        Masked = "masked",
        /// The whole address.
        Full = "full",
    }
}

choices! {
    /// Output format of `check`.
    pub enum CheckFormat = Text {
        /// Human-readable lines.
        Text = "text",
        /// One JSON object per step.
        Json = "json",
    }
}

choices! {
    /// Format of log messages.
    pub enum LogFormat = Auto {
        /// Text on a terminal, JSON otherwise.
        Auto = "auto",
        Text = "text",
        Json = "json",
    }
}
