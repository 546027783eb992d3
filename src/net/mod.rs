//! What every connection needs: addresses, TLS, access tokens, and waiting before the next try.

pub mod backoff;
pub mod connect;
pub mod http;
pub mod tls;
pub mod token;
