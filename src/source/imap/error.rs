//! Errors of an IMAP session, classified by what they mean for the next attempt.

use std::time::Duration;

use crate::{
    net::{connect::ConnectError, tls::TlsError},
    source::SourceError,
};

/// Maximum number of characters of a server's text that are shown.
const SHOWN: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The server is unreachable, has closed the connection, or is not ready: a later attempt may work.
    #[error("{0}")]
    Lost(String),
    /// The server ended the session because the login has expired: a new login helps, and no mail is at fault.
    #[error("{0}")]
    LoggedOut(String),
    /// The server violated the protocol: the session can't be used any more.
    #[error("{0}")]
    Unintelligible(String),
    /// The server announced a literal that is larger than requested: the session can't be used any more.
    #[error("the server announced {announced} bytes where at most {allowed} were expected")]
    Oversize { announced: u64, allowed: u64 },
    /// The server keeps sending unsolicited data: the session can't be used any more, and the next one is delayed.
    #[error("{0}")]
    Flooded(String),
    /// The server answered NO or BAD: the session can still be used.
    #[error("the server refused {command}: {}", .answer.shown())]
    Refused { command: String, answer: Answer },
    /// The server asks for fewer requests, and may have said how long to wait.
    #[error("{text}")]
    Throttled { text: String, wait: Option<Duration> },
    #[error("{0}")]
    Credentials(String),
    #[error("{0}")]
    Configuration(String),
}

/// Text of a status response: the first word of its response code in upper case (RFC 5530), and the human-readable text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub code: Option<String>,
    pub text: String,
}

impl Answer {
    /// Returns the code and the text, fit for a log line.
    pub fn shown(&self) -> String {
        match (&self.code, self.text.is_empty()) {
            (Some(code), true) => plain(code),
            (Some(code), false) => plain(&format!("[{code}] {}", self.text)),
            (None, true) => "no reason given".into(),
            (None, false) => plain(&self.text),
        }
    }

    /// True for the response codes of RFC 5530 that mean "try again later".
    pub fn is_temporary(&self) -> bool {
        matches!(self.code.as_deref(), Some("UNAVAILABLE" | "INUSE" | "SERVERBUG" | "LIMIT"))
    }
}

impl Fault {
    /// True if the session can still be used after this fault.
    pub fn leaves_session(&self) -> bool {
        matches!(self, Fault::Refused { .. })
    }
}

impl From<Fault> for SourceError {
    fn from(fault: Fault) -> Self {
        let text = fault.to_string();
        match fault {
            Fault::Credentials(_) => SourceError::AuthenticationRefused(text),
            Fault::Configuration(_) => SourceError::Configuration(text),
            _ => SourceError::Unreachable(text),
        }
    }
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Self {
        Fault::Lost(error.to_string())
    }
}

impl From<TlsError> for Fault {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Configuration { text, .. } => Fault::Configuration(text),
            TlsError::Handshake { text, .. } => Fault::Lost(text),
        }
    }
}

/// Returns a server's text without control characters, shortened for a log line.
pub fn plain(text: &str) -> String {
    plain_to(text, SHOWN)
}

pub fn plain_to(text: &str, characters: usize) -> String {
    let mut shown: String = text.chars().take(characters).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(characters).is_some() {
        shown.push('…');
    }
    shown.trim().to_owned()
}

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
    Some(Fault::Throttled { text: format!("{host} throttles requests: {}", answer.shown()), wait })
}

/// State of a login that a server has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The login has expired: a new login helps.
    Login,
    /// The login is valid, but gives no access to the mailbox (any more).
    Mailbox,
}

/// Interprets the text of a NO, BAD or BYE in an authenticated session; `None` if it does not concern the login. `said`:
/// the response code in brackets and the text.
pub fn ending(said: &str) -> Option<Ending> {
    let said = said.to_ascii_lowercase();
    ENDINGS.iter().find(|(words, _)| said.contains(words)).map(|(_, ending)| *ending)
}

const ENDINGS: &[(&str, Ending)] = &[
    // RFC 5530 section 3.
    ("[authenticationfailed]", Ending::Login),
    ("[expired]", Ending::Login),
    // Gmail: "BYE Session expired, please login again."
    ("session expired", Ending::Login),
    // Exchange Online: "BYE Session invalidated - AccessTokenExpired"
    ("session invalidated", Ending::Login),
    ("accesstokenexpired", Ending::Login),
    ("token expired", Ending::Login),
    // Exchange Online, to every command: "BAD User is authenticated but not connected."
    ("authenticated but not connected", Ending::Mailbox),
];

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

    #[test]
    fn expired_logins_are_distinguished_from_other_refusals() {
        for (said, means) in [
            ("Session expired, please login again.", Some(Ending::Login)),
            ("Session invalidated - AccessTokenExpired", Some(Ending::Login)),
            ("[AUTHENTICATIONFAILED] Invalid credentials (Failure)", Some(Ending::Login)),
            ("User is authenticated but not connected.", Some(Ending::Mailbox)),
            ("[NONEXISTENT] Unknown Mailbox: x (Failure)", None),
            ("Internal error occurred", None),
        ] {
            assert_eq!(ending(said), means, "{said}");
        }
    }
}
