//! `forward` sink: Fluent Forward, protocol version 1, in PackedForward mode. Each chunk has an id that the receiver returns as
//! its acknowledgement (`require_ack_response`).
//!
//! The proof in an acknowledgement depends on the receiver: Vector sends it after its own sinks have delivered, Fluent Bit when
//! the chunk is in its buffer. Vector refuses a chunk with an empty map, and closes the connection.

mod check;
mod chunk;
mod connection;
mod handshake;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use futures::future::BoxFuture;
use tokio::time::timeout;
use tracing::debug;

use super::{
    Frame, Sink, SinkError,
    registry::{Kind, Probe},
    request::{Outcome, Receiver, RequestSink},
};
use crate::{
    config::sink::{Endpoint, Forward, SinkConfig},
    net::tls::TlsError,
    steps::Steps,
};

use chunk::Chunk;
use connection::{Connection, ForwardError};

/// The receivers, and the connections that no chunk uses now.
struct ForwardReceiver {
    name: Arc<str>,
    config: Forward,
    /// Index of the receiver that new connections are made to.
    endpoint: AtomicUsize,
    idle: Mutex<Vec<Connection>>,
}

impl Kind for Forward {
    fn build(&self, name: Arc<str>, config: &SinkConfig) -> Box<dyn Sink> {
        let receiver =
            ForwardReceiver { name, config: self.clone(), endpoint: AtomicUsize::new(0), idle: Mutex::default() };
        Box::new(RequestSink::new(receiver, self.requests.clone(), &config.rate))
    }

    fn check<'a>(&'a self, steps: &'a mut Steps) -> BoxFuture<'a, Option<Probe>> {
        Box::pin(check::check(self, steps))
    }
}

impl Receiver for ForwardReceiver {
    fn send<'a>(&'a self, batch: &'a [Frame]) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let chunks = match chunk::of(batch, &self.config) {
                Ok(chunks) => chunks,
                Err(error) => {
                    return Outcome::Failed { reason: format!("can't compress a chunk: {error}"), after: None };
                }
            };
            for chunk in chunks {
                match self.deliver(&chunk).await {
                    Ok(()) => {}
                    Err(ForwardError::Tls(error @ TlsError::Configuration { .. })) => {
                        return Outcome::Unusable(SinkError::Configuration(error.to_string(), Some(error.into())));
                    }
                    Err(error) => return Outcome::Failed { reason: error.to_string(), after: None },
                }
            }
            Outcome::Delivered
        })
    }
}

impl ForwardReceiver {
    /// Sends a chunk, and waits for its acknowledgement.
    async fn deliver(&self, chunk: &Chunk) -> Result<(), ForwardError> {
        let idle = self.idle().pop();
        if let Some(mut connection) = idle {
            match connection.deliver(chunk).await {
                Ok(()) => {
                    self.keep(connection);
                    return Ok(());
                }
                // Receivers close idle connections at any time: that is no failure.
                Err(error @ ForwardError::Lost { .. }) => {
                    debug!(sink = &*self.name, %error, "idle connection ended; opening another");
                    self.idle().clear();
                }
                Err(error) => return Err(error),
            }
        }
        let mut connection = self.open().await?;
        connection.deliver(chunk).await?;
        self.keep(connection);
        Ok(())
    }

    /// Opens a connection to the receiver that worked last, or to the next one that works.
    async fn open(&self) -> Result<Connection, ForwardError> {
        let endpoints = &self.config.endpoints;
        let first = self.endpoint.load(Ordering::Relaxed);
        let mut failure = None;
        for index in (0..endpoints.len()).map(|offset| (first + offset) % endpoints.len()) {
            match opened(&endpoints[index], &self.config).await {
                Ok(connection) => {
                    self.endpoint.store(index, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| ForwardError::Protocol("no endpoint is configured".into())))
    }

    fn keep(&self, connection: Connection) {
        self.idle().push(connection);
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a connection within `connect_timeout`, on which the receiver knows this sender.
async fn opened(endpoint: &Endpoint, config: &Forward) -> Result<Connection, ForwardError> {
    let limit = config.connect_timeout;
    let opened = timeout(limit, async {
        let mut connection = Connection::open(endpoint, config).await?;
        if let Some(key) = &config.shared_key {
            handshake::introduce(&mut connection, key, config).await?;
        }
        Ok(connection)
    });
    opened.await.unwrap_or_else(|_| Err(ForwardError::TimedOut { endpoint: endpoint.to_string(), limit }))
}
