//! Logging in: AUTHENTICATE PLAIN or LOGIN, with a password of any characters, read anew each time.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{
    fault::{Answer, Fault},
    name::quoted,
    session::Session,
};
use crate::config::source::{Auth, Imap, Security};

pub async fn login(session: &mut Session, config: &Imap) -> Result<(), Fault> {
    let method = method(config.auth, |capability| session.offers(capability))
        .ok_or_else(|| Fault::Credentials(no_method(session, config)))?;
    let password = config.password.reveal().map_err(Fault::Configuration)?;
    if password.contains('\0') || config.user.contains('\0') {
        return Err(Fault::Configuration("neither user nor password may contain a NUL".into()));
    }
    let result = match method {
        Method::Plain => plain(session, &config.user, &password).await,
        Method::Login => log_in(session, &config.user, &password).await,
    };
    result.map_err(|fault| match fault {
        Fault::Refused { answer: Answer { code, text }, .. } => {
            refused(session, config, &Answer { code, text: redacted(text, &config.user, &password) })
        }
        Fault::Lost(text) => Fault::Lost(redacted(text, &config.user, &password)),
        Fault::Throttled { text, wait } => Fault::Throttled { text: redacted(text, &config.user, &password), wait },
        other => other,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Plain,
    Login,
}

/// How to log in; `None` where the server lets nobody in with a password.
fn method(wish: Auth, offers: impl Fn(&str) -> bool) -> Option<Method> {
    match wish {
        Auth::Plain => Some(Method::Plain),
        Auth::Auto if offers("AUTH=PLAIN") => Some(Method::Plain),
        Auth::Auto | Auth::Login => (!offers("LOGINDISABLED")).then_some(Method::Login),
    }
}

/// RFC 4616; without an initial response, which older servers refuse.
async fn plain(session: &mut Session, user: &str, password: &str) -> Result<(), Fault> {
    let response = BASE64.encode(format!("\0{user}\0{password}"));
    let parts = [b"AUTHENTICATE PLAIN\r\n".to_vec(), format!("{response}\r\n").into_bytes()];
    session.exchange("AUTHENTICATE".into(), &parts, |_| ()).await.map(drop)
}

/// LOGIN with its two arguments quoted, or as literals where a quoted string can't hold them (RFC 3501 section 9: quoted
/// strings are 7-bit and have no line ends).
async fn log_in(session: &mut Session, user: &str, password: &str) -> Result<(), Fault> {
    session.exchange("LOGIN".into(), &login_parts(user, password), |_| ()).await.map(drop)
}

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

/// What the server said, without the secret in any of the forms it was sent in, should it repeat it.
fn redacted(mut text: String, user: &str, password: &str) -> String {
    let quoted = password.replace('\\', "\\\\").replace('"', "\\\"");
    for secret in [password.to_owned(), quoted, BASE64.encode(format!("\0{user}\0{password}"))] {
        if !secret.is_empty() {
            text = text.replace(&secret, "…");
        }
    }
    text
}

fn refused(session: &Session, config: &Imap, answer: &Answer) -> Fault {
    let (host, user, said) = (session.host(), &config.user, answer.shown());
    if answer.is_temporary() {
        return Fault::Lost(format!("{host} can't check logins for now: {said}"));
    }
    Fault::Credentials(format!(
        "{host} refused the login of {user}: {said}; {}",
        advice(host, session.offers("AUTH=PLAIN") && config.auth != Auth::Login)
    ))
}

fn no_method(session: &Session, config: &Imap) -> String {
    let host = session.host();
    let mut offered: Vec<&str> = session.capabilities().filter(|word| word.starts_with("AUTH=")).collect();
    offered.sort_unstable();
    let way_out = match config.security {
        Security::None => "set security: tls or starttls, without which it may refuse passwords",
        _ => advice(host, offered.contains(&"AUTH=PLAIN") && config.auth != Auth::Login),
    };
    format!("{host} takes no password (LOGINDISABLED; it offers {}); {way_out}", offered.join(" "))
}

/// What is wrong at the providers where it is always the same thing.
fn advice(host: &str, may_try_login: bool) -> &'static str {
    let host = host.to_ascii_lowercase();
    let ends = |names: &[&str]| names.iter().any(|name| host.ends_with(name));
    if ends(&["office365.com", "outlook.com", "office.com"]) {
        "Microsoft 365 takes OAuth only, which this version does not speak"
    } else if ends(&["gmail.com", "googlemail.com"]) {
        "Gmail wants an app password (Google account, Security, 2-Step Verification)"
    } else if ends(&["yahoo.com", "me.com", "icloud.com", "aol.com"]) {
        "this provider wants an app password instead of the account's own"
    } else if may_try_login {
        "check user and password, and try auth: login"
    } else {
        "check user and password"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_plain_where_offered_and_login_otherwise() {
        assert_eq!(method(Auth::Auto, |word| word == "AUTH=PLAIN"), Some(Method::Plain));
        assert_eq!(method(Auth::Auto, |_| false), Some(Method::Login));
        assert_eq!(method(Auth::Login, |word| word == "AUTH=PLAIN"), Some(Method::Login));
    }

    #[test]
    fn login_is_not_tried_where_it_is_disabled() {
        assert_eq!(method(Auth::Auto, |word| word == "LOGINDISABLED"), None);
        assert_eq!(method(Auth::Login, |word| word == "LOGINDISABLED"), None);
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

    #[test]
    fn a_server_that_repeats_the_secret_does_not_get_it_into_the_log() {
        let said = "no such login: LOGIN joe s3cret AGpvZQBzM2NyZXQ=";
        let text = redacted(said.into(), "joe", "s3cret");
        assert!(!text.contains("s3cret") && !text.contains("AGpvZQBzM2NyZXQ="), "{text}");
    }
}
