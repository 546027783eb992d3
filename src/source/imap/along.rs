//! UID MOVE pipelined with FETCH: moves shipped mails to the archive folder while others are still being fetched, so that
//! the server is never idle.

use futures::{Stream, StreamExt, stream};

use super::{
    due::Due,
    fault::Fault,
    flight::Command,
    mailbox::Folder,
    session::Outcome,
    settle::{Action, Report, Tried, commands, to},
    uids::Set,
};

/// Pipelined moves to the archive folder, of mails that become due during a FETCH.
pub struct Along {
    /// Archive folder; `None` if nothing is moved during the FETCH, because the server has no MOVE or the folder must be
    /// looked up or created first.
    target: Option<Folder>,
    due: Due,
    sent: Vec<Set>,
    outcomes: Vec<Option<Result<Outcome, Fault>>>,
    /// Number of mails reported as expunged while the FETCH commands were under way.
    gone: usize,
}

impl Along {
    pub fn with(due: Due, target: Option<Folder>) -> Self {
        Self { target, due, sent: Vec::new(), outcomes: Vec::new(), gone: 0 }
    }

    /// Returns the UID MOVE commands, to be sent after the FETCH commands.
    pub fn commands(&mut self) -> impl Stream<Item = Command> + Send {
        let Self { target, due, sent, .. } = self;
        let Some(target) = target else { return stream::empty().left_stream() };
        let sets = due.sets(Action::Archive, Vec::new());
        commands(sets, |set| to(target, "UID MOVE", set), sent).right_stream()
    }

    /// Takes the outcomes of the moves off the end of `outcomes`; the first `others` belong to the FETCH commands. Dovecot
    /// executes the moves while a FETCH waits for its output to be read, so it reports their EXPUNGE responses before the
    /// FETCH ends.
    pub fn ended(&mut self, outcomes: &mut Vec<Option<Result<Outcome, Fault>>>, others: usize) {
        self.outcomes = outcomes.split_off(others.min(outcomes.len()));
        self.gone = outcomes.iter().flatten().flatten().map(|outcome| outcome.expunged).sum();
    }

    /// Reports moved mails in `report` and returns what is still due: this includes mails whose move was refused or is not
    /// confirmed.
    pub fn end(self, report: &mut Report) -> Due {
        let Self { mut due, sent, outcomes, gone, .. } = self;
        let mut tried = Tried::of(sent, outcomes);
        report.settled.extend(tried.moved(gone));
        let again = tried.done.into_iter().map(|(set, _)| set).chain(tried.refused.into_iter().map(|(set, ..)| set));
        due.add(again.flat_map(|set| set.uids).map(|uid| (uid, Action::Archive)));
        due
    }
}
