//! Connection to a receiver: opens it, sends chunks, and reads acknowledgements.

use std::{io, time::Duration};

use rmpv::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::chunk::Chunk;
use crate::{
    config::sink::{Endpoint, Forward, ForwardMode},
    net::{
        Wire,
        connect::{ConnectError, connect},
        tls::{self, TlsError},
    },
};

/// Maximum size of a message from the receiver, in bytes: acknowledgements and handshakes have some hundred.
const ANSWER_BYTES: usize = 16 << 10;
/// Maximum nesting of a message from the receiver.
const ANSWER_DEPTH: usize = 8;

/// Error of a connection; it is then dropped.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("can't connect to {endpoint}: {error}")]
    Unix {
        endpoint: String,
        #[source]
        error: io::Error,
    },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("no connection to {endpoint} within {limit:?} (connect_timeout)")]
    TimedOut { endpoint: String, limit: Duration },
    /// The connection ended before anything came of the acknowledgement.
    #[error("lost the connection to {endpoint}: {error}")]
    Lost {
        endpoint: String,
        #[source]
        error: io::Error,
    },
    /// The receiver has not delivered the chunk; Vector says so with an empty map.
    #[error("{0} could not deliver the events further on; see its log")]
    NotDelivered(String),
    #[error("{0}")]
    Protocol(String),
}

/// An open connection, on which the receiver knows the sender.
pub(super) struct Connection {
    stream: Box<dyn Wire>,
    endpoint: String,
    /// Bytes that were read and belong to the next message.
    rest: Vec<u8>,
}

impl Connection {
    /// Connects, with TLS if it is configured.
    pub(super) async fn open(endpoint: &Endpoint, config: &Forward) -> Result<Self, ForwardError> {
        let stream: Box<dyn Wire> = match endpoint {
            Endpoint::Unix(path) => Box::new(
                UnixStream::connect(path)
                    .await
                    .map_err(|error| ForwardError::Unix { endpoint: endpoint.to_string(), error })?,
            ),
            Endpoint::Host { host, port } => {
                let tcp = connect(host, *port, config.connect_timeout).await?;
                match config.mode {
                    ForwardMode::Tcp => Box::new(tcp),
                    ForwardMode::Tls => Box::new(tls::handshake(&config.tls, host, tcp).await?),
                }
            }
        };
        Ok(Self { stream, endpoint: endpoint.to_string(), rest: Vec::new() })
    }

    /// Sends a chunk, and waits until the receiver acknowledges it.
    pub(super) async fn deliver(&mut self, chunk: &Chunk) -> Result<(), ForwardError> {
        self.write(&chunk.message).await?;
        let answer = self.read().await?;
        let acknowledged = answer.as_map().and_then(|map| {
            let (_, id) = map.iter().find(|(key, _)| key.as_str() == Some("ack"))?;
            id.as_str()
        });
        match acknowledged {
            Some(id) if id == chunk.id => Ok(()),
            Some(_) => Err(self.violation("acknowledged another chunk than the one that was sent")),
            None if answer.as_map().is_some_and(Vec::is_empty) => {
                Err(ForwardError::NotDelivered(self.endpoint.clone()))
            }
            None => Err(self.violation("answered a chunk with something else than an acknowledgement")),
        }
    }

    pub(super) async fn write(&mut self, message: &[u8]) -> Result<(), ForwardError> {
        let written = async {
            self.stream.write_all(message).await?;
            self.stream.flush().await
        };
        written.await.map_err(|error| ForwardError::Lost { endpoint: self.endpoint.clone(), error })
    }

    /// Reads the next message.
    pub(super) async fn read(&mut self) -> Result<Value, ForwardError> {
        loop {
            let mut unread = &*self.rest;
            match rmpv::decode::read_value_with_max_depth(&mut unread, ANSWER_DEPTH) {
                Ok(value) => {
                    let taken = self.rest.len() - unread.len();
                    self.rest.drain(..taken);
                    return Ok(value);
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(self.violation(&format!("sent something else than MessagePack ({error})"))),
            }
            if self.rest.len() >= ANSWER_BYTES {
                return Err(self.violation("sent a message that is too large"));
            }
            let mut piece = [0; 1024];
            let read = self.stream.read(&mut piece).await;
            match read.and_then(|read| if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(read) }) {
                Ok(read) => self.rest.extend_from_slice(&piece[..read]),
                Err(error) => return Err(ForwardError::Lost { endpoint: self.endpoint.clone(), error }),
            }
        }
    }

    /// An error for a receiver that breaks the protocol, or is none.
    pub(super) fn violation(&self, what: &str) -> ForwardError {
        ForwardError::Protocol(format!("{} {what}; check that it receives Fluent Forward", self.endpoint))
    }
}
