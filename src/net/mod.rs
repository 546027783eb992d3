//! Network connections: addresses, TLS, access tokens, and retry delays.

pub mod backoff;
pub mod connect;
pub mod http;
pub mod http_client;
pub mod tls;
pub mod token;

/// Cause of an error, of any type.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;
