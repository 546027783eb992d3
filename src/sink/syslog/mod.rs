//! `syslog` sink: TCP, TLS or UDP to one receiver, with proof of receipt as far as the protocol allows any.
//!
//! Syslog has no acknowledgements (RFC 5425, RFC 6587). Over TCP and TLS a frame is confirmed when the receiver's kernel
//! has acknowledged its last byte and the connection was open and silent a quarter of a second later; bytes that the
//! receiver has not read by then are lost if it dies. `acknowledgements: strict` closes that gap by closing the connection
//! after each batch: a peer that closes without a reset, with all bytes acknowledged, has read them all. Behind a proxy,
//! both prove only the proxy's receipt. Over UDP a successful send confirms a frame, which proves nothing.

mod ack_delay;
mod batch;
mod check;
mod counting_stream;
mod health;
mod kernel_queue;
mod send_queue;
mod session;
mod stream;
mod talk;
mod udp;
mod wire;

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{
    Inlet, Sink, SinkError, Status,
    rate::RateLimit,
    registry::{Kind, Probe},
};
use crate::{
    config::sink::{Rate, SinkConfig, Syslog, SyslogMode},
    steps::Steps,
};

/// Sink for one syslog receiver. Its frames are encoded for the socket already; over UDP each is one datagram.
#[derive(Debug)]
pub struct SyslogSink {
    name: Arc<str>,
    config: Syslog,
    rate: RateLimit,
}

impl SyslogSink {
    pub fn new(name: Arc<str>, config: Syslog, rate: Rate) -> Self {
        Self { name, config, rate: RateLimit::new(&rate) }
    }
}

impl Kind for Syslog {
    fn build(&self, name: Arc<str>, config: &SinkConfig) -> Box<dyn Sink> {
        Box::new(SyslogSink::new(name, self.clone(), config.rate.clone()))
    }

    fn check<'a>(&'a self, steps: &'a mut Steps) -> BoxFuture<'a, Option<Probe>> {
        Box::pin(check::check(self, steps))
    }
}

impl Sink for SyslogSink {
    fn run(
        self: Box<Self>,
        inlet: Inlet,
        status: Status,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), SinkError>> {
        let Self { name, config, rate } = *self;
        Box::pin(async move {
            match config.mode {
                SyslogMode::Tcp | SyslogMode::Tls => stream::run(name, &config, rate, inlet, status, stop).await,
                SyslogMode::Udp => {
                    udp::run(name, &config, rate, inlet, status, stop).await;
                    Ok(())
                }
            }
        })
    }
}
