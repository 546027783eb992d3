//! Settling: carries out verdicts on mails (MOVE, COPY, STORE, EXPUNGE), in as few commands as the server's capabilities
//! allow.

use std::{
    collections::{BTreeMap, VecDeque},
    task::{Context, Poll},
};

use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc::UnboundedReceiver;

use super::{
    configured_folders::TargetFolders,
    mailbox::{Folder, KEYWORD, create},
    search::present,
};
use crate::source::imap::{
    error::{Answer, Fault},
    plan::settle_queue::{Action, Marks},
    wire::{
        response_limits::Allowance,
        session::{Command, Outcome, Session},
        uid_set::{UidSet, sets},
    },
};

/// Outcome of settling.
#[derive(Debug, Default)]
pub struct SettleReport {
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

/// Carries out all `requests`. `read`: the folders that mails are read from. `report` contains what was achieved,
/// even if the session broke meanwhile.
pub async fn settle(
    session: &mut Session,
    targets: &mut TargetFolders,
    read: &[Folder],
    mut requests: Requests,
    report: &mut SettleReport,
) -> Result<(), Fault> {
    while let Some((action, sets)) = requests.next() {
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
                move_to(session, requests.sets(action, sets), target, targets, report).await?;
            }
            (_, Some(target)) => copy(session, sets, target, targets, report).await?,
            (_, None) => remove(session, sets, report).await?,
        }
    }
    Ok(())
}

impl SettleReport {
    fn refuse(&mut self, uids: Vec<u32>, reason: String) {
        self.refused.extend(uids);
        self.reason = Some(reason);
    }
}

/// Moves mails with MOVE (RFC 6851). Some servers answer OK although they moved only some, so the result is verified.
async fn move_to(
    session: &mut Session,
    sets: impl Stream<Item = UidSet> + Send,
    target: &Folder,
    targets: &TargetFolders,
    report: &mut SettleReport,
) -> Result<(), Fault> {
    let mut moved = to_target(session, sets, "UID MOVE", target, targets).await;
    report.settled.extend(moved.take_moved(0));
    let unconfirmed = moved.verified(session, report).await?;
    let mut unconfirmed: Vec<u32> = unconfirmed.into_iter().flat_map(|(set, _)| set.uids).collect();
    // Mails that became due later may have lower UIDs.
    unconfirmed.sort_unstable();
    if unconfirmed.is_empty() {
        return Ok(());
    }
    let text = "the server said OK, but did not move all of them".into();
    verify(session, &unconfirmed, "UID MOVE", &Answer { code: None, text }, report).await
}

/// Moves mails with COPY, STORE and EXPUNGE (RFC 4315), if the server has no MOVE (iCloud, Courier).
async fn copy(
    session: &mut Session,
    sets: Vec<UidSet>,
    target: &Folder,
    targets: &TargetFolders,
    report: &mut SettleReport,
) -> Result<(), Fault> {
    let attempts = to_target(session, stream::iter(sets), "UID COPY", target, targets).await;
    report.copied.extend(attempts.uids());
    let copied: Vec<UidSet> = attempts.verified(session, report).await?.into_iter().map(|(set, _)| set).collect();
    remove(session, copied, report).await
}

async fn remove(session: &mut Session, sets: Vec<UidSet>, report: &mut SettleReport) -> Result<(), Fault> {
    let marking = each(session, stream::iter(sets), |set| format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)")).await;
    if !session.offers("UIDPLUS") {
        report.only_marked |= !marking.done.is_empty();
        report.settled.extend(marking.uids());
        return marking.verified(session, report).await.map(drop);
    }
    let marked: Vec<UidSet> = marking.verified(session, report).await?.into_iter().map(|(set, _)| set).collect();
    let expunging = each(session, stream::iter(marked), |set| format!("UID EXPUNGE {set}")).await;
    report.settled.extend(expunging.uids());
    expunging.verified(session, report).await.map(drop)
}

async fn mark(session: &mut Session, sets: Vec<UidSet>, marks: Marks, report: &mut SettleReport) -> Result<(), Fault> {
    let flags: Vec<&str> = [(marks.seen, "\\Seen"), (marks.keyword, KEYWORD)]
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, flag)| *flag)
        .collect();
    let flags = flags.join(" ");
    let marking = each(session, stream::iter(sets), |set| format!("UID STORE {set} +FLAGS.SILENT ({flags})")).await;
    report.settled.extend(marking.uids());
    marking.verified(session, report).await.map(drop)
}

/// Outcomes of a command for several UID sets.
#[derive(Default)]
struct Attempts {
    /// Sets for which it succeeded, with the number of mails expunged meanwhile.
    pub done: Vec<(UidSet, usize)>,
    /// Sets for which it was refused, with the command and the reason.
    pub refused: Vec<(UidSet, String, Answer)>,
    /// Fault because of which the other sets were not attempts.
    broke: Option<Fault>,
}

impl Attempts {
    /// Combines the sets that were `sent` with the outcomes of their commands.
    pub fn of(sent: Vec<UidSet>, outcomes: Vec<Option<Result<Outcome, Fault>>>) -> Self {
        let mut attempts = Self::default();
        for (set, outcome) in sent.into_iter().zip(outcomes) {
            match outcome {
                Some(Ok(outcome)) => attempts.done.push((set, outcome.expunged)),
                Some(Err(Fault::Refused { command, answer })) => attempts.refused.push((set, command, answer)),
                Some(Err(fault)) => attempts.broke = Some(fault),
                None => {}
            }
        }
        attempts
    }

    /// Takes out the mails that were certainly moved: if no command was refused, and all together, with `also` from others,
    /// reported at least as many EXPUNGEs. Dovecot reports them when it has nothing else to do.
    pub fn take_moved(&mut self, also: usize) -> Vec<u32> {
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
    async fn verified(self, session: &mut Session, report: &mut SettleReport) -> Result<Vec<(UidSet, usize)>, Fault> {
        if let Some(fault) = self.broke {
            return Err(fault);
        }
        for (set, command, answer) in self.refused {
            verify(session, &set.uids, &command, &answer, report).await?;
        }
        Ok(self.done)
    }
}

/// Runs a command for each UID set.
async fn each(
    session: &mut Session,
    sets: impl Stream<Item = UidSet> + Send,
    command: impl Fn(&str) -> String + Send + Sync,
) -> Attempts {
    let (mut sent, mut outcomes) = (Vec::new(), Vec::new());
    let commands = commands(sets, command, &mut sent);
    let broke = session.pipeline(commands, |_| None, |_| (), &mut outcomes).await.err();
    Attempts { broke, ..Attempts::of(sent, outcomes) }
}

/// Returns a command for each set; a set is added to `sent` once its command is taken.
fn commands(
    sets: impl Stream<Item = UidSet> + Send,
    command: impl Fn(&str) -> String + Send,
    sent: &mut Vec<UidSet>,
) -> impl Stream<Item = Command> + Send {
    sets.map(move |set| {
        let command = Command::new(command(&set.text), Allowance::mails(set.uids.len()));
        sent.push(set);
        command
    })
}

/// Copies or moves each set to `target`, which is created if the server answers TRYCREATE.
async fn to_target(
    session: &mut Session,
    sets: impl Stream<Item = UidSet> + Send,
    verb: &str,
    target: &Folder,
    targets: &TargetFolders,
) -> Attempts {
    let command = |set: &str| to(target, verb, set);
    let mut attempts = each(session, sets, command).await;
    let lacks_target = |(_, _, answer): &(UidSet, String, Answer)| answer.code.as_deref() == Some("TRYCREATE");
    if attempts.broke.is_some() || !attempts.refused.iter().any(lacks_target) {
        return attempts;
    }
    let (to_repeat, refused) = attempts.refused.into_iter().partition(lacks_target);
    attempts.refused = refused;
    let sets: Vec<UidSet> = to_repeat.into_iter().map(|(set, _, _)| set).collect();
    match create(session, target, targets.delimiter()).await {
        Ok(()) => {
            let again = each(session, stream::iter(sets), command).await;
            attempts.done.extend(again.done);
            attempts.refused.extend(again.refused);
            attempts.broke = again.broke;
        }
        Err(Fault::Refused { command, answer }) => {
            attempts.refused.extend(sets.into_iter().map(|set| (set, command.clone(), answer.clone())));
        }
        Err(fault) => attempts.broke = Some(fault),
    }
    attempts
}

/// Returns the command that copies or moves mails to `target`.
fn to(target: &Folder, verb: &str, set: &str) -> String {
    format!("{verb} {set} {}", target.quoted())
}

/// Checks mails after a NO: those that were moved all the same are settled (RFC 6851 section 3.3 permits a partial move),
/// the others are reported as refused.
async fn verify(
    session: &mut Session,
    uids: &[u32],
    command: &str,
    answer: &Answer,
    report: &mut SettleReport,
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

/// Actions to carry out, with their UIDs; more may arrive while commands are under way.
pub struct Requests {
    mails: BTreeMap<Action, Vec<u32>>,
    more: UnboundedReceiver<Vec<(u32, Action)>>,
}

impl Requests {
    pub fn new(first: Vec<(u32, Action)>, more: UnboundedReceiver<Vec<(u32, Action)>>) -> Self {
        let mut requests = Self { mails: BTreeMap::new(), more };
        requests.add(first);
        requests
    }

    pub fn add(&mut self, more: impl IntoIterator<Item = (u32, Action)>) {
        more.into_iter().for_each(|(uid, action)| self.mails.entry(action).or_default().push(uid));
    }

    /// Returns the next action and its UID sets; `None` if none is waiting.
    pub fn next(&mut self) -> Option<(Action, Vec<UidSet>)> {
        while let Ok(more) = self.more.try_recv() {
            self.add(more);
        }
        let (action, uids) = self.mails.pop_first()?;
        Some((action, sorted(uids)))
    }

    /// Yields the sets in `first`, and then those of mails for which `action` becomes due.
    pub fn sets(&mut self, action: Action, first: Vec<UidSet>) -> impl Stream<Item = UidSet> {
        let mut sets = VecDeque::from(first);
        stream::poll_fn(move |cx| {
            while sets.is_empty() {
                match self.poll_more(action, cx) {
                    Poll::Ready(more) => sets.extend(more),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(sets.pop_front())
        })
    }

    fn poll_more(&mut self, action: Action, cx: &mut Context<'_>) -> Poll<Vec<UidSet>> {
        while let Poll::Ready(Some(more)) = self.more.poll_recv(cx) {
            self.add(more);
        }
        self.mails.remove(&action).map_or(Poll::Pending, |uids| Poll::Ready(sorted(uids)))
    }
}

fn sorted(mut uids: Vec<u32>) -> Vec<UidSet> {
    uids.sort_unstable();
    sets(&uids)
}

/// Pipelined moves to the archive folder, of mails that become due during a FETCH.
pub struct PipelinedMoves {
    /// Archive folder; `None` if nothing is moved during the FETCH, because the server has no MOVE or the folder must be
    /// looked up or created first.
    target: Option<Folder>,
    requests: Requests,
    sent: Vec<UidSet>,
    outcomes: Vec<Option<Result<Outcome, Fault>>>,
    /// Number of mails reported as expunged while the FETCH commands were under way.
    gone: usize,
}

impl PipelinedMoves {
    pub fn with(requests: Requests, target: Option<Folder>) -> Self {
        Self { target, requests, sent: Vec::new(), outcomes: Vec::new(), gone: 0 }
    }

    /// Returns the UID MOVE commands, to be sent after the FETCH commands.
    pub fn commands(&mut self) -> impl Stream<Item = Command> + Send {
        let Self { target, requests, sent, .. } = self;
        let Some(target) = target else { return stream::empty().left_stream() };
        let sets = requests.sets(Action::Archive, Vec::new());
        commands(sets, |set| to(target, "UID MOVE", set), sent).right_stream()
    }

    /// Takes the outcomes of the moves off the end of `outcomes`; the first `others` belong to the FETCH commands. Dovecot
    /// executes the moves while a FETCH waits for its output to be read, so it reports their EXPUNGE responses before the
    /// FETCH ends.
    pub fn completed(&mut self, outcomes: &mut Vec<Option<Result<Outcome, Fault>>>, others: usize) {
        self.outcomes = outcomes.split_off(others.min(outcomes.len()));
        self.gone = outcomes.iter().flatten().flatten().map(|outcome| outcome.expunged).sum();
    }

    /// Reports moved mails in `report` and returns what is still to be done: this includes mails whose move was refused or is not
    /// confirmed.
    pub fn end(self, report: &mut SettleReport) -> Requests {
        let Self { mut requests, sent, outcomes, gone, .. } = self;
        let mut attempts = Attempts::of(sent, outcomes);
        report.settled.extend(attempts.take_moved(gone));
        let again =
            attempts.done.into_iter().map(|(set, _)| set).chain(attempts.refused.into_iter().map(|(set, ..)| set));
        requests.add(again.flat_map(|set| set.uids).map(|uid| (uid, Action::Archive)));
        requests
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[test]
    fn requests_for_the_action_under_way_follow_at_once_and_others_later() {
        let (sender, more) = unbounded_channel();
        let mut requests =
            Requests::new(vec![(3, Action::Archive), (1, Action::Archive), (2, Action::Quarantine)], more);
        let (action, first) = requests.next().unwrap();
        {
            let mut sets = requests.sets(action, first);
            let mut next = || sets.next().now_or_never().map(|set| set.unwrap().text);
            assert_eq!((next(), next()), (Some("1,3".into()), None));
            sender.send(vec![(7, Action::Delete), (6, Action::Archive), (5, Action::Archive)]).unwrap();
            assert_eq!((next(), next()), (Some("5:6".into()), None));
        }
        sender.send(vec![(9, Action::Quarantine)]).unwrap();
        let rest: Vec<(Action, String)> =
            std::iter::from_fn(|| requests.next()).map(|(action, sets)| (action, sets[0].text.clone())).collect();
        assert_eq!(rest, [(Action::Quarantine, "2,9".into()), (Action::Delete, "7".into())]);
    }
}
