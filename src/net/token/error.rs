//! Errors in getting a token.

/// Error in getting a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The endpoint can't be reached, or is not ready: a later attempt may work.
    #[error("{0}")]
    Unavailable(String),
    /// The endpoint or the command refuses to give a token.
    #[error("{0}")]
    Refused(String),
    /// A file can't be used as it is.
    #[error("{0}")]
    Configuration(String),
}
