//! Verdicts → what is done to the mails, in as few commands as the server's abilities allow.

use std::collections::BTreeMap;

use super::{
    fault::{Answer, Fault},
    fetch::present,
    mailbox::{Folder, Folders, create},
    session::Session,
    uids::sets,
};
use crate::{
    config::source::{Imap, WithoutReport},
    source::Verdict,
};

/// What is to be done to a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Archive,
    Quarantine,
    Delete,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Mails that are where they belong.
    pub settled: Vec<u32>,
    /// Mails that the server would not move, and its last reason.
    pub refused: Vec<u32>,
    pub reason: Option<String>,
    /// Mails that were copied to their target, where there is no MOVE: another try must only remove them.
    pub copied: Vec<u32>,
    /// Without UIDPLUS, mails are only marked as deleted: a bare EXPUNGE would take others' with it.
    pub only_marked: bool,
}

/// `None` where the mail stays where it is.
pub fn action(verdict: &Verdict, config: &Imap) -> Option<Action> {
    let archive = config.archive_folder.as_ref().map(|_| Action::Archive);
    let quarantine = config.quarantine_folder.as_ref().map(|_| Action::Quarantine);
    match verdict {
        Verdict::Archive => archive,
        Verdict::Quarantine(_) => quarantine,
        Verdict::WithoutReport => match config.without_report {
            WithoutReport::Keep => None,
            WithoutReport::Archive => archive,
            WithoutReport::Quarantine => quarantine,
            WithoutReport::Delete => Some(Action::Delete),
        },
        Verdict::Leave => None,
    }
}

/// Carries out all that is `due`; `report` says how far it got, also when the session broke meanwhile.
pub async fn settle(
    session: &mut Session,
    folders: &Folders,
    due: &BTreeMap<u32, Action>,
    report: &mut Report,
) -> Result<(), Fault> {
    for action in [Action::Archive, Action::Quarantine, Action::Delete] {
        let uids: Vec<u32> = due.iter().filter(|(_, wanted)| **wanted == action).map(|(uid, _)| *uid).collect();
        let target = match action {
            Action::Archive => folders.archive.as_ref(),
            Action::Quarantine => folders.quarantine.as_ref(),
            Action::Delete => None,
        };
        for (set, uids) in sets(&uids) {
            let done = match target {
                None => remove(session, &set, report).await,
                Some(target) if session.offers("MOVE") => relocate(session, &set, uids, target).await,
                Some(target) => copy(session, &set, uids, target, report).await,
            };
            match done {
                Ok(()) => report.settled.extend(uids),
                Err(Fault::Refused { command, answer }) => judge(session, uids, &command, &answer, report).await?,
                Err(fault) => return Err(fault),
            }
        }
    }
    Ok(())
}

/// RFC 6851. Some servers say OK and move only some, so the count is checked.
async fn relocate(session: &mut Session, set: &str, uids: &[u32], target: &Folder) -> Result<(), Fault> {
    let moved = with_target(session, target, &format!("UID MOVE {set} {}", target.quoted())).await?;
    if moved >= uids.len() || present(session, uids).await?.is_empty() {
        return Ok(());
    }
    let text = "the server said OK, but did not move all of them".into();
    Err(Fault::Refused { command: "UID MOVE".into(), answer: Answer { code: None, text } })
}

/// RFC 4315 with COPY, where there is no MOVE (iCloud, Courier).
async fn copy(
    session: &mut Session,
    set: &str,
    uids: &[u32],
    target: &Folder,
    report: &mut Report,
) -> Result<(), Fault> {
    with_target(session, target, &format!("UID COPY {set} {}", target.quoted())).await?;
    report.copied.extend(uids);
    remove(session, set, report).await
}

async fn remove(session: &mut Session, set: &str, report: &mut Report) -> Result<(), Fault> {
    session.command(&format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)"), |_| ()).await?;
    if session.offers("UIDPLUS") {
        session.command(&format!("UID EXPUNGE {set}"), |_| ()).await?;
    } else {
        report.only_marked = true;
    }
    Ok(())
}

/// Runs `command`; makes `target` and runs it once more where the server says that this would help. Returns how many
/// mails were reported gone.
async fn with_target(session: &mut Session, target: &Folder, command: &str) -> Result<usize, Fault> {
    match session.command(command, |_| ()).await {
        Err(Fault::Refused { answer, .. }) if answer.code.as_deref() == Some("TRYCREATE") => {
            create(session, target).await?;
            Ok(session.command(command, |_| ()).await?.expunged)
        }
        other => Ok(other?.expunged),
    }
}

/// After NO: what was moved all the same is settled (RFC 6851 section 3.3 lets a part be), the rest is left.
async fn judge(
    session: &mut Session,
    uids: &[u32],
    command: &str,
    answer: &Answer,
    report: &mut Report,
) -> Result<(), Fault> {
    let still = match present(session, uids).await {
        Ok(still) => still,
        Err(fault) if fault.leaves_session() => uids.to_vec(),
        Err(fault) => return Err(fault),
    };
    let (refused, settled): (Vec<u32>, Vec<u32>) = uids.iter().partition(|uid| still.binary_search(uid).is_ok());
    report.settled.extend(settled);
    if !refused.is_empty() {
        report.reason = Some(format!("{command}: {}", answer.shown()));
    }
    report.refused.extend(refused);
    Ok(())
}
