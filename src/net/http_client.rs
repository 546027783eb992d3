//! HTTP client, of sinks and of token endpoints: HTTP/1.1 or HTTP/2 over connections that are kept, through the proxies that
//! the environment names (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`). Redirects are not followed.

use std::{
    error::Error,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode, Uri, body::Incoming, header::PROXY_AUTHORIZATION};
use hyper_util::{
    client::{
        legacy::{
            self,
            connect::{Connected, Connection, proxy::Tunnel},
        },
        proxy::matcher::Matcher,
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tower_service::Service;

use super::{
    Cause, Wire,
    connect::{ConnectError, connect},
    tls::{self, TlsError},
};
use crate::config::tls::Tls;

/// Maximum number of bytes of a response's body that are read; the rest is discarded, and with it the connection. Tokens have
/// a few kilobytes.
const BODY_BYTES: usize = 64 << 10;
/// Maximum number of bytes that HTTP/1.1 connections receive after a request: the header, the body, and interim responses (RFC
/// 9110 section 15.2), of which hyper would read any number.
const ANSWER_BYTES: usize = 256 << 10;
/// Maximum size of a response's header, in bytes.
const HEADER_BYTES: u32 = 64 << 10;
/// Time after which an unused connection is closed: below the 60 s after which many servers close theirs, so that a request
/// rarely meets a connection that is being closed.
const IDLE: Duration = Duration::from_secs(30);
/// Time without anything from an HTTP/2 receiver with requests in flight, after which it is asked for a sign of life (PING).
/// Without one within the same time the connection is closed: all later requests would wait on it for as long as TCP does.
const SILENCE: Duration = Duration::from_secs(5);

/// Client for one receiver. Certificate files are read again before every handshake.
pub struct Client {
    client: legacy::Client<Connector, Full<Bytes>>,
    proxies: Arc<Matcher>,
}

/// A response.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Its body, or the beginning of it: up to 64 KiB, to where the connection broke, or what came in time.
    pub body: Bytes,
    /// True if the body is not cut off.
    pub is_whole: bool,
}

/// Error in getting a response.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// A file of the configuration can't be used.
    #[error("{0}")]
    Configuration(String),
    #[error("{0}")]
    Request(String, #[source] Cause),
}

impl Client {
    pub fn new(tls: Tls, connect_timeout: Duration) -> Self {
        let proxies = Arc::new(Matcher::from_env());
        let connector = Connector { tls: Arc::new(tls), connect_timeout, proxies: proxies.clone() };
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_max_buf_size(HEADER_BYTES as usize)
            .http2_max_header_list_size(HEADER_BYTES)
            .http2_keep_alive_interval(SILENCE)
            .http2_keep_alive_timeout(SILENCE)
            .build(connector);
        Self { client, proxies }
    }

    /// Sends a request with an absolute URL, and reads the body of the response for at most `body_time`: its status has come,
    /// and whether the rest does depends on the receiver. There is no other time limit but that for connecting. Dropping the
    /// future ends the request. No error contains any part of the request.
    pub async fn send(&self, mut request: Request<Full<Bytes>>, body_time: Duration) -> Result<Reply, HttpError> {
        let proxy = self.proxies.intercept(request.uri()).filter(|_| !is_encrypted(request.uri()));
        if let Some(authorization) = proxy.as_ref().and_then(|proxy| proxy.basic_auth()) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        let response = self.client.request(request).await.map_err(failed)?;
        let (head, body) = response.into_parts();
        let mut read = BytesMut::new();
        let is_whole = timeout(body_time, read_into(&mut read, body)).await.unwrap_or(false);
        Ok(Reply { status: head.status, headers: head.headers, body: read.freeze(), is_whole })
    }
}

/// Returns the proxy through which requests to `url` are sent, without its credentials.
pub fn proxy_of(url: &Uri) -> Option<String> {
    let proxy = Matcher::from_env().intercept(url)?;
    proxy.uri().host().map(|host| format!("{host}:{}", port_of(proxy.uri())))
}

/// Returns the port of a URL, or the one of its scheme.
pub fn port_of(url: &Uri) -> u16 {
    url.port_u16().unwrap_or(if is_encrypted(url) { 443 } else { 80 })
}

fn is_encrypted(url: &Uri) -> bool {
    url.scheme_str() == Some("https")
}

/// Reads a body up to its limit, or to where the connection breaks; true if that is all of it.
async fn read_into(read: &mut BytesMut, mut body: Incoming) -> bool {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        if let Some(data) = frame.data_ref() {
            let room = BODY_BYTES - read.len();
            read.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                return false;
            }
        }
    }
    true
}

/// Describes an error with all its causes: those of hyper name only the step that failed.
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn failed(error: legacy::Error) -> HttpError {
    let mut causes = std::iter::successors(error.source(), |&cause| cause.source());
    match causes.find_map(|cause| cause.downcast_ref::<OpenError>()) {
        Some(OpenError::Tls(error @ TlsError::Configuration { .. })) => HttpError::Configuration(error.to_string()),
        Some(open) => HttpError::Request(open.to_string(), error.into()),
        None => HttpError::Request(format!("the HTTP request failed: {}", with_causes(&error)), error.into()),
    }
}

/// Error in opening a connection.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the proxy {proxy} opened no tunnel: {}", with_causes(&**.cause))]
    Tunnel { proxy: String, cause: Cause },
    #[error("the proxy {0} is not supported; expected an http:// proxy")]
    UnsupportedProxy(String),
    #[error("no connection within {0:?} (connect_timeout)")]
    TimedOut(Duration),
}

/// Opens connections for the client's pool.
#[derive(Clone)]
struct Connector {
    tls: Arc<Tls>,
    connect_timeout: Duration,
    proxies: Arc<Matcher>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = OpenError;
    type Future = BoxFuture<'static, Result<Self::Response, OpenError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let opened = timeout(connector.connect_timeout, connector.open(&url)).await;
            opened.unwrap_or(Err(OpenError::TimedOut(connector.connect_timeout))).map(TokioIo::new)
        })
    }
}

impl Connector {
    async fn open(&self, url: &Uri) -> Result<Link, OpenError> {
        let proxy = self.proxies.intercept(url);
        let tcp = match &proxy {
            None => tcp(url, self.connect_timeout).await?,
            Some(proxy) if proxy.uri().scheme_str() != Some("http") => {
                let scheme = proxy.uri().scheme_str().unwrap_or_default();
                return Err(OpenError::UnsupportedProxy(format!("{scheme}://{}", address_of(proxy.uri()))));
            }
            Some(proxy) if is_encrypted(url) => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), Direct(self.connect_timeout));
                if let Some(authorization) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(authorization.clone());
                }
                let opened = tunnel.call(url.clone()).await;
                let failed = |cause| OpenError::Tunnel { proxy: address_of(proxy.uri()), cause: Box::new(cause) };
                opened.map_err(failed)?.into_inner()
            }
            Some(proxy) => tcp(proxy.uri(), self.connect_timeout).await?,
        };
        if !is_encrypted(url) {
            return Ok(Link::new(Box::new(tcp), proxy.is_some(), false));
        }
        let host = url.host().unwrap_or_default();
        let stream = tls::handshake_offering(&self.tls, host, tcp, &[b"h2", b"http/1.1"]).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Link::new(Box::new(stream), false, is_http2))
    }
}

async fn tcp(url: &Uri, limit: Duration) -> Result<TcpStream, ConnectError> {
    connect(url.host().unwrap_or_default(), port_of(url), limit).await
}

fn address_of(url: &Uri) -> String {
    format!("{}:{}", url.host().unwrap_or_default(), port_of(url))
}

/// Opens TCP connections to a proxy, within this time.
#[derive(Clone)]
struct Direct(Duration);

impl Service<Uri> for Direct {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, proxy: Uri) -> Self::Future {
        let limit = self.0;
        Box::pin(async move { tcp(&proxy, limit).await.map(TokioIo::new) })
    }
}

/// An open connection, encrypted or not.
struct Link {
    stream: Box<dyn Wire>,
    is_proxied: bool,
    is_http2: bool,
    /// Number of bytes that may still be received before the next request; not used with HTTP/2, where requests overlap.
    room: usize,
}

impl Link {
    fn new(stream: Box<dyn Wire>, is_proxied: bool, is_http2: bool) -> Self {
        Self { stream, is_proxied, is_http2, room: ANSWER_BYTES }
    }
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.is_proxied);
        if self.is_http2 { connected.negotiated_h2() } else { connected }
    }
}

impl AsyncRead for Link {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if !self.is_http2 {
            self.room = self
                .room
                .checked_sub(buf.filled().len() - before)
                .ok_or_else(|| io::Error::other(format!("the response is larger than {} KiB", ANSWER_BYTES >> 10)))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.room = ANSWER_BYTES;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
