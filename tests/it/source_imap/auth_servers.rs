//! All authentication methods at a real Dovecot, with tokens from an identity provider of the test's own.

use std::{fs, path::PathBuf};

use dmarc_shipper::{
    config::{
        oauth::{Endpoint, Grant, Tokens},
        secret::Secret,
        source::{Auth, Credentials, Imap},
        tls::Tls,
    },
    source::{SourceError, Verdict},
};

use super::driver::{Driver, Server, archiving, mail};
use crate::support::{
    ca::Ca,
    dovecot::{Dovecot, Options, USER},
    idp::{CLIENT_ID, CLIENT_SECRET, Idp, REFRESH_TOKEN},
};

/// A Dovecot with one mail that accepts a provider's tokens.
struct Site {
    server: Server,
    idp: Idp,
}

impl Site {
    fn start() -> Self {
        let ca = Ca::new();
        let identity = ca.server_named("localhost");
        let idp = Idp::start(&identity, USER);
        let options = Options { extra: idp.dovecot_lines(), ..Options::default() };
        let server = Server { dovecot: Dovecot::with(&identity, &options), ca };
        server.fill(1);
        Self { server, idp }
    }

    fn config(&self, tokens: Tokens) -> Imap {
        Imap { credentials: Credentials::Token(tokens), ..archiving(&self.server) }
    }

    fn endpoint(&self, grant: Grant) -> Endpoint {
        Endpoint {
            url: self.idp.token_url().parse().unwrap(),
            client_id: CLIENT_ID.into(),
            client_secret: Some(Secret::Value(CLIENT_SECRET.into())),
            scope: Some("https://mail.example.com/.default".into()),
            grant,
            tls: Tls { ca_file: Some(self.server.ca.file()), ..Tls::default() },
        }
    }

    fn fetching(&self, grant: Grant) -> Imap {
        self.config(Tokens::Endpoint(Box::new(self.endpoint(grant))))
    }
}

async fn archived(config: Imap) -> u64 {
    Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap().settled
}

async fn failure(config: Imap) -> SourceError {
    Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap_err()
}

#[tokio::test]
async fn a_token_logs_in_by_either_mechanism() {
    let site = Site::start();
    for (auth, method) in [(Auth::Auto, "OAUTHBEARER"), (Auth::Xoauth2, "XOAUTH2"), (Auth::Oauthbearer, "OAUTHBEARER")]
    {
        site.server.mailbox().deliver("INBOX", &mail(2));
        let before = site.server.dovecot.log().matches(&format!("method={method}")).count();
        assert!(archived(Imap { auth, ..site.config(Tokens::File(site.idp.token_file())) }).await > 0);
        let logins = site.server.dovecot.log().matches(&format!("method={method}")).count();
        assert_eq!(logins - before, 1, "{}", site.server.dovecot.log());
    }
}

#[tokio::test]
async fn a_token_logs_in_where_the_first_line_may_not_hold_it() {
    let ca = Ca::new();
    let identity = ca.server_named("localhost");
    let idp = Idp::start(&identity, USER);
    let without = "IMAP4rev1 LITERAL+ LOGIN-REFERRALS ID ENABLE IDLE";
    let lines = format!("{}imap_capability = {without}\n", idp.dovecot_lines());
    let server = Server { dovecot: Dovecot::with(&identity, &Options { extra: lines, ..Options::default() }), ca };
    server.fill(1);
    for auth in [Auth::Xoauth2, Auth::Oauthbearer] {
        let credentials = Credentials::Token(Tokens::File(idp.token_file()));
        archived(Imap { auth, credentials, ..archiving(&server) }).await;
    }
}

#[tokio::test]
async fn the_token_is_fetched_with_the_application_s_own_secret() {
    let site = Site::start();
    assert_eq!(archived(site.fetching(Grant::ClientCredentials)).await, 1);
    let asked = site.idp.state().asked.clone();
    let expected = [
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("grant_type", "client_credentials"),
        ("scope", "https://mail.example.com/.default"),
    ];
    assert_eq!(asked, [expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into()]);
}

#[tokio::test]
async fn the_token_is_fetched_with_a_refresh_token() {
    let site = Site::start();
    assert_eq!(archived(site.fetching(Grant::RefreshToken(Secret::Value(REFRESH_TOKEN.into())))).await, 1);
    let asked = site.idp.state().asked.clone();
    assert_eq!((asked.len(), asked[0]["refresh_token"].as_str()), (1, REFRESH_TOKEN));
}

#[tokio::test]
async fn a_command_prints_the_token() {
    let site = Site::start();
    let command = ["cat".to_owned(), site.idp.token_file().display().to_string()];
    assert_eq!(archived(site.config(Tokens::Command(command.into()))).await, 1);
}

#[tokio::test]
async fn a_refused_token_is_told_with_the_servers_reason_and_without_the_token() {
    let site = Site::start();
    let file = site.idp.token_file();
    fs::write(&file, "ey.not-a-good-one").unwrap();
    for auth in [Auth::Xoauth2, Auth::Oauthbearer] {
        let error = failure(Imap { auth, ..site.config(Tokens::File(file.clone())) }).await;
        assert!(matches!(error, SourceError::AuthenticationRefused(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(USER) && text.contains("status ") && !text.contains("ey.not"), "{text}");
    }
}

#[tokio::test]
async fn a_token_for_somebody_else_is_refused() {
    let site = Site::start();
    let config = site.config(Tokens::File(site.idp.token_file()));
    let error = failure(Imap { user: "someone@example.com".into(), ..config }).await;
    assert!(matches!(error, SourceError::AuthenticationRefused(_)), "{error:?}");
}

#[tokio::test]
async fn untrusted_token_endpoint_gets_no_secret() {
    let site = Site::start();
    let endpoint = Endpoint { tls: Tls::default(), ..site.endpoint(Grant::ClientCredentials) };
    let error = failure(site.config(Tokens::Endpoint(Box::new(endpoint)))).await;
    assert!(matches!(error, SourceError::Unreachable(_)) && error.to_string().contains("oauth.tls.ca_file"), "{error}");
    assert!(site.idp.state().asked.is_empty());
}

#[tokio::test]
async fn a_wrong_secret_is_refused_credentials_and_a_missing_file_a_mistake_in_the_configuration() {
    let site = Site::start();
    let wrong =
        Endpoint { client_secret: Some(Secret::Value("wr0ng".into())), ..site.endpoint(Grant::ClientCredentials) };
    let error = failure(site.config(Tokens::Endpoint(Box::new(wrong)))).await;
    let text = error.to_string();
    assert!(matches!(error, SourceError::AuthenticationRefused(_)) && text.contains("invalid_client"), "{text}");
    let missing = PathBuf::from("/nowhere/secret");
    for tokens in [
        Tokens::File(missing.clone()),
        Tokens::Endpoint(Box::new(site.endpoint(Grant::RefreshToken(Secret::File(missing))))),
    ] {
        let error = failure(site.config(tokens)).await;
        assert!(matches!(error, SourceError::Configuration(_)), "{error:?}");
        assert!(error.to_string().contains("/nowhere/secret"), "{error}");
    }
}

/// Starts a Dovecot that takes the user name from the client certificate.
fn taking_certificates(ca: &Ca) -> Dovecot {
    let extra = format!(
        "ssl_ca = <{}\nssl_verify_client_cert = yes\nssl_require_crl = no\nauth_ssl_username_from_cert = yes\n\
         auth_mechanisms = plain external\n\
         passdb {{\n  driver = static\n  mechanisms = external\n  args = nopassword=y\n}}\n",
        ca.file().display()
    );
    Dovecot::with(&ca.server_named("localhost"), &Options { extra, ..Options::default() })
}

#[tokio::test]
async fn a_client_certificate_alone_logs_in() {
    let ca = Ca::new();
    let client = ca.client(USER);
    let server = Server { dovecot: taking_certificates(&ca), ca };
    let tls = Tls {
        ca_file: Some(server.ca.file()),
        crt_file: Some(client.certificate),
        key_file: Some(client.key),
        ..Tls::default()
    };
    let config = Imap { credentials: Credentials::Certificate, tls, ..archiving(&server) };
    for auth in [Auth::Auto, Auth::External] {
        server.fill(1);
        assert_eq!(archived(Imap { auth, ..config.clone() }).await, 1);
    }
    assert!(server.dovecot.log().contains("method=EXTERNAL"), "{}", server.dovecot.log());

    // The certificate belongs to another user.
    let error = failure(Imap { user: "someone@example.com".into(), ..config }).await;
    assert!(matches!(error, SourceError::AuthenticationRefused(_)), "{error:?}");
}

/// Regression: interim responses (1xx) were read for thirty seconds, as fast as they arrived.
#[tokio::test]
async fn endless_token_response_is_cut_off() {
    let site = Site::start();
    let body = "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n";
    for (begin, text) in [
        ("", "HTTP/1.1 100 Continue\r\n\r\n".repeat(100)),
        ("HTTP/1.1 200 OK\r\n", "X-Header: x\r\n".repeat(100)),
        ("HTTP/1.1 200 OK\r\nX-Header: ", "x".repeat(1000)),
        (body, "x".repeat(1000)),
    ] {
        site.idp.state().flood = Some((begin, text));
        let asked = std::time::Instant::now();
        let error = failure(site.fetching(Grant::ClientCredentials)).await;
        assert!(asked.elapsed() < std::time::Duration::from_secs(20), "{begin}: {:?}", asked.elapsed());
        let is_named = ["larger than 256 KiB", "too large"];
        assert!(is_named.iter().any(|name| error.to_string().contains(name)), "{begin}: {error}");
    }
}
