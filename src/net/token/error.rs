//! Errors in getting a token.

use crate::net::Cause;

/// Error in getting a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The endpoint can't be reached, or is not ready: a later attempt may work.
    #[error("{text}")]
    Unavailable {
        text: String,
        #[source]
        cause: Option<Cause>,
    },
    /// The endpoint or the command refuses to give a token.
    #[error("{0}")]
    Refused(String),
    /// A file can't be used as it is.
    #[error("{text}")]
    Configuration {
        text: String,
        #[source]
        cause: Option<Cause>,
    },
}

impl TokenError {
    pub(super) fn configuration(text: impl Into<String>) -> Self {
        Self::Configuration { text: text.into(), cause: None }
    }

    pub(super) fn unavailable(text: impl Into<String>) -> Self {
        Self::Unavailable { text: text.into(), cause: None }
    }
}
