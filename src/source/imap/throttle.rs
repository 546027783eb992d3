//! Throttling: detects responses with which servers ask for fewer requests.

use std::time::Duration;

use super::fault::{Answer, Fault};

/// Maximum wait: the server chooses the time, and could choose any.
const LONGEST: Duration = Duration::from_secs(3600);

/// Response codes: THROTTLED of Yahoo and Gmail, LIMIT of RFC 5530.
const CODES: &[&str] = &["LIMIT", "THROTTLED"];

/// Substrings of status texts, in lower case, by provider.
const TEXTS: &[&str] = &[
    // Exchange and Microsoft 365, followed by a time in milliseconds.
    BACKOFF,
    "request is throttled",
    "server unavailable. 15",
    "user is authenticated but not connected",
    // Gmail, with the code OVERQUOTA, which means a full mailbox on other servers.
    "too many simultaneous connections",
    "account exceeded command or bandwidth limits",
    // Dovecot.
    "maximum number of connections from user+ip exceeded",
];

const BACKOFF: &str = "suggested backoff time:";

/// Returns a throttling fault if the answer of `host` asks for fewer requests.
pub fn throttled(host: &str, answer: &Answer) -> Option<Fault> {
    let text = answer.text.to_ascii_lowercase();
    let is_code = answer.code.as_deref().is_some_and(|code| CODES.contains(&code));
    if !is_code && !TEXTS.iter().any(|part| text.contains(part)) {
        return None;
    }
    let told = text.split_once(BACKOFF).map(|(_, after)| after.trim_start());
    let digits = told.map(|told| told.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
    let wait = digits.and_then(|digits| digits.parse().ok()).map(|ms| Duration::from_millis(ms).min(LONGEST));
    Some(Fault::Throttled { text: format!("{host} wants fewer requests: {}", answer.shown()), wait })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(code: Option<&str>, text: &str) -> Option<Option<Duration>> {
        match throttled("host", &Answer { code: code.map(Into::into), text: text.into() }) {
            Some(Fault::Throttled { wait, .. }) => Some(wait),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_server_that_tells_how_long_is_left_alone_for_that_long() {
        let text = "Request is throttled. Suggested Backoff Time: 299961 milliseconds";
        assert_eq!(wait(None, text), Some(Some(Duration::from_millis(299_961))));
        assert_eq!(wait(None, "Suggested Backoff Time: 999999999999"), Some(Some(LONGEST)));
        assert_eq!(wait(None, "Suggested Backoff Time: soon"), Some(None));
    }

    #[test]
    fn codes_and_texts_of_others_are_known() {
        assert_eq!(wait(Some("THROTTLED"), ""), Some(None));
        assert_eq!(wait(Some("LIMIT"), "rate limit hit"), Some(None));
        assert_eq!(wait(Some("OVERQUOTA"), "Account exceeded command or bandwidth limits. (Failure)"), Some(None));
        assert_eq!(wait(None, "Server Unavailable. 15"), Some(None));
        assert_eq!(wait(Some("ALERT"), "Too many simultaneous connections. (Failure)"), Some(None));
    }

    #[test]
    fn other_refusals_are_no_throttling() {
        assert_eq!(wait(Some("OVERQUOTA"), "Quota exceeded (mailbox for user is full)"), None);
        assert_eq!(wait(None, "Mailbox doesn't exist: throttle"), None);
    }
}
