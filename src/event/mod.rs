//! Converts reports to events: flat records with the same keys in the same order, whatever the reporter left out.
//!
//! An event is a row plus shared parts of its report and mail; [`Event::fields`] lists it as `(key, value)` pairs, and every
//! encoder uses that list.

pub mod aggregate;
mod derive;
mod event_type;
pub mod failure;
mod field;
pub mod head;
pub mod id;
pub mod ingest_error;
mod mask;
mod normal;
pub mod probe;
mod provenance;
pub mod report;
#[cfg(test)]
pub(crate) mod sample;
pub mod schema;
pub mod tls_rpt;

use std::sync::Arc;

use jiff::Timestamp;

use self::id::EventId;
pub use self::{
    event_type::EventType,
    field::{Field, Object, Value, hex},
    provenance::Provenance,
};

/// An event, ready to be encoded.
#[derive(Debug, Clone)]
pub enum Event<'r> {
    Aggregate(Box<aggregate::AggregateEvent<'r>>),
    TlsRpt(Box<tls_rpt::TlsRptEvent>),
    Failure(Box<failure::FailureEvent>),
    Report(Box<report::ReportEvent>),
    IngestError(Box<ingest_error::IngestErrorEvent>),
    Probe(Box<probe::ProbeEvent>),
}

#[cfg(test)]
impl Event<'_> {
    pub(crate) fn into_owned(self) -> Event<'static> {
        match self {
            Event::Aggregate(event) => Event::Aggregate(Box::new(event.into_owned())),
            Event::TlsRpt(event) => Event::TlsRpt(event),
            Event::Failure(event) => Event::Failure(event),
            Event::Report(event) => Event::Report(event),
            Event::IngestError(event) => Event::IngestError(event),
            Event::Probe(event) => Event::Probe(event),
        }
    }
}

impl Event<'_> {
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
