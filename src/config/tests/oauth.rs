//! `oauth.*` and related options.

use super::*;
use crate::config::{
    oauth::{Endpoint, Grant, Tokens},
    secret::Secret,
    source::{Auth, Credentials},
};

/// The mailbox of [`SMALL`] with an `oauth` table instead of its password.
fn with_oauth(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("      {line}\n")).collect();
    SMALL.replace("    password: s3cret\n", &format!("    oauth:\n{lines}"))
}

fn tokens(lines: &str) -> Tokens {
    let loaded = yaml(&with_oauth(lines)).unwrap_or_else(|problems| panic!("{problems}"));
    match imap(&loaded).credentials.clone() {
        Credentials::Token(tokens) => tokens,
        other => panic!("expected tokens, not {other:?}"),
    }
}

fn endpoint(lines: &str) -> Endpoint {
    match tokens(lines) {
        Tokens::Endpoint(endpoint) => *endpoint,
        other => panic!("expected an endpoint, not {other:?}"),
    }
}

#[track_caller]
fn refused(text: &str, key: &str, part: &str) {
    let told = problems(text);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(&format!(" sources.rua.{key}: ")) && told[0].contains(part), "{key}, {part}: {told:?}");
}

#[test]
fn microsoft365_needs_only_tenant_id_and_client_credentials() {
    let endpoint = endpoint("provider: microsoft365\ntenant_id: 11-22\nclient_id: app\nclient_secret: pw");
    assert_eq!(endpoint.url, "https://login.microsoftonline.com/11-22/oauth2/v2.0/token");
    assert_eq!(endpoint.scope.as_deref(), Some("https://outlook.office365.com/.default"));
    assert_eq!(endpoint.client_secret, Some(Secret::Value("pw".into())));
    assert!(matches!(endpoint.grant, Grant::ClientCredentials));
}

#[test]
fn gmail_needs_only_client_credentials_and_refresh_token() {
    let endpoint = endpoint("provider: gmail\nclient_id: app\nclient_secret: pw\nrefresh_token_file: /token");
    assert_eq!((endpoint.url.to_string().as_str(), endpoint.scope), ("https://oauth2.googleapis.com/token", None));
    assert!(matches!(endpoint.grant, Grant::RefreshToken(Secret::File(file)) if file.ends_with("token")));
}

#[test]
fn explicit_oauth_options_override_the_provider() {
    let national =
        "token_url: https://login.microsoftonline.us/t/oauth2/v2.0/token\nscope: https://outlook.office365.us/.default";
    let endpoint = endpoint(&format!("provider: microsoft365\nclient_id: app\nclient_secret: pw\n{national}"));
    assert_eq!(endpoint.url.host(), Some("login.microsoftonline.us"));
    assert_eq!(endpoint.scope.as_deref(), Some("https://outlook.office365.us/.default"));
}

#[test]
fn refresh_token_works_without_client_secret() {
    let endpoint = endpoint("token_url: https://idp/token\nclient_id: app\nrefresh_token: r");
    assert_eq!((endpoint.client_secret, endpoint.scope), (None, None));
    assert!(matches!(endpoint.grant, Grant::RefreshToken(Secret::Value(_))));
}

#[test]
fn tokens_may_come_from_a_file_or_a_command() {
    assert!(matches!(tokens("token_file: /run/token"), Tokens::File(path) if path.ends_with("token")));
    assert!(matches!(tokens("token_command: [a, 'b, c']"), Tokens::Command(command) if command == ["a", "b, c"]));
}

#[test]
fn conflicting_oauth_options_are_refused() {
    let refused = |lines: &str, key: &str, part: &str| refused(&with_oauth(lines), &format!("oauth.{key}"), part);
    refused("token_file: /a\ntoken_command: [b]", "token_file", "can't be combined with token_command");
    refused("token_command: [b]\nclient_id: app", "token_command", "can't be combined with client_id");
    refused("token_command: []", "token_command", "expected a program");
    refused("client_id: app\nclient_secret: pw", "token_url", "is missing");
    refused("provider: microsoft365\nclient_id: app\nclient_secret: pw", "tenant_id", "is missing");
    refused("provider: gmail\nclient_id: app\nclient_secret: pw", "refresh_token", "refresh_token_file");
    refused("provider: microsoft365\ntenant_id: t\nclient_secret: pw", "client_id", "is missing");
    refused("provider: microsoft365\ntenant_id: t\nclient_id: app", "client_secret", "client_secret_file");
    let gmail = "provider: gmail\nclient_id: app\nclient_secret: pw\n";
    refused(&format!("{gmail}grant: client_credentials"), "grant", "use refresh_token");
    let own = "token_url: https://idp/\nclient_id: app\nclient_secret: pw\n";
    refused(
        &format!("{own}grant: client_credentials\nrefresh_token: r"),
        "refresh_token",
        "not used with client_credentials",
    );
    refused(&format!("{own}client_secret_file: /a"), "client_secret_file", "can't be combined with client_secret");
    refused("provider: microsoft365\ntenant_id: a/b\nclient_id: app\nclient_secret: pw", "tenant_id", "not \"a/b\"");
}

#[test]
fn token_url_must_be_https() {
    for url in ["http://idp.example.com/token", "idp.example.com", "https://", "https://user:pw@idp.example.com/"] {
        let text = with_oauth(&format!("token_url: '{url}'\nclient_id: app\nclient_secret: pw"));
        refused(&text, "oauth.token_url", "expected an https:// URL");
    }
}

#[test]
fn auth_must_match_the_configured_credentials() {
    let token = with_oauth("token_file: /run/token");
    let put = |text: &str, line: &str| text.replace("    type: imap\n", &format!("    type: imap\n    {line}\n"));
    refused(&put(&token, "password: pw"), "oauth", "can't be combined with password");
    refused(&put(&token, "auth: plain"), "auth", "needs password_file");
    refused(&put(SMALL, "auth: xoauth2"), "auth", "needs oauth");
    refused(&put(SMALL, "auth: external"), "auth", "needs tls.crt_file");
    let bare = SMALL.replace("    password: s3cret\n", "");
    refused(&put(&bare, "auth: external"), "password", "tls.crt_file for a certificate");
    let certificate = put(&bare, "tls: {crt_file: /a, key_file: /b}");
    let loaded = yaml(&certificate).unwrap();
    assert!(matches!(imap(&loaded).credentials, Credentials::Certificate));
    assert_eq!(imap(&loaded).auth, Auth::Auto);
    refused(&put(&certificate, "security: none"), "security", "no client certificate");
    // With a password, the certificate is used for the connection only.
    let both = put(SMALL, "tls: {crt_file: /a, key_file: /b}");
    assert!(matches!(imap(&yaml(&both).unwrap()).credentials, Credentials::Password(_)));
}

#[test]
fn oauth_secrets_are_refused_in_a_url() {
    let from = |url: &str| {
        let arguments = Arguments { file: None, from: &[url.to_owned()], to: &["stdout:".to_owned()], ask: &|_| None };
        Loader { variable: &|_| None, fields: &[] }.arguments(&arguments)
    };
    let loaded = from("imaps://me@host/INBOX?oauth.token_file=/run/token").unwrap();
    assert!(matches!(imap(&loaded).credentials, Credentials::Token(Tokens::File(_))));
    let loaded = from("imaps://me@host/INBOX?auth=external&crt_file=/a&key_file=/b").unwrap();
    assert!(matches!(imap(&loaded).credentials, Credentials::Certificate));
    for secret in ["oauth.client_secret=s3cret", "oauth.refresh_token=s3cret"] {
        let told = from(&format!("imaps://me@host/INBOX?oauth.client_id=a&{secret}")).unwrap_err().to_string();
        assert!(told.contains("other credential") && !told.contains("s3cret"), "{told}");
    }
}
