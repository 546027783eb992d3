//! Mails of which sinks have rejected events: what their readers report of them.

use std::sync::Arc;

use super::settlement::Reply;
use crate::{
    deliver::MailId,
    sink::Rejection,
    source::{Place, Verdict},
    trouble::{Reason, Trouble},
};

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
