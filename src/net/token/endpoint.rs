//! Token endpoint (RFC 6749): makes the request, and parses the response.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, USER_AGENT},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::time::timeout;

use super::{bearer::sound, error::TokenError};
use crate::{
    config::oauth::{Endpoint, Grant},
    net::http_client::{Client, HttpError, Reply},
};

/// Time limit from the resolution of the name to the last byte of the response.
const TIME: Duration = Duration::from_secs(30);
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Maximum length of the last part of a token's life in which it is not used any more: a session is to last for a while.
const UNUSED_AT_MOST: Duration = Duration::from_secs(300);
/// Maximum lifetime in seconds, a year; longer ones are shortened to it.
const LONGEST_LIFE: u64 = 31_536_000;

pub struct Fetched {
    pub token: String,
    /// Time for which it may be used; `None` if the endpoint does not say.
    pub lasts: Option<Duration>,
}

/// The refresh token that the endpoint issued in place of the configured one, if it did.
#[derive(Default)]
pub struct Renewal(Mutex<Option<Renewed>>);

struct Renewed {
    /// The configured token at that time: if the configuration holds another one now, that is the newest.
    configured: String,
    newest: String,
}

pub async fn fetch(endpoint: &Endpoint, renewal: &Renewal) -> Result<Fetched, TokenError> {
    let mut fields = vec![("client_id", endpoint.client_id.clone())];
    if let Some(scope) = &endpoint.scope {
        fields.push(("scope", scope.clone()));
    }
    let mut secrets = Vec::new();
    if let Some(secret) = &endpoint.client_secret {
        secrets.push(("client_secret", secret.reveal().map_err(TokenError::configuration)?));
    }
    let configured = match &endpoint.grant {
        Grant::ClientCredentials => None,
        Grant::RefreshToken(token) => Some(token.reveal().map_err(TokenError::configuration)?),
    };
    match &configured {
        None => fields.push(("grant_type", "client_credentials".into())),
        Some(token) => {
            fields.push(("grant_type", "refresh_token".into()));
            secrets.push(("refresh_token", renewal.newest(token)));
        }
    }
    let form: Vec<String> =
        fields.iter().chain(&secrets).map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let host = endpoint.url.host().unwrap_or_default();
    let reply = timeout(TIME, post(endpoint, form.join("&"))).await;
    let reply = reply
        .unwrap_or_else(|_| Err(TokenError::unavailable(no_token(host, &format!("no response within {TIME:?}")))))?;
    if !reply.is_whole {
        return Err(TokenError::unavailable(no_token(host, "its response is cut off, or too large")));
    }
    let answer = judge(&reply).map_err(|verdict| verdict.told(host, &secrets));
    if let Some(configured) = configured {
        match &answer {
            Ok((_, Some(refresh_token))) => renewal.renew(configured, refresh_token.clone()),
            // The configured token may still be valid when its successor is not.
            Err(TokenError::Refused(_)) => renewal.forget(),
            _ => {}
        }
    }
    answer.map(|(fetched, _)| fetched)
}

/// Sends a form, which is URL-encoded, over a connection of its own: the next token is needed in an hour.
async fn post(endpoint: &Endpoint, form: String) -> Result<Reply, TokenError> {
    let request = Request::post(&endpoint.url)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("dmarc-shipper/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::from(form)))
        .map_err(|error| TokenError::configuration(format!("can't make a request to {}: {error}", endpoint.url)))?;
    let client = Client::new(endpoint.tls.clone(), CONNECT_TIME);
    client.send(request, TIME).await.map_err(|error| {
        let text = of_oauth(&error.to_string());
        match error {
            HttpError::Configuration(_) => TokenError::Configuration { text, cause: Some(error.into()) },
            HttpError::Request(..) => {
                let text = no_token(endpoint.url.host().unwrap_or_default(), &text);
                TokenError::Unavailable { text, cause: Some(error.into()) }
            }
        }
    })
}

fn no_token(host: &str, why: &str) -> String {
    format!("no access token from {host}: {why}")
}

/// Reason why a response holds no token, in the endpoint's words.
#[derive(Debug, PartialEq, Eq)]
enum No {
    NotNow(String),
    Never(String),
}

impl No {
    fn told(self, host: &str, secrets: &[(&str, String)]) -> TokenError {
        let (No::NotNow(said) | No::Never(said)) = &self;
        let mut said = said.clone();
        for (_, secret) in secrets {
            said = said.replace(secret, "…").replace(&encoded(secret), "…");
        }
        match self {
            No::NotNow(_) => TokenError::unavailable(no_token(host, &said)),
            No::Never(_) => TokenError::Refused(format!("{host} refused an access token: {said}")),
        }
    }
}

/// Returns the token in a response, and the new refresh token if there is one (RFC 6749 sections 5.1 and 5.2).
fn judge(reply: &Reply) -> Result<(Fetched, Option<String>), No> {
    let status = reply.status;
    let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = |key: &str| answer[key].as_str().unwrap_or_default();
    let said = match (text("error"), text("error_description")) {
        ("", _) => format!("it answered {status}"),
        (error, "") => error.to_owned(),
        (error, description) => format!("{error}: {description}"),
    };
    let not_now = status.is_server_error()
        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status)
        || ["temporarily_unavailable", "server_error"].contains(&text("error"));
    match sound(text("access_token")) {
        _ if not_now => Err(No::NotNow(said)),
        Some(token) if status.is_success() => {
            let lasts = seconds(&answer["expires_in"]).map(usable);
            let refresh_token = Some(text("refresh_token")).filter(|token| !token.is_empty()).map(str::to_owned);
            Ok((Fetched { token, lasts }, refresh_token))
        }
        None if status.is_success() => Err(No::Never("the response contains no access_token".into())),
        _ if text("error").is_empty() => Err(No::Never(format!("{said}, and not as a token endpoint does"))),
        _ => Err(No::Never(said)),
    }
}

/// Parses a number, also one that some endpoints write as a string.
fn seconds(expires_in: &Value) -> Option<u64> {
    expires_in.as_u64().or_else(|| expires_in.as_str()?.parse().ok())
}

fn usable(seconds: u64) -> Duration {
    let life = Duration::from_secs(seconds.min(LONGEST_LIFE));
    life - (life / 10).min(UNUSED_AT_MOST)
}

fn encoded(value: &str) -> String {
    utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()
}

/// Renames options in an error: those of this connection are under `oauth.tls`, not the mailbox's, and its time to connect is none.
fn of_oauth(text: &str) -> String {
    text.replace(" tls.", " oauth.tls.").replace(" (connect_timeout)", "")
}

impl Renewal {
    fn newest(&self, configured: &str) -> String {
        let renewed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*renewed {
            Some(renewed) if renewed.configured == configured => renewed.newest.clone(),
            _ => configured.to_owned(),
        }
    }

    fn renew(&self, configured: String, newest: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Renewed { configured, newest });
    }

    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> Result<(Fetched, Option<String>), No> {
        let (status, body) = (StatusCode::from_u16(status).unwrap(), body.to_owned().into());
        judge(&Reply { status, headers: hyper::HeaderMap::new(), body, is_whole: true })
    }

    fn lasts(expires_in: &str) -> Option<u64> {
        let answer = format!(r#"{{"access_token":"t","token_type":"Bearer"{expires_in}}}"#);
        judged(200, &answer).ok().unwrap().0.lasts.map(|time| time.as_secs())
    }

    #[test]
    fn a_token_is_kept_for_nine_tenths_of_its_life_or_all_but_five_minutes() {
        assert_eq!(lasts(r#","expires_in":3600"#), Some(3300));
        assert_eq!(lasts(r#","expires_in":"600""#), Some(540));
        assert_eq!(lasts(r#","expires_in":18446744073709551615"#), Some(LONGEST_LIFE - 300));
        assert_eq!(lasts(""), None);
        assert_eq!(lasts(r#","expires_in":-1"#), None);
    }

    #[test]
    fn permanent_and_transient_token_errors_are_distinguished() {
        let never = |status, body: &str, said: &str| {
            assert_eq!(judged(status, body).err(), Some(No::Never(said.into())), "{body}");
        };
        never(400, r#"{"error":"invalid_grant"}"#, "invalid_grant");
        never(
            401,
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: no"}"#,
            "invalid_client: AADSTS7000215: no",
        );
        never(404, "<html>", "it answered 404 Not Found, and not as a token endpoint does");
        never(302, "", "it answered 302 Found, and not as a token endpoint does");
        never(200, "{}", "the response contains no access_token");
        never(200, r#"{"access_token":"two words"}"#, "the response contains no access_token");
        for (status, body) in [
            (503, ""),
            (500, r#"{"error":"invalid_grant"}"#),
            (429, r#"{"access_token":"t"}"#),
            (400, r#"{"error":"temporarily_unavailable"}"#),
        ] {
            assert!(matches!(judged(status, body), Err(No::NotNow(_))), "{status} {body}");
        }
    }

    #[test]
    fn secrets_echoed_by_the_token_endpoint_are_masked() {
        let no = No::Never("invalid_client: client_secret=p%20w p w is wrong".into());
        let text = no.told("idp.example.com", &[("client_secret", "p w".into())]).to_string();
        assert_eq!(text, "idp.example.com refused an access token: invalid_client: client_secret=… … is wrong");
    }

    #[test]
    fn a_rotated_refresh_token_is_used_until_the_configured_one_changes() {
        let renewal = Renewal::default();
        assert_eq!(renewal.newest("first"), "first");
        renewal.renew("first".into(), "second".into());
        assert_eq!((renewal.newest("first").as_str(), renewal.newest("other").as_str()), ("second", "other"));
        renewal.forget();
        assert_eq!(renewal.newest("first"), "first");
    }
}
