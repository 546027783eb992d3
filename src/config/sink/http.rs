//! `type: http`: a receiver that answers each request, such as Vector's `http_server`, Fluent Bit's `http`, or a webhook.

use std::{path::PathBuf, time::Duration};

use hyper::{
    Uri,
    header::{HeaderName, HeaderValue},
};

use super::{
    compression::Compression,
    headers::{HeaderFiles, Headers},
    kind_options::SinkOptions,
    requests::Requests,
};
use crate::config::{
    decode::View,
    form::Form,
    kinds::KindOptions,
    node::Value,
    oauth::{Oauth, Tokens},
    options::{choices, options},
    secret::{self, Secret},
    tls::Tls,
    units::Time,
    url::Urls,
};

options! {
    /// `type: http`.
    #[derive(Debug, Clone)]
    pub struct Http {
        /// URL that events are sent to. Redirects are not followed.
        pub uri: Uri as Url = required,
        /// Method of the requests.
        pub method: Method = Method::Post,
        /// TLS certificates, keys and verification; only with an `https` URL.
        pub tls: Tls = nested,
        /// User and password, or a token.
        let auth: Auth = nested,
        /// Source of access tokens. Excludes `auth`.
        let oauth: Oauth = nested,
        /// Credentials of the requests.
        pub credentials: Option<Credentials> = from |view| {
            let (auth, tokens) = (auth.map(|auth| auth.credentials), oauth.map(|oauth| oauth.tokens));
            match (auth?, tokens?) {
                (Some(_), Some(_)) => {
                    view.problem("oauth", "can't be combined with auth; keep one of the two");
                    None
                }
                (auth, tokens) => Some(auth.or(tokens.map(Credentials::Token))),
            }
        },
        /// Further header fields of the requests, by name.
        pub headers("request.headers"): Vec<(HeaderName, HeaderValue)> as Headers = Vec::new(),
        /// Files with the values of further header fields, by name; read again before every request.
        pub header_files("request.headers_file"): Vec<(HeaderName, Secret)> as HeaderFiles = Vec::new(),
        /// Compression of the requests' bodies (Content-Encoding).
        pub compression: Compression = Compression::None,
        /// Batches and requests.
        pub requests: Requests = flattened,
        /// Reaction to 400 and 422, the answers for an event that the receiver will never take. The batch is split until the
        /// event is alone.
        pub on_rejected: OnRejected = OnRejected::Quarantine,
        /// Maximum time for a connection to be established.
        pub connect_timeout: Duration as Time<100, 600_000> = Duration::from_secs(10),
    }
}

options! {
    /// `auth.*`.
    #[derive(Debug, Clone)]
    pub struct Auth {
        /// Scheme of the Authorization header field.
        let strategy: Option<Strategy> = None,
        /// User, with `auth.strategy: basic`.
        let user: Option<String> = None,
        /// Password, with `auth.strategy: basic`. Better: `auth.password_file`, or a variable.
        let password: Option<Secret> = None,
        /// File with the password; read again before every request.
        let password_file: Option<PathBuf> = None,
        /// Token, with `auth.strategy: bearer`. Better: `auth.token_file`, or a variable.
        let token: Option<Secret> = None,
        /// File with the token; read again before every request.
        let token_file: Option<PathBuf> = None,
        /// The credentials that these options make.
        pub credentials: Option<Credentials> = from |view| {
            let password = secret::at_most_one(view, "password", password, password_file);
            let token = secret::at_most_one(view, "token", token, token_file);
            credentials(view, strategy, user, password?, token?)
        },
    }
}

/// Credentials of a request.
#[derive(Debug, Clone)]
pub enum Credentials {
    Basic { user: String, password: Secret },
    Bearer(Secret),
    Token(Tokens),
}

choices! {
    /// Scheme of the Authorization header field.
    pub enum Strategy = Basic {
        /// User and password, RFC 7617.
        Basic = "basic",
        /// A token, RFC 6750.
        Bearer = "bearer",
    }
}

choices! {
    /// Method of the requests.
    pub enum Method = Post {
        Post = "post",
        Put = "put",
    }
}

choices! {
    /// Reaction to an event that the receiver will never take.
    pub enum OnRejected = Quarantine {
        /// The event is rejected: its mail is quarantined, and all others go on.
        Quarantine = "quarantine",
        /// The event is sent again until it is taken, and holds up all that come later.
        Retry = "retry",
    }
}

impl SinkOptions for Http {
    fn destination(&self) -> String {
        self.uri.to_string()
    }

    fn shown(&self) -> String {
        // The query may have a token in it.
        let path = self.uri.path();
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        format!("{}://{authority}{path}", self.uri.scheme_str().unwrap_or_default())
    }

    fn exclusive(&self) -> Option<(&'static str, String)> {
        None
    }

    fn takes_arrays(&self) -> bool {
        true
    }

    fn prints(&self) -> bool {
        false
    }
}

impl Http {
    pub fn is_encrypted(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }
}

impl KindOptions for Http {
    const URLS: Urls = Urls {
        schemes: &["https", "http"],
        examples: "https://host/PATH, http://host:8080/",
        read: |url, node| {
            node.put("uri", Value::Literal(format!("{}:{}", url.scheme, url.place)));
            url.options(node)?;
            Ok(None)
        },
    };

    fn is_sensible(&self, view: &View<'_>) -> bool {
        if !self.is_encrypted() && view.has("tls") {
            view.problem("tls", "is only supported with an https URL; remove it, or change uri");
            return false;
        }
        if let Some((name, _)) =
            self.header_files.iter().find(|(name, _)| self.headers.iter().any(|(other, _)| other == name))
        {
            view.problem(
                "request.headers_file",
                format!("can't set {name}, which request.headers sets; keep one of the two"),
            );
            return false;
        }
        for (_, file) in &self.header_files {
            if let Secret::File(path) = file {
                secret::warn_of(view, "request.headers_file", path);
            }
        }
        let has_secrets = self.credentials.is_some() || !self.headers.is_empty() || !self.header_files.is_empty();
        let is_local = matches!(self.uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if has_secrets && !self.is_encrypted() && !is_local {
            view.warn("uri", "http sends credentials, and all events, unencrypted");
        }
        true
    }
}

/// Selects the credentials, which must match the strategy.
fn credentials(
    view: &View<'_>,
    strategy: Option<Strategy>,
    user: Option<String>,
    password: Option<Secret>,
    token: Option<Secret>,
) -> Option<Option<Credentials>> {
    let refuse = |key: &str, message: &str| {
        view.problem(key, message);
        None
    };
    match (strategy, user, password, token) {
        (None, None, None, None) => Some(None),
        (None, ..) => refuse("strategy", "is missing; expected basic, with user and password, or bearer, with token"),
        (Some(Strategy::Basic), Some(user), Some(password), None) if !user.contains(':') => {
            Some(Some(Credentials::Basic { user, password }))
        }
        (Some(Strategy::Basic), Some(_), Some(_), None) => refuse("user", "must not contain a colon (RFC 7617)"),
        (Some(Strategy::Basic), ..) => {
            refuse("strategy", "basic needs user, and password or password_file, and no token")
        }
        (Some(Strategy::Bearer), None, None, Some(token)) => Some(Some(Credentials::Bearer(token))),
        (Some(Strategy::Bearer), ..) => refuse("strategy", "bearer needs token or token_file, and no user or password"),
    }
}

/// URL of a receiver. Credentials in it would end up in logs.
struct Url;

impl Form for Url {
    type Value = Uri;

    fn expected() -> String {
        "an http:// or https:// URL".to_owned()
    }

    fn parse(text: &str) -> Result<Uri, String> {
        let url: Uri = text.parse().map_err(|_| format!("expected {}", Self::expected()))?;
        let Some(authority) = url.authority().filter(|_| matches!(url.scheme_str(), Some("http" | "https"))) else {
            return Err(format!("expected {}", Self::expected()));
        };
        match authority.as_str().contains('@') {
            true => Err("must not contain a user or password; use auth".to_owned()),
            false => Ok(url),
        }
    }

    fn written(value: &Uri) -> String {
        value.to_string()
    }
}
