//! What can go wrong between us and an IMAP server, by what it means for the next try.

use std::time::Duration;

use crate::{
    net::{connect::ConnectError, tls::TlsError},
    source::SourceError,
};

/// Characters of a server's text that are shown.
const SHOWN: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The server is not there, or no longer, or not ready: a later try may work.
    #[error("{0}")]
    Lost(String),
    /// The server ended the session because the login has run out: a new one helps, and no mail is at fault.
    #[error("{0}")]
    LoggedOut(String),
    /// The server sent what can't be followed: the session is of no more use.
    #[error("{0}")]
    Unintelligible(String),
    /// The server announced a literal larger than what was asked for: the session is of no more use.
    #[error("the server announced {announced} bytes where at most {allowed} were expected")]
    Oversize { announced: u64, allowed: u64 },
    /// The server sends more than anybody asked for: the session is of no more use, and the next one is not begun soon.
    #[error("{0}")]
    Flooded(String),
    /// The server answered NO or BAD: the session goes on.
    #[error("the server refused {command}: {}", .answer.shown())]
    Refused { command: String, answer: Answer },
    /// The server wants to be left alone for a while, which it told or didn't.
    #[error("{text}")]
    Throttled { text: String, wait: Option<Duration> },
    #[error("{0}")]
    Credentials(String),
    #[error("{0}")]
    Configuration(String),
}

/// The status line of a response: its code's first word in upper case (RFC 5530), and its text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub code: Option<String>,
    pub text: String,
}

impl Answer {
    /// What the server said, fit for a log line.
    pub fn shown(&self) -> String {
        match (&self.code, self.text.is_empty()) {
            (Some(code), true) => plain(code),
            (Some(code), false) => plain(&format!("[{code}] {}", self.text)),
            (None, true) => "no reason given".into(),
            (None, false) => plain(&self.text),
        }
    }

    /// Codes of RFC 5530 that say "not now".
    pub fn is_temporary(&self) -> bool {
        matches!(self.code.as_deref(), Some("UNAVAILABLE" | "INUSE" | "SERVERBUG" | "LIMIT"))
    }
}

impl Fault {
    /// Whether commands can still be sent.
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
            TlsError::Configuration(text) => Fault::Configuration(text),
            TlsError::Handshake(text) => Fault::Lost(text),
        }
    }
}

/// A server's text without control characters, and no longer than a log line wants it.
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
