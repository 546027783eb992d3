//! Moves that go along with a FETCH: what was shipped is moved while more is on its way, and the server waits for nobody.

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

/// Moves to the archive, of mails that become due for it.
pub struct Along {
    /// `None`: nothing goes along, as the server can't move, or something is to be asked first.
    target: Option<Folder>,
    due: Due,
    sent: Vec<Set>,
    outcomes: Vec<Option<Result<Outcome, Fault>>>,
    /// Mails that were reported gone while the others were under way.
    gone: usize,
}

impl Along {
    pub fn with(due: Due, target: Option<Folder>) -> Self {
        Self { target, due, sent: Vec::new(), outcomes: Vec::new(), gone: 0 }
    }

    /// To be sent after other commands of a flight.
    pub fn commands(&mut self) -> impl Stream<Item = Command> + Send {
        let Self { target, due, sent, .. } = self;
        let Some(target) = target else { return stream::empty().left_stream() };
        let sets = due.sets(Action::Archive, Vec::new());
        commands(sets, |set| to(target, "UID MOVE", set), sent).right_stream()
    }

    /// Takes what came of them off the end of what came of the flight, where `others` were sent before them. Dovecot goes on
    /// with them while a FETCH waits for its output to be read, so that what is gone is reported before the end of that.
    pub fn ended(&mut self, outcomes: &mut Vec<Option<Result<Outcome, Fault>>>, others: usize) {
        self.outcomes = outcomes.split_off(others.min(outcomes.len()));
        self.gone = outcomes.iter().flatten().flatten().map(|outcome| outcome.expunged).sum();
    }

    /// Notes what was moved, and gives back what is due; so is again what was refused, or not moved for certain.
    pub fn end(self, report: &mut Report) -> Due {
        let Self { mut due, sent, outcomes, gone, .. } = self;
        let mut tried = Tried::of(sent, outcomes);
        report.settled.extend(tried.moved(gone));
        let again = tried.done.into_iter().map(|(set, _)| set).chain(tried.refused.into_iter().map(|(set, ..)| set));
        due.add(again.flat_map(|set| set.uids).map(|uid| (uid, Action::Archive)));
        due
    }
}
