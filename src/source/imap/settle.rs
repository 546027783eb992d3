//! Verdicts → what is done to the mails, in as few commands as the server's abilities allow.

use std::collections::BTreeMap;

use super::{
    fault::{Answer, Fault},
    fetch::present,
    mailbox::{Folder, create},
    session::Session,
    targets::Targets,
    uids::sets,
};
use crate::{
    config::source::{After, Imap, WithoutReport},
    source::Verdict,
};

/// Marks mails that were dealt with and left in place, for a process that has no ledger to remember them by.
pub const KEYWORD: &str = "$DmarcShipped";

/// What is to be done to a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Archive,
    Quarantine,
    Delete,
    /// It stays where it is, with these marks.
    Stay(Marks),
}

/// What a mail that stays is marked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Marks {
    /// As read.
    pub seen: bool,
    /// As dealt with, by [`KEYWORD`].
    pub keyword: bool,
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

/// What a verdict means to a mail; `None` where it was not dealt with, and is left as it was.
pub fn action(verdict: &Verdict, config: &Imap) -> Option<Action> {
    let stay = Action::Stay(Marks::default());
    let archive = if config.archive_folder.is_some() { Action::Archive } else { stay };
    let quarantine = if config.quarantine_folder.is_some() { Action::Quarantine } else { stay };
    Some(match verdict {
        Verdict::Archive => match config.after {
            After::Archive => archive,
            After::Delete => Action::Delete,
            After::Seen => Action::Stay(Marks { seen: true, keyword: false }),
            After::Keep => stay,
        },
        Verdict::Quarantine(_) => quarantine,
        Verdict::WithoutReport => match config.without_report {
            WithoutReport::Keep => stay,
            WithoutReport::Archive => archive,
            WithoutReport::Quarantine => quarantine,
            WithoutReport::Delete => Action::Delete,
        },
        Verdict::Leave => return None,
    })
}

/// Whether a verdict takes the mail out of its folder, so that nothing has to be remembered of it.
pub fn takes_away(verdict: &Verdict, config: &Imap) -> bool {
    !matches!(action(verdict, config), None | Some(Action::Stay(_)))
}

/// Whether any verdict makes mails be deleted.
pub fn deletes(config: &Imap) -> bool {
    config.after == After::Delete || config.without_report == WithoutReport::Delete
}

/// Carries out all that is `due`, where mails are read from the folders `read`; `report` says how far it got, also when the session broke meanwhile.
pub async fn settle(
    session: &mut Session,
    targets: &mut Targets,
    read: &[Folder],
    due: &BTreeMap<u32, Action>,
    report: &mut Report,
) -> Result<(), Fault> {
    let mut tasks: BTreeMap<Action, Vec<u32>> = BTreeMap::new();
    due.iter().for_each(|(uid, action)| tasks.entry(*action).or_default().push(*uid));
    for (action, uids) in tasks {
        let target = match targets.of(session, action, read).await {
            // A later try at making the folder may work; what goes elsewhere does not wait for it.
            Err(fault @ (Fault::Refused { .. } | Fault::Configuration(_))) => {
                report.refuse(uids, fault.to_string());
                continue;
            }
            target => target?,
        };
        for (set, uids) in sets(&uids) {
            let done = match (action, &target) {
                (Action::Stay(marks), _) => mark(session, &set, marks).await,
                (_, Some(target)) if session.offers("MOVE") => relocate(session, &set, uids, target, targets).await,
                (_, Some(target)) => copy(session, &set, uids, target, targets, report).await,
                (_, None) => remove(session, &set, report).await,
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

impl Marks {
    pub fn any(self) -> bool {
        self.seen || self.keyword
    }
}

impl Report {
    fn refuse(&mut self, uids: Vec<u32>, reason: String) {
        self.refused.extend(uids);
        self.reason = Some(reason);
    }
}

/// RFC 6851. Some servers say OK and move only some, so the count is checked.
async fn relocate(
    session: &mut Session,
    set: &str,
    uids: &[u32],
    target: &Folder,
    targets: &Targets,
) -> Result<(), Fault> {
    let moved = with_target(session, target, targets, &format!("UID MOVE {set} {}", target.quoted())).await?;
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
    targets: &Targets,
    report: &mut Report,
) -> Result<(), Fault> {
    with_target(session, target, targets, &format!("UID COPY {set} {}", target.quoted())).await?;
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

async fn mark(session: &mut Session, set: &str, marks: Marks) -> Result<(), Fault> {
    let flags: Vec<&str> = [(marks.seen, "\\Seen"), (marks.keyword, KEYWORD)]
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, flag)| *flag)
        .collect();
    session.command(&format!("UID STORE {set} +FLAGS.SILENT ({})", flags.join(" ")), |_| ()).await?;
    Ok(())
}

/// Runs `command`; makes `target` and runs it once more where the server says that this would help. Returns how many
/// mails were reported gone.
async fn with_target(session: &mut Session, target: &Folder, targets: &Targets, command: &str) -> Result<usize, Fault> {
    match session.command(command, |_| ()).await {
        Err(Fault::Refused { answer, .. }) if answer.code.as_deref() == Some("TRYCREATE") => {
            create(session, target, targets.delimiter()).await?;
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
        report.refuse(refused, format!("{command}: {}{}", answer.shown(), advice(answer)));
    }
    Ok(())
}

/// What a person can do about it.
fn advice(answer: &Answer) -> &'static str {
    match answer.code.as_deref() {
        Some("OVERQUOTA") => "; the mailbox is full: delete mails in it, or raise its quota",
        Some("NOPERM") => "; the account lacks the right to do this",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{self, Format, source::SourceConfig},
        trouble::{Reason, Trouble},
    };

    fn imap(lines: &str) -> Imap {
        let text = format!(
            "sources: {{rua: {{type: imap, host: a, user: u, password: p, {lines}}}}}\nsinks: {{out: {{type: stdout}}}}\n"
        );
        let mut config = config::parse(&text, Format::Yaml, "test.yaml").unwrap().config;
        match config.sources.remove("rua") {
            Some(SourceConfig::Imap(imap)) => *imap,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn verdicts_mean_what_the_configuration_says() {
        let archive = Verdict::Archive;
        let quarantine = Verdict::Quarantine(Trouble::new(Reason::CorruptGzip, "a stream that ends too early"));
        let stay = Action::Stay(Marks::default());
        let seen = Action::Stay(Marks { seen: true, keyword: false });
        for (lines, shipped, unreadable, without_report) in [
            ("", stay, stay, stay),
            ("archive_folder: A", Action::Archive, stay, stay),
            ("archive_folder: A, after: keep, without_report: archive", stay, stay, Action::Archive),
            (
                "after: seen, quarantine_folder: Q, without_report: quarantine",
                seen,
                Action::Quarantine,
                Action::Quarantine,
            ),
            ("after: delete, without_report: delete", Action::Delete, stay, Action::Delete),
        ] {
            let config = imap(lines);
            assert_eq!(action(&archive, &config), Some(shipped), "{lines}");
            assert_eq!(action(&quarantine, &config), Some(unreadable), "{lines}");
            assert_eq!(action(&Verdict::WithoutReport, &config), Some(without_report), "{lines}");
            assert_eq!(action(&Verdict::Leave, &config), None, "{lines}");
            assert_eq!(takes_away(&archive, &config), !matches!(shipped, Action::Stay(_)), "{lines}");
            assert!(!takes_away(&Verdict::Leave, &config), "{lines}");
        }
    }
}
