//! Access tokens (RFC 6750): read from a file, printed by a command, or fetched from a token endpoint.

mod bearer;
mod command;
mod endpoint;
mod error;

use std::path::Path;

use tokio::{sync::Mutex, time::Instant};

use self::{bearer::sound, endpoint::Renewal};
pub use self::{command::end_all, error::TokenError};
use crate::config::{oauth::Tokens, secret::read_text};

/// The access tokens of one account. At most one is kept, until shortly before it expires, and only if it was fetched from
/// an endpoint: files and commands keep their own.
pub struct AccessTokens {
    source: Tokens,
    /// Locked while a token is fetched, so that several sessions that need one fetch it once.
    kept: Mutex<Option<Kept>>,
    renewal: Renewal,
}

/// A token to log in with.
pub struct Token {
    pub text: String,
    /// True if the token is new: asking again would not give another.
    pub fresh: bool,
}

struct Kept {
    token: String,
    until: Instant,
}

impl AccessTokens {
    pub fn new(source: Tokens) -> Self {
        Self { source, kept: Mutex::default(), renewal: Renewal::default() }
    }

    pub async fn token(&self) -> Result<Token, TokenError> {
        let endpoint = match &self.source {
            Tokens::File(path) => return Ok(Token { text: in_file(path)?, fresh: true }),
            Tokens::Command(command) => return Ok(Token { text: command::run(command).await?, fresh: true }),
            Tokens::Endpoint(endpoint) => endpoint,
        };
        let mut kept = self.kept.lock().await;
        if let Some(Kept { token, .. }) = kept.as_ref().filter(|kept| Instant::now() < kept.until) {
            return Ok(Token { text: token.clone(), fresh: false });
        }
        let fetched = endpoint::fetch(endpoint, &self.renewal).await?;
        *kept = fetched.lasts.map(|time| Kept { token: fetched.token.clone(), until: Instant::now() + time });
        Ok(Token { text: fetched.token, fresh: true })
    }

    /// Forgets the token, after the server refused it or ended a session that was opened with it: the next one is fetched.
    pub async fn discard(&self) {
        *self.kept.lock().await = None;
    }
}

fn in_file(path: &Path) -> Result<String, TokenError> {
    let wrong = |what: String| TokenError::configuration(format!("{what} the token file {}", path.display()));
    let text = read_text(path).map_err(|error| TokenError::Configuration {
        text: format!("can't read the token file {}: {error}", path.display()),
        cause: Some(error.into()),
    })?;
    sound(&text).ok_or_else(|| wrong("expected one access token and nothing else in".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_visible_ascii_and_trimmed() {
        assert_eq!(sound(" ya29.a0-_~+/=\r\n").as_deref(), Some("ya29.a0-_~+/="));
        for none in ["", "\n", "two words", "a\nb", "tök", "a\u{1}b"] {
            assert_eq!(sound(none), None, "{none:?}");
        }
    }
}
