//! What the user wrote, checked: one struct per stage. After [`load`] nothing is checked twice.

pub mod secret;
pub mod sink;
pub mod source;
pub mod tls;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crate::limits::Limits;

/// The whole configuration of `run`.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_dir: Option<PathBuf>,
    pub tenant: Option<String>,
    pub sources: BTreeMap<String, source::SourceConfig>,
    pub sinks: BTreeMap<String, sink::SinkConfig>,
    pub limits: Limits,
    pub ledger: Ledger,
    pub log: Log,
    /// `--once` gives up on a peer that stays away for this long.
    pub give_up_after: Duration,
    /// How long a clean stop may take.
    pub shutdown_timeout: Duration,
    /// Bytes of mail held in memory at once, over all sources.
    pub intake_max_size: u32,
}

#[derive(Debug, Clone)]
pub struct Ledger {
    /// Days after which what was not seen again is forgotten.
    pub retention_days: u32,
}

#[derive(Debug, Clone, Default)]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    Text,
    Json,
}
