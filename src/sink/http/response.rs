//! Outcome of a request by the status of its response (RFC 9110 section 15).

use std::time::Duration;

use hyper::{StatusCode, header::RETRY_AFTER};
use jiff::Timestamp;

use crate::{
    config::sink::{Http, OnRejected},
    net::http_client::Reply,
    sink::request::Outcome,
};

/// Number of characters of a response's body that an error quotes.
const QUOTED: usize = 200;

pub(super) fn outcome(reply: &Reply, config: &Http) -> Outcome {
    let status = reply.status;
    let says = |what: &str| format!("{} answered {}{what}", config.uri.host().unwrap_or_default(), shown(reply));
    match status {
        _ if status.is_success() => Outcome::Delivered,
        StatusCode::PAYLOAD_TOO_LARGE => Outcome::Refused { reason: says("; raise the receiver's limit on requests") },
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY if config.on_rejected == OnRejected::Quarantine => {
            Outcome::Refused { reason: says("; have the receiver take such events") }
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Outcome::Failed { reason: says("; check auth or oauth"), after: retry_after(reply) }
        }
        _ if status.is_redirection() => {
            Outcome::Failed { reason: says("; redirects are not followed, set uri to where it leads"), after: None }
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE => {
            Outcome::Failed { reason: says("; check uri and method"), after: None }
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Outcome::Failed { reason: says("; check encoding.codec and compression"), after: None }
        }
        _ => Outcome::Failed { reason: says(""), after: retry_after(reply) },
    }
}

/// Returns the status, and the beginning of the body if it is text.
fn shown(reply: &Reply) -> String {
    let text = String::from_utf8_lossy(&reply.body);
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(QUOTED).collect();
    if text.is_empty() { reply.status.to_string() } else { format!("{}: {text}", reply.status) }
}

/// Returns the delay that the receiver asks for: seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(reply: &Reply) -> Option<Duration> {
    let text = reply.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    (date - Timestamp::now()).try_into().ok()
}
