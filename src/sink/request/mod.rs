//! Request engine: sends batches of events to a receiver that answers each request, several requests at a time.
//!
//! Each request ends in an [`Outcome`]. A request that failed is sent again, after a delay and with one request at a time
//! until one succeeds. A request that the receiver refuses is split into halves, until the event at fault is alone, and is
//! rejected. Events are confirmed up to the first one that is neither delivered nor rejected (see [`LowWater`](crate::deliver::low_water::LowWater)).
//!
//! All frames, waiting or in flight, count against the sink's queue (`buffer.max_size`) until they are dropped.

mod engine;
mod receiver;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{
    Inlet, Sink, SinkError, Status,
    batch::{Batches, Limits},
    rate::RateLimit,
};
use crate::config::sink::{Rate, Requests};

use engine::Engine;

pub use receiver::{Outcome, Receiver};

/// Sink that sends requests to `R`.
pub struct RequestSink<R> {
    receiver: Arc<R>,
    requests: Requests,
    rate: RateLimit,
}

impl<R> fmt::Debug for RequestSink<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestSink").field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl<R: Receiver> RequestSink<R> {
    pub fn new(receiver: R, requests: Requests, rate: &Rate) -> Self {
        Self { receiver: Arc::new(receiver), requests, rate: RateLimit::new(rate) }
    }
}

impl<R: Receiver> Sink for RequestSink<R> {
    fn run(
        self: Box<Self>,
        inlet: Inlet,
        status: Status,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), SinkError>> {
        let Self { receiver, requests, rate } = *self;
        let limits = Limits {
            max_bytes: requests.max_bytes as usize,
            max_events: requests.max_events as usize,
            timeout: requests.batch_timeout,
        };
        let batches = Batches::new(inlet, rate, &status, limits);
        Box::pin(async move {
            let engine = Engine::new(&*receiver, &requests, status).run(batches);
            stop.run_until_cancelled(engine).await.unwrap_or(Ok(()))
        })
    }
}
