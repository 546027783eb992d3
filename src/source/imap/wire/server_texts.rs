//! Texts of providers' servers and what they mean: throttling, logins that have ended, and advice on refused logins. A new
//! provider's text is a row in one of the tables.

use std::time::Duration;

use crate::{
    config::source::Credentials,
    source::imap::error::{Answer, Fault},
};

/// Maximum wait: the server chooses the time, and could choose any.
const LONGEST: Duration = Duration::from_secs(3600);

/// Response codes: THROTTLED of Yahoo and Gmail, LIMIT of RFC 5530.
const CODES: &[&str] = &["LIMIT", "THROTTLED"];

/// Substrings of status texts, in lower case, by provider.
const TEXTS: &[&str] = &[
    // Exchange and Microsoft 365, followed by a time in milliseconds.
    BACKOFF,
    "request is throttled",
    "server unavailable. 15",
    "user is authenticated but not connected",
    // Gmail, with the code OVERQUOTA, which means a full mailbox on other servers.
    "too many simultaneous connections",
    "account exceeded command or bandwidth limits",
    // Dovecot.
    "maximum number of connections from user+ip exceeded",
];

const BACKOFF: &str = "suggested backoff time:";

/// Returns a throttling fault if the answer of `host` asks for fewer requests.
pub fn throttled(host: &str, answer: &Answer) -> Option<Fault> {
    let text = answer.text.to_ascii_lowercase();
    let is_code = answer.code.as_deref().is_some_and(|code| CODES.contains(&code));
    if !is_code && !TEXTS.iter().any(|part| text.contains(part)) {
        return None;
    }
    let told = text.split_once(BACKOFF).map(|(_, after)| after.trim_start());
    let digits = told.map(|told| told.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
    let wait = digits.and_then(|digits| digits.parse().ok()).map(|ms| Duration::from_millis(ms).min(LONGEST));
    Some(Fault::Throttled { text: format!("{host} throttles requests: {}", answer.shown()), wait })
}

/// State of a login that a server has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The login has expired: a new login helps.
    Login,
    /// The login is valid, but gives no access to the mailbox (any more).
    Mailbox,
}

/// Interprets the text of a NO, BAD or BYE in an authenticated session; `None` if it does not concern the login. `said`:
/// the response code in brackets and the text.
pub fn ending(said: &str) -> Option<Ending> {
    let said = said.to_ascii_lowercase();
    ENDINGS.iter().find(|(words, _)| said.contains(words)).map(|(_, ending)| *ending)
}

const ENDINGS: &[(&str, Ending)] = &[
    // RFC 5530 section 3.
    ("[authenticationfailed]", Ending::Login),
    ("[expired]", Ending::Login),
    // Gmail: "BYE Session expired, please login again."
    ("session expired", Ending::Login),
    // Exchange Online: "BYE Session invalidated - AccessTokenExpired"
    ("session invalidated", Ending::Login),
    ("accesstokenexpired", Ending::Login),
    ("token expired", Ending::Login),
    // Exchange Online, to every command: "BAD User is authenticated but not connected."
    ("authenticated but not connected", Ending::Mailbox),
];

/// Kind of credentials that were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    Password,
    Token,
    Certificate,
}

impl From<&Credentials> for CredentialKind {
    fn from(credentials: &Credentials) -> Self {
        match credentials {
            Credentials::Password(_) => CredentialKind::Password,
            Credentials::Token(_) => CredentialKind::Token,
            Credentials::Certificate => CredentialKind::Certificate,
        }
    }
}

/// Returns the advice of the first row that matches. `said`: all text from the server and the token endpoint.
pub fn advice(host: &str, shown: CredentialKind, said: &str) -> &'static str {
    let (host, said) = (host.to_ascii_lowercase(), said.to_ascii_lowercase());
    let fits = |row: &&Row| {
        (row.hosts.is_empty() || row.hosts.iter().any(|ending| host.ends_with(ending)))
            && (row.shown.is_empty() || row.shown.contains(&shown))
            && said.contains(row.says)
    };
    ROWS.iter().find(fits).map_or("check user and credentials", |row| row.advice)
}

struct Row {
    /// Suffixes of host names; empty matches any.
    hosts: &'static [&'static str],
    /// Empty matches any.
    shown: &'static [CredentialKind],
    /// Substring, in lower case; empty matches any.
    says: &'static str,
    advice: &'static str,
}

const fn text(says: &'static str, advice: &'static str) -> Row {
    Row { hosts: &[], shown: &[], says, advice }
}

const fn host(hosts: &'static [&'static str], shown: &'static [CredentialKind], advice: &'static str) -> Row {
    Row { hosts, shown, says: "", advice }
}

const GOOGLE: &[&str] = &["gmail.com", "googlemail.com"];
const MICROSOFT: &[&str] = &["office365.com", "outlook.com", "office.com", "office365.us", "partner.outlook.cn"];

const ROWS: &[Row] = &[
    // Google's IMAP server.
    text(
        "application-specific password required",
        "the account has 2-Step Verification: make an app password (Google account, Security) and use it instead",
    ),
    text(
        "web login required",
        "Google wants a person to sign in with a browser first; an app password or oauth does not need that",
    ),
    text(
        "please log in via your web browser",
        "Google wants a person to sign in with a browser first; an app password or oauth does not need that",
    ),
    text("not enabled for imap", "turn IMAP on in the account's settings (Forwarding and POP/IMAP)"),
    text("imap access is disabled", "an administrator of the domain has turned IMAP off, and can turn it on"),
    // Microsoft's token endpoint: https://learn.microsoft.com/entra/identity-platform/reference-error-codes
    text(
        "aadsts65001",
        "an administrator has to grant consent (Entra admin center, App registrations, API permissions, Grant admin consent)",
    ),
    text("aadsts7000215", "the client secret is wrong: oauth.client_secret is the secret's value, not its id"),
    text("aadsts7000222", "the client secret has expired: make a new one (App registrations, Certificates & secrets)"),
    text("aadsts7000216", "the application needs a secret: set oauth.client_secret_file"),
    text("aadsts700016", "the directory has no such application: check oauth.client_id and oauth.tenant_id"),
    text("aadsts7000112", "the application is disabled (Entra admin center, Enterprise applications, Properties)"),
    text("aadsts90002", "there is no such directory: check oauth.tenant_id"),
    text("aadsts900023", "there is no such directory: check oauth.tenant_id"),
    text("aadsts1002012", "oauth.scope must end in /.default for client_credentials"),
    text("aadsts70011", "oauth.scope is wrong; left out, it is the right one"),
    text("aadsts700082", "the refresh token was not used for too long: sign in again to get a new one"),
    text("aadsts50173", "the refresh token was revoked (a new password does that): sign in again to get a new one"),
    text("aadsts50076", "the directory wants a second factor: sign in again to get a new refresh token"),
    // Exchange Online.
    text(
        "authenticated but not connected",
        "the login was taken, but no mailbox opened: user must be the mailbox's own address, and what logs in needs Full \
         Access to it (Add-MailboxPermission); Exchange says the same when it is in trouble",
    ),
    Row {
        hosts: &[],
        shown: &[CredentialKind::Token],
        says: "authenticate failed",
        advice: "the token is good, but not for this mailbox: the application needs IMAP.AccessAsApp with admin consent, \
                 New-ServicePrincipal with the object id of the enterprise application, and Add-MailboxPermission; see \
                 docs/imap.md",
    },
    // Any token endpoint (RFC 6749 section 5.2).
    text(
        "invalid_grant",
        "the refresh token is good no more: sign in again to get a new one (one of a Google application in testing lasts \
         seven days)",
    ),
    text("invalid_client", "check oauth.client_id and the client secret"),
    text("unauthorized_client", "the application may not use this oauth.grant; check its registration"),
    text("invalid_scope", "check oauth.scope"),
    text("as a token endpoint does", "check oauth.token_url"),
    text("token_command", "run the command by hand, as the same user"),
    // Advice by host.
    host(
        MICROSOFT,
        &[CredentialKind::Password],
        "Microsoft 365 takes no passwords, only tokens: see oauth with provider: microsoft365 in docs/imap.md",
    ),
    host(
        GOOGLE,
        &[CredentialKind::Password],
        "Gmail wants an app password (Google account, Security, 2-Step Verification) or oauth",
    ),
    host(
        GOOGLE,
        &[CredentialKind::Token],
        "user must be the account that consented, and the token's scope https://mail.google.com/",
    ),
    host(
        &["yahoo.com", "aol.com", "me.com", "icloud.com", "fastmail.com", "messagingengine.com"],
        &[CredentialKind::Password],
        "this provider wants an app password instead of the account's own",
    ),
    host(
        &["zoho.com", "zoho.eu", "zoho.in", "zoho.com.au", "zoho.jp"],
        &[CredentialKind::Password],
        "Zoho wants IMAP turned on in the settings, and an app password where two factors are used",
    ),
    // Fallback.
    host(&[], &[CredentialKind::Password], "check user and password"),
    host(&[], &[CredentialKind::Token], "check user, and whether the token is for this server"),
    host(&[], &[CredentialKind::Certificate], "check whether the certificate in tls.crt_file is for user"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(code: Option<&str>, text: &str) -> Option<Option<Duration>> {
        match throttled("host", &Answer { code: code.map(Into::into), text: text.into() }) {
            Some(Fault::Throttled { wait, .. }) => Some(wait),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_server_that_tells_how_long_is_left_alone_for_that_long() {
        let text = "Request is throttled. Suggested Backoff Time: 299961 milliseconds";
        assert_eq!(wait(None, text), Some(Some(Duration::from_millis(299_961))));
        assert_eq!(wait(None, "Suggested Backoff Time: 999999999999"), Some(Some(LONGEST)));
        assert_eq!(wait(None, "Suggested Backoff Time: soon"), Some(None));
    }

    #[test]
    fn codes_and_texts_of_others_are_known() {
        assert_eq!(wait(Some("THROTTLED"), ""), Some(None));
        assert_eq!(wait(Some("LIMIT"), "rate limit hit"), Some(None));
        assert_eq!(wait(Some("OVERQUOTA"), "Account exceeded command or bandwidth limits. (Failure)"), Some(None));
        assert_eq!(wait(None, "Server Unavailable. 15"), Some(None));
        assert_eq!(wait(Some("ALERT"), "Too many simultaneous connections. (Failure)"), Some(None));
    }

    #[test]
    fn other_refusals_are_no_throttling() {
        assert_eq!(wait(Some("OVERQUOTA"), "Quota exceeded (mailbox for user is full)"), None);
        assert_eq!(wait(None, "Mailbox doesn't exist: throttle"), None);
    }

    #[test]
    fn expired_logins_are_distinguished_from_other_refusals() {
        for (said, means) in [
            ("Session expired, please login again.", Some(Ending::Login)),
            ("Session invalidated - AccessTokenExpired", Some(Ending::Login)),
            ("[AUTHENTICATIONFAILED] Invalid credentials (Failure)", Some(Ending::Login)),
            ("User is authenticated but not connected.", Some(Ending::Mailbox)),
            ("[NONEXISTENT] Unknown Mailbox: x (Failure)", None),
            ("Internal error occurred", None),
        ] {
            assert_eq!(ending(said), means, "{said}");
        }
    }

    #[test]
    fn texts_of_providers_say_what_to_do_wherever_they_come_from() {
        for (said, part) in [
            ("[ALERT] Application-specific password required: https://support.google.com (Failure)", "app password"),
            ("[ALERT] Web login required: https://support.google.com (Failure)", "browser"),
            ("[ALERT] Your account is not enabled for IMAP use. Please visit (Failure)", "turn IMAP on"),
            ("IMAP access is disabled for your domain. Please contact (Failure)", "administrator of the domain"),
            ("invalid_grant: AADSTS65001: The user or administrator has not consented", "Grant admin consent"),
            ("invalid_client: AADSTS7000215: Invalid client secret provided.", "the secret's value, not its id"),
            ("invalid_client: AADSTS7000222: The provided client secret keys are expired.", "has expired"),
            ("unauthorized_client: AADSTS700016: Application with identifier", "oauth.client_id and oauth.tenant_id"),
            ("invalid_request: AADSTS90002: Tenant 'x' not found.", "oauth.tenant_id"),
            ("AUTHENTICATE failed.", "New-ServicePrincipal"),
            ("User is authenticated but not connected.", "Add-MailboxPermission"),
            ("invalid_grant: Token has been expired or revoked.", "sign in again"),
        ] {
            let told = advice("relay.example.com", CredentialKind::Token, said);
            assert!(told.contains(part), "{said}: {told}");
        }
    }

    #[test]
    fn hosts_say_what_to_do_where_the_text_does_not() {
        let told = |host, shown| advice(host, shown, "[AUTHENTICATIONFAILED] Invalid credentials (Failure)");
        assert!(told("imap.gmail.com", CredentialKind::Password).contains("app password"));
        assert!(told("imap.gmail.com", CredentialKind::Token).contains("https://mail.google.com/"));
        assert!(told("Outlook.Office365.com", CredentialKind::Password).contains("provider: microsoft365"));
        assert!(told("imap.mail.me.com", CredentialKind::Password).contains("app password"));
        assert_eq!(told("imap.example.com", CredentialKind::Password), "check user and password");
    }

    #[test]
    fn every_row_can_be_reached() {
        for (at, row) in ROWS.iter().enumerate() {
            assert_eq!(row.says, row.says.to_ascii_lowercase(), "what is compared is in lower case");
            let host = row.hosts.first().copied().unwrap_or("imap.example.com");
            let shown = row.shown.first().copied().unwrap_or(CredentialKind::Token);
            let told = advice(host, shown, row.says);
            assert_eq!(told, row.advice, "row {at} is hidden by one before it");
        }
    }
}
