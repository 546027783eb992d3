//! Settlement of mails whose events have arrived: one ledger transaction, then the verdict to the source.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    component_metrics,
    deferred::Deferred,
    flights::Flights,
    handover::{Read, RejectedBy, RejectedMail, Reply},
    look_ups::LookUps,
    missing::Missing,
    options::{Options, Reship},
    sink_queue::Stopped,
};
use crate::{
    config::Config,
    deliver::{
        MailId,
        tracker::{self, Mark, Settled, Tracker},
    },
    ledger::{
        Commit, Delivery, DocumentKey, DocumentStatus, Failures, Ledger, PlaceVerdict, Progress, ReportName, Shipped,
        SinkKey,
    },
    sink::{Metadata, Rejection, Rejections},
    source::{Place, Verdict},
};

/// Delay before a failed ledger write is retried.
const LEDGER_RETRY: Duration = Duration::from_secs(5);

/// Minimum interval of ledger transactions while more mails are in flight: a transaction costs some milliseconds of disk
/// time, for one mail as for a hundred. Confirmations that come less often than this are written without delay.
const COMMIT_EVERY: Duration = Duration::from_millis(10);

/// Interval at which the progress of documents in flight is written. A kill costs at most the events of this time, sent again.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Time that the last suspect is held back at the start of a run, unless a sink of its route confirms something: mails of
/// other sources, which know nothing of it, are to be read before. Longer than it takes to log in and list a folder.
const HELD_FOR_OTHERS: Duration = Duration::from_secs(10);

/// Interval at which a reader that waits for its turn checks for a stop.
const LOOK_FOR_STOP: Duration = Duration::from_millis(250);

/// All mails from their first read byte to their verdict; shared by the readers and the settling task.
#[derive(Debug)]
pub struct Settlement {
    ledger: Arc<dyn Ledger>,
    /// Mails that this process does not read again today.
    deferred: Arc<Deferred>,
    reship: Option<Reship>,
    /// Ledger keys of all sinks of the configuration, in the order of the marks.
    sinks: Vec<SinkKey>,
    /// Names of these sinks.
    names: Vec<Arc<str>>,
    began: Timestamp,
    began_at: Instant,
    has_several_sources: bool,
    state: Mutex<State>,
    news: Notify,
    /// Notified when a mail is no longer in flight.
    landed: Condvar,
}

#[derive(Debug)]
struct State {
    tracker: Tracker<MailId, DocumentKey>,
    /// Mails read to their end, each with the data for the ledger and for its source.
    read: HashMap<MailId, Read>,
    /// The first rejection of each mail in flight by each sink.
    rejections: HashMap<MailId, BTreeMap<usize, Rejection>>,
    /// Documents in flight, by the names that reporters give them.
    names: HashMap<ReportName, DocumentKey>,
    /// Rows of documents in flight that have arrived and are not in the ledger yet.
    progress: HashMap<(DocumentKey, usize), (Place, u64)>,
    flights: Flights,
    look_ups: LookUps,
    next: MailId,
    /// Time at which something last arrived or was settled, or at which a mail was opened with no other in flight.
    moved: Instant,
    /// True once settling has ended: mails read from then on are left as they were.
    closed: bool,
    /// Number of mails that were left as they were.
    left: u64,
    /// True if the last read of the ledger failed, which was logged.
    unreadable: bool,
}

/// Reports of one sink: the number of the last event that was confirmed or rejected, and the rejected events.
#[derive(Debug, Clone)]
pub struct Reports {
    /// Number of the sink, as in the marks.
    pub sink: usize,
    pub confirmed: watch::Receiver<u64>,
    pub rejections: Rejections,
}

/// The sinks that take a source's events: their numbers in the marks, and their keys in the ledger, in the same order.
#[derive(Debug, Clone)]
pub struct Route {
    numbers: Vec<usize>,
    keys: Arc<[SinkKey]>,
    /// Those of `numbers` that are required sinks.
    required: Arc<[usize]>,
    /// True if the command line leaves out no required sink of the configuration file for this source.
    is_whole: bool,
}

impl Route {
    pub fn keys(&self) -> Arc<[SinkKey]> {
        self.keys.clone()
    }
}

/// Result of claiming a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// To be shipped, to at least one sink.
    Mine {
        missing: Missing,
        /// True if another document came under the same name.
        reuses_name: bool,
    },
    /// In flight already, from another mail or the same one, to each sink that does not have it.
    InFlight,
    /// According to the ledger, every sink of the route has it.
    Known,
    /// Never shipped, and not to be shipped by a run that has only some of the sinks.
    NeverShipped,
}

impl Settlement {
    pub fn new(ledger: Arc<dyn Ledger>, deferred: Arc<Deferred>, config: &Config, options: Options) -> Self {
        // A dry run has no sinks to wait for.
        let required: Vec<_> = config.sinks.values().map(|sink| sink.required && !options.dry_run).collect();
        Self {
            ledger,
            deferred,
            reship: options.reship,
            sinks: sink_keys(config),
            names: config.sinks.keys().map(|name| name.as_str().into()).collect(),
            began: Timestamp::now(),
            began_at: Instant::now(),
            has_several_sources: config.sources.len() > 1,
            state: Mutex::new(State {
                tracker: Tracker::new(&required),
                read: HashMap::new(),
                rejections: HashMap::new(),
                names: HashMap::new(),
                progress: HashMap::new(),
                flights: Flights::default(),
                look_ups: LookUps::default(),
                next: 0,
                moved: Instant::now(),
                closed: false,
                left: 0,
                unreadable: false,
            }),
            news: Notify::new(),
            landed: Condvar::new(),
        }
    }

    /// Returns the route of a source.
    pub fn route(&self, source: &str, config: &Config) -> Route {
        let sinks = config.sinks.values().enumerate().filter(|(_, sink)| sink.takes_from(source));
        let numbers: Vec<_> = sinks.map(|(number, _)| number).collect();
        let tracker = &self.lock().tracker;
        Route {
            keys: numbers.iter().map(|&number| self.sinks[number]).collect(),
            required: numbers.iter().copied().filter(|&number| tracker.waits_for(number)).collect(),
            is_whole: config.left_out_of(source).next().is_none(),
            numbers,
        }
    }

    /// False in a run that has only some of the sinks: a run with all of them settles the mails.
    pub fn settles_mails(&self, route: &Route) -> bool {
        route.is_whole && !self.ships_only_known()
    }

    fn ships_only_known(&self) -> bool {
        self.reship.is_some_and(|reship| reship.only_known)
    }

    /// Returns the number of processes that died while reading a mail, see [`Failures::deaths`]. Blocks.
    pub fn attempts(&self, place: &Place) -> u32 {
        self.ledger.attempts(place).map_or(0, |failures| failures.deaths)
    }

    /// Returns what went wrong with a mail in earlier passes; `None` in a run that leaves all mails in place. Blocks.
    pub fn failures(&self, place: &Place, route: &Route) -> Option<Failures> {
        self.ledger.attempts(place).filter(|_| self.settles_mails(route))
    }

    /// Registers a mail that is about to be read. Blocks while it may not be read beside those in flight (see [`Flights`]),
    /// and calls `waits` again and again meanwhile. `None`: the run was stopped before.
    pub fn open(
        &self,
        place: &Place,
        route: &Route,
        stop: &CancellationToken,
        mut waits: impl FnMut(),
    ) -> Option<MailId> {
        let suspected = self.failures(place, route).map(|failures| failures.last);
        let is_last = self.has_several_sources && suspected.is_some() && suspected == self.ledger.last_failure();
        let may_open = |state: &mut State| {
            let is_held = is_last
                && self.began_at.elapsed() < HELD_FOR_OTHERS
                && !route.required.iter().any(|&sink| state.tracker.has_confirmed(sink));
            !is_held && state.flights.may_open(&route.required, suspected)
        };
        let mut state = self.lock();
        while !may_open(&mut state) {
            if stop.is_cancelled() {
                return None;
            }
            drop(state);
            waits();
            state = self.lock();
            if may_open(&mut state) {
                break;
            }
            let waited = self.landed.wait_timeout(state, LOOK_FOR_STOP);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.tracker.mails() == 0 {
            state.moved = Instant::now();
        }
        state.next += 1;
        let mail = state.next;
        state.tracker.open(mail);
        let others_arrived =
            suspected.map(|_| (0..self.sinks.len()).map(|sink| state.tracker.has_confirmed(sink)).collect());
        state.flights.open(mail, place.clone(), route.required.clone(), others_arrived);
        Some(mail)
    }

    /// Claims a document for `mail`, at each sink of its route that does not have it and gets it from no other mail in
    /// flight. `Err`: the ledger can't be read, so the mail has to stay in place. Blocks while the ledger is read.
    pub fn claim(
        &self,
        mail: MailId,
        route: &Route,
        document: &DocumentKey,
        name: Option<&ReportName>,
    ) -> Result<Claimed, Stopped> {
        let (known, mut state) = self.look_up(route, document, name)?;
        if known.shipped.is_none() && self.ships_only_known() {
            return Ok(Claimed::NeverShipped);
        }
        let missing = self.missing(&state.tracker, route, document, &known);
        let brought: Vec<_> =
            route.numbers.iter().copied().filter(|&sink| state.tracker.is_claimed(document, sink)).collect();
        for &sink in &brought {
            state.tracker.claim(mail, document, sink, 0);
        }
        if !missing.is_any() {
            return Ok(if brought.is_empty() { Claimed::Known } else { Claimed::InFlight });
        }
        for (sink, arrived) in missing.needed() {
            state.tracker.claim(mail, document, sink, arrived);
        }
        let mut reuses_name = known.named.is_some_and(|hash| hash != document.sha256);
        if let Some(name) = name {
            reuses_name |= state.names.get(name).is_some_and(|other| other != document);
            state.names.entry(*name).or_insert_with(|| document.clone());
        }
        Ok(Claimed::Mine { missing, reuses_name })
    }

    /// Looks up a document in the ledger, without a lock; returns the answer, and the locked state. A delivery is in at least
    /// one of them, if it was made or is in flight.
    fn look_up(
        &self,
        route: &Route,
        document: &DocumentKey,
        name: Option<&ReportName>,
    ) -> Result<(DocumentStatus, MutexGuard<'_, State>), Stopped> {
        loop {
            let look_up = self.lock().look_ups.begin(document, name);
            let known = self.ledger.claim(document, &route.keys, name);
            let mut state = self.lock();
            match known {
                // A mail with the same document was settled meanwhile. That ends, as a document is shipped once to each sink.
                Ok(_) if look_up.is_outdated() => {}
                Ok(known) => {
                    state.unreadable = false;
                    return Ok((known, state));
                }
                Err(error) => {
                    if !std::mem::replace(&mut state.unreadable, true) {
                        error!(%error, "can't read the ledger; mails stay in place until it can be read");
                    }
                    return Err(Stopped);
                }
            }
        }
    }

    /// Returns the rows of a document that each sink of a route needs, from the ledger and the documents in flight.
    fn missing(
        &self,
        tracker: &Tracker<MailId, DocumentKey>,
        route: &Route,
        document: &DocumentKey,
        known: &DocumentStatus,
    ) -> Missing {
        // A document shipped again earlier in this run is not shipped again for the next mail that contains it.
        let is_due =
            |reship: Reship, shipped: &Shipped| shipped.first_shipped >= reship.since && shipped.last_seen < self.began;
        let again = match (self.reship, &known.shipped) {
            (Some(reship), Some(shipped)) => Some(is_due(reship, shipped)),
            _ => None,
        };
        let rows = |(&sink, delivery): (&usize, &Delivery)| {
            let rows = match (again, delivery) {
                _ if tracker.is_claimed(document, sink) => None,
                (Some(true), _) => Some(0),
                (_, Delivery::Done) => None,
                (Some(false), Delivery::Rows(_)) if self.ships_only_known() => None,
                (_, Delivery::Rows(rows)) => Some(*rows),
            };
            (sink, rows)
        };
        let mut sinks: Vec<_> = route.numbers.iter().zip(&known.deliveries).map(rows).collect();
        // A sink that is not required is not waited for, so its progress is not known: it resumes where the others do.
        let required = |sink: usize| tracker.waits_for(sink);
        let arrived = sinks.iter().filter(|(sink, _)| required(*sink)).filter_map(|(_, rows)| *rows).min();
        for (_, rows) in sinks.iter_mut().filter(|(sink, rows)| rows.is_some() && !required(*sink)) {
            *rows = arrived.or(Some(0));
        }
        Missing::new(sinks)
    }

    /// Records that the first `rows` rows of a document claimed by `mail` have been emitted.
    pub fn rows_read(&self, mail: MailId, document: &DocumentKey, rows: u64, mark: &Mark) {
        self.lock().tracker.rows_read(mail, document, rows, mark);
    }

    pub fn document_read(&self, mail: MailId, document: &DocumentKey, mark: &Mark) {
        self.lock().tracker.document_read(mail, document, mark);
    }

    /// Records that a mail has been read to its end, to be settled when `mark` has been confirmed.
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

    /// Records that the rejections of a mail were reported by events with the numbers of `mark`: it is settled with this
    /// verdict when they have arrived.
    pub fn rejections_reported(&self, mail: MailId, mark: Mark, verdict: Verdict, stays: Option<PlaceVerdict>) {
        let mut state = self.lock();
        if let Some(read) = state.read.get_mut(&mail) {
            (read.verdict, read.stays) = (verdict, stays);
            state.tracker.reported(mail, mark);
        }
        drop(state);
        self.news.notify_one();
    }

    /// Gives up reading a mail, which is left as it was.
    pub fn abandon(&self, mail: MailId, reply: &Reply) {
        let mut state = self.lock();
        state.abandon(mail);
        state.read.remove(&mail);
        state.leave(reply);
        drop(state);
        self.landed.notify_all();
        self.news.notify_one();
    }

    /// Has the ledger note which mails are in flight when a pass ends in a stall, waiting for `owing`: required sinks by
    /// their numbers and names.
    pub async fn note_unfinished(&self, owing: &[(usize, Arc<str>)]) {
        let numbers: Vec<_> = owing.iter().map(|(number, _)| *number).collect();
        let names: Vec<_> = owing.iter().map(|(_, name)| &**name).collect();
        let unfinished = self.lock().flights.unfinished(&numbers);
        if unfinished.is_empty() || self.ships_only_known() {
            return;
        }
        for mail in unfinished.iter().filter(|mail| mail.is_at_fault) {
            warn!(
                mail = %mail.place, sinks = names.join(", "),
                "the sinks confirmed events of other mails in this pass, and not those of this one; after max_attempts such \
                 passes it is quarantined"
            );
        }
        let noted = self.ledger.note_unfinished(unfinished, names.join(", "), Timestamp::now());
        if let Err(error) = noted.await {
            warn!(%error, "can't record the mails in flight in the ledger; the next pass reads them in the same order");
        }
    }

    /// Leaves a mail as it was, without reading it.
    pub fn leave(&self, reply: &Reply) {
        self.lock().leave(reply);
    }

    /// Returns the number of mails that were left as they were, for another run.
    pub fn left(&self) -> u64 {
        self.lock().left
    }

    /// Wakes the settling task after a sink has confirmed something.
    pub fn wake(&self) {
        self.news.notify_one();
    }

    /// Returns since when mails have been waiting without anything arriving; `None` while no mail waits.
    pub fn stuck_since(&self) -> Option<Instant> {
        let state = self.lock();
        (state.tracker.mails() > 0).then_some(state.moved)
    }

    /// Returns for each source the number of mails in flight, and since when the oldest of them is.
    pub fn flying(&self) -> BTreeMap<Arc<str>, (usize, Instant)> {
        let mut by_source: BTreeMap<Arc<str>, (usize, Instant)> = BTreeMap::new();
        for (place, since) in self.lock().flights.iter() {
            let (count, oldest) = by_source.entry(place.source().clone()).or_insert((0, since));
            (*count, *oldest) = (*count + 1, (*oldest).min(since));
        }
        by_source
    }

    /// Returns the number of mails that have been opened and not settled.
    pub fn in_flight(&self) -> usize {
        self.lock().tracker.mails()
    }

    /// Settles mails as their events arrive, until `done`; then those whose events have arrived by that time, and leaves
    /// the rest.
    pub async fn settle(self: Arc<Self>, reports: Vec<Reports>, done: CancellationToken) {
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
            arrived.extend(self.take_arrived(&reports));
            let waits_for_more = written.elapsed() < COMMIT_EVERY && self.in_flight() > arrived.len();
            if (!arrived.is_empty() && !waits_for_more) || written.elapsed() >= PROGRESS_EVERY {
                self.write_and_tell(std::mem::take(&mut arrived), &done).await;
                written = Instant::now();
            }
        }
        arrived.extend(self.take_arrived(&reports));
        self.write_and_tell(arrived, &done).await;
        let mut state = self.lock();
        state.closed = true;
        for (mail, read) in std::mem::take(&mut state.read) {
            state.abandon(mail);
            state.leave(&read.reply);
        }
    }

    fn take_arrived(&self, reports: &[Reports]) -> Vec<(MailId, Read)> {
        let mut state = self.lock();
        for Reports { sink, confirmed, rejections } in reports {
            // In this order: a sink rejects an event before it confirms the number.
            let confirmed = *confirmed.borrow();
            for rejection in rejections.take() {
                self.reject(&mut state, *sink, rejection);
            }
            if state.tracker.confirm(*sink, confirmed) {
                state.moved = Instant::now();
            }
        }
        for tracker::Progress { mail, document, sink, rows } in state.tracker.progress() {
            if let Some(place) = state.flights.advance(mail).cloned() {
                state.progress.insert((document, sink), (place, rows));
            }
        }
        let mut arrived = Vec::new();
        for settled in state.tracker.settled() {
            match settled {
                Settled::Arrived(mail) => {
                    let rejected = state.tracker.rejected(mail).iter();
                    let rejected = rejected.filter_map(|one| Some((one.document.clone()?, self.sinks[one.sink])));
                    let rejected = rejected.collect();
                    arrived.extend(state.read.remove(&mail).map(|read| (mail, Read { rejected, ..read })));
                }
                Settled::Rejected(mail) => {
                    state.hand_back(mail);
                    self.landed.notify_all();
                }
                Settled::Abandoned(mail) => {
                    state.flights.remove(mail);
                    self.landed.notify_all();
                    if let Some(read) = state.read.remove(&mail) {
                        state.leave(&read.reply);
                    }
                }
            }
        }
        arrived
    }

    /// Records rejected events for their mail.
    fn reject(&self, state: &mut State, sink: usize, rejection: Rejection) {
        let Metadata { mail, document, provenance, .. } = &rejection.metadata;
        let document = document.map(|sha256| DocumentKey { tenant: provenance.tenant.clone(), sha256 });
        let is_counted = mail.is_some_and(|mail| state.tracker.reject(sink, mail, document.as_ref(), rejection.frames));
        match *mail {
            Some(mail) if is_counted => {
                state.rejections.entry(mail).or_default().entry(sink).or_insert(rejection);
            }
            _ if state.tracker.waits_for(sink) => {
                let Rejection { frames: events, reason, .. } = rejection;
                warn!(sink = &*self.names[sink], events, %reason, "rejected events that no mail waits for");
            }
            _ => {} // The sink's health tells how many events a sink that is not required rejects.
        }
    }

    /// Writes one ledger transaction for all of `batch` and for the progress of documents in flight, then sends the
    /// verdicts. A failed write is retried until `done`: the mails are then left as they were.
    async fn write_and_tell(&self, batch: Vec<(MailId, Read)>, done: &CancellationToken) {
        let progress = std::mem::take(&mut self.lock().progress);
        if batch.is_empty() && progress.is_empty() {
            return;
        }
        let commit = Arc::new(self.commit_of(&batch, progress));
        let mut failing = false;
        loop {
            let Err(error) = self.ledger.commit(commit.clone()).await else { break };
            if !std::mem::replace(&mut failing, true) {
                error!(%error, "can't write the ledger; mails stay in place until it can be written");
            }
            tokio::select! {
                () = sleep(LEDGER_RETRY) => {}
                () = done.cancelled() => {
                    let mut state = self.lock();
                    for (mail, read) in &batch {
                        state.abandon(*mail);
                        state.leave(&read.reply);
                    }
                    self.landed.notify_all();
                    return;
                }
            }
        }
        if failing {
            info!("ledger recovered: writes succeed again");
        }
        let mut state = self.lock();
        for (mail, read) in &batch {
            state.forget(*mail);
            read.documents.iter().for_each(|(document, _)| state.look_ups.recorded(document));
            component_metrics::mail_settled(read.place.source(), &read.verdict);
            if matches!(read.verdict, Verdict::Leave) {
                // This run does not read it again.
                self.deferred.add(&read.place, Timestamp::now());
            }
            if !read.documents.is_empty() && read.rejected.is_empty() {
                component_metrics::report_arrived(read.place.source(), Timestamp::now());
            }
        }
        let State { names, tracker, look_ups, .. } = &mut *state;
        names.retain(|name, document| tracker.is_in_flight(document) || look_ups.asks_for(name));
        state.moved = Instant::now();
        drop(state);
        self.landed.notify_all();
        // Sent in a row, so that a source receives them together.
        for (_, read) in batch {
            read.reply.send(read.verdict);
        }
    }

    fn commit_of(&self, batch: &[(MailId, Read)], progress: HashMap<(DocumentKey, usize), (Place, u64)>) -> Commit {
        let mut commit = Commit::at(Timestamp::now());
        for ((document, sink), (place, rows)) in progress {
            commit.progress.push((document, self.sinks[sink], Progress::of(rows)));
            commit.read.push(place);
        }
        for (_, read) in batch {
            for (key, shipped) in &read.documents {
                // A document that no sink has got in full is not recorded as shipped.
                let sinks = read.sinks_that_have(key);
                if !sinks.is_empty() {
                    commit.documents.push((key.clone(), shipped.clone(), sinks));
                }
            }
            commit.names.extend(read.names.iter().copied());
            commit.seen_again.extend(read.seen_again.iter().cloned());
            commit.read.push(read.place.clone());
            if let Some(verdict) = read.stays {
                commit.places.push((read.place.clone(), verdict));
            }
        }
        commit
    }

    /// Ignores poisoning: a reader that panics inside the ledger leaves the state as it was before the call.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the ledger keys of the configured sinks, in the order of their names. Sinks that differ only in the way they are
/// reached or encoded are distinguished by their order among all sinks of the configuration file.
fn sink_keys(config: &Config) -> Vec<SinkKey> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut key = |identity: String| {
        let before = seen.entry(identity.clone()).or_default();
        *before += 1;
        match *before {
            1 => SinkKey::new(&identity),
            count => SinkKey::new(&format!("{identity} {count}")),
        }
    };
    let of_file = config.left_out.iter().filter_map(|(name, sink)| Some((name, sink.as_ref()?)));
    let mut all: Vec<_> = config.sinks.iter().chain(of_file).collect();
    all.sort_by_key(|(name, _)| *name);
    let keys = all.into_iter().map(|(name, sink)| (name, key(sink.identity())));
    keys.filter(|(name, _)| config.sinks.contains_key(*name)).map(|(_, key)| key).collect()
}

impl State {
    /// Sends a mail of which events were rejected back to its reader; if that has ended, the mail is left as it was.
    fn hand_back(&mut self, mail: MailId) {
        let Some(Read { reader, place, reply, verdict, .. }) = self.read.get(&mail) else { return };
        let mut firsts = self.rejections.remove(&mail).unwrap_or_default();
        let mut by_sink: BTreeMap<usize, u64> = BTreeMap::new();
        for tracker::Rejected { sink, events, .. } in self.tracker.rejected(mail) {
            *by_sink.entry(*sink).or_default() += events;
        }
        let sinks = by_sink.into_iter();
        let sinks = sinks.map(|(sink, events)| RejectedBy { sink, events, first: firsts.remove(&sink) }).collect();
        let (place, reply, verdict) = (place.clone(), reply.clone(), verdict.clone());
        let sent = reader.send(RejectedMail { mail, place, reply: reply.clone(), verdict, sinks });
        if sent.is_err() {
            self.abandon(mail);
            self.read.remove(&mail);
            self.leave(&reply);
        }
    }

    fn abandon(&mut self, mail: MailId) {
        self.rejections.remove(&mail);
        self.tracker.abandon(mail);
        self.flights.remove(mail);
    }

    fn forget(&mut self, mail: MailId) {
        self.rejections.remove(&mail);
        self.tracker.forget(mail);
        self.flights.remove(mail);
    }

    fn leave(&mut self, reply: &Reply) {
        self.left += 1;
        reply.send(Verdict::Leave);
    }
}
