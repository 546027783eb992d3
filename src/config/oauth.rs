//! `oauth.*`: source of the access token with which to log in instead of a password.

use std::path::PathBuf;

use hyper::Uri;

use super::{
    decode::View,
    form::Form,
    options::{choices, options},
    secret::{self, Secret},
    tls::Tls,
};

/// Source of access tokens.
#[derive(Debug, Clone)]
pub enum Tokens {
    /// A file that another program renews.
    File(PathBuf),
    /// A program that prints a token, and its arguments; never empty.
    Command(Vec<String>),
    Endpoint(Box<Endpoint>),
}

/// A token endpoint (RFC 6749 section 3.2), and the parameters of the request.
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

/// OAuth grant with its credentials.
#[derive(Debug, Clone)]
pub enum Grant {
    ClientCredentials,
    RefreshToken(Secret),
}

options! {
    /// The `oauth` table.
    #[derive(Debug, Clone)]
    pub struct Oauth {
        /// Provider, which sets `oauth.token_url`, `oauth.scope` and `oauth.grant`; each can be overridden.
        let provider: Option<Provider> = None,
        /// Id of the directory (tenant) at Microsoft, or one of its domains.
        let tenant_id: Option<String> as Option<Tenant> = None,
        /// Token endpoint (RFC 6749); https only.
        let token_url: Option<Uri> as Option<TokenUrl> = None => "that of the provider",
        /// Client id of the registered application.
        let client_id: Option<String> = None,
        /// Client secret of the application. Better: `oauth.client_secret_file`, or a variable.
        let client_secret: Option<Secret> = None,
        /// File with the client secret; read again before every use.
        let client_secret_file: Option<PathBuf> = None,
        /// Scope of the token.
        let scope: Option<String> = None => "that of the provider",
        /// Grant type.
        let grant: Option<GrantType> = None => "`refresh_token` where one is written, else `client_credentials`",
        /// The refresh token of `oauth.grant: refresh_token`. Better: `oauth.refresh_token_file`, or a variable.
        let refresh_token: Option<Secret> = None,
        /// File with the refresh token; read again before every use.
        let refresh_token_file: Option<PathBuf> = None,
        /// File with an access token that another program renews; read again before every login. Excludes all other options
        /// for tokens.
        let token_file: Option<PathBuf> = None,
        /// Program that prints an access token on stdout, and its arguments; run, without a shell, before every login.
        /// Excludes all other options for tokens.
        let token_command: Vec<String> = Vec::new(),
        /// TLS of the connection to `oauth.token_url`.
        let tls: Tls = nested,
        /// The source of tokens that these options select; `None` if none of them is set.
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
    /// Provider of the token endpoint.
    pub enum Provider = Microsoft365 {
        /// Exchange Online: needs `oauth.tenant_id`.
        Microsoft365 = "microsoft365",
        /// Gmail and Google Workspace: needs a refresh token.
        Gmail = "gmail",
    }
}

choices! {
    /// Grant type.
    pub enum GrantType = ClientCredentials {
        /// The application's own secret.
        ClientCredentials = "client_credentials",
        /// A refresh token, from a user's consent.
        RefreshToken = "refresh_token",
    }
}

/// Options of a token endpoint; `None` for those with problems.
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
            view.problem(first, format!("can't be combined with {second}; keep one of the two"));
            None
        }
    }
}

/// All options are checked before missing ones end decoding, so that all problems are reported.
fn endpoint(view: &View<'_>, written: Written) -> Option<Endpoint> {
    let provider = written.provider;
    let url = written.token_url.clone().or_else(|| url_of(view, &written));
    if written.client_id.is_none() && !view.has("client_id") {
        view.problem("client_id", "is missing; expected the client id of the registered application");
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

/// The token URL of the provider, if `token_url` is not set.
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
                view.problem("token_url", "is missing; set it, or set provider");
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
            refuse("grant", "gmail does not support client_credentials; use refresh_token, or a token_command")
        }
        (GrantType::ClientCredentials, _, Some(_)) => {
            refuse("refresh_token", "is not used with client_credentials; remove it")
        }
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

/// A directory id or domain, restricted to characters that are safe in a URL.
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
