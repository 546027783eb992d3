//! Logins at scripted servers that behave like Microsoft's and Google's, and token endpoints that refuse.

use std::{fs, path::Path, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use dmarc_shipper::{
    config::{
        oauth::{Endpoint, Grant, Tokens},
        secret::Secret,
        source::{Auth, Credentials, Imap},
        tls::Tls,
    },
    source::{Pass, SourceError, Verdict},
};
use tempfile::TempDir;

use super::{
    driver::{Driver, Seen, config, password},
    scripted::{Act, Scripted, State, body},
};
use crate::support::{
    ca::Ca,
    dovecot::USER,
    idp::{CLIENT_ID, CLIENT_SECRET, Idp},
};

/// Capabilities of Microsoft 365 before the login.
const MICROSOFT: &str = "IMAP4 IMAP4rev1 LOGINDISABLED AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT IDLE";
const GOOGLE: &str = "IMAP4rev1 MOVE UIDPLUS SASL-IR AUTH=XOAUTH2 AUTH=PLAIN AUTH=PLAIN-CLIENTTOKEN AUTH=OAUTHBEARER";

fn scripted(server: &Scripted, credentials: Credentials) -> Imap {
    Imap { host: "127.0.0.1".into(), credentials, archive_folder: Some("Done".into()), ..config(server.port) }
}

async fn archive_all(config: Imap) -> (Result<Pass, SourceError>, Vec<Seen>) {
    Driver::new(config).run(|_| Verdict::Archive).await
}

/// Runs as a service until the first mail was handed over.
async fn archive_one(config: Imap) -> Result<Pass, SourceError> {
    let mut driver = Driver::new(config);
    driver.once = false;
    let stop = driver.stop.clone();
    let run = driver.run(move |_| {
        stop.cancel();
        Verdict::Archive
    });
    run.await.0
}

async fn failure(config: Imap) -> SourceError {
    archive_all(config).await.0.unwrap_err()
}

/// Returns a token in a file, which is deleted with its folder.
fn in_file(folder: &TempDir, token: &str) -> Credentials {
    let path = folder.path().join("token");
    fs::write(&path, token).unwrap();
    Credentials::Token(Tokens::File(path))
}

/// Returns an identity provider, and the credentials for fetching tokens from it.
fn fetching() -> (Idp, Credentials, Ca) {
    let ca = Ca::new();
    let idp = Idp::start(&ca.server_named("localhost"), USER);
    let endpoint = Endpoint {
        url: idp.token_url().parse().unwrap(),
        client_id: CLIENT_ID.into(),
        client_secret: Some(Secret::Value(CLIENT_SECRET.into())),
        scope: None,
        grant: Grant::ClientCredentials,
        tls: Tls { ca_file: Some(ca.file()), ..Tls::default() },
    };
    (idp, Credentials::Token(Tokens::Endpoint(Box::new(endpoint))), ca)
}

fn logins(state: &State) -> Vec<&str> {
    state.commands.iter().filter(|command| command.starts_with("AUTHENTICATE")).map(String::as_str).collect()
}

/// Returns the token in an AUTHENTICATE XOAUTH2 or OAUTHBEARER with an initial response.
fn token(login: &str) -> String {
    let response = STANDARD.decode(login.rsplit(' ').next().unwrap()).unwrap();
    let response = String::from_utf8(response).unwrap();
    response.split('\x01').find_map(|field| field.strip_prefix("auth=Bearer ")).unwrap().to_owned()
}

#[tokio::test]
async fn microsoft_s_server_gets_the_token_in_the_first_line_and_never_a_login() {
    let folder = tempfile::tempdir().unwrap();
    let server = Scripted::start(1, |_, _| Act::Honest).await;
    server.set(|state| state.capabilities = MICROSOFT);
    archive_all(scripted(&server, in_file(&folder, "t0ken\n"))).await.0.unwrap();
    let state = server.state.lock().unwrap();
    let expected = STANDARD.encode(format!("user={USER}\x01auth=Bearer t0ken\x01\x01"));
    assert_eq!(logins(&state), [format!("AUTHENTICATE XOAUTH2 {expected}")]);
}

#[tokio::test]
async fn microsoft_s_server_gets_no_password() {
    let server = Scripted::start(1, |_, _| Act::Honest).await;
    server.set(|state| state.capabilities = MICROSOFT);
    let error = failure(scripted(&server, password("secret"))).await;
    assert!(matches!(error, SourceError::AuthenticationRefused(_)), "{error:?}");
    assert!(error.to_string().contains("XOAUTH2"), "{error}");
    assert_eq!((server.count("LOGIN"), server.count("AUTHENTICATE")), (0, 0));
}

#[tokio::test]
async fn a_token_is_not_shown_to_a_server_that_takes_none() {
    let folder = tempfile::tempdir().unwrap();
    let server = Scripted::start(1, |_, _| Act::Honest).await;
    server.set(|state| state.capabilities = "IMAP4rev1 AUTH=PLAIN");
    let error = failure(scripted(&server, in_file(&folder, "t0ken"))).await;
    assert!(
        matches!(error, SourceError::AuthenticationRefused(_)) && error.to_string().contains("AUTH=PLAIN"),
        "{error}"
    );
    assert_eq!((server.count("LOGIN"), server.count("AUTHENTICATE")), (0, 0));
}

#[tokio::test]
async fn without_sasl_ir_the_response_waits_for_the_continuation_request() {
    let folder = tempfile::tempdir().unwrap();
    for (capabilities, credentials, expected) in [
        ("IMAP4rev1 MOVE AUTH=PLAIN", password("secret"), format!("\0{USER}\0secret")),
        (
            "IMAP4rev1 MOVE AUTH=OAUTHBEARER",
            in_file(&folder, "t0ken"),
            format!("n,a={USER},\x01host=127.0.0.1\x01port=PORT\x01auth=Bearer t0ken\x01\x01"),
        ),
    ] {
        let server = Scripted::start(1, |_, command| match command {
            _ if command.starts_with("AUTHENTICATE ") => Act::Ask(String::new()),
            _ => Act::Honest,
        })
        .await;
        server.set(|state| state.capabilities = capabilities);
        archive_all(scripted(&server, credentials)).await.0.unwrap();
        let expected = STANDARD.encode(expected.replace("PORT", &server.port.to_string()));
        assert_eq!(server.count(&format!("+ {expected}")), 1, "{:?}", server.state.lock().unwrap().commands);
    }
}

#[tokio::test]
async fn sasl_ir_sends_the_password_in_the_first_line() {
    let server = Scripted::start(1, |_, _| Act::Honest).await;
    server.set(|state| state.capabilities = GOOGLE);
    archive_all(scripted(&server, password("secret"))).await.0.unwrap();
    let expected = STANDARD.encode(format!("\0{USER}\0secret"));
    assert_eq!(logins(&server.state.lock().unwrap()), [format!("AUTHENTICATE PLAIN {expected}")]);
}

#[tokio::test]
async fn sasl_error_challenge_is_acknowledged_and_its_reason_reported() {
    let folder = tempfile::tempdir().unwrap();
    let reason = STANDARD.encode(r#"{"status":"invalid_token","schemes":"bearer","scope":"https://mail.google.com/"}"#);
    for (auth, acknowledgement) in [(Auth::Oauthbearer, "+ AQ=="), (Auth::Xoauth2, "+ ")] {
        let reason = reason.clone();
        let server = Scripted::start(1, move |_, command| match command {
            _ if command.starts_with("AUTHENTICATE ") => Act::Ask(reason.clone()),
            _ if command == acknowledgement => Act::Say("TAG NO [AUTHENTICATIONFAILED] no\r\n".into()),
            _ => Act::Honest,
        })
        .await;
        server.set(|state| state.capabilities = GOOGLE);
        let error = failure(Imap { auth, ..scripted(&server, in_file(&folder, "t0ken")) }).await;
        assert!(matches!(error, SourceError::AuthenticationRefused(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("status invalid_token, scope https://mail.google.com/"), "{text}");
    }
}

#[tokio::test]
async fn endless_continuation_requests_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for credentials in [password("secret"), in_file(&folder, "t0ken")] {
        let server = Scripted::start(1, |_, command| match command {
            _ if command.starts_with("AUTHENTICATE ") || command.starts_with("+ ") => Act::Ask("more".into()),
            _ => Act::Honest,
        })
        .await;
        server.set(|state| state.capabilities = GOOGLE);
        let error = failure(scripted(&server, credentials)).await;
        assert!(
            matches!(error, SourceError::Unreachable(_)) && error.to_string().contains("where none was expected"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn login_accepted_before_it_was_sent_is_an_error() {
    let server = Scripted::start(1, |_, _| Act::Honest).await;
    server.set(|state| state.capabilities = "IMAP4rev1 AUTH=PLAIN");
    let error = failure(scripted(&server, password("secret"))).await;
    assert!(error.to_string().contains("before it was sent"), "{error}");
}

#[tokio::test]
async fn secret_repeated_by_the_server_is_redacted() {
    let folder = tempfile::tempdir().unwrap();
    for (credentials, secrets) in [
        (password("s3cr\\et"), vec!["s3cr".to_owned(), STANDARD.encode(format!("\0{USER}\0s3cr\\et"))]),
        (in_file(&folder, "t0ken"), vec!["t0ken".to_owned()]),
    ] {
        for ending in ["TAG NO", "* BYE"] {
            let server = Scripted::start(1, move |_, command| match command.split_once(' ') {
                Some(("AUTHENTICATE", response)) => {
                    let sent = STANDARD.decode(response.rsplit(' ').next().unwrap()).unwrap();
                    let sent: String = String::from_utf8(sent).unwrap().replace(['\0', '\x01'], " ");
                    Act::SayAndHangUp(format!("{ending} you said {response} which is {sent}\r\n"))
                }
                _ => Act::Honest,
            })
            .await;
            server.set(|state| state.capabilities = GOOGLE);
            let text = failure(scripted(&server, credentials.clone())).await.to_string();
            assert!(text.contains("you said") && secrets.iter().all(|secret| !text.contains(secret)), "{text}");
        }
    }
}

/// Gmail and Exchange Online end a session when its token expires; here they do so while a single mail is fetched, more
/// often than a mail may break a session.
#[tokio::test]
async fn token_expired_during_a_session_is_renewed_and_blames_no_mail() {
    for farewell in
        ["* BYE Session expired, please login again.\r\n", "* BYE Session invalidated - AccessTokenExpired\r\n"]
    {
        let (idp, credentials, _ca) = fetching();
        let server = Scripted::start(1, move |state, command| match command.ends_with("BODY.PEEK[])") {
            true if state.sessions <= 4 => Act::SayAndHangUp(farewell.into()),
            _ => Act::Honest,
        })
        .await;
        server.set(|state| state.capabilities = GOOGLE);
        let (pass, seen) = archive_all(scripted(&server, credentials)).await;
        let pass = pass.unwrap();
        assert_eq!((seen.len(), pass.taken, pass.settled, pass.unsettled), (1, 1, 1, 0));
        let state = server.state.lock().unwrap();
        let shown: Vec<String> = logins(&state).into_iter().map(token).collect();
        assert_eq!(shown, idp.state().good, "each session had a token of its own");
        assert_eq!(shown.len(), 5);
    }
}

#[tokio::test]
async fn command_refused_for_an_expired_login_is_retried_after_a_new_login() {
    let (idp, credentials, _ca) = fetching();
    let server = Scripted::start(3, |state, command| match command.starts_with("UID MOVE") && state.sessions == 1 {
        true => Act::Say("TAG NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)\r\n".into()),
        false => Act::Honest,
    })
    .await;
    server.set(|state| state.capabilities = GOOGLE);
    let pass = archive_all(scripted(&server, credentials)).await.0.unwrap();
    assert_eq!((pass.taken, pass.settled, pass.unsettled), (3, 3, 0));
    assert_eq!(idp.state().issued, 2);
}

#[tokio::test]
async fn cached_token_is_reused_and_replaced_when_refused() {
    for revoked in [false, true] {
        let (idp, credentials, _ca) = fetching();
        // A protocol error is no reason to doubt the token.
        let server = Scripted::start(2, move |state, command| match command {
            _ if command.ends_with("BODY.PEEK[])") && state.sessions == 1 => {
                Act::SayAndHangUp("what is this?\r\n".into())
            }
            _ if command.starts_with("AUTHENTICATE")
                && revoked
                && state.sessions == 2
                && token(command).contains("-1") =>
            {
                Act::Say("TAG NO [AUTHENTICATIONFAILED] revoked\r\n".into())
            }
            _ => Act::Honest,
        })
        .await;
        server.set(|state| state.capabilities = GOOGLE);
        let pass = archive_all(scripted(&server, credentials)).await.0.unwrap();
        assert_eq!((pass.settled, pass.unsettled), (2, 0));
        assert_eq!(idp.state().issued, if revoked { 2 } else { 1 });
        let state = server.state.lock().unwrap();
        assert_eq!((state.sessions, logins(&state).len()), (2, if revoked { 3 } else { 2 }));
    }
}

#[tokio::test]
async fn microsoft_token_endpoint_refusals_come_with_advice() {
    for (error, description, part) in [
        ("invalid_client", "AADSTS7000215: Invalid client secret provided.", "the secret's value, not its id"),
        ("invalid_client", "AADSTS7000222: The provided client secret keys are expired.", "make a new one"),
        ("unauthorized_client", "AADSTS700016: Application with identifier 'x' was not found.", "oauth.tenant_id"),
        ("invalid_request", "AADSTS90002: Tenant 'x' not found.", "oauth.tenant_id"),
        ("invalid_grant", "AADSTS65001: The user or administrator has not consented.", "Grant admin consent"),
    ] {
        let (idp, credentials, _ca) = fetching();
        let server = Scripted::start(1, |_, _| Act::Honest).await;
        server.set(|state| state.capabilities = MICROSOFT);
        let answer = serde_json::json!({"error": error, "error_description": format!("{description}\r\nTrace ID: 1")});
        idp.state().answers.push_back((400, answer.to_string()));
        let refusal = failure(scripted(&server, credentials)).await;
        let text = refusal.to_string();
        assert!(matches!(refusal, SourceError::AuthenticationRefused(_)), "{refusal:?}");
        assert!(text.contains(description) && text.contains(part) && !text.contains('\n'), "{text}");
        assert_eq!(server.count("AUTHENTICATE"), 0);
    }
}

#[tokio::test]
async fn exchange_online_refusals_come_with_advice() {
    for (login, then, refused_part) in [
        ("TAG NO AUTHENTICATE failed.\r\n", "", "New-ServicePrincipal"),
        ("TAG OK AUTHENTICATE completed.\r\n", "TAG BAD User is authenticated but not connected.\r\n", "Full Access"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = Scripted::start(1, move |_, command| match command {
            _ if command.starts_with("AUTHENTICATE") => Act::Say(login.into()),
            _ if command.starts_with("LIST") || command.starts_with("SELECT") => Act::Say(then.into()),
            _ => Act::Honest,
        })
        .await;
        server.set(|state| state.capabilities = MICROSOFT);
        let error = failure(scripted(&server, in_file(&folder, "t0ken"))).await;
        let is_refusal = matches!(error, SourceError::AuthenticationRefused(_));
        assert_eq!(is_refusal, then.is_empty(), "{error:?}");
        assert!(error.to_string().contains(refused_part), "{error}");
    }
}

#[tokio::test]
async fn failing_token_endpoint_is_retried_with_backoff() {
    let (idp, credentials, _ca) = fetching();
    idp.state().answers.extend([(503, String::new()), (429, r#"{"error":"invalid_grant"}"#.into())]);
    let server = Scripted::start(1, |_, _| Act::Honest).await;
    server.set(|state| state.capabilities = GOOGLE);
    assert_eq!(archive_one(scripted(&server, credentials.clone())).await.unwrap().settled, 1);
    assert_eq!(idp.state().asked.len(), 3);

    // A single run does not retry an endpoint that has never worked.
    idp.state().answers.push_back((500, String::new()));
    let error = failure(scripted(&server, credentials)).await;
    assert!(matches!(error, SourceError::Unreachable(_)) && error.to_string().contains("500"), "{error}");
}

#[tokio::test]
async fn endless_response_is_not_buffered() {
    let (idp, credentials, _ca) = fetching();
    idp.state().answers.push_back((200, "x".repeat(1 << 20)));
    let server = Scripted::start(1, |_, _| Act::Honest).await;
    server.set(|state| state.capabilities = GOOGLE);
    let error = failure(scripted(&server, credentials)).await;
    assert!(matches!(error, SourceError::Unreachable(_)) && error.to_string().contains("too large"), "{error}");
}

/// Refuses each login until `file` was rewritten, which it does itself at the first refusal.
async fn rotating(file: &Path, good: &'static str, accepts: fn(&str) -> bool) -> Scripted {
    let file = file.to_owned();
    let server = Scripted::start(1, move |_, command| {
        if !command.starts_with("LOGIN") && !command.starts_with("AUTHENTICATE") || accepts(command) {
            return Act::Honest;
        }
        fs::write(&file, good).unwrap();
        Act::Say("TAG NO [AUTHENTICATIONFAILED] no\r\n".into())
    });
    server.await
}

/// Otherwise, the next attempt after a refusal comes after five minutes, longer than this test may take.
#[tokio::test]
async fn changed_secret_is_tried_at_once_after_a_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "old\n").unwrap();
    let server = rotating(&file, "new\n", |command| command.ends_with("\"new\"")).await;
    let credentials = Credentials::Password(Secret::File(file));
    assert_eq!(archive_one(scripted(&server, credentials)).await.unwrap().settled, 1);
    assert_eq!(server.count("LOGIN"), 2);

    let credentials = in_file(&folder, "old");
    let server = rotating(&folder.path().join("token"), "new", |command| token(command) == "new").await;
    server.set(|state| state.capabilities = GOOGLE);
    assert_eq!(archive_one(scripted(&server, credentials)).await.unwrap().settled, 1);
    assert_eq!(server.count("AUTHENTICATE"), 2);
}

#[tokio::test]
async fn unchanged_secret_is_retried_with_backoff_after_a_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "old").unwrap();
    let server = rotating(&file, "old", |_| false).await;
    let mut driver = Driver::new(scripted(&server, Credentials::Password(Secret::File(file))));
    driver.once = false;
    let stop = driver.stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(6)).await;
        stop.cancel();
    });
    driver.run(|_| Verdict::Archive).await.0.unwrap();
    assert_eq!(server.count("LOGIN"), 1);
}

/// The password is read again for each session.
#[tokio::test]
async fn rotated_password_is_used_at_the_next_login() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "first").unwrap();
    let rotated = file.clone();
    let server = Scripted::start(1, move |state, command| match command.ends_with("BODY.PEEK[])") {
        true if state.sessions == 1 => {
            fs::write(&rotated, "second").unwrap();
            Act::SayAndHangUp(body(state, 1)[..10].into())
        }
        _ => Act::Honest,
    })
    .await;
    let pass = archive_all(scripted(&server, Credentials::Password(Secret::File(file)))).await.0.unwrap();
    assert_eq!((pass.settled, server.count(&format!("LOGIN \"{USER}\" \"second\""))), (1, 1));
}
