//! One connection to the receiver: opens it, writes while reading, queries what has been acknowledged, and closes it.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use rustix::net::{RecvFlags, recv};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::{counting_stream::CountingStream, kernel_queue, talk::Talk};
use crate::{
    config::sink::{Syslog, SyslogMode},
    net::{
        connect::{ConnectError, connect},
        tls::{TlsError, handshake_noting},
    },
};

/// A silent peer is probed after 60 s, and given up after three unanswered probes.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(3);

/// Maximum number of pieces in one call: those of the smallest mails, of 1 KiB each, up to the size of a write.
const PIECES: usize = 64;

/// Error in opening a connection, or one that ended it.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the TLS handshake with {host} did not end within {limit:.0?} (connect_timeout)")]
    HandshakeTimeout { host: String, limit: Duration },
    #[error("the receiver closed the connection")]
    Closed,
    #[error(
        "the receiver does not stop sending ({0} bytes so far), and a syslog receiver sends nothing; check \
         host and port"
    )]
    Talks(u64),
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the connection ended right after the TLS handshake: {cause}; {advice}")]
    Refused {
        #[source]
        cause: Box<LinkError>,
        advice: &'static str,
    },
    /// Only required with `acknowledgements: strict`.
    #[error("the receiver did not close its side of the connection within {0:.0?} (send_timeout) of ours")]
    NotClosed(Duration),
}

/// An open connection and the bytes that are being written to it.
pub struct Wire {
    stream: Either<CountingStream, TlsStream<CountingStream>>,
    /// Bytes that are not in the stream yet.
    load: VecDeque<Bytes>,
    certificate_asked: bool,
    /// True if a client certificate is configured.
    has_certificate: bool,
    send_timeout: Duration,
    talk: Talk,
    /// True while TCP_USER_TIMEOUT is switched off because the peer has closed its window.
    patient: bool,
}

impl Wire {
    /// Resolves the name, connects, and does the TLS handshake. Never falls back to plain text.
    pub async fn open(config: &Syslog) -> Result<Self, LinkError> {
        let socket = connect(&config.host, config.port, config.connect_timeout).await?;
        let options = SockRef::from(&socket);
        options.set_tcp_user_timeout(Some(config.send_timeout))?;
        options.set_tcp_keepalive(&KEEPALIVE)?;
        let counted = CountingStream { socket, written: 0, heard: 0 };
        let (stream, certificate_asked) = if config.mode == SyslogMode::Tls {
            let shaken = timeout(config.connect_timeout, handshake_noting(&config.tls, &config.host, counted)).await;
            let (stream, asked) = shaken.map_err(|_| LinkError::HandshakeTimeout {
                host: config.host.clone(),
                limit: config.connect_timeout,
            })??;
            (Either::Right(stream), asked)
        } else {
            (Either::Left(counted), false)
        };
        Ok(Self {
            stream,
            load: VecDeque::new(),
            certificate_asked,
            has_certificate: config.tls.crt_file.is_some(),
            send_timeout: config.send_timeout,
            talk: Talk::new(Instant::now()),
            patient: false,
        })
    }

    /// True if the server asked for a client certificate.
    pub fn certificate_asked(&self) -> bool {
        self.certificate_asked
    }

    /// Returns the error for a server that asked for a client certificate, and ended the connection with `cause` after the handshake.
    pub fn refused(&self, cause: LinkError) -> LinkError {
        let advice = match self.has_certificate {
            true => "check in the receiver's log whether it accepts the client certificate of tls.crt_file",
            false => "the receiver asked for a client certificate, so set tls.crt_file and tls.key_file",
        };
        LinkError::Refused { cause: Box::new(cause), advice }
    }

    /// Takes the bytes to write next, one piece after the other. Only when unloaded.
    pub fn load(&mut self, pieces: impl IntoIterator<Item = Bytes>) {
        debug_assert!(self.is_unloaded());
        self.load.extend(pieces);
    }

    pub fn is_unloaded(&self) -> bool {
        self.load.is_empty()
    }

    /// Writes the load, if there is one, and completes when the kernel has all of it. Reads all the while, so that two
    /// peers which both write can't block each other. Without a load it completes only with an error. Cancel-safe.
    pub async fn exchange(&mut self) -> Result<(), LinkError> {
        poll_fn(|cx| self.poll_exchange(cx)).await
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        self.hear(cx)?;
        if self.load.is_empty() {
            return Poll::Pending;
        }
        let written = ready!(self.poll_write_out(cx));
        self.load.clear();
        // A broken pipe says less than the alert that came before it.
        Poll::Ready(written.map_err(|error| self.hear(cx).err().unwrap_or(error.into())))
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.load.is_empty() {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let count = pieces.iter_mut().zip(&self.load).map(|(slice, piece)| *slice = IoSlice::new(piece)).count();
            match ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &pieces[..count]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => drop_front(&mut self.load, taken),
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Reads and drops what the peer sends (over TLS: tickets, key updates) until there is no more. A TLS alert, an I/O
    /// error or the end of the stream is an error.
    fn hear(&mut self, cx: &mut Context<'_>) -> Result<(), LinkError> {
        let mut room = [0; 4096];
        loop {
            let mut heard = ReadBuf::new(&mut room);
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut heard);
            self.bear_talk()?;
            match read {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(())) if heard.filled().is_empty() => return Err(LinkError::Closed),
                Poll::Ready(Ok(())) => {}
                // Over TLS: the end without close_notify.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(LinkError::Closed);
                }
                Poll::Ready(Err(error)) => return Err(error.into()),
            }
        }
    }

    /// Checks the limit for bytes from the peer, counted below TLS, so that TLS messages count too.
    fn bear_talk(&mut self) -> Result<(), LinkError> {
        let &CountingStream { heard, written, .. } = self.counted();
        if self.talk.may_be(heard, written, Instant::now()) { Ok(()) } else { Err(LinkError::Talks(heard)) }
    }

    /// Returns the number of bytes that the kernel has taken from us, below TLS.
    pub fn written(&self) -> u64 {
        self.counted().written
    }

    /// Returns the number of bytes, counted as in `written`, that the peer's kernel has acknowledged, provided that afterwards
    /// the connection was open and everything that the peer had sent was read. `None`: the peer is sending something, ask again.
    pub fn acknowledged(&mut self) -> Result<Option<u64>, LinkError> {
        let queued = kernel_queue::queued(&self.counted().socket)?;
        self.hear(&mut Context::from_waker(Waker::noop()))?;
        // Tokio learns of received data with a delay; the socket itself knows what came before this moment.
        match recv(&self.counted().socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Err(LinkError::Closed),
            Ok(_) => return Ok(None),
            Err(rustix::io::Errno::AGAIN) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        self.bear_with(queued.window_is_closed())?;
        Ok(Some(self.written().saturating_sub(queued.unacknowledged)))
    }

    /// Switches TCP_USER_TIMEOUT off while the peer's window is closed. A closed window that answers probes is
    /// backpressure: the connection stays. TCP_USER_TIMEOUT would end it, and what the next connection's buffers took from
    /// us would count as delivered to a receiver that reads nothing.
    fn bear_with(&mut self, window_is_closed: bool) -> io::Result<()> {
        if self.patient != window_is_closed {
            let limit = (!window_is_closed).then_some(self.send_timeout);
            SockRef::from(&self.counted().socket).set_tcp_user_timeout(limit)?;
            self.patient = window_is_closed;
        }
        Ok(())
    }

    /// Closes our side (close_notify, FIN) and reads until the peer has closed its side too. Otherwise, the kernel answers
    /// data that we left unread with RST, which destroys what the peer has not read. Waits as long as the peer takes.
    pub async fn close(&mut self) -> Result<(), LinkError> {
        let mut ended = false;
        poll_fn(|cx| {
            ended = ended || self.hears_end(cx)?;
            Pin::new(&mut self.stream).poll_shutdown(cx).map_err(LinkError::from)
        })
        .await?;
        poll_fn(|cx| if ended || self.hears_end(cx)? { Poll::Ready(Ok::<_, LinkError>(())) } else { Poll::Pending })
            .await?;
        // close_notify ends the TLS stream, but only FIN ends the connection.
        while self.counted_mut().read(&mut [0; 4096]).await? > 0 {
            self.bear_talk()?;
        }
        Ok(())
    }

    fn hears_end(&mut self, cx: &mut Context<'_>) -> Result<bool, LinkError> {
        match self.hear(cx) {
            Ok(()) => Ok(false),
            Err(LinkError::Closed) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Waits until everything up to our FIN is acknowledged; an error if it never will be.
    pub async fn settle_queue(&mut self) -> Result<(), LinkError> {
        while kernel_queue::queued(&self.counted().socket)?.unacknowledged > 0 {
            if let Some(error) = self.counted().socket.take_error()? {
                return Err(error.into());
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    fn counted(&self) -> &CountingStream {
        match &self.stream {
            Either::Left(counted) => counted,
            Either::Right(tls) => tls.get_ref().0,
        }
    }

    fn counted_mut(&mut self) -> &mut CountingStream {
        match &mut self.stream {
            Either::Left(counted) => counted,
            Either::Right(tls) => tls.get_mut().0,
        }
    }
}

/// Removes the first `taken` bytes.
fn drop_front(pieces: &mut VecDeque<Bytes>, mut taken: usize) {
    while let Some(first) = pieces.front_mut().filter(|first| taken > 0 || first.is_empty()) {
        let here = taken.min(first.len());
        first.advance(here);
        taken -= here;
        if first.is_empty() {
            pieces.pop_front();
        }
    }
}
