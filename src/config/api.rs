//! `api` and `metrics_file`: how the process tells those who look after it how it is.

use std::{net::SocketAddr, time::Duration};

use super::{form::Form, options::options, units::Time};

options! {
    /// HTTP for probes and Prometheus.
    #[derive(Debug, Clone)]
    pub struct Api: Default {
        /// Where `/livez`, `/readyz`, `/health` and `/metrics` are answered. None: nowhere.
        pub address: Option<SocketAddr> as Option<Listen> = None,
        /// `/readyz` answers 503 when a source has done nothing for so long beyond its `poll_interval`, or a required sink
        /// has failed for so long.
        pub stuck_after: Duration as Time<1_000, 604_800_000> = Duration::from_secs(900),
    }
}

/// An address of this machine's own.
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
