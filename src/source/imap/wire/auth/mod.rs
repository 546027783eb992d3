//! Authentication: LOGIN or AUTHENTICATE with a password of any characters, an OAuth token, or the TLS client certificate.
//! Secrets are read anew for each login.

pub mod credentials;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use serde_json::Value;

use self::credentials::Account;
use super::{
    mailbox_name::quoted,
    server_texts::{CredentialKind, advice},
    session::Session,
};
use crate::{
    config::source::{Auth, Credentials, Imap, Security},
    net::token::{Token, TokenError},
    source::imap::error::{Fault, plain_to},
};

/// Characters of a token endpoint's error that are shown: Microsoft's errors begin with a sentence or two that matter.
const TOKEN_ERROR_SHOWN: usize = 400;

/// Logs in and returns the name of the mechanism.
pub async fn login(session: &mut Session, config: &Imap, account: &Account) -> Result<&'static str, Fault> {
    let shown = CredentialKind::from(&config.credentials);
    let method = method(config.auth, shown, |capability| session.offers(capability))
        .ok_or_else(|| Fault::Credentials(no_method(session, config, shown)))?;
    if config.user.contains('\0') {
        return Err(Fault::Configuration("the user may not contain a NUL".into()));
    }
    let Some(tokens) = account.tokens().await else {
        let secret = match &config.credentials {
            Credentials::Password(password) => password.reveal().map_err(Fault::Configuration)?,
            Credentials::Token(_) | Credentials::Certificate => String::new(),
        };
        return attempt(session, config, method, &secret).await.map(|()| method.name());
    };
    let mut again = false;
    loop {
        let Token { text, fresh } = tokens.token().await.map_err(|error| refused_token(config, error))?;
        match attempt(session, config, method, &text).await {
            Err(refusal @ Fault::Credentials(_)) => {
                tokens.discard().await;
                // A cached token may have been revoked: try a fresh one, once.
                if fresh || again {
                    return Err(refusal);
                }
                again = true;
            }
            other => return other.map(|()| method.name()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Plain,
    Login,
    XOauth2,
    OauthBearer,
    External,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Method::Plain => "PLAIN",
            Method::Login => "LOGIN",
            Method::XOauth2 => "XOAUTH2",
            Method::OauthBearer => "OAUTHBEARER",
            Method::External => "EXTERNAL",
        }
    }
}

/// Chooses the mechanism; `None` if the server offers none for these credentials.
fn method(wish: Auth, shown: CredentialKind, offers: impl Fn(&str) -> bool) -> Option<Method> {
    match (wish, shown) {
        (Auth::Plain, _) => Some(Method::Plain),
        (Auth::Auto, CredentialKind::Password) if offers("AUTH=PLAIN") => Some(Method::Plain),
        (Auth::Auto, CredentialKind::Password) | (Auth::Login, _) => {
            (!offers("LOGINDISABLED")).then_some(Method::Login)
        }
        (Auth::Oauthbearer, _) => Some(Method::OauthBearer),
        (Auth::Auto, CredentialKind::Token) if offers("AUTH=OAUTHBEARER") => Some(Method::OauthBearer),
        (Auth::Auto, CredentialKind::Token) => offers("AUTH=XOAUTH2").then_some(Method::XOauth2),
        (Auth::Xoauth2, _) => Some(Method::XOauth2),
        (Auth::Auto, CredentialKind::Certificate) => offers("AUTH=EXTERNAL").then_some(Method::External),
        (Auth::External, _) => Some(Method::External),
    }
}

/// Sends the login. `secret`: the password or the token; empty for other credentials.
async fn attempt(session: &mut Session, config: &Imap, method: Method, secret: &str) -> Result<(), Fault> {
    if secret.contains('\0') {
        return Err(Fault::Configuration("the password may not contain a NUL".into()));
    }
    let user = &config.user;
    session.redact([secret.to_owned(), escaped(secret)]);
    let response = match method {
        Method::Login => {
            let result = session.exchange("LOGIN".into(), &login_parts(user, secret), |_| ()).await;
            return result.map(drop).map_err(|fault| explain(session, config, fault, None));
        }
        Method::Plain => plain_message(user, secret),
        Method::XOauth2 => xoauth2_message(user, secret),
        Method::OauthBearer => oauthbearer_message(user, &config.host, config.port, secret),
        // RFC 4422 appendix A: the authorization identity.
        Method::External => user.clone(),
    };
    let (mechanism, response) = (method.name(), BASE64.encode(response));
    session.redact([response.clone()]);
    // Response to an error challenge, so that the server then sends its tagged NO; `*` cancels the exchange if no
    // challenge is due (RFC 3501 section 6.2.2).
    let acknowledgement = match method {
        Method::XOauth2 => "\r\n",
        Method::OauthBearer => "AQ==\r\n",
        _ => "*\r\n",
    };
    let at_once = session.offers("SASL-IR");
    let command = match at_once {
        true => format!("AUTHENTICATE {mechanism} {response}\r\n"),
        false => format!("AUTHENTICATE {mechanism}\r\n"),
    };
    let mut due = (!at_once).then(|| format!("{response}\r\n"));
    let mut challenge = None;
    let answer = |asked: &str| match due.take() {
        Some(response) => Some(response.into_bytes()),
        None if challenge.is_none() => {
            challenge = Some(asked.to_owned());
            Some(acknowledgement.into())
        }
        None => None,
    };
    let result = session.converse("AUTHENTICATE".into(), command.as_bytes(), answer, |_| ()).await;
    match result {
        Ok(_) if due.is_some() => Err(Fault::Unintelligible("the server accepted a login before it was sent".into())),
        Ok(_) => Ok(()),
        Err(fault) => Err(explain(session, config, fault, challenge.as_deref())),
    }
}

/// Returns the parts of a LOGIN command. Its two arguments are quoted, or sent as literals if a quoted string can't hold
/// them (RFC 3501 section 9: quoted strings are 7-bit and contain no line ends).
fn login_parts(user: &str, password: &str) -> Vec<Vec<u8>> {
    let mut parts = vec![b"LOGIN ".to_vec()];
    for (argument, follows) in [(user, " "), (password, "\r\n")] {
        let fits_quotes = argument.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let text = if fits_quotes { quoted(argument) } else { format!("{{{}}}\r\n", argument.len()) };
        parts.last_mut().expect("it begins with one part").extend(text.as_bytes());
        if !fits_quotes {
            parts.push(argument.into());
        }
        parts.last_mut().expect("it begins with one part").extend(follows.as_bytes());
    }
    parts
}

/// Returns the secret as escaped in a quoted string.
fn escaped(secret: &str) -> String {
    secret.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Maps a refused login to a fault with advice. `challenge`: the error challenge that the server sent before its NO, if
/// any.
fn explain(session: &Session, config: &Imap, fault: Fault, challenge: Option<&str>) -> Fault {
    let Fault::Refused { answer, .. } = fault else { return fault };
    let (host, user, said) = (session.host(), &config.user, answer.shown());
    if answer.is_temporary() {
        return Fault::Lost(format!("{host} can't check credentials for now: {said}"));
    }
    let shown = CredentialKind::from(&config.credentials);
    let what = match shown {
        CredentialKind::Password => "login",
        CredentialKind::Token => "token",
        CredentialKind::Certificate => "certificate",
    };
    let reason = challenge.and_then(challenge_reason).map(|reason| format!(" ({reason})")).unwrap_or_default();
    let advice = advice(host, shown, &said);
    let or_login = if may_try_login(session, config, shown) { ", or try auth: login" } else { "" };
    Fault::Credentials(format!("{host} refused the {what} of {user}: {said}{reason}; {advice}{or_login}"))
}

fn may_try_login(session: &Session, config: &Imap, shown: CredentialKind) -> bool {
    shown == CredentialKind::Password
        && config.auth != Auth::Login
        && session.offers("AUTH=PLAIN")
        && !session.offers("LOGINDISABLED")
}

/// Maps a failure to obtain a token to a fault.
fn refused_token(config: &Imap, error: TokenError) -> Fault {
    match error {
        TokenError::Unavailable { text, .. } => Fault::Lost(text),
        TokenError::Configuration { text, .. } => Fault::Configuration(text),
        TokenError::Refused(text) => {
            let text = plain_to(&text, TOKEN_ERROR_SHOWN);
            let advice = advice(&config.host, CredentialKind::Token, &text);
            Fault::Credentials(format!("{text}; {advice}"))
        }
    }
}

fn no_method(session: &Session, config: &Imap, shown: CredentialKind) -> String {
    let host = session.host();
    let mut offered: Vec<&str> = session
        .capabilities()
        .filter(|word| word.starts_with("AUTH=") || ["LOGINDISABLED", "STARTTLS"].contains(word))
        .collect();
    offered.sort_unstable();
    let what = match shown {
        CredentialKind::Password => "password",
        CredentialKind::Token => "token (neither OAUTHBEARER nor XOAUTH2)",
        CredentialKind::Certificate => "certificate for a login (EXTERNAL)",
    };
    let way_out = match (config.security, shown) {
        (Security::None, _) => "set security: tls or starttls, without which it may refuse credentials",
        (_, CredentialKind::Password) if config.auth == Auth::Login => "try auth: auto",
        (_, CredentialKind::Password) => advice(host, shown, ""),
        _ => "where it does all the same, name the method in auth",
    };
    format!("{host} accepts no {what}; it offers {}; {way_out}", offered.join(" "))
}

/// Characters of an error challenge that are shown.
const REASON_SHOWN: usize = 200;

/// Returns the PLAIN message (RFC 4616).
fn plain_message(user: &str, password: &str) -> String {
    format!("\0{user}\0{password}")
}

/// Returns the XOAUTH2 initial response: <https://developers.google.com/workspace/gmail/imap/xoauth2-protocol>
fn xoauth2_message(user: &str, token: &str) -> String {
    format!("user={user}\x01auth=Bearer {token}\x01\x01")
}

/// Returns the OAUTHBEARER initial response (RFC 7628 section 3.1), with the GS2 header of RFC 5801 section 4.
fn oauthbearer_message(user: &str, host: &str, port: u16, token: &str) -> String {
    let user = user.replace('=', "=3D").replace(',', "=2C");
    format!("n,a={user},\x01host={host}\x01port={port}\x01auth=Bearer {token}\x01\x01")
}

/// Returns the reason given in an error challenge (RFC 7628 section 3.2.2; XOAUTH2 uses the same format): its status, and
/// the scope that the server requires.
fn challenge_reason(challenge: &str) -> Option<String> {
    let reason: Value = serde_json::from_slice(&BASE64.decode(challenge.trim()).ok()?).ok()?;
    let told = ["status", "scope"].into_iter().filter_map(|key| match &reason[key] {
        Value::String(text) if !text.is_empty() => Some(format!("{key} {text}")),
        Value::Number(number) => Some(format!("{key} {number}")),
        _ => None,
    });
    let told = told.collect::<Vec<_>>().join(", ");
    (!told.is_empty()).then(|| plain_to(&told, REASON_SHOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wish: Auth, shown: CredentialKind, offered: &[&str]) -> Option<Method> {
        method(wish, shown, |word| offered.contains(&word))
    }

    #[test]
    fn with_a_password_auto_is_plain_where_offered_and_login_otherwise() {
        assert_eq!(chosen(Auth::Auto, CredentialKind::Password, &["AUTH=PLAIN", "AUTH=XOAUTH2"]), Some(Method::Plain));
        assert_eq!(chosen(Auth::Auto, CredentialKind::Password, &[]), Some(Method::Login));
        assert_eq!(chosen(Auth::Login, CredentialKind::Password, &["AUTH=PLAIN"]), Some(Method::Login));
    }

    #[test]
    fn login_is_not_tried_where_it_is_disabled() {
        assert_eq!(chosen(Auth::Auto, CredentialKind::Password, &["LOGINDISABLED"]), None);
        assert_eq!(chosen(Auth::Login, CredentialKind::Password, &["LOGINDISABLED"]), None);
    }

    #[test]
    fn with_a_token_auto_is_oauthbearer_where_offered_and_xoauth2_otherwise() {
        let auto = |offered: &[&str]| chosen(Auth::Auto, CredentialKind::Token, offered);
        assert_eq!(auto(&["AUTH=PLAIN", "AUTH=XOAUTH2", "AUTH=OAUTHBEARER"]), Some(Method::OauthBearer));
        assert_eq!(auto(&["AUTH=XOAUTH2", "LOGINDISABLED"]), Some(Method::XOauth2));
        assert_eq!(auto(&["AUTH=PLAIN"]), None);
    }

    #[test]
    fn with_a_certificate_alone_auto_is_external() {
        assert_eq!(chosen(Auth::Auto, CredentialKind::Certificate, &["AUTH=EXTERNAL"]), Some(Method::External));
        assert_eq!(chosen(Auth::Auto, CredentialKind::Certificate, &["AUTH=PLAIN"]), None);
    }

    #[test]
    fn configured_mechanism_is_used_even_if_not_offered() {
        assert_eq!(chosen(Auth::Xoauth2, CredentialKind::Token, &["AUTH=OAUTHBEARER"]), Some(Method::XOauth2));
        assert_eq!(chosen(Auth::Oauthbearer, CredentialKind::Token, &[]), Some(Method::OauthBearer));
        assert_eq!(chosen(Auth::External, CredentialKind::Certificate, &[]), Some(Method::External));
    }

    #[test]
    fn quotes_and_backslashes_are_escaped() {
        let line = concat!(r#"LOGIN "a b" "x\"y\\z""#, "\r\n");
        assert_eq!(login_parts("a b", r#"x"y\z"#), [line.as_bytes()]);
    }

    #[test]
    fn eight_bit_and_line_ends_travel_as_literals() {
        let parts = login_parts("üser", "pass\nword");
        let expected: [&[u8]; 3] = [b"LOGIN {5}\r\n", "üser {9}\r\n".as_bytes(), b"pass\nword\r\n"];
        assert_eq!(parts, expected);
    }

    /// The examples of RFC 7628 section 4.1 and of Google's documentation, with shorter tokens.
    #[test]
    fn tokens_are_presented_as_the_standards_say() {
        assert_eq!(
            oauthbearer_message("user@example.com", "server.example.com", 143, "vF9dft4q"),
            "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4q\x01\x01"
        );
        assert!(oauthbearer_message("a=b,c", "h", 1, "t").starts_with("n,a=a=3Db=2Cc,\x01"));
        assert_eq!(
            xoauth2_message("someuser@example.com", "ya29.vF9dft4q"),
            "user=someuser@example.com\x01auth=Bearer ya29.vF9dft4q\x01\x01"
        );
    }

    #[test]
    fn the_reason_for_a_refused_token_is_read_from_the_challenge() {
        let challenge = |json: &str| challenge_reason(&BASE64.encode(json));
        assert_eq!(
            challenge(r#"{"status":"invalid_token","scope":"example_scope","schemes":"bearer"}"#).as_deref(),
            Some("status invalid_token, scope example_scope")
        );
        assert_eq!(challenge(r#"{"status":400}"#).as_deref(), Some("status 400"));
        assert_eq!(challenge("{\"status\":\"a\\nb\"}").as_deref(), Some("status a b"));
        for none in ["", "not base64", "e30="] {
            assert_eq!(challenge_reason(none), None, "{none}");
        }
    }
}
