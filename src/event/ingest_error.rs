//! `ingest_error`: one event per document, attachment or mail that could not be read in full.

use std::sync::Arc;

use super::{
    event_type::EventType,
    field::{self, Field, Value, int, known, saturated, text},
    id::{self, EventId},
    provenance::Provenance,
};
use crate::trouble::{Reason, Trouble};

/// An error of reading a document, attachment or mail.
#[derive(Debug, Clone)]
pub struct IngestErrorEvent {
    id: EventId,
    trouble: Trouble,
    suppressed: u64,
    /// The sink that rejected events.
    rejected_by: Option<Arc<str>>,
    /// SHA-256 of the bytes that could not be read, as bytes and in hex.
    hash: Option<[u8; 32]>,
    sha256: Option<String>,
    ingest: String,
    provenance: Arc<Provenance>,
}

impl IngestErrorEvent {
    /// `sha256` is the hash of the bytes that could not be read; `None` if there are none, as for a mail that was not
    /// fetched. `suppressed` is the number of errors that the rate limit held back since the last event.
    pub fn new(trouble: Trouble, sha256: Option<[u8; 32]>, suppressed: u64, provenance: Arc<Provenance>) -> Self {
        Self {
            id: id::ingest_error(sha256.as_ref(), trouble.reason, &provenance),
            trouble,
            suppressed,
            rejected_by: None,
            hash: sha256,
            sha256: sha256.map(|sha256| field::hex(&sha256)),
            ingest: field::time(provenance.ingest),
            provenance,
        }
    }

    /// Creates the event for events that `sink` has rejected; `sha256` is the hash of the document that the first of them is
    /// about. It is not for that sink, which might reject it as well.
    pub fn rejected_by(
        sink: Arc<str>,
        trouble: Trouble,
        sha256: Option<[u8; 32]>,
        suppressed: u64,
        provenance: Arc<Provenance>,
    ) -> Self {
        let mut event = Self::new(trouble, sha256, suppressed, provenance);
        event.id = id::rejection(sha256.as_ref(), event.trouble.reason, &event.provenance, &sink);
        event.rejected_by = Some(sink);
        event
    }

    /// Returns the sink that rejected events.
    pub fn rejecting_sink(&self) -> Option<&str> {
        self.rejected_by.as_deref()
    }

    pub fn event_id(&self) -> EventId {
        self.id
    }

    pub fn document(&self) -> Option<[u8; 32]> {
        self.hash
    }

    pub fn reason(&self) -> Reason {
        self.trouble.reason
    }

    pub fn provenance(&self) -> &Arc<Provenance> {
        &self.provenance
    }

    pub fn fields<'a>(&'a self, out: &mut Vec<Field<'a>>) {
        let limit = self.trouble.limit;
        field::identity(EventType::IngestError, &self.id, &self.provenance, out);
        out.extend([
            ("reason", known(self.trouble.reason.code())),
            ("detail", known(&self.trouble.detail)),
            ("limit_setting", limit.map_or(Value::Null, |limit| known(limit.setting))),
            ("limit_value", int(limit.map(|limit| saturated(limit.value)))),
            ("suppressed", Value::Int(saturated(self.suppressed))),
            ("document_sha256", text(&self.sha256)),
        ]);
        field::provenance(&self.provenance, out);
        out.extend([("ingest_timestamp", known(&self.ingest)), ("truncated", Value::Bool(false))]);
    }
}
