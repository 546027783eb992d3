//! Checks of the connection to another machine: name resolution, TCP and TLS.

use std::{net::SocketAddr, time::Duration};

use jiff::Timestamp;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use super::{Failure, Steps};
use crate::{
    config::tls::Tls,
    exit::Exit,
    net::{
        connect::{connect_to, resolve},
        tls::{self, Encryption},
    },
};

/// Remaining validity in seconds below which a certificate is reported. Certificates that are renewed automatically are
/// renewed long before.
const EXPIRES_SOON: i64 = 14 * 24 * 3600;
/// Time limit for closing the TLS connection; after that it is dropped.
const GOODBYE: Duration = Duration::from_secs(2);

pub const NAME: &str = "name";
pub const CONNECTION: &str = "connection";
pub const ENCRYPTION: &str = "encryption";

/// Resolves all addresses of `host`.
pub async fn find(host: &str, port: u16, limit: Duration, steps: &mut Steps) -> Option<Vec<SocketAddr>> {
    let addresses = steps.attempt(NAME, resolve(host, port, limit)).await?;
    let mut shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    shown.dedup();
    steps.well(NAME, format!("{host} resolves to {}", shown.join(", ")));
    Some(addresses)
}

/// Connects to the first of the addresses that answers.
pub async fn reach(host: &str, port: u16, limit: Duration, steps: &mut Steps) -> Option<TcpStream> {
    let addresses = find(host, port, limit, steps).await?;
    let tcp = steps.attempt(CONNECTION, connect_to(host, &addresses, limit)).await?;
    let peer = tcp.peer_addr().map_or_else(|_| format!("{host}:{port}"), |peer| peer.to_string());
    steps.well(CONNECTION, peer);
    Some(tcp)
}

/// Does a TLS handshake with a receiver, and closes the connection.
pub async fn encrypt(tls: &Tls, host: &str, limit: Duration, tcp: TcpStream, steps: &mut Steps) -> Option<()> {
    let shaken = async {
        let shaken = timeout(limit, tls::handshake_noting(tls, host, tcp));
        shaken.await.map_err(|_| too_slow(host, limit))?.map_err(Failure::from)
    };
    let (mut stream, asked) = steps.attempt(ENCRYPTION, shaken).await?;
    let (mut shown, soon) = described(Encryption::of(&stream));
    if asked {
        // Many servers ask and accept any certificate; those that don't may refuse it only later.
        let ours = if tls.crt_file.is_some() { "that in tls.crt_file is sent" } else { "tls.crt_file is not set" };
        shown += &format!(
            "; the server requests a client certificate ({ours}), and may reject the connection only \
             when an event is sent"
        );
    }
    if soon {
        steps.note(ENCRYPTION, shown);
    } else {
        steps.well(ENCRYPTION, shown);
    }
    timeout(GOODBYE, stream.shutdown()).await.ok(); // ignored: nothing depends on it
    Some(())
}

/// Returns a description of the encryption, and whether it needs attention.
pub fn described(encryption: Encryption) -> (String, bool) {
    let mut shown = encryption.version.to_owned();
    let Some(until) = encryption.until else { return (shown, false) };
    let left = (until - Timestamp::now()).as_secs();
    let soon = left < EXPIRES_SOON;
    let day = until.strftime("%Y-%m-%d");
    shown += &match soon {
        true if left < 0 => format!("; the certificate has expired on {day}, and is not verified"),
        true => format!("; the certificate is valid until {day}: renew it soon"),
        false => format!("; the certificate is valid until {day}"),
    };
    (shown, soon)
}

fn too_slow(host: &str, limit: Duration) -> Failure {
    Failure::new(
        Exit::Unavailable,
        format!("the TLS handshake with {host} took longer than {limit:?} (connect_timeout)"),
    )
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    #[test]
    fn a_certificate_that_expires_soon_gives_a_note() {
        for (hours, soon, word) in
            [(-1, true, "has expired"), (13 * 24, true, "soon"), (15 * 24, false, "valid until 20")]
        {
            let until = Timestamp::now() + hours.hours();
            let (shown, needs_attention) = described(Encryption { version: "TLS 1.3", until: Some(until) });
            assert!(
                needs_attention == soon && shown.starts_with("TLS 1.3") && shown.contains(word),
                "{hours}: {shown}"
            );
        }
        assert_eq!(described(Encryption { version: "TLS 1.2", until: None }), ("TLS 1.2".to_owned(), false));
    }
}
