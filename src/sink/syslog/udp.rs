//! Syslog over UDP (RFC 5426): one datagram for each frame, without any reply. A frame that no datagram can carry is
//! rejected.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{UdpSocket, lookup_host},
    select,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::health::SinkHealth;
use crate::{
    config::sink::Syslog,
    net::backoff::{Backoff, RECEIVER},
    sink::{Frame, Inlet, Status, rate::RateLimit},
};

/// Interval at which the host name is resolved again, in case the receiver has moved to another address.
const RESOLVE_AGAIN: Duration = Duration::from_secs(60);
/// Time without an ICMP error after which the receiver counts as up. When a datagram finds no listener, the error arrives
/// too late to know which datagram it was.
const BOUNCES_WITHIN: Duration = Duration::from_secs(5);

/// Error in sending a datagram.
#[derive(Debug, thiserror::Error)]
enum UdpError {
    #[error("can't resolve the host name {host}: {error}")]
    Resolve {
        host: String,
        #[source]
        error: io::Error,
    },
    #[error(
        "can't send a datagram of {bytes} bytes to {to}: {error}; lower max_message_bytes ({max_message_bytes}) to what the \
         network takes, or use mode: tcp"
    )]
    TooLarge {
        bytes: usize,
        to: SocketAddr,
        max_message_bytes: u32,
        #[source]
        error: io::Error,
    },
    #[error("can't send to {to}: {error}")]
    Send {
        to: SocketAddr,
        #[source]
        error: io::Error,
    },
}

/// Sends until the queue has ended or until stopped. A frame is confirmed when the kernel has taken its datagram.
pub async fn run(
    name: Arc<str>,
    config: &Syslog,
    rate: RateLimit,
    mut inlet: Inlet,
    status: Status,
    stop: CancellationToken,
) {
    let held = status.held();
    let mut line = Line { config, socket: None, bounced: None };
    let mut health = SinkHealth::new(name, status);
    let send_all = async {
        while let Some(frame) = inlet.next().await {
            let waiting = held.begin();
            rate.admit(frame.bytes.len()).await;
            drop(waiting);
            if let Err(too_large) = line.deliver(&frame, &mut health).await {
                health.reject(&frame, &too_large);
            }
            health.confirm(frame.number);
        }
    };
    select! {
        biased;
        () = stop.cancelled() => {}
        () = send_all => {}
    }
}

/// Current socket and address of the receiver.
struct Line<'a> {
    config: &'a Syslog,
    socket: Option<(UdpSocket, SocketAddr, Instant)>,
    /// Time of the last datagram that found no listener.
    bounced: Option<Instant>,
}

impl Line<'_> {
    /// Retries until the datagram is sent. `Err`: it is too large, and will never be sent.
    async fn deliver(&mut self, frame: &Frame, health: &mut SinkHealth) -> Result<(), UdpError> {
        let mut backoff = Backoff::new(RECEIVER);
        loop {
            let is_new = self.socket.is_none();
            let Err(error) = self.send(&frame.bytes, health).await else { return Ok(()) };
            if let UdpError::TooLarge { .. } = error {
                if is_new {
                    health.up(0);
                    return Err(error);
                }
                // It may be about an earlier datagram, for which a router's ICMP message has come (path MTU discovery). A new
                // socket has no earlier ones.
                self.socket = None;
                continue;
            }
            health.failing(&error);
            self.socket = None;
            sleep(backoff.delay()).await;
        }
    }

    async fn send(&mut self, bytes: &[u8], health: &mut SinkHealth) -> Result<(), UdpError> {
        let (socket, to) = self.socket().await?;
        let mut sent = socket.send(bytes).await;
        if let Err(error) = &sent
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            // The error belongs to an earlier datagram, which found no listener. This one has not been sent yet.
            health.failing(&format_args!("no listener at {to}: {error}; datagrams sent there are lost"));
            sent = socket.send(bytes).await;
            self.bounced = Some(Instant::now());
        } else if self.bounced.is_none_or(|when| when.elapsed() > BOUNCES_WITHIN) {
            self.bounced = None;
        }
        match sent {
            Ok(_) if self.bounced.is_none() => health.up(0),
            Ok(_) => {}
            // An ICMP error arrived between the two calls. The datagram counts as sent all the same: UDP proves nothing.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {
                let max_message_bytes = self.config.max_message_bytes;
                return Err(UdpError::TooLarge { bytes: bytes.len(), to, max_message_bytes, error });
            }
            Err(error) => return Err(UdpError::Send { to, error }),
        }
        Ok(())
    }

    /// Returns the socket to the receiver; its host name is resolved again from time to time.
    async fn socket(&mut self) -> Result<(&UdpSocket, SocketAddr), UdpError> {
        let old = self.socket.take();
        let current = match old {
            Some(current) if current.2.elapsed() < RESOLVE_AGAIN => current,
            old => match (self.connect().await, old) {
                (Ok(new), Some(old)) if new.1 == old.1 => (old.0, old.1, Instant::now()),
                (Ok(new), _) => new,
                // A name server that is down for a moment does not make a working address unusable.
                (Err(_), Some(old)) => (old.0, old.1, Instant::now()),
                (Err(error), None) => return Err(error),
            },
        };
        let (socket, to, _) = self.socket.insert(current);
        Ok((socket, *to))
    }

    async fn connect(&self) -> Result<(UdpSocket, SocketAddr, Instant), UdpError> {
        let host = self.config.host.trim_start_matches('[').trim_end_matches(']');
        let unresolved = |error| UdpError::Resolve { host: host.to_owned(), error };
        let found = timeout(self.config.connect_timeout, lookup_host((host, self.config.port)))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map(|found| found.collect::<Vec<_>>());
        let mut failed = unresolved(io::Error::other("the name has no address"));
        for to in found.map_err(unresolved)? {
            let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
            let connected = async {
                let socket = UdpSocket::bind(any).await?;
                socket.connect(to).await.map(|()| socket)
            };
            match connected.await {
                Ok(socket) => return Ok((socket, to, Instant::now())),
                Err(error) => failed = UdpError::Send { to, error },
            }
        }
        Err(failed)
    }
}
