//! Report → events: flat records with the same keys in the same order, whatever the reporter left out.
//!
//! An event is a row plus shared parts of its report and mail; it lists itself as `(key, value)` pairs, and
//! every encoder works from that list.

use std::borrow::Cow;

use jiff::Timestamp;

/// `event_type`, also the syslog MSGID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    DmarcAggregate,
    Report,
    IngestError,
}

/// One field's value. Each key has one of these types for ever, or null.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Text(Cow<'a, str>),
    Texts(Cow<'a, [String]>),
    /// Flat objects of texts; each with the same keys in the same order.
    Objects(Vec<Object<'a>>),
}

/// A flat object of texts within an array.
pub type Object<'a> = Vec<(&'static str, Option<Cow<'a, str>>)>;

pub type Field<'a> = (&'static str, Value<'a>);

/// What is known of a document's way here: the mail or file it came in, and when. Shared by all its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    pub tenant: Option<String>,
    /// The source's name in the configuration.
    pub source: String,
    /// Folder of the mailbox, or path of the file.
    pub mailbox: Option<String>,
    pub mail_uid: Option<u32>,
    pub mail_message_id: Option<String>,
    pub mail_from: Option<String>,
    /// RFC 3339, UTC.
    pub mail_date: Option<String>,
    /// The attachment's or file's name as told; data, never a path to follow.
    pub attachment: Option<String>,
    pub ingest: Timestamp,
}

impl EventType {
    pub const ALL: &'static [EventType] = &[EventType::DmarcAggregate, EventType::Report, EventType::IngestError];

    pub fn as_str(self) -> &'static str {
        match self {
            EventType::DmarcAggregate => "dmarc_aggregate",
            EventType::Report => "report",
            EventType::IngestError => "ingest_error",
        }
    }
}
