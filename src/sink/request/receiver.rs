//! Receiver of requests, and what a request can end in.

use std::time::Duration;

use futures::future::BoxFuture;

use crate::sink::{Frame, SinkError};

/// A receiver, as one kind of sink speaks to it.
pub trait Receiver: Send + Sync + 'static {
    /// Sends a batch, which is not empty, as one request, and interprets the response. The engine ends the request after
    /// `request.timeout_secs`.
    fn send<'a>(&'a self, batch: &'a [Frame]) -> BoxFuture<'a, Outcome>;
}

/// Result of a request.
#[derive(Debug)]
pub enum Outcome {
    /// The receiver has taken all events.
    Delivered,
    /// The receiver, or the network, failed: the request is sent again, no sooner than `after`, if the receiver said so.
    Failed { reason: String, after: Option<Duration> },
    /// The receiver will never take this request, because of at least one of its events, or because of its size.
    Refused { reason: String },
    /// The configuration can't be used, such as the file of a certificate. Ends the sink if no request has succeeded before:
    /// files that become unusable later are probably being replaced.
    Unusable(SinkError),
}
