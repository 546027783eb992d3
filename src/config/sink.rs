//! `sinks.*`: where events go, and how they are encoded.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use super::tls::Tls;
use crate::event::EventType;

/// One named sink: what all kinds have in common, and the kind.
#[derive(Debug, Clone)]
pub struct SinkConfig {
    /// Names of the sources whose events it takes; empty: all.
    pub inputs: Vec<String>,
    /// A mail is settled only when every required sink has confirmed it.
    pub required: bool,
    /// Event types it takes; empty: all.
    pub events: Vec<EventType>,
    pub encoding: Encoding,
    /// Bytes that may wait, unconfirmed.
    pub buffer_max_size: u32,
    pub rate: Rate,
    pub kind: SinkKind,
}

#[derive(Debug, Clone)]
pub enum SinkKind {
    Stdout(Stdout),
    File(File),
    Syslog(Syslog),
}

/// `encoding.*`.
#[derive(Debug, Clone, Default)]
pub struct Encoding {
    pub codec: Codec,
    pub fields: Preset,
    pub only_fields: Vec<String>,
    pub except_fields: Vec<String>,
    pub omit_null: bool,
    pub arrays: Arrays,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Codec {
    /// One JSON object an event (a line each, where the sink writes lines).
    #[default]
    Json,
    /// A JSON array per file; `file` sinks only.
    Array,
    /// The key=value line of dmarc-ingest.
    Text,
}

/// How many of the fields are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preset {
    #[default]
    Full,
    /// Without provenance, arrays and what is derived from other fields.
    Lean,
    /// The seed schema of dmarc-ingest and nothing else.
    Seed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arrays {
    #[default]
    Nested,
    /// Arrays become one string, elements joined by `; ` and their values by `/`.
    Joined,
}

/// `rate_limit_num` events per `rate_limit_duration_secs`, and `rate_limit_bytes` per second.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    pub events: Option<NonZeroU32>,
    pub per: Duration,
    pub bytes_per_second: Option<NonZeroU32>,
}

#[derive(Debug, Clone, Default)]
pub struct Stdout {
    /// A line is made smaller than this (16,000: the container runtime splits longer ones).
    pub max_line_bytes: u32,
}

#[derive(Debug, Clone)]
pub struct File {
    /// strftime pattern, day of ingest, UTC.
    pub path: PathBuf,
    pub retention_days: Option<NonZeroU32>,
}

#[derive(Debug, Clone)]
pub struct Syslog {
    pub host: String,
    pub port: u16,
    pub mode: SyslogMode,
    pub tls: Tls,
    pub format: SyslogFormat,
    pub framing: Framing,
    pub acknowledgements: Acknowledgements,
    /// 0 to 23; 16 is local0.
    pub facility: u8,
    pub app_name: String,
    /// HOSTNAME of the frames; None: this machine's.
    pub hostname: Option<String>,
    /// Private enterprise number of the structured data's SD-ID `dmarc@PEN`.
    pub enterprise_number: u32,
    pub structured_data: bool,
    pub event_time: EventTime,
    /// 8,000; for UDP 1,400.
    pub max_message_bytes: u32,
    pub connect_timeout: Duration,
    /// How long the peer may leave written bytes unacknowledged before the connection is given up (TCP_USER_TIMEOUT).
    pub send_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyslogMode {
    #[default]
    Tls,
    Tcp,
    Udp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyslogFormat {
    #[default]
    Rfc5424,
    Rfc3164,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// RFC 6587 octet counting: `LEN SP frame`.
    #[default]
    OctetCounting,
    /// Each frame ended by LF.
    NewlineDelimited,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acknowledgements {
    /// The peer's kernel has acknowledged the bytes, and the connection was open and silent afterwards.
    #[default]
    Kernel,
    /// Each batch ends the connection, and counts only after the peer has closed its side too.
    Strict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventTime {
    #[default]
    Ingest,
    Begin,
    End,
}
