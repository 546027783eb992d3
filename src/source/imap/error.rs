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
