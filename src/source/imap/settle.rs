//! Settling: carries out verdicts on mails (MOVE, COPY, STORE, EXPUNGE), in as few commands as the server's capabilities
//! allow.

use futures::{Stream, StreamExt, stream};

use super::{
    budget::Asked,
    due::Due,
    fault::{Answer, Fault},
    fetch::present,
    flight::Command,
    mailbox::{Folder, create},
    session::{Outcome, Session},
    targets::Targets,
    uids::Set,
};
use crate::{
    config::source::{After, Imap, WithoutReport},
    source::Verdict,
};

/// Keyword on mails that were handled and left in place, for a process that has no ledger to remember them.
pub const KEYWORD: &str = "$DmarcShipped";

/// Action to carry out on a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Archive,
    Quarantine,
    Delete,
    /// Leave it in place, with these flags.
    Stay(Marks),
}

/// Flags to set on a mail that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Marks {
    /// \Seen.
    pub seen: bool,
    /// [`KEYWORD`], for handled mails.
    pub keyword: bool,
}

/// Outcome of settling.
#[derive(Debug, Default)]
pub struct Report {
    /// UIDs of mails that were settled.
    pub settled: Vec<u32>,
    /// UIDs of mails that could not be settled; `reason` is the last error.
    pub refused: Vec<u32>,
    pub reason: Option<String>,
    /// UIDs of mails that were copied to their target because the server has no MOVE: a retry must only remove them.
    pub copied: Vec<u32>,
    /// True if mails were only flagged \Deleted, because the server has no UIDPLUS: a bare EXPUNGE would also remove mails
    /// that others have flagged.
    pub only_marked: bool,
}

/// Returns the action for a verdict; `None` if the mail was not handled, and is left unchanged.
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
        Verdict::Leave | Verdict::Defer(_) => return None,
    })
}

/// True if the verdict moves the mail out of its folder, so that nothing has to be remembered of it.
pub fn takes_away(verdict: &Verdict, config: &Imap) -> bool {
    !matches!(action(verdict, config), None | Some(Action::Stay(_)))
}

/// True if some verdict deletes mails.
pub fn deletes(config: &Imap) -> bool {
    config.after == After::Delete || config.without_report == WithoutReport::Delete
}

/// Carries out all actions in `due`. `read`: the folders that mails are read from. `report` contains what was achieved,
/// even if the session broke meanwhile.
pub async fn settle(
    session: &mut Session,
    targets: &mut Targets,
    read: &[Folder],
    mut due: Due,
    report: &mut Report,
) -> Result<(), Fault> {
    while let Some((action, sets)) = due.next() {
        let target = match targets.of(session, action, read).await {
            // A later attempt to create the folder may succeed; other actions don't wait for it.
            Err(fault @ (Fault::Refused { .. } | Fault::Configuration(_))) => {
                report.refuse(sets.into_iter().flat_map(|set| set.uids).collect(), fault.to_string());
                continue;
            }
            target => target?,
        };
        match (action, &target) {
            (Action::Stay(marks), _) => mark(session, sets, marks, report).await?,
            (_, Some(target)) if session.offers("MOVE") => {
                relocate(session, due.sets(action, sets), target, targets, report).await?;
            }
            (_, Some(target)) => copy(session, sets, target, targets, report).await?,
            (_, None) => remove(session, sets, report).await?,
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

/// Moves mails with MOVE (RFC 6851). Some servers answer OK although they moved only some, so the result is verified.
async fn relocate(
    session: &mut Session,
    sets: impl Stream<Item = Set> + Send,
    target: &Folder,
    targets: &Targets,
    report: &mut Report,
) -> Result<(), Fault> {
    let mut moved = to_target(session, sets, "UID MOVE", target, targets).await;
    report.settled.extend(moved.moved(0));
    let doubted = moved.judged(session, report).await?;
    let mut doubted: Vec<u32> = doubted.into_iter().flat_map(|(set, _)| set.uids).collect();
    // Mails that became due later may have lower UIDs.
    doubted.sort_unstable();
    if doubted.is_empty() {
        return Ok(());
    }
    let text = "the server said OK, but did not move all of them".into();
    judge(session, &doubted, "UID MOVE", &Answer { code: None, text }, report).await
}

/// Moves mails with COPY, STORE and EXPUNGE (RFC 4315), if the server has no MOVE (iCloud, Courier).
async fn copy(
    session: &mut Session,
    sets: Vec<Set>,
    target: &Folder,
    targets: &Targets,
    report: &mut Report,
) -> Result<(), Fault> {
    let tried = to_target(session, stream::iter(sets), "UID COPY", target, targets).await;
    report.copied.extend(tried.uids());
    let copied: Vec<Set> = tried.judged(session, report).await?.into_iter().map(|(set, _)| set).collect();
    remove(session, copied, report).await
}

async fn remove(session: &mut Session, sets: Vec<Set>, report: &mut Report) -> Result<(), Fault> {
    let marking = each(session, stream::iter(sets), |set| format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)")).await;
    if !session.offers("UIDPLUS") {
        report.only_marked |= !marking.done.is_empty();
        report.settled.extend(marking.uids());
        return marking.judged(session, report).await.map(drop);
    }
    let marked: Vec<Set> = marking.judged(session, report).await?.into_iter().map(|(set, _)| set).collect();
    let expunging = each(session, stream::iter(marked), |set| format!("UID EXPUNGE {set}")).await;
    report.settled.extend(expunging.uids());
    expunging.judged(session, report).await.map(drop)
}

async fn mark(session: &mut Session, sets: Vec<Set>, marks: Marks, report: &mut Report) -> Result<(), Fault> {
    let flags: Vec<&str> = [(marks.seen, "\\Seen"), (marks.keyword, KEYWORD)]
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, flag)| *flag)
        .collect();
    let flags = flags.join(" ");
    let marking = each(session, stream::iter(sets), |set| format!("UID STORE {set} +FLAGS.SILENT ({flags})")).await;
    report.settled.extend(marking.uids());
    marking.judged(session, report).await.map(drop)
}

/// Outcomes of a command for several UID sets.
#[derive(Default)]
pub(super) struct Tried {
    /// Sets for which it succeeded, with the number of mails expunged meanwhile.
    pub done: Vec<(Set, usize)>,
    /// Sets for which it was refused, with the command and the reason.
    pub refused: Vec<(Set, String, Answer)>,
    /// Fault because of which the other sets were not tried.
    broke: Option<Fault>,
}

impl Tried {
    /// Combines the sets that were `sent` with the outcomes of their commands.
    pub fn of(sent: Vec<Set>, outcomes: Vec<Option<Result<Outcome, Fault>>>) -> Self {
        let mut tried = Self::default();
        for (set, outcome) in sent.into_iter().zip(outcomes) {
            match outcome {
                Some(Ok(outcome)) => tried.done.push((set, outcome.expunged)),
                Some(Err(Fault::Refused { command, answer })) => tried.refused.push((set, command, answer)),
                Some(Err(fault)) => tried.broke = Some(fault),
                None => {}
            }
        }
        tried
    }

    /// Takes out the mails that were certainly moved: if no command was refused, and all together, with `also` from others,
    /// reported at least as many EXPUNGEs. Dovecot reports them when it has nothing else to do.
    pub fn moved(&mut self, also: usize) -> Vec<u32> {
        let gone: usize = self.done.iter().map(|(_, gone)| gone).sum();
        if !self.refused.is_empty() || gone + also < self.uids().count() {
            return Vec::new();
        }
        self.done.drain(..).flat_map(|(set, _)| set.uids).collect()
    }

    /// Returns the UIDs of the sets for which the command succeeded.
    fn uids(&self) -> impl Iterator<Item = &u32> {
        self.done.iter().flat_map(|(set, _)| &set.uids)
    }

    /// Returns the sets for which the command succeeded, after it has checked the mails of those that were refused.
    async fn judged(self, session: &mut Session, report: &mut Report) -> Result<Vec<(Set, usize)>, Fault> {
        if let Some(fault) = self.broke {
            return Err(fault);
        }
        for (set, command, answer) in self.refused {
            judge(session, &set.uids, &command, &answer, report).await?;
        }
        Ok(self.done)
    }
}

/// Runs a command for each UID set.
async fn each(
    session: &mut Session,
    sets: impl Stream<Item = Set> + Send,
    command: impl Fn(&str) -> String + Send + Sync,
) -> Tried {
    let (mut sent, mut outcomes) = (Vec::new(), Vec::new());
    let commands = commands(sets, command, &mut sent);
    let broke = session.fly(commands, |_| (), &mut outcomes).await.err();
    Tried { broke, ..Tried::of(sent, outcomes) }
}

/// Returns a command for each set; a set is added to `sent` once its command is taken.
pub(super) fn commands(
    sets: impl Stream<Item = Set> + Send,
    command: impl Fn(&str) -> String + Send,
    sent: &mut Vec<Set>,
) -> impl Stream<Item = Command> + Send {
    sets.map(move |set| {
        let command = Command::new(command(&set.text), Asked::mails(set.uids.len()));
        sent.push(set);
        command
    })
}

/// Copies or moves each set to `target`, which is created if the server answers TRYCREATE.
async fn to_target(
    session: &mut Session,
    sets: impl Stream<Item = Set> + Send,
    verb: &str,
    target: &Folder,
    targets: &Targets,
) -> Tried {
    let command = |set: &str| to(target, verb, set);
    let mut tried = each(session, sets, command).await;
    let lacks_target = |(_, _, answer): &(Set, String, Answer)| answer.code.as_deref() == Some("TRYCREATE");
    if tried.broke.is_some() || !tried.refused.iter().any(lacks_target) {
        return tried;
    }
    let (to_repeat, refused) = tried.refused.into_iter().partition(lacks_target);
    tried.refused = refused;
    let sets: Vec<Set> = to_repeat.into_iter().map(|(set, _, _)| set).collect();
    match create(session, target, targets.delimiter()).await {
        Ok(()) => {
            let again = each(session, stream::iter(sets), command).await;
            tried.done.extend(again.done);
            tried.refused.extend(again.refused);
            tried.broke = again.broke;
        }
        Err(Fault::Refused { command, answer }) => {
            tried.refused.extend(sets.into_iter().map(|set| (set, command.clone(), answer.clone())));
        }
        Err(fault) => tried.broke = Some(fault),
    }
    tried
}

/// Returns the command that copies or moves mails to `target`.
pub(super) fn to(target: &Folder, verb: &str, set: &str) -> String {
    format!("{verb} {set} {}", target.quoted())
}

/// Checks mails after a NO: those that were moved all the same are settled (RFC 6851 section 3.3 permits a partial move),
/// the others are reported as refused.
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

/// Returns advice on a refusal.
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
