//! Request with a batch: header fields, credentials, and the body.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT},
};

use crate::{
    config::sink::{self, Codec, Compression, Credentials, Http},
    net::token::AccessTokens,
    sink::{
        Frame,
        request::{Outcome, gzipped},
    },
};

/// Makes the request for a batch. `Err`: the credentials can't be had now.
pub(super) async fn of(
    batch: &[Frame],
    config: &Http,
    codec: Codec,
    tokens: Option<&AccessTokens>,
) -> Result<Request<Full<Bytes>>, Outcome> {
    let method = match config.method {
        sink::Method::Post => Method::POST,
        sink::Method::Put => Method::PUT,
    };
    let body = body(batch, codec);
    let mut request = Request::builder()
        .method(method)
        .uri(&config.uri)
        .header(USER_AGENT, concat!("dmarc-shipper/", env!("CARGO_PKG_VERSION")));
    let body = match config.compression {
        Compression::None => body,
        Compression::Gzip => {
            request = request.header(CONTENT_ENCODING, "gzip");
            gzipped(&body)
        }
    };
    let mut request = request.body(Full::new(body.into())).map_err(|error| failed(error.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(codec)));
    if let Some(credentials) = &config.credentials {
        headers.insert(AUTHORIZATION, authorization(credentials, tokens).await?);
    }
    for (name, value) in &config.headers {
        headers.insert(name, value.clone());
    }
    Ok(request)
}

fn content_type(codec: Codec) -> &'static str {
    match codec {
        Codec::Json => "application/x-ndjson",
        Codec::Array => "application/json",
        Codec::Text => "text/plain; charset=utf-8",
    }
}

fn body(batch: &[Frame], codec: Codec) -> Vec<u8> {
    let length = batch.iter().map(|frame| frame.bytes.len() + 1).sum::<usize>() + 1;
    let mut body = Vec::with_capacity(length);
    for (index, frame) in batch.iter().enumerate() {
        if codec == Codec::Array {
            body.push(if index == 0 { b'[' } else { b',' });
        }
        body.extend_from_slice(&frame.bytes);
    }
    if codec == Codec::Array {
        body.push(b']');
    }
    body
}

async fn authorization(credentials: &Credentials, tokens: Option<&AccessTokens>) -> Result<HeaderValue, Outcome> {
    let text = match credentials {
        Credentials::Basic { user, password } => {
            let password = password.reveal().map_err(failed)?;
            format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
        }
        Credentials::Bearer(token) => format!("Bearer {}", token.reveal().map_err(failed)?.trim()),
        Credentials::Token(_) => match tokens {
            Some(tokens) => {
                let token = tokens.token().await.map_err(|error| failed(error.to_string()))?;
                format!("Bearer {}", token.text)
            }
            None => return Err(failed("there is no source of tokens".to_owned())),
        },
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| failed("the token has characters that no header field may contain".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn failed(reason: String) -> Outcome {
    Outcome::Failed { reason, after: None }
}
