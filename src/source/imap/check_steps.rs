//! Checks of a mailbox: the connection, the login, and the folders.

use super::{
    check::{Guest, Look, Opened, Right, Visit},
    settle::{deletes, takes_away},
};
use crate::{
    config::{
        folder::{self, FolderName},
        source::{After, Imap, Security, Watch, WithoutReport},
    },
    exit::Exit,
    source::{Verdict, registry::Checking},
    steps::{Failure, Steps, peer},
    trouble::{Reason, Trouble},
};

const GREETING: &str = "greeting";
const LOGIN: &str = "login";
const ABILITIES: &str = "abilities";
const TRASH: &str = "trash";
const ARCHIVE: &str = "archive_folder";
const QUARANTINE: &str = "quarantine_folder";

const GRANT: &str = "give the account these rights, or have the mails kept (after: keep)";

const MAKE: &str = "make it by hand, or let the account make folders";

/// A mailbox to check, with the settings that its checks depend on.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    pub imap: &'a Imap,
    pub checking: Checking,
}

/// Tests each step. The login is tried only once, as accounts get locked.
pub async fn check(account: Account<'_>, steps: &mut Steps) -> Option<()> {
    let imap = account.imap;
    steps.plan([peer::NAME, peer::CONNECTION, peer::ENCRYPTION, LOGIN, ABILITIES]);
    steps.plan(imap.folder.iter().map(of_folder));
    steps.plan(targets(imap).map(|(setting, _)| setting));
    let guest = meet(imap, steps).await?;
    let (mut visit, method) = steps.attempt(LOGIN, guest.log_in()).await?;
    match method {
        Some(method) => steps.well(LOGIN, format!("{}, by {method}", imap.user)),
        None => steps.well(LOGIN, "not needed: the server knows who connects (PREAUTH)"),
    }
    abilities(account, &visit, steps);
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
        None => steps.note(peer::ENCRYPTION, "none: login and mails travel in plain text (security: none)"),
    }
}

/// Reports the server's capabilities, and the consequences of those it lacks.
fn abilities(account: Account<'_>, visit: &Visit, steps: &mut Steps) {
    let imap = account.imap;
    let offered = ["MOVE", "UIDPLUS", "IDLE", "SPECIAL-USE", "NAMESPACE", "ACL"];
    let offered: Vec<&str> = offered.into_iter().filter(|name| visit.offers(name)).collect();
    let mut shown = match offered[..] {
        [] => "none of those that are used".to_owned(),
        _ => offered.join(" "),
    };
    let lacks = |name: &str| !visit.offers(name);
    let mut missing = Vec::new();
    if moves(imap) && lacks("MOVE") {
        missing.push("without MOVE, mails are copied to where they go, and then deleted where they were");
    }
    if (deletes(imap) || (moves(imap) && lacks("MOVE"))) && lacks("UIDPLUS") {
        missing.push("without UIDPLUS, mails are only marked as deleted, and stay until something else expunges them");
    }
    if imap.watch == Watch::Idle && lacks("IDLE") {
        missing.push("without IDLE, new mail is looked for every poll_interval");
    }
    if missing.is_empty() {
        steps.well(ABILITIES, shown);
    } else {
        shown.extend(missing.iter().flat_map(|missing| ["; ", missing]));
        steps.note(ABILITIES, shown);
    }
}

/// Checks the folders that are read, and those that mails are moved to. An error in one folder does not hide the next.
async fn look_around(account: Account<'_>, visit: &mut Visit, steps: &mut Steps) -> Option<()> {
    let imap = account.imap;
    read_folders(account, visit, steps).await;
    if visit.is_over() {
        return None;
    }
    if deletes(imap) && visit.moves_to_trash() {
        let trash = steps.attempt(TRASH, visit.trash()).await;
        if let Some(name) = trash {
            steps.well(TRASH, format!("{name}, where mails go that are deleted"));
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

async fn read_folders(account: Account<'_>, visit: &mut Visit, steps: &mut Steps) -> Option<()> {
    let imap = account.imap;
    let whole = match &imap.folder[..] {
        [only] => of_folder(only),
        _ => "folders".to_owned(),
    };
    let found = steps.attempt(&whole, visit.folders()).await?;
    let named = imap.folder.iter().filter(|name| !name.is_pattern()).count();
    for pattern in imap.folder.iter().filter(|name| name.is_pattern()) {
        if found.len() > named {
            steps.well(&of_folder(pattern), "a pattern; the folders that it matches are among those that follow");
        } else {
            steps.note(&of_folder(pattern), "a pattern that matches no folder");
        }
    }
    let needed = needed(account);
    for found in found {
        let step = format!("folder {}", found.name);
        let Some(folder) = found.folder else {
            steps.note(&step, "is not there; the others are read, and it too once it is");
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
            let why = format!("{seen}; the server opens it read-only, so mails can neither be moved nor marked");
            steps.fail(step, Failure::new(Exit::Configuration, why).advising(GRANT));
        }
        (_, Opened::Writable { takes_keyword: false }) if needed.contains(&Right::SetKeywords) => steps.note(
            step,
            format!(
                "{seen}; it takes no keywords that tell which mails were shipped, so the next run ships those that stay \
                 again: set data_dir"
            ),
        ),
        (None, Opened::HasRecent) => steps.note(
            step,
            format!(
                "{seen}; whether mails may be moved or marked was not tried: some are new, and to open it for that would \
                 take the \\Recent from them"
            ),
        ),
        (_, Opened::NotNeeded) => steps.well(step, seen),
        _ => steps.well(step, format!("{seen}; what is to be done to mails is allowed")),
    }
}

/// Checks that mails can be moved to a folder, or that the folder can be created.
async fn target(
    account: Account<'_>,
    visit: &mut Visit,
    setting: &'static str,
    pattern: &str,
    steps: &mut Steps,
) -> Option<()> {
    let when = if folder::has_date(pattern) { ", when the first mail of that time goes there" } else { "" };
    let Some(folder) = steps.attempt(setting, visit.find(pattern)).await? else {
        if !account.checking.probes {
            steps.note(setting, format!("{pattern} is not there and would be made{when}; not tried (--no-probe)"));
            return Some(());
        }
        let tried = async {
            let tried = visit.make_and_delete(setting, pattern).await;
            tried.map_err(|error| Failure::from(error).advising(MAKE))
        };
        let left = steps.attempt_whole(setting, tried).await?;
        let made = format!("{pattern} is not there and can be made{when}: another was made beside it");
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
            let why = format!("{seen}; the server opens it read-only, so no mail can be put there");
            steps.fail(setting, Failure::new(Exit::Configuration, why).advising(GRANT));
        }
        // Mails moved there are \Recent until a mail client opens the folder.
        (None, Opened::HasRecent) => {
            steps.well(setting, format!("{seen}; whether more may be put there was not tried: some are \\Recent"));
        }
        _ => steps.well(setting, format!("{seen}; mails may be put there")),
    }
    Some(())
}

fn mails(look: &Look) -> String {
    if look.mails == 1 { "1 mail".to_owned() } else { format!("{} mails", look.mails) }
}

fn not_allowed(seen: &str, lacking: &[Right]) -> Failure {
    let what: Vec<&str> = lacking.iter().map(|right| right.what()).collect();
    Failure::new(Exit::Configuration, format!("{seen}; the account may not {}", what.join(", nor "))).advising(GRANT)
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
fn needed(account: Account<'_>) -> Vec<Right> {
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
