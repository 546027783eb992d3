//! Baseline: the fastest that an IMAP client can be. Logs in, and fetches and moves all mails with two pipelined commands.

use std::time::{Duration, Instant};

use dmarc_shipper::{config::tls::Tls, net::tls};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, sink},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::support::{
    ca::Ca,
    dovecot::{PASSWORD, USER},
};

/// Returns the time from sending the two commands to the end of the second.
pub async fn fetch_and_move(port: u16, ca: &Ca) -> Duration {
    let tcp = TcpStream::connect(("localhost", port)).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let trust = Tls { ca_file: Some(ca.file()), ..Tls::default() };
    let mut client =
        Client(BufReader::with_capacity(64 << 10, tls::handshake(&trust, "localhost", tcp).await.unwrap()));
    client.until("* OK").await;
    client.does(&format!("a LOGIN {USER} \"{PASSWORD}\"\r\n"), "a OK").await;
    client.does("b SELECT INBOX\r\n", "b OK").await;
    let selected = Instant::now();
    client.does("c UID FETCH 1:* BODY.PEEK[]\r\nd UID MOVE 1:* Processed\r\n", "d OK").await;
    let two_commands = selected.elapsed();
    client.0.write_all(b"e LOGOUT\r\n").await.unwrap();
    client.0.shutdown().await.unwrap();
    two_commands
}

struct Client(BufReader<TlsStream<TcpStream>>);

impl Client {
    async fn does(&mut self, commands: &str, end: &str) {
        self.0.write_all(commands.as_bytes()).await.unwrap();
        self.until(end).await;
    }

    /// Reads up to the line that begins with `end`.
    async fn until(&mut self, end: &str) {
        let mut line = Vec::new();
        while !line.starts_with(end.as_bytes()) {
            line.clear();
            assert_ne!(self.0.read_until(b'\n', &mut line).await.unwrap(), 0, "Dovecot hung up before {end}");
            if let Some(length) = literal(&line) {
                tokio::io::copy(&mut (&mut self.0).take(length), &mut sink()).await.unwrap();
            }
        }
    }
}

/// Returns the length of the literal that this line announces.
fn literal(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix("}\r\n")?;
    text.rsplit_once('{')?.1.parse().ok()
}
