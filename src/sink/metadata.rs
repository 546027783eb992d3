//! Metadata of the event in a frame: the same for every sink that takes the event.

use std::sync::Arc;

use crate::{
    deliver::MailId,
    event::{Event, EventType, Provenance, id::EventId},
};

/// Metadata of an event that sinks may use besides its bytes. Cheap to clone: nothing is allocated.
#[derive(Debug, Clone)]
pub struct Metadata {
    pub event_id: EventId,
    pub event_type: EventType,
    /// SHA-256 of the document that the event is about.
    pub document: Option<[u8; 32]>,
    /// Source, mail or file, and time at which the event came in.
    pub provenance: Arc<Provenance>,
    /// The mail that is settled only when the event has arrived or was rejected; `None` for an event that no mail waits for.
    pub mail: Option<MailId>,
}

impl Metadata {
    pub fn of(event: &Event, mail: Option<MailId>) -> Self {
        Self {
            event_id: event.event_id(),
            event_type: event.event_type(),
            document: event.document(),
            provenance: event.provenance().clone(),
            mail,
        }
    }

    /// Returns the time at which the event came in, in seconds since 1970 UTC.
    pub fn ingest_second(&self) -> i64 {
        self.provenance.ingest.as_second()
    }
}

#[cfg(test)]
impl Metadata {
    /// Metadata of an event that came in at this second.
    pub(crate) fn at(second: i64) -> Self {
        use crate::event::probe::ProbeEvent;
        let probe = ProbeEvent::new(None, "out", jiff::Timestamp::from_second(second).unwrap());
        Self::of(&Event::Probe(Box::new(probe)), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Value, sample};

    #[test]
    fn metadata_is_what_the_event_itself_reports() {
        for event in [
            sample::aggregate(),
            sample::report_event(),
            sample::failure_event(&sample::failure(), Default::default()),
            sample::ingest_error(),
            sample::probe(),
        ] {
            let metadata = Metadata::of(&event, Some(7));
            let mut fields = Vec::new();
            event.fields(&mut fields);
            let text = |key| fields.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
            assert_eq!(text("event_id"), Some(Value::Text((&*metadata.event_id).into())));
            assert_eq!(text("event_type"), Some(Value::Text(metadata.event_type.as_str().into())));
            let hex: Option<String> =
                metadata.document.map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect());
            assert_eq!(text("document_sha256"), hex.map(|hex| Value::Text(hex.into())), "{event:?}");
            assert_eq!((metadata.ingest_second(), metadata.mail), (1_793_534_400, Some(7)));
        }
    }
}
