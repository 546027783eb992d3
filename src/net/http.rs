//! HTTPS client for one request with a small response: no redirects, no connection is kept.

use std::{
    error::Error,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode, Uri,
    body::Bytes,
    client::conn::http1,
    header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Cause,
    connect::{ConnectError, connect},
    tls::{self, TlsError},
};
use crate::config::tls::Tls;

/// Time limit from the resolution of the name to the last byte of the response.
const TIME: Duration = Duration::from_secs(30);
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Maximum size of the body in bytes; tokens have a few kilobytes.
const BODY_BYTES: usize = 64 << 10;
/// Maximum number of bytes received: the body, headers, and interim responses (RFC 9110 section 15.2), of which hyper would
/// read any number.
const ANSWER_BYTES: usize = 256 << 10;

pub struct Reply {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Error in getting a response.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// A file of the configuration can't be used.
    #[error(transparent)]
    Configuration(TlsError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server can't be trusted: a later attempt may work, as with all of the following.
    #[error(transparent)]
    Tls(TlsError),
    #[error("the HTTP request failed: {}", with_causes(&**.0))]
    Request(#[source] Cause),
    #[error("no response within {TIME:?}")]
    TimedOut,
}

/// Sends `form`, which is URL-encoded, to `url`, which is https. No error contains any part of the form.
pub async fn post_form(url: &Uri, tls: &Tls, form: String) -> Result<Reply, HttpError> {
    let exchange = async {
        let host = url.host().unwrap_or_default();
        let tcp = connect(host, url.port_u16().unwrap_or(443), CONNECT_TIME).await?;
        let stream = tls::handshake(tls, host, tcp).await?;
        let stream = TokioIo::new(Capped { stream, left: ANSWER_BYTES });
        let (mut sender, connection) =
            http1::handshake(stream).await.map_err(|error| HttpError::Request(error.into()))?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let request = Request::post(url.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, url.authority().map_or(host, |authority| authority.as_str()))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("dmarc-shipper/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(form)))
            .map_err(|error| HttpError::Request(error.into()))?;
        let response = sender.send_request(request).await.map_err(|error| HttpError::Request(error.into()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_BYTES).collect().await.map_err(HttpError::Request)?;
        Ok(Reply { status, body: body.to_bytes() })
    };
    timeout(TIME, exchange).await.unwrap_or(Err(HttpError::TimedOut))
}

/// A connection of which at most `left` bytes are read.
struct Capped<S> {
    stream: S,
    left: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for Capped<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let came = buf.filled().len() - before;
        self.left = self
            .left
            .checked_sub(came)
            .ok_or_else(|| io::Error::other(format!("the response is larger than {} KiB", ANSWER_BYTES >> 10)))?;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Capped<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl From<TlsError> for HttpError {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Configuration { .. } => HttpError::Configuration(error),
            TlsError::Handshake { .. } => HttpError::Tls(error),
        }
    }
}

/// Describes an error with all its causes: those of hyper name only the step that failed.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
