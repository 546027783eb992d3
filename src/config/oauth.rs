//! `oauth.*`: where the access token comes from that a server takes instead of a password.

use std::path::PathBuf;

use hyper::Uri;

use super::{
    decode::View,
    form::Form,
    options::{choices, options},
    secret::{self, Secret},
    tls::Tls,
};

/// Where access tokens come from.
#[derive(Debug, Clone)]
pub enum Tokens {
    /// A file that something else renews.
    File(PathBuf),
    /// A program that prints a token, and its arguments; never empty.
    Command(Vec<String>),
    Endpoint(Box<Endpoint>),
}

/// A token endpoint (RFC 6749 section 3.2), and what to say to it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Always https, with a host.
    pub url: Uri,
    pub client_id: String,
    /// `None` for a public client.
    pub client_secret: Option<Secret>,
    pub scope: Option<String>,
    pub grant: Grant,
    pub tls: Tls,
}

/// What entitles us to a token.
#[derive(Debug, Clone)]
pub enum Grant {
    ClientCredentials,
    RefreshToken(Secret),
}

options! {
    /// The table as it is written.
    #[derive(Debug, Clone)]
    pub struct Oauth {
        /// Fills in `oauth.token_url`, `oauth.scope` and `oauth.grant` for a provider; each can still be written.
        let provider: Option<Provider> = None,
        /// Id of the directory (tenant) at Microsoft, or a domain of it.
        let tenant_id: Option<String> as Option<Tenant> = None,
        /// Where tokens are fetched (RFC 6749), over https alone.
        let token_url: Option<Uri> as Option<TokenUrl> = None => "that of the provider",
        /// Id of the application that is registered for this.
        let client_id: Option<String> = None,
        /// Secret of the application. Better: `oauth.client_secret_file`, or a variable.
        let client_secret: Option<Secret> = None,
        /// File that holds the application's secret; read again before every use.
        let client_secret_file: Option<PathBuf> = None,
        /// What the token is to be good for.
        let scope: Option<String> = None => "that of the provider",
        /// What entitles to a token.
        let grant: Option<GrantType> = None => "`refresh_token` where one is written, else `client_credentials`",
        /// The refresh token of `oauth.grant: refresh_token`. Better: `oauth.refresh_token_file`, or a variable.
        let refresh_token: Option<Secret> = None,
        /// File that holds the refresh token; read again before every use.
        let refresh_token_file: Option<PathBuf> = None,
        /// File that holds an access token, which something else renews; read again before every login. Excludes all other
        /// ways.
        let token_file: Option<PathBuf> = None,
        /// Program that prints an access token on stdout, and its arguments; run, without a shell, before every login.
        /// Excludes all other ways.
        let token_command: Vec<String> = Vec::new(),
        /// How the connection to `oauth.token_url` is protected.
        let tls: Tls = nested,
        /// What all of this comes to; `None` when nothing was written.
        pub tokens: Option<Tokens> = from |view| {
            let client_secret = secret::at_most_one(view, "client_secret", client_secret, client_secret_file);
            let refresh_token = secret::at_most_one(view, "refresh_token", refresh_token, refresh_token_file);
            let written = Written {
                provider, tenant_id, token_url, client_id, client_secret, scope, grant, refresh_token, tls
            };
            tokens(view, token_file, token_command, written)
        },
    }
}

choices! {
    /// Whose token endpoint it is.
    pub enum Provider = Microsoft365 {
        /// Exchange Online: needs `oauth.tenant_id`.
        Microsoft365 = "microsoft365",
        /// Gmail and Google Workspace: needs a refresh token.
        Gmail = "gmail",
    }
}

choices! {
    /// What entitles to a token.
    pub enum GrantType = ClientCredentials {
        /// The application's own secret.
        ClientCredentials = "client_credentials",
        /// A refresh token, which a person once consented to.
        RefreshToken = "refresh_token",
    }
}

/// The options of a token endpoint, as far as they could be read.
struct Written {
    provider: Option<Provider>,
    tenant_id: Option<String>,
    token_url: Option<Uri>,
    client_id: Option<String>,
    client_secret: Option<Option<Secret>>,
    scope: Option<String>,
    grant: Option<GrantType>,
    refresh_token: Option<Option<Secret>>,
    tls: Option<Tls>,
}

const OF_ENDPOINTS: &[&str] = &[
    "provider",
    "token_url",
    "tenant_id",
    "client_id",
    "client_secret",
    "client_secret_file",
    "scope",
    "grant",
    "refresh_token",
    "refresh_token_file",
];

fn tokens(view: &View<'_>, file: Option<PathBuf>, command: Vec<String>, written: Written) -> Option<Option<Tokens>> {
    let of_endpoint = OF_ENDPOINTS.iter().copied().find(|key| view.has(key));
    let written_ways = ["token_file", "token_command"].into_iter().filter(|key| view.has(key)).chain(of_endpoint);
    match written_ways.collect::<Vec<_>>()[..] {
        [] => Some(None),
        ["token_file"] => Some(Some(Tokens::File(file?))),
        ["token_command"] if command.is_empty() => {
            view.problem("token_command", "expected a program, and its arguments, as a list");
            None
        }
        ["token_command"] => Some(Some(Tokens::Command(command))),
        [_] => endpoint(view, written).map(|endpoint| Some(Tokens::Endpoint(Box::new(endpoint)))),
        [first, second, ..] => {
            view.problem(first, format!("excludes {second}; keep one of the two"));
            None
        }
    }
}

/// Everything is looked at before anything is missed, so that all problems are told.
fn endpoint(view: &View<'_>, written: Written) -> Option<Endpoint> {
    let provider = written.provider;
    let url = written.token_url.clone().or_else(|| url_of(view, &written));
    if written.client_id.is_none() && !view.has("client_id") {
        view.problem("client_id", "is missing; it is the id of the application that is registered for this");
    }
    let by_default = match provider {
        Some(Provider::Gmail) => GrantType::RefreshToken,
        _ if matches!(written.refresh_token, Some(Some(_))) => GrantType::RefreshToken,
        _ => GrantType::ClientCredentials,
    };
    let grant = grant(view, &written, written.grant.unwrap_or(by_default));
    let is_own = matches!(grant, Some(Grant::ClientCredentials));
    let scope = written.scope.or_else(|| match provider {
        Some(Provider::Microsoft365) if is_own => Some("https://outlook.office365.com/.default".to_owned()),
        _ => None,
    });
    Some(Endpoint {
        url: url?,
        client_id: written.client_id?,
        client_secret: written.client_secret?,
        scope,
        grant: grant?,
        tls: written.tls?,
    })
}

/// The URL where none is written.
fn url_of(view: &View<'_>, written: &Written) -> Option<Uri> {
    let url = match (written.provider, &written.tenant_id) {
        _ if view.has("token_url") => return None,
        (Some(Provider::Gmail), _) => "https://oauth2.googleapis.com/token".to_owned(),
        (Some(Provider::Microsoft365), Some(tenant)) => {
            format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token")
        }
        (Some(Provider::Microsoft365), None) => {
            if !view.has("tenant_id") {
                view.problem("tenant_id", "is missing; microsoft365 needs the id of the directory (tenant)");
            }
            return None;
        }
        (None, _) => {
            if !view.has("provider") {
                view.problem("token_url", "is missing; write it, or a provider that is known here");
            }
            return None;
        }
    };
    url.parse().ok()
}

fn grant(view: &View<'_>, written: &Written, grant: GrantType) -> Option<Grant> {
    let (secret, refresh_token) = (written.client_secret.as_ref()?, written.refresh_token.as_ref()?);
    let refuse = |key: &str, message: &str| {
        view.problem(key, message);
        None
    };
    match (grant, secret, refresh_token) {
        (GrantType::ClientCredentials, ..) if written.provider == Some(Provider::Gmail) => {
            refuse("grant", "gmail gives no token for client_credentials; use refresh_token, or a token_command")
        }
        (GrantType::ClientCredentials, _, Some(_)) => refuse("refresh_token", "is of no use to client_credentials"),
        (GrantType::ClientCredentials, None, None) => refuse(
            "client_secret",
            "is missing; write client_secret_file (a path), or client_secret, such as ${SECRET}",
        ),
        (GrantType::ClientCredentials, Some(_), None) => Some(Grant::ClientCredentials),
        (GrantType::RefreshToken, _, Some(token)) => Some(Grant::RefreshToken(token.clone())),
        (GrantType::RefreshToken, _, None) => {
            refuse("refresh_token", "is missing; write refresh_token_file (a path), or refresh_token, such as ${TOKEN}")
        }
    }
}

/// A URL that secrets may be sent to.
struct TokenUrl;

impl Form for TokenUrl {
    type Value = Uri;

    fn expected() -> String {
        "an https:// URL".to_owned()
    }

    fn parse(text: &str) -> Result<Uri, String> {
        let url = text.parse::<Uri>().ok().filter(|url| {
            url.scheme_str() == Some("https")
                && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        });
        url.ok_or_else(|| format!("expected {}, without user and password, not {text:?}", Self::expected()))
    }

    fn written(value: &Uri) -> String {
        value.to_string()
    }
}

/// An id or a domain: it becomes a part of a URL.
struct Tenant;

impl Form for Tenant {
    type Value = String;

    fn expected() -> String {
        "the id of a directory, or a domain of it".to_owned()
    }

    fn parse(text: &str) -> Result<String, String> {
        let fits = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
        if fits { Ok(text.to_owned()) } else { Err(format!("expected {}, not {text:?}", Self::expected())) }
    }

    fn written(value: &String) -> String {
        value.clone()
    }
}
