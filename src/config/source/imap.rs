//! `type: imap`: a mailbox.

use std::{path::PathBuf, time::Duration};

use super::kind_options::SourceOptions;
use crate::config::{
    decode::View,
    folder::{FolderName, FolderNames, FolderPattern},
    form::Whole,
    host::Host,
    kinds::KindOptions,
    node::{Node, Value},
    oauth::{Oauth, Tokens},
    options::{choices, options},
    problem::Problem,
    search::Search,
    secret::{self, Secret},
    senders::Senders,
    tls::Tls,
    units::Time,
    url::{Url, Urls, host_and_port},
};

/// Options that are refused in a URL, since they are secrets.
const SECRETS: &[&str] = &["password=", "oauth.client_secret=", "oauth.refresh_token="];

options! {
    /// `type: imap`.
    #[derive(Debug, Clone)]
    pub struct Imap {
        /// Host name or address of the server.
        pub host: String as Host = required,
        /// Encryption of the connection. Never falls back to a weaker one.
        pub security: Security = Security::Tls,
        /// Port of the server.
        pub port: u16 as Whole<u16, 1, 65_535> = default_port(security) => "993; 143 with `security: starttls` or `none`",
        /// User name for the login.
        pub user: String = required,
        /// The password. Better: `password_file`, or a variable.
        let written("password"): Option<Secret> = None,
        /// File with the password; read again before every login. Excludes `password`.
        let written_file("password_file"): Option<PathBuf> = None,
        /// Authentication mechanism.
        pub auth: Auth = Auth::Auto,
        /// Source of access tokens. Excludes `password`.
        let oauth: Oauth = nested,
        /// TLS certificates, keys and verification.
        pub tls: Tls = nested,
        /// Password, token, or the certificate in `tls`.
        pub credentials: Credentials = from |view| {
            let password = secret::at_most_one(view, "password", written, written_file);
            credentials(view, (auth, security), password, oauth.map(|oauth| oauth.tokens), tls.as_ref())
        },
        /// Folder to read, or a list of them. Levels are separated by `/` or `.`, which the server's own delimiter replaces.
        /// Also a special use that the server marks the folder with: `\All`, `\Archive`, `\Junk`, `\Trash`. `*` matches any
        /// text, `%` any text within one level: `Reports/*`. Such a pattern matches neither `archive_folder` nor
        /// `quarantine_folder`.
        pub folder: Vec<FolderName> as FolderNames = vec![FolderName::from("INBOX")],
        /// Mails to read, as IMAP search criteria: `UNSEEN SINCE 7d FROM google.com SUBJECT "Report Domain"`. Days are
        /// written as `1-Nov-2026`, `2026-11-01`, or `7d` for 7 days ago. Mails marked as deleted are never read.
        pub search: Search = Search::default() => "all mails",
        /// Folder to archive mails in. May contain the day on which they are moved (UTC), such as `Processed/%Y/%m`. Created
        /// if it does not exist, as is `quarantine_folder`.
        pub archive_folder: Option<String> as Option<FolderPattern> = None,
        /// Folder for mails with content that could not be read in full; may contain a date too. None: they stay in place,
        /// and are remembered.
        pub quarantine_folder: Option<String> as Option<FolderPattern> = None,
        /// Action on a mail after every report in it has been delivered.
        pub after: After = After::by_default(&archive_folder) => "`archive` with an `archive_folder`, else `keep`",
        /// Action on a mail without a report.
        pub without_report: WithoutReport = WithoutReport::Keep,
        /// Detection of new mails between polls.
        pub watch: Watch = Watch::Idle,
        /// Interval at which to poll for new mails. With `watch: idle`, polling is for changes that the server did not
        /// report, and for the folders after the first.
        pub poll_interval: Duration as Time<1_000, 86_400_000> = Duration::from_secs(300),
        /// Maximum number of mails per folder in one pass. None: all.
        pub max_messages_per_run: Option<u32> as Option<Whole<u32, 1, 4_294_967_295>> = None,
        /// Maximum time for a connection to be established.
        pub connect_timeout: Duration as Time<100, 600_000> = Duration::from_secs(10),
        /// Maximum silence of the server while a response is awaited. A whole response may take five times as long, plus one
        /// second for each KiB received.
        pub read_timeout: Duration as Time<1_000, 3_600_000> = Duration::from_secs(60),
        /// Pipelines commands: they are sent before the previous one is answered, which saves much time on connections with
        /// high latency. `false` for servers that end the session because of it.
        pub pipelining: bool = true,
        /// Tenant name, added to every event of this source instead of the global `tenant`.
        pub tenant: Option<String> = None,
        /// Authentication of senders.
        pub senders: Senders = flattened,
    }
}

choices! {
    /// Encryption of an IMAP connection.
    pub enum Security = Tls {
        /// TLS from the first byte.
        Tls = "tls",
        /// Plain text until STARTTLS, which must succeed.
        Starttls = "starttls",
        /// Plain text: only if configured explicitly.
        None = "none",
    }
}

choices! {
    /// Authentication mechanism.
    pub enum Auth = Auto {
        /// With a token, OAUTHBEARER if the server offers it, else XOAUTH2; with a password, PLAIN if offered, else LOGIN;
        /// with only a client certificate, EXTERNAL.
        Auto = "auto",
        /// AUTHENTICATE PLAIN.
        Plain = "plain",
        /// The LOGIN command.
        Login = "login",
        /// AUTHENTICATE XOAUTH2, with a token.
        Xoauth2 = "xoauth2",
        /// AUTHENTICATE OAUTHBEARER, with a token.
        Oauthbearer = "oauthbearer",
        /// AUTHENTICATE EXTERNAL: the certificate in `tls.crt_file` identifies the user.
        External = "external",
    }
}

/// Credentials for the login.
#[derive(Debug, Clone)]
pub enum Credentials {
    Password(Secret),
    Token(Tokens),
    /// The TLS client certificate.
    Certificate,
}

choices! {
    /// Detection of new mails.
    pub enum Watch = Idle {
        /// The server notifies at once, if it can: IDLE, in the first folder.
        Idle = "idle",
        /// Only by polling at every `poll_interval`.
        Poll = "poll",
    }
}

choices! {
    /// Action on a mail whose reports have all been delivered.
    pub enum After = Keep {
        /// Moved to `archive_folder`.
        Archive = "archive",
        /// Deleted; on Gmail, moved to its trash.
        Delete = "delete",
        /// Left in place, marked as read, and remembered.
        Seen = "seen",
        /// Left in place unchanged, and remembered.
        Keep = "keep",
    }
}

impl After {
    fn by_default(archive_folder: &Option<String>) -> Self {
        if archive_folder.is_some() { Self::Archive } else { Self::Keep }
    }
}

choices! {
    /// Action on a mail without a report.
    pub enum WithoutReport = Keep {
        /// Left in place unchanged, and remembered.
        Keep = "keep",
        /// Moved to `archive_folder`.
        Archive = "archive",
        /// Moved to `quarantine_folder`.
        Quarantine = "quarantine",
        /// Deleted.
        Delete = "delete",
    }
}

impl SourceOptions for Imap {
    fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    fn senders(&self) -> &Senders {
        &self.senders
    }

    fn poll_interval(&self) -> Duration {
        self.poll_interval
    }

    fn shown(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl KindOptions for Imap {
    const URLS: Urls = Urls {
        schemes: &["imaps", "imap"],
        examples: "imaps://user@host/FOLDER, imap://user@host/FOLDER?starttls",
        read: from_url,
    };

    fn is_sensible(&self, view: &View<'_>) -> bool {
        sensible(view, self)
    }
}

fn default_port(security: Security) -> u16 {
    if security == Security::Tls { 993 } else { 143 }
}

/// Selects the only credentials that are set, which must match `auth`.
fn credentials(
    view: &View<'_>,
    (auth, security): (Auth, Security),
    password: Option<Option<Secret>>,
    tokens: Option<Option<Tokens>>,
    tls: Option<&Tls>,
) -> Option<Credentials> {
    let refuse = |key: &str, message: &str| {
        view.problem(key, message);
        None
    };
    let credentials = match (password?, tokens?) {
        (Some(_), Some(_)) => return refuse("oauth", "can't be combined with password; keep one of the two"),
        (Some(password), None) => Credentials::Password(password),
        (None, Some(tokens)) => Credentials::Token(tokens),
        (None, None) if tls?.crt_file.is_some() => Credentials::Certificate,
        (None, None) => {
            return refuse(
                "password",
                "is missing; write password_file (a path), or password, such as ${PASSWORD}; or oauth for a token, or \
                 tls.crt_file for a certificate",
            );
        }
    };
    match (auth, &credentials) {
        (Auth::Auto, _)
        | (Auth::Plain | Auth::Login, Credentials::Password(_))
        | (Auth::Xoauth2 | Auth::Oauthbearer, Credentials::Token(_))
        | (Auth::External, Credentials::Certificate) => {}
        (Auth::Plain | Auth::Login, _) => return refuse("auth", "needs password_file, or password, to log in"),
        (Auth::Xoauth2 | Auth::Oauthbearer, _) => {
            return refuse("auth", "needs oauth, which configures the token, and no password");
        }
        (Auth::External, _) => return refuse("auth", "external needs tls.crt_file, and neither password nor oauth"),
    }
    if matches!(credentials, Credentials::Certificate) && security == Security::None {
        return refuse("security", "none sends no client certificate, so external can't log in; set tls or starttls");
    }
    Some(credentials)
}

/// Checks that folders differ from each other, and are set for mails that are to be moved to them.
fn sensible(view: &View<'_>, imap: &Imap) -> bool {
    let mut sensible = imap.senders.is_sensible(view);
    let mut refuse = |key: &str, message: &str| {
        view.problem(key, message);
        sensible = false;
    };
    for (key, folder) in [("archive_folder", &imap.archive_folder), ("quarantine_folder", &imap.quarantine_folder)] {
        let Some(folder) = folder.as_deref().map(FolderName::from) else { continue };
        if imap.folder.iter().any(|read| !read.is_pattern() && read.is_same(&folder)) {
            refuse(key, "is also in folder, so mails would be read again for ever; set another folder");
        }
    }
    if imap.folder.is_empty() {
        refuse("folder", "is empty; set a folder, such as INBOX");
    }
    if imap.after == After::Archive && imap.archive_folder.is_none() {
        refuse("after", "archive needs an archive_folder to move the mail to");
    }
    if imap.without_report == WithoutReport::Archive && imap.archive_folder.is_none() {
        refuse("without_report", "archive needs an archive_folder to move the mail to");
    }
    if imap.without_report == WithoutReport::Quarantine && imap.quarantine_folder.is_none() {
        refuse("without_report", "quarantine needs a quarantine_folder to move the mail to");
    }
    if imap.archive_folder.is_some() && imap.after != After::Archive && imap.without_report != WithoutReport::Archive {
        view.warn("archive_folder", &format!("is not used: after is {}, so no mail is moved there", imap.after.name()));
    }
    if imap.security == Security::None {
        view.warn("security", "none sends password or token, and all mail, unencrypted");
    } else if !imap.tls.verify_certificate {
        view.warn("tls.verify_certificate", "false allows a man in the middle to read password or token, and all mail");
    }
    sensible
}

fn from_url(url: &Url<'_>, node: &mut Node) -> Result<Option<String>, Problem> {
    let place = url.place.strip_prefix("//").unwrap_or(url.place);
    let (authority, folder) = place.split_once('/').unwrap_or((place, ""));
    // Mailbox users are mail addresses: the last @ is the URL's own.
    let (user, host) = authority.rsplit_once('@').ok_or_else(|| {
        url.problem("has no user; write imaps://user@host/FOLDER, with / and ? in the user as %2F and %3F")
    })?;
    let has = |option: &str| url.query.split('&').any(|given| given == option);
    if user.contains(':') || url.query.split('&').any(|given| SECRETS.iter().any(|secret| given.starts_with(secret))) {
        return Err(url.problem(
            "contains a password or other credential, which every user of this machine can read in the process list; remove \
             it (write a colon in a user name as %3A), and set DMARC_SHIPPER_PASSWORD_FILE, set \
             DMARC_SHIPPER_PASSWORD, or answer the prompt on a terminal",
        ));
    }
    let security = match (url.scheme == "imaps", has("starttls")) {
        (true, true) => return Err(url.problem("imaps is encrypted from the start; write imap:// for ?starttls")),
        (true, false) => Security::Tls,
        (false, true) => Security::Starttls,
        (false, false) => Security::None,
    };
    let user = url.decoded(user)?;
    let (host, port) = host_and_port(host);
    let mut put = |option: &str, value: String| node.put(option, Value::Literal(value));
    put("security", security.name().to_owned());
    put("user", user.clone());
    put("host", host.to_owned());
    if let Some(port) = port {
        put("port", port.to_owned());
    }
    let folder = folder.trim_end_matches('/');
    if !folder.is_empty() {
        put("folder", url.decoded(folder)?);
    }
    url.options(node)?;
    if node.child("password_file").is_some() || node.child("oauth").is_some() || has("auth=external") {
        return Ok(None);
    }
    let variable = |name| (url.variable)(name).filter(|value| !value.is_empty());
    if let Some(file) = variable("DMARC_SHIPPER_PASSWORD_FILE") {
        node.put("password_file", Value::Literal(file));
    } else if let Some(password) = variable("DMARC_SHIPPER_PASSWORD") {
        node.put("password", Value::Literal(password));
    } else {
        node.put("password", Value::Literal("not asked for yet".to_owned()));
        return Ok(Some(format!("{user} at {host}")));
    }
    Ok(None)
}
