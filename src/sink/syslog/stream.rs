//! Syslog over TCP and TLS: one connection after the other, for as long as there is something to send.

use std::sync::Arc;

use tokio::{select, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    health::SinkHealth,
    send_queue::SendQueue,
    session::{End, Session},
    wire::{LinkError, Wire},
};
use crate::{
    config::sink::{Syslog, SyslogMode},
    net::{
        backoff::{Backoff, RECEIVER},
        tls::{TlsError, client_config},
    },
    sink::{Inlet, SinkError, Status, rate::RateLimit},
};

/// Sends until the queue has ended and everything is confirmed, or until stopped. Fails only if the very first attempt
/// shows that the configuration is wrong: files that become unusable later are probably being replaced.
pub async fn run(
    name: Arc<str>,
    config: &Syslog,
    rate: RateLimit,
    inlet: Inlet,
    status: Status,
    stop: CancellationToken,
) -> Result<(), SinkError> {
    if config.mode == SyslogMode::Tls {
        // Before the receiver's first answer, which may take long.
        client_config(&config.tls).map_err(|error| SinkError::Configuration(error.to_string(), Some(error.into())))?;
    }
    let mut send_queue = SendQueue::new(inlet, rate, status.held());
    let mut health = SinkHealth::new(name, status);
    let mut backoff = Backoff::new(RECEIVER);
    let mut first = true;
    loop {
        let confirmed_before = health.confirmed();
        let opened = select! {
            () = stop.cancelled() => return Ok(()),
            opened = Wire::open(config) => opened,
        };
        let ended = match opened {
            Ok(wire) => Session::new(wire, config, &mut send_queue, &mut health, &stop).run().await,
            Err(LinkError::Tls(error @ TlsError::Configuration { .. })) if first => {
                return Err(SinkError::Configuration(error.to_string(), Some(error.into())));
            }
            Err(error) => Err(error),
        };
        first = false;
        match ended {
            Ok(End::Stopped) => return Ok(()),
            Ok(End::Closed) => {
                backoff.reset();
                select! {
                    () = stop.cancelled() => return Ok(()),
                    more = send_queue.wait() => if !more { return Ok(()) },
                }
            }
            Err(error) => {
                health.failing(&error);
                if health.confirmed() > confirmed_before {
                    backoff.reset();
                }
                select! {
                    () = stop.cancelled() => return Ok(()),
                    () = send_queue.exhausted() => return Ok(()),
                    () = sleep(backoff.delay()) => {}
                }
            }
        }
    }
}
