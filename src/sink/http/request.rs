//! Request with a batch: header fields, credentials, and the body.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT},
};

use super::authorization::{Authorization, sensitive};
use crate::{
    config::sink::{self, Codec, Compression, Http},
    sink::{Frame, compression::compress},
};

/// Makes the request for a batch. Errors say why it can't be made now: a secret can't be had.
pub(super) async fn of(
    batch: &[Frame],
    config: &Http,
    codec: Codec,
    authorization: Option<&Authorization>,
) -> Result<Request<Full<Bytes>>, String> {
    let method = match config.method {
        sink::Method::Post => Method::POST,
        sink::Method::Put => Method::PUT,
    };
    let body = compress(body(batch, codec), config.compression)
        .map_err(|error| format!("can't compress a batch with {}: {error}", config.compression.name()))?;
    let mut request = Request::builder()
        .method(method)
        .uri(&config.uri)
        .header(USER_AGENT, concat!("dmarc-shipper/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(body.into()))
        .map_err(|error| error.to_string())?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(codec)));
    if config.compression != Compression::None {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(config.compression.name()));
    }
    if let Some(authorization) = authorization {
        headers.insert(AUTHORIZATION, authorization.value().await?);
    }
    for (name, value) in &config.headers {
        headers.insert(name, value.clone());
    }
    for (name, file) in &config.header_files {
        let value = sensitive(file.reveal()?.trim());
        let value =
            value.ok_or_else(|| format!("the file of {name} has characters that no header field may contain"))?;
        headers.insert(name, value);
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
