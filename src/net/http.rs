//! One HTTP request over TLS, for answers that are small: no redirects, no connection is kept.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode, Uri,
    body::Bytes,
    client::conn::http1,
    header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{
    connect::{ConnectError, connect},
    tls::{self, TlsError},
};
use crate::config::tls::Tls;

/// From the name's resolution to the last byte of the answer.
const TIME: Duration = Duration::from_secs(30);
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Tokens have a few kilobytes.
const BODY_BYTES: usize = 64 << 10;

pub struct Reply {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// A file of the configuration can't be used.
    #[error("{0}")]
    Configuration(String),
    /// The server is not there, can't be trusted, or can't be understood: a later try may work.
    #[error("{0}")]
    Failed(String),
}

/// Sends `form`, which is URL-encoded, to `url`, which is https. No error holds any of it.
pub async fn post_form(url: &Uri, tls: &Tls, form: String) -> Result<Reply, HttpError> {
    let failed = |error: &dyn std::fmt::Display| HttpError::Failed(format!("the HTTP request failed: {error}"));
    let exchange = async {
        let host = url.host().unwrap_or_default();
        let tcp = connect(host, url.port_u16().unwrap_or(443), CONNECT_TIME).await?;
        let stream = tls::handshake(tls, host, tcp).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let request = Request::post(url.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, url.authority().map_or(host, |authority| authority.as_str()))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("dmarc-shipper/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(form)))
            .map_err(|error| failed(&error))?;
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_BYTES).collect().await.map_err(|error| failed(&error))?;
        Ok(Reply { status, body: body.to_bytes() })
    };
    timeout(TIME, exchange).await.unwrap_or_else(|_| Err(HttpError::Failed(format!("no answer within {TIME:?}"))))
}

impl From<ConnectError> for HttpError {
    fn from(error: ConnectError) -> Self {
        HttpError::Failed(error.to_string())
    }
}

impl From<TlsError> for HttpError {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Configuration(text) => HttpError::Configuration(text),
            TlsError::Handshake(text) => HttpError::Failed(text),
        }
    }
}
