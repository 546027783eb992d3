//! `sources.*`: mailboxes and files that mails are read from.

use std::{path::PathBuf, time::Duration};

use super::{
    decode::{Options, View},
    folder::{FolderName, FolderNames, FolderPattern},
    form::{Form, Whole},
    oauth::{Oauth, Tokens},
    options::{OptionDoc, choices, options},
    search::Search,
    secret::{self, Secret},
    senders::Senders,
    tls::Tls,
    units::Time,
};

#[derive(Debug, Clone)]
pub enum SourceConfig {
    Imap(Box<Imap>),
    File(File),
}

choices! {
    /// `type` of a source.
    pub enum SourceType = Imap {
        /// A mailbox.
        Imap = "imap",
        /// Files, folders, Maildirs and mboxes.
        File = "file",
    }
}

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

options! {
    /// `type: file`: a report, a mail, a folder of them, a Maildir, an mbox, or `-` for stdin. Read-only: nothing is changed
    /// there.
    #[derive(Debug, Clone)]
    pub struct File {
        /// File or folder to read, or `-` for stdin.
        pub path: PathBuf = required,
        /// Interval at which to look for new files.
        pub poll_interval: Duration as Time<1_000, 86_400_000> = Duration::from_secs(300),
        /// Tenant name, added to every event of this source instead of the global `tenant`.
        pub tenant: Option<String> = None,
        /// Authentication of senders.
        pub senders: Senders = flattened,
    }
}

impl SourceConfig {
    /// Tenant of the events, if the source sets one.
    pub fn tenant(&self) -> Option<&str> {
        match self {
            SourceConfig::Imap(imap) => imap.tenant.as_deref(),
            SourceConfig::File(file) => file.tenant.as_deref(),
        }
    }

    pub fn senders(&self) -> &Senders {
        match self {
            SourceConfig::Imap(imap) => &imap.senders,
            SourceConfig::File(file) => &file.senders,
        }
    }
}

impl SourceConfig {
    /// Maximum time between two polls.
    pub fn poll_interval(&self) -> Duration {
        match self {
            SourceConfig::Imap(imap) => imap.poll_interval,
            SourceConfig::File(file) => file.poll_interval,
        }
    }
}

impl Options for SourceConfig {
    fn read(view: &View<'_>) -> Option<Self> {
        match view.required::<SourceType>("type") {
            Some(SourceType::Imap) => {
                let imap = Imap::read(view);
                imap.filter(|imap| sensible(view, imap)).map(|imap| SourceConfig::Imap(Box::new(imap)))
            }
            Some(SourceType::File) => {
                File::read(view).filter(|file| file.senders.is_sensible(view)).map(SourceConfig::File)
            }
            None => {
                view.give_up();
                None
            }
        }
    }

    fn options() -> Vec<OptionDoc> {
        Vec::new()
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

/// A host name or address, IPv6 with or without brackets; stored without.
pub(super) struct Host;

impl Form for Host {
    type Value = String;

    fn expected() -> String {
        "a host name or address".to_owned()
    }

    fn parse(text: &str) -> Result<String, String> {
        let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text);
        let port_after = |c: char| c == ':' && bare.parse::<std::net::Ipv6Addr>().is_err();
        if bare.is_empty() || bare.chars().any(|c| c.is_whitespace() || c.is_control() || "/@[]".contains(c)) {
            return Err(format!("expected {}, not {text:?}", Self::expected()));
        }
        if bare.contains(port_after) {
            return Err(format!("expected {} only, not {text:?}; set the port with the option port", Self::expected()));
        }
        Ok(bare.to_owned())
    }

    fn written(value: &String) -> String {
        value.clone()
    }
}
