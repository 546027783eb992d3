//! Network connections: addresses, TLS, access tokens, and retry delays.

pub mod backoff;
pub mod connect;
pub mod http_client;
pub mod tls;
pub mod token;

use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream of any kind: TCP, TLS, a Unix socket.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Wire for S {}

/// Cause of an error, of any type.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;
