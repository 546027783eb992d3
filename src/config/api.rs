//! `api` and `metrics_file`: health probes and metrics.

use std::{net::SocketAddr, time::Duration};

use super::{form::Form, options::options, units::Time};

options! {
    /// HTTP server for health probes and Prometheus.
    #[derive(Debug, Clone)]
    pub struct Api: Default {
        /// Listen address for `/livez`, `/readyz`, `/health` and `/metrics`. None: no server.
        pub address: Option<SocketAddr> as Option<Listen> = None,
        /// `/readyz` answers 503 if a source has shown no activity for this long beyond its `poll_interval`, or a required sink
        /// has been failing for this long.
        pub stuck_after: Duration as Time<1_000, 604_800_000> = Duration::from_secs(900),
    }
}

/// A listen address.
pub(super) struct Listen;

impl Form for Listen {
    type Value = SocketAddr;

    fn expected() -> String {
        "an address and port such as 0.0.0.0:9598 or [::]:9598".to_owned()
    }

    fn parse(text: &str) -> Result<SocketAddr, String> {
        text.parse().map_err(|_| format!("expected {}, not {text:?}", Self::expected()))
    }

    fn written(value: &SocketAddr) -> String {
        value.to_string()
    }
}
