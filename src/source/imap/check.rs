//! The IMAP part of the command `check`: examines an account step by step. No mail is changed: folders are opened with
//! EXAMINE, and with SELECT only if that can't clear \Recent of a mail.

use std::sync::Arc;

use async_imap::imap_proto::{MailboxDatum, Response, StatusAttribute, rfc4314::AclRight};
use jiff::Timestamp;
use tokio::net::TcpStream;

use super::{
    commands::{
        configured_folders::{self, Found, TargetFolders, find_wanted},
        mailbox::{self, Folder, Prelisted, Selected},
        startup::{Startup, startup},
    },
    error::Fault,
    plan::settle_queue::{deletes, takes_away},
    wire::{
        auth::credentials::Account,
        mailbox_name::{Naming, levels_above, to_utf7},
        session::Session,
    },
};
use crate::{
    config::{
        folder::{self, FolderName},
        source::{After, Imap, Security, Watch, WithoutReport},
    },
    exit::Exit,
    net::tls::Encryption,
    source::{SourceError, Verdict, registry::Checking},
    steps::{Failure, Steps, peer},
    trouble::{Reason, Trouble},
};

const GREETING: &str = "greeting";
const LOGIN: &str = "login";
const CAPABILITIES: &str = "capabilities";
const TRASH: &str = "trash";
const ARCHIVE: &str = "archive_folder";
const QUARANTINE: &str = "quarantine_folder";

const GRANT: &str = "grant the account these rights, or keep the mails in place (after: keep)";

const MAKE: &str = "create it by hand, or allow the account to create folders";

/// A mailbox to check, with the settings that its checks depend on.
#[derive(Clone, Copy)]
pub struct Mailbox<'a> {
    pub imap: &'a Imap,
    pub checking: Checking,
}

/// Tests each step. The login is tried only once, as accounts get locked.
pub async fn check(account: Mailbox<'_>, steps: &mut Steps) -> Option<()> {
    let imap = account.imap;
    steps.plan([peer::NAME, peer::CONNECTION, peer::ENCRYPTION, LOGIN, CAPABILITIES]);
    steps.plan(imap.folder.iter().map(of_folder));
    steps.plan(targets(imap).map(|(setting, _)| setting));
    let guest = meet(imap, steps).await?;
    let (mut visit, method) = steps.attempt(LOGIN, guest.log_in()).await?;
    match method {
        Some(method) => steps.well(LOGIN, format!("{}, by {method}", imap.user)),
        None => steps.well(LOGIN, "not needed: the connection is already authenticated (PREAUTH)"),
    }
    capabilities(account, &visit, steps);
    let looked = look_around(account, &mut visit, steps).await;
    visit.log_out().await;
    looked
}

/// Connects up to the greeting, encrypted as configured.
async fn meet(imap: &Imap, steps: &mut Steps) -> Option<Guest> {
    let tcp = peer::reach(&imap.host, imap.port, imap.connect_timeout, steps).await?;
    let guest = steps.attempt(peer::ENCRYPTION, Guest::over(imap, tcp)).await?;
    let encrypted_later = imap.security == Security::Starttls;
    if !encrypted_later {
        tell_encryption(&guest, steps);
    }
    let step = if encrypted_later { peer::ENCRYPTION } else { GREETING };
    let guest = steps.attempt(step, guest.greeted()).await?;
    if encrypted_later {
        tell_encryption(&guest, steps);
    }
    Some(guest)
}

fn tell_encryption(guest: &Guest, steps: &mut Steps) {
    match guest.encryption().map(peer::described) {
        Some((shown, false)) => steps.well(peer::ENCRYPTION, shown),
        Some((shown, true)) => steps.note(peer::ENCRYPTION, shown),
        None => steps.note(peer::ENCRYPTION, "none: password and mails are sent in plain text (security: none)"),
    }
}

/// Reports the server's capabilities, and the consequences of those it lacks.
fn capabilities(account: Mailbox<'_>, visit: &Visit, steps: &mut Steps) {
    let imap = account.imap;
    let offered = ["MOVE", "UIDPLUS", "IDLE", "SPECIAL-USE", "NAMESPACE", "ACL"];
    let offered: Vec<&str> = offered.into_iter().filter(|name| visit.offers(name)).collect();
    let mut shown = match offered[..] {
        [] => "none of the optional ones".to_owned(),
        _ => offered.join(" "),
    };
    let lacks = |name: &str| !visit.offers(name);
    let mut missing = Vec::new();
    if moves(imap) && lacks("MOVE") {
        missing.push("without MOVE, mails are copied to the target folder, then deleted from the source folder");
    }
    if (deletes(imap) || (moves(imap) && lacks("MOVE"))) && lacks("UIDPLUS") {
        missing.push("without UIDPLUS, mails are only marked as deleted, and stay until another client expunges them");
    }
    if imap.watch == Watch::Idle && lacks("IDLE") {
        missing.push("without IDLE, folders are polled every poll_interval");
    }
    if missing.is_empty() {
        steps.well(CAPABILITIES, shown);
    } else {
        shown.extend(missing.iter().flat_map(|missing| ["; ", missing]));
        steps.note(CAPABILITIES, shown);
    }
}

/// Checks the folders that are read, and those that mails are moved to. An error in one folder does not hide the next.
async fn look_around(account: Mailbox<'_>, visit: &mut Visit, steps: &mut Steps) -> Option<()> {
    let imap = account.imap;
    read_folders(account, visit, steps).await;
    if visit.is_over() {
        return None;
    }
    if deletes(imap) && visit.moves_to_trash() {
        let trash = steps.attempt(TRASH, visit.trash()).await;
        if let Some(name) = trash {
            steps.well(TRASH, format!("{name}; deleted mails are moved there"));
        } else if visit.is_over() {
            return None;
        }
    }
    for (setting, pattern) in targets(imap) {
        target(account, visit, setting, pattern, steps).await;
        if visit.is_over() {
            return None;
        }
    }
    Some(())
}

async fn read_folders(account: Mailbox<'_>, visit: &mut Visit, steps: &mut Steps) -> Option<()> {
    let imap = account.imap;
    let whole = match &imap.folder[..] {
        [only] => of_folder(only),
        _ => "folders".to_owned(),
    };
    let found = steps.attempt(&whole, visit.folders()).await?;
    let named = imap.folder.iter().filter(|name| !name.is_pattern()).count();
    for pattern in imap.folder.iter().filter(|name| name.is_pattern()) {
        if found.len() > named {
            steps.well(&of_folder(pattern), "a pattern; the folders that match are listed below");
        } else {
            steps.note(&of_folder(pattern), "a pattern that matches no folder");
        }
    }
    let needed = needed(account);
    for found in found {
        let step = format!("folder {}", found.name);
        let Some(folder) = found.folder else {
            steps.note(&step, "not found; the other folders are read, and this one as soon as it exists");
            continue;
        };
        match steps.attempt(&step, visit.look(&folder, &needed)).await {
            Some(look) => tell_read(&step, &look, &needed, steps),
            None if visit.is_over() => return None,
            None => {}
        }
    }
    Some(())
}

fn tell_read(step: &str, look: &Look, needed: &[Right], steps: &mut Steps) {
    let seen = format!("{}, UIDVALIDITY {}", mails(look), look.uid_validity);
    match (&look.lacking, look.opened) {
        (Some(lacking), _) if !lacking.is_empty() => steps.fail(step, not_allowed(&seen, lacking)),
        (_, Opened::ReadOnly) => {
            let why = format!("{seen}; the server opens the folder read-only, so mails can't be moved or marked");
            steps.fail(step, Failure::new(Exit::Configuration, why).advising(GRANT));
        }
        (_, Opened::Writable { takes_keyword: false }) if needed.contains(&Right::SetKeywords) => steps.note(
            step,
            format!(
                "{seen}; the server stores no keywords, so mails that stay can't be marked as shipped, and the next \
                 run ships them again: set data_dir"
            ),
        ),
        (None, Opened::HasRecent) => steps.note(
            step,
            format!(
                "{seen}; not tested whether mails may be moved or marked: some are \\Recent, and opening the folder \
                 with SELECT would clear that flag"
            ),
        ),
        (_, Opened::NotNeeded) => steps.well(step, seen),
        _ => steps.well(step, format!("{seen}; the account has all required rights")),
    }
}

/// Checks that mails can be moved to a folder, or that the folder can be created.
async fn target(
    account: Mailbox<'_>,
    visit: &mut Visit,
    setting: &'static str,
    pattern: &str,
    steps: &mut Steps,
) -> Option<()> {
    let when = if folder::has_date(pattern) { ", when the first mail of that date is moved there" } else { "" };
    let Some(folder) = steps.attempt(setting, visit.find(pattern)).await? else {
        if !account.checking.probes {
            steps.note(setting, format!("{pattern} does not exist, would be created{when}; not tested (--no-probe)"));
            return Some(());
        }
        let tried = async {
            let tried = visit.make_and_delete(setting, pattern).await;
            tried.map_err(|error| Failure::from(error).advising(MAKE))
        };
        let left = steps.attempt_whole(setting, tried).await?;
        let made = format!("{pattern} does not exist and can be created{when}: a test folder was created beside it");
        match left {
            None => steps.well(setting, format!("{made}, and deleted again")),
            Some(left) => {
                steps.note(setting, format!("{made}; {left} could not be deleted again, so delete it by hand"))
            }
        }
        return Some(());
    };
    let look = steps.attempt(setting, visit.look(&folder, &[Right::Insert])).await?;
    let seen = format!("{}, {}", folder.shown(), mails(&look));
    match (&look.lacking, look.opened) {
        (Some(lacking), _) if !lacking.is_empty() => steps.fail(setting, not_allowed(&seen, lacking)),
        (_, Opened::ReadOnly) => {
            let why = format!("{seen}; the server opens the folder read-only, so no mail can be moved there");
            steps.fail(setting, Failure::new(Exit::Configuration, why).advising(GRANT));
        }
        // Mails moved there are \Recent until a mail client opens the folder.
        (None, Opened::HasRecent) => {
            steps.well(setting, format!("{seen}; not tested whether mails may be moved there: some are \\Recent"));
        }
        _ => steps.well(setting, format!("{seen}; mails may be moved there")),
    }
    Some(())
}

fn mails(look: &Look) -> String {
    if look.mails == 1 { "1 mail".to_owned() } else { format!("{} mails", look.mails) }
}

fn not_allowed(seen: &str, lacking: &[Right]) -> Failure {
    let what: Vec<&str> = lacking.iter().map(|right| right.what()).collect();
    let why = format!("{seen}; the account has no right to {}", what.join(" or to "));
    Failure::new(Exit::Configuration, why).advising(GRANT)
}

fn of_folder(name: &FolderName) -> String {
    format!("folder {name}")
}

/// Returns the folders that mails are moved to, by the settings that name them.
fn targets(imap: &Imap) -> impl Iterator<Item = (&'static str, &str)> {
    let targets = [(ARCHIVE, &imap.archive_folder), (QUARANTINE, &imap.quarantine_folder)];
    targets.into_iter().filter_map(|(setting, pattern)| Some((setting, pattern.as_deref()?)))
}

fn moves(imap: &Imap) -> bool {
    imap.after == After::Archive
        || imap.quarantine_folder.is_some()
        || matches!(imap.without_report, WithoutReport::Archive | WithoutReport::Quarantine)
}

/// Returns the rights that are needed in a folder that is read.
fn needed(account: Mailbox<'_>) -> Vec<Right> {
    let imap = account.imap;
    let unreadable = Verdict::Quarantine(Trouble::new(Reason::Empty, ""));
    let some_stay =
        [Verdict::Archive, unreadable, Verdict::WithoutReport].iter().any(|verdict| !takes_away(verdict, imap));
    let mut needed = Vec::new();
    if moves(imap) || deletes(imap) {
        needed.extend([Right::Delete, Right::Expunge]);
    }
    if imap.after == After::Seen {
        needed.push(Right::MarkSeen);
    }
    if some_stay && !account.checking.remembers {
        needed.push(Right::SetKeywords);
    }
    needed
}

/// Prefix of the temporary folders that are created and deleted to test whether the account may create folders.
const TEMPORARY: &str = "dmarc-shipper-check-";

/// A session that is not authenticated yet.
pub struct Guest {
    config: Imap,
    session: Session,
}

/// An authenticated session.
pub struct Visit {
    config: Imap,
    session: Session,
    naming: Naming,
    prelisted: Prelisted,
    /// The session broke, or a command was dropped before its end: no more commands can be sent.
    over: bool,
}

/// Result of examining a folder.
#[derive(Debug)]
pub struct Look {
    pub mails: u32,
    pub uid_validity: u32,
    /// Rights that are needed in the folder and not granted; `None` if the server does not tell.
    pub lacking: Option<Vec<Right>>,
    pub opened: Opened,
}

/// Result of SELECT, which reveals more than EXAMINE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// Not needed: SELECT was not sent.
    NotNeeded,
    /// The folder has \Recent mails, for which SELECT would clear that flag.
    HasRecent,
    ReadOnly,
    Writable {
        takes_keyword: bool,
    },
}

/// Rights of an account in a folder (RFC 4314 section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    Insert,
    MarkSeen,
    SetKeywords,
    Delete,
    Expunge,
}

impl Guest {
    /// Wraps a connection; performs the TLS handshake if the connection uses implicit TLS.
    pub async fn over(config: &Imap, tcp: TcpStream) -> Result<Self, SourceError> {
        let session = Session::over_tcp(config, Arc::new(Account::new(config)), tcp).await?;
        Ok(Self { config: config.clone(), session })
    }

    /// Reads the greeting, and performs STARTTLS if configured.
    pub async fn greeted(self) -> Result<Self, SourceError> {
        let Self { config, session } = self;
        let session = session.greeted(&config).await?;
        Ok(Self { config, session })
    }

    pub fn encryption(&self) -> Option<Encryption> {
        self.session.encryption()
    }

    /// Logs in. Returns the mechanism too; `None` if the server sent PREAUTH.
    pub async fn log_in(self) -> Result<(Visit, Option<&'static str>), SourceError> {
        let Self { config, mut session } = self;
        let method = session.log_in(&config).await?;
        let Startup { naming, prelisted, .. } = startup(&mut session, &config, None, true).await?;
        Ok((Visit { config, session, naming, prelisted, over: false }, method))
    }
}

impl Visit {
    pub fn offers(&self, capability: &str) -> bool {
        self.session.offers(capability)
    }

    /// True if no more commands can be sent.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Returns the folders to read. Fails like `run` does: if no pattern is configured and none of the folders exists, or if
    /// mails are moved to one of them.
    pub async fn folders(&mut self) -> Result<Vec<Found>, SourceError> {
        self.over = true;
        let found = async {
            let (session, naming, prelisted) = (&mut self.session, &self.naming, &mut self.prelisted);
            let targets = match TargetFolders::find(session, &self.config, naming.clone(), prelisted, true).await {
                // Configuration errors in the target folders are reported by a step of their own.
                Err(Fault::Configuration(_)) => {
                    let none = Imap {
                        archive_folder: None,
                        quarantine_folder: None,
                        after: After::Keep,
                        without_report: WithoutReport::Keep,
                        ..self.config.clone()
                    };
                    TargetFolders::find(session, &none, naming.clone(), prelisted, true).await?
                }
                targets => targets?,
            };
            find_wanted(session, &self.config.folder, &targets, prelisted).await
        };
        let found = found.await;
        self.noted(found)
    }

    /// True if mails are deleted by moving them to the trash folder.
    pub fn moves_to_trash(&self) -> bool {
        configured_folders::keeps_deleted(&self.session)
    }

    /// Returns the name of the trash folder.
    pub async fn trash(&mut self) -> Result<String, SourceError> {
        self.over = true;
        let trash = mailbox::trash(&mut self.session, &self.naming).await;
        self.noted(trash).map(|trash| trash.shown())
    }

    /// Returns the folder that `pattern` stands for today; `None` if it does not exist.
    pub async fn find(&mut self, pattern: &str) -> Result<Option<Folder>, SourceError> {
        self.over = true;
        let found = mailbox::find(&mut self.session, &today(pattern), &self.naming, &self.prelisted).await;
        self.noted(found)
    }

    /// Examines a folder and the rights that are needed there.
    pub async fn look(&mut self, folder: &Folder, needed: &[Right]) -> Result<Look, SourceError> {
        self.over = true;
        let look = look(&mut self.session, folder, needed).await;
        self.noted(look)
    }

    /// Creates and deletes a temporary folder next to the missing one, to test whether `run` can create that. Returns its
    /// name if it could not be deleted. Not cancel-safe: run it to its end.
    pub async fn make_and_delete(&mut self, setting: &str, pattern: &str) -> Result<Option<String>, SourceError> {
        self.over = true;
        let tried = make_and_delete(&mut self.session, setting, &today(pattern), &self.naming).await;
        self.noted(tried)
    }

    pub async fn log_out(self) {
        if !self.over {
            self.session.log_out().await;
        }
    }

    fn noted<T>(&mut self, result: Result<T, Fault>) -> Result<T, SourceError> {
        self.over = result.as_ref().is_err_and(|fault| !leaves_session(fault));
        Ok(result?)
    }
}

impl Right {
    /// Returns the operation that is not possible without this right.
    pub fn what(self) -> &'static str {
        match self {
            Right::Insert => "put mails into it (i)",
            Right::MarkSeen => "mark mails as read (s)",
            Right::SetKeywords => "mark mails with keywords (w)",
            Right::Delete => "mark mails as deleted (t)",
            Right::Expunge => "expunge mails (e)",
        }
    }

    fn is_among(self, rights: &[AclRight]) -> bool {
        let any = |of: &[AclRight]| of.iter().any(|right| rights.contains(right));
        match self {
            Right::Insert => any(&[AclRight::Insert]),
            Right::MarkSeen => any(&[AclRight::Seen]),
            Right::SetKeywords => any(&[AclRight::Write]),
            // RFC 2086 (before RFC 4314) had a single right for both.
            Right::Delete => any(&[AclRight::DeleteMessage, AclRight::OldDelete]),
            Right::Expunge => any(&[AclRight::Expunge, AclRight::OldDelete]),
        }
    }
}

/// True if the session can still be used: a missing folder does not end it.
fn leaves_session(fault: &Fault) -> bool {
    fault.leaves_session() || matches!(fault, Fault::Configuration(_))
}

fn today(pattern: &str) -> String {
    folder::at(pattern, Timestamp::now().as_second())
}

async fn look(session: &mut Session, folder: &Folder, needed: &[Right]) -> Result<Look, Fault> {
    let (mut lacking, mut recent) = (None, None);
    if !needed.is_empty() {
        recent = Some(recent_mails(session, folder).await?);
        if session.offers("ACL") {
            lacking = lacking_rights(session, folder, needed).await?;
        }
    }
    let Selected { exists, uid_validity, .. } = mailbox::select(session, folder, true).await?;
    let opened = match recent {
        None => Opened::NotNeeded,
        Some(1..) => Opened::HasRecent,
        Some(0) => match mailbox::select(session, folder, false).await? {
            Selected { read_only: true, .. } => Opened::ReadOnly,
            Selected { takes_keyword, .. } => Opened::Writable { takes_keyword },
        },
    };
    Ok(Look { mails: exists, uid_validity, lacking, opened })
}

/// Returns the number of \\Recent mails; 1 if the server does not tell, as there may be some.
async fn recent_mails(session: &mut Session, folder: &Folder) -> Result<u32, Fault> {
    let mut recent = 1;
    let command = format!("STATUS {} (RECENT)", folder.quoted());
    let asked = session.command(command, |response| {
        if let Response::MailboxData(MailboxDatum::Status { status, .. }) = response {
            let told = status.iter().find_map(|told| match told {
                StatusAttribute::Recent(count) => Some(*count),
                _ => None,
            });
            recent = told.unwrap_or(recent);
        }
    });
    match asked.await {
        Err(fault) if !fault.leaves_session() => Err(fault),
        _ => Ok(recent),
    }
}

async fn lacking_rights(session: &mut Session, folder: &Folder, needed: &[Right]) -> Result<Option<Vec<Right>>, Fault> {
    let mut lacking = None;
    let command = format!("MYRIGHTS {}", folder.quoted());
    let asked = session.command(command, |response| {
        if let Response::MyRights(told) = response {
            lacking = Some(needed.iter().copied().filter(|right| !right.is_among(&told.rights)).collect());
        }
    });
    match asked.await {
        Err(fault) if !fault.leaves_session() => Err(fault),
        _ => Ok(lacking),
    }
}

async fn make_and_delete(
    session: &mut Session,
    setting: &str,
    written: &str,
    naming: &Naming,
) -> Result<Option<String>, Fault> {
    let mut refused = None;
    for name in naming.to_make(&mailbox::named(session, written, naming).await?) {
        let folder = beside(session, &to_utf7(&name), naming.delimiter).await?;
        match session.command(format!("CREATE {}", folder.quoted()), |_| ()).await {
            Ok(_) => {
                let deleted = session.command(format!("DELETE {}", folder.quoted()), |_| ()).await;
                return match deleted {
                    Ok(_) => Ok(None),
                    Err(_) => Ok(Some(folder.shown())),
                };
            }
            Err(Fault::Refused { answer, .. }) => refused = refused.or(Some(answer)),
            Err(fault) => return Err(fault),
        }
    }
    Err(mailbox::not_made(setting, written, &refused.unwrap_or_default()))
}

/// Returns an unused name at the place where the first missing level of `missing` would be created.
async fn beside(session: &mut Session, missing: &str, delimiter: Option<char>) -> Result<Folder, Fault> {
    let mut first = missing;
    for level in levels_above(missing, delimiter) {
        if !mailbox::list(session, level).await?.iter().any(|listed| listed.name == level) {
            first = level;
            break;
        }
    }
    let above = delimiter.and_then(|delimiter| first.rfind(delimiter)).map_or("", |end| &first[..=end]);
    Ok(Folder::of(&format!("{above}{TEMPORARY}{:08x}", rand::random::<u32>())))
}
