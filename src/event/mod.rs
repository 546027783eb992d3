//! Converts reports to events: flat records with the same keys in the same order, whatever the reporter left out.
//!
//! An event is a row plus shared parts of its report and mail; [`Event::fields`] lists it as `(key, value)` pairs, and every
//! encoder uses that list.

pub mod aggregate;
mod derive;
pub mod failure;
mod field;
pub mod head;
pub mod id;
pub mod ingest_error;
mod mask;
mod normal;
pub mod probe;
pub mod report;
#[cfg(test)]
pub(crate) mod sample;
pub mod schema;
pub mod tls_rpt;

use std::{borrow::Cow, sync::Arc};

use jiff::Timestamp;

use self::id::EventId;
use crate::extract::MailAuth;

/// An event, ready to be encoded.
#[derive(Debug, Clone)]
pub enum Event {
    Aggregate(Box<aggregate::AggregateEvent>),
    TlsRpt(Box<tls_rpt::TlsRptEvent>),
    Failure(Box<failure::FailureEvent>),
    Report(Box<report::ReportEvent>),
    IngestError(Box<ingest_error::IngestErrorEvent>),
    Probe(Box<probe::ProbeEvent>),
}

/// `event_type`, also the syslog MSGID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    DmarcAggregate,
    TlsRpt,
    DmarcFailure,
    Report,
    IngestError,
    Probe,
}

/// Value of a field. The type of each key never changes; values may be null.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Text(Cow<'a, str>),
    Texts(Cow<'a, [String]>),
    /// Flat objects of texts, all with the same keys in the same order.
    Objects(Vec<Object<'a>>),
}

/// A flat object of texts within an array.
pub type Object<'a> = Vec<(&'static str, Option<Cow<'a, str>>)>;

pub type Field<'a> = (&'static str, Value<'a>);

/// Provenance of a document: the mail or file that it came in, and the time. Shared by all its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    pub tenant: Option<String>,
    /// The source's name in the configuration.
    pub source: String,
    /// Folder of the mailbox, or path of the file.
    pub mailbox: Option<String>,
    pub mail_uid: Option<u32>,
    /// UIDVALIDITY of the mailbox; not a field, but part of the `event_id` of mails that were not fetched.
    pub uid_validity: Option<u32>,
    pub mail_message_id: Option<String>,
    pub mail_from: Option<String>,
    /// RFC 3339, UTC.
    pub mail_date: Option<String>,
    /// Authentication results of trusted mail servers about the sender; `None` if there are none.
    pub mail_auth: Option<Arc<MailAuth>>,
    /// The declared name of the attachment or file; data, never a path to follow.
    pub attachment: Option<String>,
    pub ingest: Timestamp,
}

impl Provenance {
    /// Provenance of a source and a time only, without a mail or file.
    pub fn of(source: impl Into<String>, ingest: Timestamp) -> Self {
        Self {
            tenant: None,
            source: source.into(),
            mailbox: None,
            mail_uid: None,
            uid_validity: None,
            mail_message_id: None,
            mail_from: None,
            mail_date: None,
            mail_auth: None,
            attachment: None,
            ingest,
        }
    }
}

impl EventType {
    pub const ALL: &'static [EventType] = &[
        EventType::DmarcAggregate,
        EventType::TlsRpt,
        EventType::DmarcFailure,
        EventType::Report,
        EventType::IngestError,
        EventType::Probe,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            EventType::DmarcAggregate => "dmarc_aggregate",
            EventType::TlsRpt => "tls_rpt",
            EventType::DmarcFailure => "dmarc_failure",
            EventType::Report => "report",
            EventType::IngestError => "ingest_error",
            EventType::Probe => "probe",
        }
    }
}

impl Event {
    pub fn event_type(&self) -> EventType {
        match self {
            Event::Aggregate(_) => EventType::DmarcAggregate,
            Event::TlsRpt(_) => EventType::TlsRpt,
            Event::Failure(_) => EventType::DmarcFailure,
            Event::Report(_) => EventType::Report,
            Event::IngestError(_) => EventType::IngestError,
            Event::Probe(_) => EventType::Probe,
        }
    }

    /// Appends the event's fields to `out`, which the caller clears and reuses.
    pub fn fields<'a>(&'a self, out: &mut Vec<Field<'a>>) {
        match self {
            Event::Aggregate(event) => event.fields(out),
            Event::TlsRpt(event) => event.fields(out),
            Event::Failure(event) => event.fields(out),
            Event::Report(event) => event.fields(out),
            Event::IngestError(event) => event.fields(out),
            Event::Probe(event) => event.fields(out),
        }
    }

    /// Id of the fact: the same for whichever mail, run or replica reports it; see [`id`].
    pub fn event_id(&self) -> EventId {
        match self {
            Event::Aggregate(event) => event.event_id(),
            Event::TlsRpt(event) => event.event_id(),
            Event::Failure(event) => event.event_id(),
            Event::Report(event) => event.event_id(),
            Event::IngestError(event) => event.event_id(),
            Event::Probe(event) => event.event_id(),
        }
    }

    /// SHA-256 of the document that the event is about; `None` if it is about none, or about a mail without content.
    pub fn document(&self) -> Option<[u8; 32]> {
        match self {
            Event::Aggregate(event) => Some(event.document()),
            Event::TlsRpt(event) => Some(event.document()),
            Event::Failure(event) => Some(event.head().hash),
            Event::Report(event) => Some(event.document()),
            Event::IngestError(event) => event.document(),
            Event::Probe(_) => None,
        }
    }

    /// Begin and end of the reported period, if the report has them.
    pub fn period(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        match self {
            Event::Aggregate(event) => event.period(),
            Event::TlsRpt(event) => event.period(),
            Event::Failure(event) => event.period(),
            Event::Report(event) => event.period(),
            Event::IngestError(_) | Event::Probe(_) => (None, None),
        }
    }

    pub fn provenance(&self) -> &Arc<Provenance> {
        match self {
            Event::Aggregate(event) => event.provenance(),
            Event::TlsRpt(event) => event.provenance(),
            Event::Failure(event) => event.provenance(),
            Event::Report(event) => event.provenance(),
            Event::IngestError(event) => event.provenance(),
            Event::Probe(event) => event.provenance(),
        }
    }
}
