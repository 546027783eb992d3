//! `probe`: an event that `check` sends to a sink, to test that events arrive.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    event_type::EventType,
    field::{self, Field, Value, known},
    id::{self, EventId},
    provenance::Provenance,
};

/// Explanation for a person who finds the event among reports.
const NOTE: &str = "test event sent by dmarc-shipper check; it does not come from a report";

/// An event without a report; each one has its own id.
#[derive(Debug, Clone)]
pub struct ProbeEvent {
    id: EventId,
    sink: String,
    ingest: String,
    provenance: Arc<Provenance>,
}

impl ProbeEvent {
    /// `sink` is the sink's name in the configuration, `at` the current time.
    pub fn new(tenant: Option<&str>, sink: &str, at: Timestamp) -> Self {
        let provenance = Provenance { tenant: tenant.map(str::to_owned), ..Provenance::of("check", at) };
        Self {
            id: id::probe(tenant, sink, at),
            sink: sink.to_owned(),
            ingest: field::time(at),
            provenance: Arc::new(provenance),
        }
    }

    pub fn event_id(&self) -> EventId {
        self.id
    }

    pub fn provenance(&self) -> &Arc<Provenance> {
        &self.provenance
    }

    pub fn fields<'a>(&'a self, out: &mut Vec<Field<'a>>) {
        field::identity(EventType::Probe, &self.id, &self.provenance, out);
        out.extend([
            ("sink", known(&self.sink)),
            ("note", known(NOTE)),
            ("ingest_timestamp", known(&self.ingest)),
            ("truncated", Value::Bool(false)),
        ]);
    }
}
