//! `sources.*`: where mails come from.

use std::{path::PathBuf, time::Duration};

use super::{secret::Secret, tls::Tls};

#[derive(Debug, Clone)]
pub enum SourceConfig {
    Imap(Box<Imap>),
    File(File),
}

/// `type: imap`.
#[derive(Debug, Clone)]
pub struct Imap {
    pub host: String,
    /// 993, or 143 with `security: starttls | none`.
    pub port: u16,
    pub security: Security,
    pub user: String,
    /// `password` or `password_file`.
    pub password: Secret,
    pub auth: Auth,
    pub tls: Tls,
    pub folder: String,
    /// None: mails stay where they are, and are remembered.
    pub archive_folder: Option<String>,
    pub quarantine_folder: Option<String>,
    pub without_report: WithoutReport,
    pub poll_interval: Duration,
    /// Mails taken in one pass; None: all.
    pub max_messages_per_run: Option<u32>,
    pub connect_timeout: Duration,
    /// How long the server may be silent while a response is awaited.
    pub read_timeout: Duration,
}

/// How an IMAP connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// TLS from the first byte.
    #[default]
    Tls,
    Starttls,
    /// Plain text: only where the user writes it.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auth {
    /// PLAIN where the server offers it, LOGIN otherwise.
    #[default]
    Auto,
    Plain,
    Login,
}

/// What becomes of a mail that carries no report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WithoutReport {
    /// Left alone and remembered.
    #[default]
    Keep,
    Archive,
    Quarantine,
    Delete,
}

/// `type: file`: a report, a mail, a folder of them, a Maildir, an mbox, or `-` for stdin. Nothing is changed there.
#[derive(Debug, Clone)]
pub struct File {
    pub path: PathBuf,
    pub poll_interval: Duration,
}
