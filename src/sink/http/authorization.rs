//! Authorization header field (RFC 9110 section 11.6.2). Files with secrets are read again for each request.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::header::HeaderValue;

use crate::{
    config::{secret::Secret, sink::Credentials},
    net::token::AccessTokens,
};

/// Source of the header field.
pub(super) enum Authorization {
    Basic { user: String, password: Secret },
    Bearer(Secret),
    Tokens(AccessTokens),
}

impl Authorization {
    pub(super) fn new(credentials: Credentials) -> Self {
        match credentials {
            Credentials::Basic { user, password } => Self::Basic { user, password },
            Credentials::Bearer(token) => Self::Bearer(token),
            Credentials::Token(tokens) => Self::Tokens(AccessTokens::new(tokens)),
        }
    }

    /// Returns the value for one request. Errors say why it can't be had now.
    pub(super) async fn value(&self) -> Result<HeaderValue, String> {
        let text = match self {
            Self::Basic { user, password } => {
                format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{}", password.reveal()?)))
            }
            Self::Bearer(token) => format!("Bearer {}", token.reveal()?.trim()),
            Self::Tokens(tokens) => {
                format!("Bearer {}", tokens.token().await.map_err(|error| error.to_string())?.text)
            }
        };
        sensitive(&text).ok_or_else(|| "the token has characters that no header field may contain".to_owned())
    }

    /// Forgets a token that the receiver refused.
    pub(super) async fn refused(&self) {
        if let Self::Tokens(tokens) = self {
            tokens.discard().await;
        }
    }
}

/// Returns the value of a header field that is never shown; `None` if it has characters that no field may contain.
pub(super) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
