//! Mails that readers and the settlement hand to each other: those that were read, and those of which sinks have rejected
//! events.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::{
    deliver::MailId,
    ledger::{DocumentKey, PlaceVerdict, ReportName, Shipped, SinkKey},
    sink::Rejection,
    source::{MailRef, Place, Verdict},
    trouble::{Reason, Trouble},
};

/// A mail that has been read, with the data for the ledger and for its source.
#[derive(Debug)]
pub struct Read {
    pub reply: Reply,
    pub place: Place,
    pub verdict: Verdict,
    /// Documents shipped from this mail, or shared with another mail in flight.
    pub documents: Vec<(DocumentKey, Shipped)>,
    /// Ledger keys of the sinks on its source's route, which have these documents once the mail has arrived.
    pub sinks: Arc<[SinkKey]>,
    /// Reporters' names for the documents.
    pub names: Vec<(ReportName, [u8; 32])>,
    /// Documents that the ledger knew before.
    pub seen_again: Vec<DocumentKey>,
    /// Set if the mail stays in place: the verdict to remember for it.
    pub stays: Option<PlaceVerdict>,
    /// Where the mail is sent if sinks reject events of it.
    pub reader: mpsc::UnboundedSender<RejectedMail>,
    /// Deliveries of its documents that are incomplete, since the sink rejected events.
    pub rejected: Vec<(DocumentKey, SinkKey)>,
}

/// Return address for a mail's verdict.
#[derive(Debug, Clone)]
pub struct Reply {
    pub mail: MailRef,
    pub verdicts: mpsc::UnboundedSender<(MailRef, Verdict)>,
}

impl Reply {
    pub fn send(&self, verdict: Verdict) {
        // A source that has ended needs no verdict: a mail without one is retried.
        self.verdicts.send((self.mail, verdict)).ok();
    }
}

/// A mail of which all events have arrived, except those that sinks have rejected. Its reader reports these and decides on
/// the verdict.
#[derive(Debug)]
pub struct RejectedMail {
    pub mail: MailId,
    pub place: Place,
    pub reply: Reply,
    /// The verdict of reading it.
    pub verdict: Verdict,
    pub sinks: Vec<RejectedBy>,
}

/// Events of a mail that one sink has rejected.
#[derive(Debug)]
pub struct RejectedBy {
    /// Number of the sink, as in the marks.
    pub sink: usize,
    pub events: u64,
    /// The first of them. `None`: they were sent for another mail in flight that contains the same document, which reports them.
    pub first: Option<Rejection>,
}

impl RejectedBy {
    /// Returns the error to report, with the name of the sink.
    pub fn trouble(&self, sink: &Arc<str>) -> Trouble {
        let Self { events, first, .. } = self;
        let of_another = "they were sent for another mail that contains the same report, and whose error says why";
        let reason = first.as_ref().map_or(of_another, |first| &first.reason);
        let detail = format!(
            "the sink {sink} rejected {events} of the mail's events: {reason}; after that, move the mail back to have the report \
             shipped to that sink"
        );
        Trouble::new(Reason::SinkRejected, detail)
    }
}

impl Read {
    /// Returns the sinks of the route that have all of a document.
    pub fn sinks_that_have(&self, document: &DocumentKey) -> Arc<[SinkKey]> {
        let lacks = |sink: &SinkKey| self.rejected.iter().any(|(key, by)| key == document && by == sink);
        if self.rejected.is_empty() {
            self.sinks.clone()
        } else {
            self.sinks.iter().copied().filter(|sink| !lacks(sink)).collect()
        }
    }
}
