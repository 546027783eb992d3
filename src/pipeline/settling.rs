//! What happens once a mail's events have arrived: one ledger transaction, then the verdict to its source.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{Reship, Stopped, meters};
use crate::{
    deliver::tracker::{self, Mark, Settled, Tracker},
    ledger::{Commit, DocumentKey, Ledger, LedgerError, PlaceVerdict, Progress, ReportName, Shipped},
    source::{MailRef, Place, Verdict},
};

/// The process's own number for a mail, over all sources.
pub type MailId = u64;

/// How long to wait before a ledger that could not be written is tried again.
const LEDGER_RETRY: Duration = Duration::from_secs(5);

/// How often the ledger is written while more is on its way: a transaction costs some milliseconds of a disk's time,
/// for one mail as for a hundred. Sinks that confirm less often than this find it waiting for them.
const COMMIT_EVERY: Duration = Duration::from_millis(10);

/// How often the progress of documents under way is written down. A kill costs the events of so long, told again.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// All mails between their first read byte and their verdict; shared by the readers and the settling task.
#[derive(Debug)]
pub struct Desk {
    ledger: Arc<Ledger>,
    reship: Option<Reship>,
    /// Who counts the rows of a document under way, and for which sinks.
    by: String,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug)]
struct State {
    tracker: Tracker<MailId, DocumentKey>,
    /// Mails read to their end, by what is to be written and said about them.
    read: HashMap<MailId, Read>,
    /// What reporters call the documents that are in flight.
    names: HashMap<ReportName, DocumentKey>,
    /// Rows that have arrived of documents under way, to be written down.
    progress: HashMap<DocumentKey, (Place, u64)>,
    /// All mails in flight: where they come from, and since when.
    flying: HashMap<MailId, (Place, Instant)>,
    next: MailId,
    /// When something last arrived or was settled, or there was nothing to wait for.
    moved: Instant,
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
    /// What their reporters call them.
    pub names: Vec<(ReportName, [u8; 32])>,
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
    Mine {
        /// The first so many rows arrived before the last process ended.
        arrived: u64,
        /// Another document came under the same name.
        reuses_name: bool,
    },
    /// Under way already, from another mail or the same.
    InFlight,
    /// Shipped before, as the ledger tells.
    Known(Shipped),
    /// Never shipped, and not to be by a run that has only some of the sinks.
    NeverShipped,
}

impl Desk {
    /// `required` are the names of the required sinks.
    pub fn new(ledger: Arc<Ledger>, required: &[Arc<str>], reship: Option<Reship>) -> Self {
        Self {
            ledger,
            reship,
            by: format!("{} {}", env!("CARGO_PKG_VERSION"), required.join(" ")),
            state: Mutex::new(State {
                tracker: Tracker::new(required.len()),
                read: HashMap::new(),
                names: HashMap::new(),
                progress: HashMap::new(),
                flying: HashMap::new(),
                next: 0,
                moved: Instant::now(),
                closed: false,
                left: 0,
                unreadable: false,
            }),
            news: Notify::new(),
        }
    }

    /// How many processes died over a mail, see [`Ledger::attempts`].
    pub fn attempts(&self, place: &Place) -> u32 {
        self.ledger.attempts(place)
    }

    /// A mail is about to be read.
    pub fn open(&self, place: &Place) -> MailId {
        let mut state = self.lock();
        if state.tracker.in_flight() == 0 {
            state.moved = Instant::now();
        }
        state.next += 1;
        let mail = state.next;
        state.tracker.open(mail);
        state.flying.insert(mail, (place.clone(), Instant::now()));
        mail
    }

    /// Claims a document for `mail`, unless it was shipped before or is under way. `Err`: the ledger can't tell, so the
    /// mail has to stay where it is.
    pub fn claim(&self, mail: MailId, document: &DocumentKey, name: Option<&ReportName>) -> Result<Claimed, Stopped> {
        // Locked over the look into the ledger: a document leaves the tracker only after it is in there.
        let mut state = self.lock();
        if state.tracker.is_claimed(document) {
            state.tracker.claim(mail, document);
            return Ok(Claimed::InFlight);
        }
        let claimed = match self.look_up(document, name) {
            Ok(claimed) => {
                state.unreadable = false;
                claimed
            }
            Err(error) => {
                if !std::mem::replace(&mut state.unreadable, true) {
                    error!(%error, "can't read the ledger; mails stay where they are until it can be read");
                }
                return Err(Stopped);
            }
        };
        let Claimed::Mine { arrived, mut reuses_name } = claimed else { return Ok(claimed) };
        state.tracker.claim(mail, document);
        if let Some(name) = name {
            reuses_name |= state.names.get(name).is_some_and(|other| other != document);
            state.names.entry(*name).or_insert_with(|| document.clone());
        }
        Ok(Claimed::Mine { arrived, reuses_name })
    }

    /// What the ledger says of a document that is not in flight.
    fn look_up(&self, document: &DocumentKey, name: Option<&ReportName>) -> Result<Claimed, LedgerError> {
        let known = self.ledger.look_up(document, name)?;
        match (known.shipped, self.reship) {
            (Some(shipped), Some(reship)) if shipped.first_shipped >= reship.since => {}
            (Some(shipped), _) => return Ok(Claimed::Known(shipped)),
            (None, Some(Reship { only_known: true, .. })) => return Ok(Claimed::NeverShipped),
            (None, _) => {}
        }
        let progress = known.progress.filter(|_| self.reship.is_none());
        Ok(Claimed::Mine {
            arrived: progress.map_or(0, |progress| progress.rows_for(&self.by)),
            reuses_name: known.named.is_some_and(|hash| hash != document.sha256),
        })
    }

    /// The first `rows` rows of a document of `mail`'s own have been emitted.
    pub fn rows_read(&self, mail: MailId, document: &DocumentKey, rows: u64, mark: Mark) {
        self.lock().tracker.rows_read(mail, document, rows, mark);
    }

    pub fn document_read(&self, document: &DocumentKey, mark: Mark) {
        self.lock().tracker.document_read(document, mark);
    }

    /// A mail has been read to its end: settle it when `mark` has been confirmed.
    pub fn mail_read(&self, mail: MailId, mark: Mark, read: Read) {
        let mut state = self.lock();
        if state.closed {
            state.abandon(mail);
            return state.leave(&read.reply);
        }
        let is_news = state.tracker.mail_read(mail, mark);
        state.read.insert(mail, read);
        drop(state);
        if is_news {
            self.news.notify_one();
        }
    }

    /// Reading was given up; the mail is left as it was.
    pub fn abandon(&self, mail: MailId, reply: &Reply) {
        let mut state = self.lock();
        state.abandon(mail);
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
        (state.tracker.in_flight() > 0).then_some(state.moved)
    }

    /// By source, how many mails are in flight, and since when the oldest of them is.
    pub fn flying(&self) -> BTreeMap<Arc<str>, (usize, Instant)> {
        let mut by_source: BTreeMap<Arc<str>, (usize, Instant)> = BTreeMap::new();
        for (place, since) in self.lock().flying.values() {
            let (count, oldest) = by_source.entry(place.source().clone()).or_insert((0, *since));
            (*count, *oldest) = (*count + 1, (*oldest).min(*since));
        }
        by_source
    }

    /// Mails that have been opened and not settled.
    pub fn in_flight(&self) -> usize {
        self.lock().tracker.in_flight()
    }

    /// Settles mails as their events arrive, until `done`; then what has arrived by that time, and leaves the rest.
    /// `confirmed` are the required sinks', in the order of the marks.
    pub async fn settle(self: Arc<Self>, confirmed: Vec<watch::Receiver<u64>>, done: CancellationToken) {
        let mut written = Instant::now();
        let mut arrived = Vec::new();
        loop {
            let is_due = !arrived.is_empty() || !self.lock().progress.is_empty();
            let next = if arrived.is_empty() { PROGRESS_EVERY } else { COMMIT_EVERY };
            tokio::select! {
                biased;
                () = done.cancelled() => break,
                () = self.news.notified() => {}
                () = sleep_until(written + next), if is_due => {}
            }
            arrived.extend(self.take_arrived(&confirmed));
            let waits_for_more = written.elapsed() < COMMIT_EVERY && self.in_flight() > arrived.len();
            if (!arrived.is_empty() && !waits_for_more) || written.elapsed() >= PROGRESS_EVERY {
                self.write_and_tell(std::mem::take(&mut arrived), &done).await;
                written = Instant::now();
            }
        }
        arrived.extend(self.take_arrived(&confirmed));
        self.write_and_tell(arrived, &done).await;
        let mut state = self.lock();
        state.closed = true;
        for (mail, read) in std::mem::take(&mut state.read) {
            state.abandon(mail);
            state.leave(&read.reply);
        }
    }

    fn take_arrived(&self, confirmed: &[watch::Receiver<u64>]) -> Vec<(MailId, Read)> {
        let mut state = self.lock();
        for (sink, confirmed) in confirmed.iter().enumerate() {
            if state.tracker.confirm(sink, *confirmed.borrow()) {
                state.moved = Instant::now();
            }
        }
        for tracker::Progress { mail, document, rows } in state.tracker.progress() {
            if let Some((place, _)) = state.flying.get(&mail).cloned() {
                state.progress.insert(document, (place, rows));
            }
        }
        let mut arrived = Vec::new();
        for settled in state.tracker.settled() {
            match settled {
                Settled::Arrived(mail) => arrived.extend(state.read.remove(&mail).map(|read| (mail, read))),
                Settled::Abandoned(mail) => {
                    state.flying.remove(&mail);
                    if let Some(read) = state.read.remove(&mail) {
                        state.leave(&read.reply);
                    }
                }
            }
        }
        arrived
    }

    /// One ledger transaction for all of `batch` and for the progress of what is under way, then the verdicts. While the
    /// ledger can't be written it is tried again, until `done`: the mails are then left as they were.
    async fn write_and_tell(self: &Arc<Self>, batch: Vec<(MailId, Read)>, done: &CancellationToken) {
        let progress = std::mem::take(&mut self.lock().progress);
        if batch.is_empty() && progress.is_empty() {
            return;
        }
        let commit = Arc::new(self.commit_of(&batch, progress));
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
                () = sleep(LEDGER_RETRY) => {}
                () = done.cancelled() => {
                    let mut state = self.lock();
                    for (mail, read) in &batch {
                        state.abandon(*mail);
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
        for (mail, read) in &batch {
            state.forget(*mail);
            meters::mail_settled(read.place.source(), &read.verdict);
            if !read.documents.is_empty() {
                meters::report_arrived(read.place.source(), Timestamp::now());
            }
        }
        let State { names, tracker, .. } = &mut *state;
        names.retain(|_, document| tracker.is_claimed(document));
        state.moved = Instant::now();
        drop(state);
        // One right after the other, so that a source finds them together.
        for (_, read) in batch {
            read.reply.send(read.verdict);
        }
    }

    fn commit_of(&self, batch: &[(MailId, Read)], progress: HashMap<DocumentKey, (Place, u64)>) -> Commit {
        let mut commit = Commit::at(Timestamp::now());
        for (document, (place, rows)) in progress {
            commit.progress.push((document, Progress { rows, by: self.by.clone() }));
            commit.read.push(place);
        }
        for (_, read) in batch {
            commit.documents.extend(read.documents.iter().cloned());
            commit.names.extend(read.names.iter().copied());
            commit.seen_again.extend(read.seen_again.iter().cloned());
            commit.read.push(read.place.clone());
            if let Some(verdict) = read.stays {
                commit.places.push((read.place.clone(), verdict));
            }
        }
        commit
    }

    /// A reader that panics inside the ledger leaves the state as it was before the call.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn abandon(&mut self, mail: MailId) {
        self.tracker.abandon(mail);
        self.flying.remove(&mail);
    }

    fn forget(&mut self, mail: MailId) {
        self.tracker.forget(mail);
        self.flying.remove(&mail);
    }

    fn leave(&mut self, reply: &Reply) {
        self.left += 1;
        reply.send(Verdict::Leave);
    }
}
