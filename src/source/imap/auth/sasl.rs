//! SASL messages: initial responses of the mechanisms, before base64, and error challenges.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;

use crate::source::imap::fault::plain_to;

/// Characters of an error challenge that are shown.
const SHOWN: usize = 200;

/// Returns the PLAIN message (RFC 4616).
pub fn plain(user: &str, password: &str) -> String {
    format!("\0{user}\0{password}")
}

/// Returns the XOAUTH2 initial response: <https://developers.google.com/workspace/gmail/imap/xoauth2-protocol>
pub fn xoauth2(user: &str, token: &str) -> String {
    format!("user={user}\x01auth=Bearer {token}\x01\x01")
}

/// Returns the OAUTHBEARER initial response (RFC 7628 section 3.1), with the GS2 header of RFC 5801 section 4.
pub fn oauthbearer(user: &str, host: &str, port: u16, token: &str) -> String {
    let user = user.replace('=', "=3D").replace(',', "=2C");
    format!("n,a={user},\x01host={host}\x01port={port}\x01auth=Bearer {token}\x01\x01")
}

/// Returns the reason given in an error challenge (RFC 7628 section 3.2.2; XOAUTH2 uses the same format): its status, and
/// the scope that the server requires.
pub fn reason(challenge: &str) -> Option<String> {
    let reason: Value = serde_json::from_slice(&BASE64.decode(challenge.trim()).ok()?).ok()?;
    let told = ["status", "scope"].into_iter().filter_map(|key| match &reason[key] {
        Value::String(text) if !text.is_empty() => Some(format!("{key} {text}")),
        Value::Number(number) => Some(format!("{key} {number}")),
        _ => None,
    });
    let told = told.collect::<Vec<_>>().join(", ");
    (!told.is_empty()).then(|| plain_to(&told, SHOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 7628 section 4.1 and of Google's documentation, with shorter tokens.
    #[test]
    fn tokens_are_presented_as_the_standards_say() {
        assert_eq!(
            oauthbearer("user@example.com", "server.example.com", 143, "vF9dft4q"),
            "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4q\x01\x01"
        );
        assert!(oauthbearer("a=b,c", "h", 1, "t").starts_with("n,a=a=3Db=2Cc,\x01"));
        assert_eq!(
            xoauth2("someuser@example.com", "ya29.vF9dft4q"),
            "user=someuser@example.com\x01auth=Bearer ya29.vF9dft4q\x01\x01"
        );
    }

    #[test]
    fn the_reason_for_a_refused_token_is_read_from_the_challenge() {
        let challenge = |json: &str| reason(&BASE64.encode(json));
        assert_eq!(
            challenge(r#"{"status":"invalid_token","scope":"example_scope","schemes":"bearer"}"#).as_deref(),
            Some("status invalid_token, scope example_scope")
        );
        assert_eq!(challenge(r#"{"status":400}"#).as_deref(), Some("status 400"));
        assert_eq!(challenge("{\"status\":\"a\\nb\"}").as_deref(), Some("status a b"));
        for none in ["", "not base64", "e30="] {
            assert_eq!(reason(none), None, "{none}");
        }
    }
}
