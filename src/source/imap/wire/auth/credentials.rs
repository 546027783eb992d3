//! State of an account across logins: its access tokens, and a fingerprint of its credential files at the last login.

use std::{
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::time::sleep;

use crate::{
    config::{
        oauth::{Grant, Tokens},
        secret::Secret,
        source::{Credentials, Imap},
    },
    net::token::AccessTokens,
};

/// Interval for polling the credential files after a refused login.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Account state, shared by all sessions of a source.
pub struct Account {
    /// `None` if the login needs no token.
    tokens: Option<AccessTokens>,
    token_is_doubted: AtomicBool,
    /// All files that a login reads and that a credential rotation changes.
    files: Vec<PathBuf>,
    last_read: Mutex<Option<Fingerprint>>,
}

/// Hash of the contents of the credential files. Modification times are not part of it: a secret that is rewritten
/// unchanged is as wrong as before.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fingerprint([u8; 32]);

impl Account {
    pub fn new(config: &Imap) -> Self {
        let tokens = match &config.credentials {
            Credentials::Token(tokens) => Some(AccessTokens::new(tokens.clone())),
            Credentials::Password(_) | Credentials::Certificate => None,
        };
        Self { tokens, token_is_doubted: AtomicBool::new(false), files: files(config), last_read: Mutex::default() }
    }

    /// Records the fingerprint of the credential files at the start of a login, which reads them.
    pub fn begin_login(&self) {
        *self.last_read.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.fingerprint());
    }

    /// Waits until the content of a credential file differs from that at the last login. Cancel-safe.
    pub async fn changed(&self) {
        loop {
            let before = self.last_read.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if before.is_some_and(|before| before != self.fingerprint()) {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Marks the token as doubtful because a session that used it has ended: an expired or revoked token may be the
    /// reason.
    pub fn doubt_token(&self) {
        self.token_is_doubted.store(true, Ordering::Relaxed);
    }

    /// Returns the token cache, or `None` if the login needs no token. A doubtful token is discarded first.
    pub async fn tokens(&self) -> Option<&AccessTokens> {
        let tokens = self.tokens.as_ref()?;
        if self.token_is_doubted.swap(false, Ordering::Relaxed) {
            tokens.discard().await;
        }
        Some(tokens)
    }

    fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        for file in &self.files {
            match std::fs::read(file) {
                Ok(content) => {
                    hash.update([1]);
                    hash.update((content.len() as u64).to_be_bytes());
                    hash.update(content);
                }
                Err(_) => hash.update([0]),
            }
        }
        Fingerprint(hash.finalize().into())
    }
}

fn files(config: &Imap) -> Vec<PathBuf> {
    let of_secret = |secret: &Secret| match secret {
        Secret::File(path) => Some(path.clone()),
        Secret::Value(_) => None,
    };
    let mut files: Vec<PathBuf> = match &config.credentials {
        Credentials::Password(password) => of_secret(password).into_iter().collect(),
        Credentials::Token(Tokens::File(path)) => vec![path.clone()],
        Credentials::Token(Tokens::Endpoint(endpoint)) => {
            let refresh_token = match &endpoint.grant {
                Grant::RefreshToken(token) => of_secret(token),
                Grant::ClientCredentials => None,
            };
            endpoint.client_secret.as_ref().and_then(of_secret).into_iter().chain(refresh_token).collect()
        }
        Credentials::Token(Tokens::Command(_)) | Credentials::Certificate => Vec::new(),
    };
    files.extend(config.tls.crt_file.iter().chain(&config.tls.key_file).cloned());
    files
}
