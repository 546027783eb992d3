//! Opens a TCP connection to a host by name: resolves it each time, and tries every address.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

/// Error in opening a connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("can't resolve the host name {host}: {error}")]
    Resolve {
        host: String,
        #[source]
        error: io::Error,
    },
    #[error("the host name {host} has no address")]
    NoAddress { host: String },
    #[error("can't connect to {host}:{port}: {tried}")]
    Refused { host: String, port: u16, tried: String },
}

/// Connects to the first address of `host` that answers within its share of `limit`.
pub async fn connect(host: &str, port: u16, limit: Duration) -> Result<TcpStream, ConnectError> {
    let addresses = resolve(host, port, limit).await?;
    connect_to(host, &addresses, limit).await
}

/// Resolves `host` to all its addresses, at least one, each with `port`.
pub async fn resolve(host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, ConnectError> {
    // Users write "[::1]"; the resolver needs it without brackets.
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> = match timeout(limit, lookup_host((bare, port))).await {
        Ok(found) => found.map_err(|error| ConnectError::Resolve { host: host.into(), error })?.collect(),
        Err(_) => return Err(ConnectError::Resolve { host: host.into(), error: io::ErrorKind::TimedOut.into() }),
    };
    if addresses.is_empty() {
        return Err(ConnectError::NoAddress { host: host.into() });
    }
    Ok(addresses)
}

/// Connects to the first of these `addresses` of `host` that answers within its share of `limit`.
pub async fn connect_to(host: &str, addresses: &[SocketAddr], limit: Duration) -> Result<TcpStream, ConnectError> {
    let share = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    let mut tried = Vec::new();
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).ok(); // ignored: without this option only latency suffers
                return Ok(stream);
            }
            Ok(Err(error)) => tried.push(format!("{}: {error}", address.ip())),
            Err(_) => tried.push(format!("{}: no answer within {share:.0?}", address.ip())),
        }
    }
    let port = addresses.first().map_or(0, SocketAddr::port);
    Err(ConnectError::Refused { host: host.into(), port, tried: tried.join("; ") })
}
