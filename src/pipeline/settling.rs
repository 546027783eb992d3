//! What happens once a mail's events have arrived: one ledger transaction, then the verdict to its source.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::Stopped;
use crate::{
    deliver::tracker::{Claim, Mark, Settled, Tracker},
    ledger::{Commit, DocumentKey, Ledger, PlaceVerdict, Shipped},
    source::{MailRef, Place, Verdict},
};

/// The process's own number for a mail, over all sources.
pub type MailId = u64;

/// How long to wait before a ledger that could not be written is tried again.
const LEDGER_RETRY: Duration = Duration::from_secs(5);

/// All mails between their first read byte and their verdict; shared by the readers and the settling task.
#[derive(Debug)]
pub struct Desk {
    ledger: Arc<Ledger>,
    /// What was first shipped from then on counts as not shipped.
    reship: Option<Timestamp>,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug)]
struct State {
    tracker: Tracker<MailId, DocumentKey>,
    /// Mails read to their end, by what is to be written and said about them.
    read: HashMap<MailId, Read>,
    next: MailId,
    /// When something last arrived or was settled, or there was nothing to wait for.
    progress: Instant,
    /// Settling has ended: what is read from now on is left as it was.
    closed: bool,
    /// Mails that were left as they were.
    left: u64,
    /// The ledger could not be read the last time, and that was said.
    unreadable: bool,
}

/// One mail that has been read: what the ledger and its source are to be told.
#[derive(Debug)]
pub struct Read {
    pub reply: Reply,
    pub place: Place,
    pub verdict: Verdict,
    /// Documents shipped from this mail, or shared with another in flight.
    pub documents: Vec<(DocumentKey, Shipped)>,
    /// Documents that the ledger knew.
    pub seen_again: Vec<DocumentKey>,
    /// The mail stays where it is, and is to be remembered with this.
    pub stays: Option<PlaceVerdict>,
}

/// Where a mail's verdict goes.
#[derive(Debug, Clone)]
pub struct Reply {
    pub mail: MailRef,
    pub verdicts: mpsc::UnboundedSender<(MailRef, Verdict)>,
}

impl Reply {
    pub fn send(&self, verdict: Verdict) {
        // A source that has ended needs no verdicts: silence means retry.
        self.verdicts.send((self.mail, verdict)).ok();
    }
}

/// Whether a document is to be shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    Mine,
    /// Under way already, from another mail or the same.
    InFlight,
    /// Shipped before, as the ledger tells.
    Known(Shipped),
}

impl Desk {
    pub fn new(ledger: Arc<Ledger>, required: usize, reship: Option<Timestamp>) -> Self {
        Self {
            ledger,
            reship,
            state: Mutex::new(State {
                tracker: Tracker::new(required),
                read: HashMap::new(),
                next: 0,
                progress: Instant::now(),
                closed: false,
                left: 0,
                unreadable: false,
            }),
            news: Notify::new(),
        }
    }

    /// A mail is about to be read.
    pub fn open(&self) -> MailId {
        let mut state = self.lock();
        if state.tracker.in_flight() == 0 {
            state.progress = Instant::now();
        }
        state.next += 1;
        let mail = state.next;
        state.tracker.open(mail);
        mail
    }

    /// Claims a document for `mail`, unless it was shipped before or is under way. `Err`: the ledger can't tell, so the
    /// mail has to stay where it is.
    pub fn claim(&self, mail: MailId, document: &DocumentKey) -> Result<Claimed, Stopped> {
        // Locked over the look into the ledger: a document leaves the tracker only after it is in there.
        let mut state = self.lock();
        if !state.tracker.is_claimed(document) {
            match self.ledger.document(document) {
                Ok(known) => {
                    state.unreadable = false;
                    if let Some(shipped) = known
                        && self.reship.is_none_or(|since| shipped.first_shipped < since)
                    {
                        return Ok(Claimed::Known(shipped));
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut state.unreadable, true) {
                        error!(%error, "can't read the ledger; mails stay where they are until it can be read");
                    }
                    return Err(Stopped);
                }
            }
        }
        Ok(match state.tracker.claim(mail, document) {
            Claim::Mine => Claimed::Mine,
            Claim::InFlight => Claimed::InFlight,
        })
    }

    pub fn document_read(&self, document: &DocumentKey, mark: Mark) {
        self.lock().tracker.document_read(document, mark);
    }

    /// A mail has been read to its end: settle it when `mark` has been confirmed.
    pub fn mail_read(&self, mail: MailId, mark: Mark, read: Read) {
        let mut state = self.lock();
        if state.closed {
            state.tracker.abandon(mail);
            return state.leave(&read.reply);
        }
        state.tracker.mail_read(mail, mark);
        state.read.insert(mail, read);
        drop(state);
        self.news.notify_one();
    }

    /// Reading was given up; the mail is left as it was.
    pub fn abandon(&self, mail: MailId, reply: &Reply) {
        let mut state = self.lock();
        state.tracker.abandon(mail);
        state.leave(reply);
        drop(state);
        self.news.notify_one();
    }

    /// A mail is not even begun: it is left as it was.
    pub fn leave(&self, reply: &Reply) {
        self.lock().leave(reply);
    }

    /// Mails that were left as they were, for another run.
    pub fn left(&self) -> u64 {
        self.lock().left
    }

    /// A sink has confirmed something.
    pub fn wake(&self) {
        self.news.notify_one();
    }

    /// Since when mails have been waiting without anything arriving; `None` while nothing waits.
    pub fn stuck_since(&self) -> Option<Instant> {
        let state = self.lock();
        (state.tracker.in_flight() > 0).then_some(state.progress)
    }

    /// Mails that have been opened and not settled.
    pub fn in_flight(&self) -> usize {
        self.lock().tracker.in_flight()
    }

    /// Settles mails as their events arrive, until `done`; then what has arrived by that time, and leaves the rest.
    /// `confirmed` are the required sinks', in the order of the marks.
    pub async fn settle(self: Arc<Self>, confirmed: Vec<watch::Receiver<u64>>, done: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = self.news.notified() => {}
                () = done.cancelled() => break,
            }
            self.write_and_tell(self.take_arrived(&confirmed), &done).await;
        }
        self.write_and_tell(self.take_arrived(&confirmed), &done).await;
        let mut state = self.lock();
        state.closed = true;
        for (mail, read) in std::mem::take(&mut state.read) {
            state.tracker.abandon(mail);
            state.leave(&read.reply);
        }
    }

    fn take_arrived(&self, confirmed: &[watch::Receiver<u64>]) -> Vec<(MailId, Read)> {
        let mut state = self.lock();
        for (sink, confirmed) in confirmed.iter().enumerate() {
            if state.tracker.confirm(sink, *confirmed.borrow()) {
                state.progress = Instant::now();
            }
        }
        let mut arrived = Vec::new();
        for settled in state.tracker.settled() {
            match settled {
                Settled::Arrived(mail) => arrived.extend(state.read.remove(&mail).map(|read| (mail, read))),
                Settled::Abandoned(mail) => {
                    if let Some(read) = state.read.remove(&mail) {
                        state.leave(&read.reply);
                    }
                }
            }
        }
        arrived
    }

    /// One ledger transaction for all of `batch`, then the verdicts. While the ledger can't be written it is tried again,
    /// until `done`: the mails are then left as they were.
    async fn write_and_tell(self: &Arc<Self>, batch: Vec<(MailId, Read)>, done: &CancellationToken) {
        if batch.is_empty() {
            return;
        }
        let commit = Arc::new(commit_of(&batch));
        let mut failing = false;
        loop {
            let (desk, to_write) = (self.clone(), commit.clone());
            let written = tokio::task::spawn_blocking(move || desk.ledger.commit(&to_write)).await;
            let error = match written {
                Ok(Ok(())) => break,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => panic.to_string(),
            };
            if !std::mem::replace(&mut failing, true) {
                error!(error, "can't write the ledger; mails stay where they are until it can be written");
            }
            tokio::select! {
                () = tokio::time::sleep(LEDGER_RETRY) => {}
                () = done.cancelled() => {
                    let mut state = self.lock();
                    for (mail, read) in &batch {
                        state.tracker.abandon(*mail);
                        state.leave(&read.reply);
                    }
                    return;
                }
            }
        }
        if failing {
            info!("the ledger can be written again");
        }
        let mut state = self.lock();
        for (mail, read) in batch {
            state.tracker.forget(mail);
            read.reply.send(read.verdict);
        }
        state.progress = Instant::now();
    }

    /// A reader that panics inside the ledger leaves the state as it was before the call.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn leave(&mut self, reply: &Reply) {
        self.left += 1;
        reply.send(Verdict::Leave);
    }
}

fn commit_of(batch: &[(MailId, Read)]) -> Commit {
    let mut commit =
        Commit { now: Timestamp::now(), documents: Vec::new(), seen_again: Vec::new(), places: Vec::new() };
    for (_, read) in batch {
        commit.documents.extend(read.documents.iter().cloned());
        commit.seen_again.extend(read.seen_again.iter().cloned());
        if let Some(verdict) = read.stays {
            commit.places.push((read.place.clone(), verdict));
        }
    }
    commit
}
