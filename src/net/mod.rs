//! What every connection needs: addresses, TLS, and waiting before the next try.

pub mod backoff;
pub mod connect;
pub mod tls;
