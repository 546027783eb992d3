//! Advice on refused logins: a table of error texts of providers that mean the same on any host, and of hosts where a
//! refusal always has the same cause.

use crate::config::source::Credentials;

/// Kind of credentials that were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Password,
    Token,
    Certificate,
}

impl From<&Credentials> for Shown {
    fn from(credentials: &Credentials) -> Self {
        match credentials {
            Credentials::Password(_) => Shown::Password,
            Credentials::Token(_) => Shown::Token,
            Credentials::Certificate => Shown::Certificate,
        }
    }
}

/// Returns the advice of the first row that matches. `said`: all text from the server and the token endpoint.
pub fn advice(host: &str, shown: Shown, said: &str) -> &'static str {
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
    shown: &'static [Shown],
    /// Substring, in lower case; empty matches any.
    says: &'static str,
    advice: &'static str,
}

const fn text(says: &'static str, advice: &'static str) -> Row {
    Row { hosts: &[], shown: &[], says, advice }
}

const fn host(hosts: &'static [&'static str], shown: &'static [Shown], advice: &'static str) -> Row {
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
        shown: &[Shown::Token],
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
        &[Shown::Password],
        "Microsoft 365 takes no passwords, only tokens: see oauth with provider: microsoft365 in docs/imap.md",
    ),
    host(
        GOOGLE,
        &[Shown::Password],
        "Gmail wants an app password (Google account, Security, 2-Step Verification) or oauth",
    ),
    host(
        GOOGLE,
        &[Shown::Token],
        "user must be the account that consented, and the token's scope https://mail.google.com/",
    ),
    host(
        &["yahoo.com", "aol.com", "me.com", "icloud.com", "fastmail.com", "messagingengine.com"],
        &[Shown::Password],
        "this provider wants an app password instead of the account's own",
    ),
    host(
        &["zoho.com", "zoho.eu", "zoho.in", "zoho.com.au", "zoho.jp"],
        &[Shown::Password],
        "Zoho wants IMAP turned on in the settings, and an app password where two factors are used",
    ),
    // Fallback.
    host(&[], &[Shown::Password], "check user and password"),
    host(&[], &[Shown::Token], "check user, and whether the token is for this server"),
    host(&[], &[Shown::Certificate], "check whether the certificate in tls.crt_file is for user"),
];

#[cfg(test)]
mod tests {
    use super::*;

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
            let told = advice("relay.example.com", Shown::Token, said);
            assert!(told.contains(part), "{said}: {told}");
        }
    }

    #[test]
    fn hosts_say_what_to_do_where_the_text_does_not() {
        let told = |host, shown| advice(host, shown, "[AUTHENTICATIONFAILED] Invalid credentials (Failure)");
        assert!(told("imap.gmail.com", Shown::Password).contains("app password"));
        assert!(told("imap.gmail.com", Shown::Token).contains("https://mail.google.com/"));
        assert!(told("Outlook.Office365.com", Shown::Password).contains("provider: microsoft365"));
        assert!(told("imap.mail.me.com", Shown::Password).contains("app password"));
        assert_eq!(told("imap.example.com", Shown::Password), "check user and password");
    }

    #[test]
    fn every_row_can_be_reached() {
        for (at, row) in ROWS.iter().enumerate() {
            assert_eq!(row.says, row.says.to_ascii_lowercase(), "what is compared is in lower case");
            let host = row.hosts.first().copied().unwrap_or("imap.example.com");
            let shown = row.shown.first().copied().unwrap_or(Shown::Token);
            let told = advice(host, shown, row.says);
            assert_eq!(told, row.advice, "row {at} is hidden by one before it");
        }
    }
}
