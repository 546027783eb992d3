//! The loop: what to do next, and what to do about what happened.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    ImapSource,
    fault::Fault,
    fetch::Candidate,
    link::{Link, Open},
    round::{Batch, Round},
    settle::Action,
};
use crate::{
    net::backoff::Backoff,
    source::{Intake, Mail, MailRef, Pass, Place, SourceError},
    trouble::Trouble,
};

/// Servers may close a session that is silent for 30 minutes (RFC 3501 section 5.4); some boxes on the way, for five.
const NOOP_EVERY: Duration = Duration::from_secs(120);
/// Between passes further apart than this, the session is given back.
const KEPT_BETWEEN_PASSES: Duration = Duration::from_secs(600);
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// Also the least after refused credentials: accounts get locked.
const LONGEST_DELAY: Duration = Duration::from_secs(300);

/// A source at work.
pub struct Run {
    pub(super) source: ImapSource,
    pub(super) intake: Intake,
    pub(super) folder: Arc<str>,
    pub(super) stop: CancellationToken,
    pub(super) stopping: bool,
    pub(super) link: Link,
    /// What the link is busy with.
    pub(super) work: Option<Work>,
    pub(super) uid_validity: Option<u32>,
    pub(super) round: Round,
    pub(super) next_pass: Instant,
    pub(super) reservation: Option<(Batch, BoxFuture<'static, OwnedSemaphorePermit>)>,
    /// A batch whose bytes are reserved.
    pub(super) granted: Option<(Batch, OwnedSemaphorePermit)>,
    /// Of the batch under way, what has not come yet.
    pub(super) fetching: Option<(Vec<Candidate>, OwnedSemaphorePermit)>,
    /// Handed over, without a verdict yet.
    pub(super) pending: HashMap<MailRef, (u32, u32)>,
    pub(super) handed_over: u64,
    /// What could not be done to mails in an earlier pass.
    pub(super) owed: BTreeMap<u32, Action>,
    /// Mails still in the folder that this process is done with.
    pub(super) done: HashSet<u32>,
    /// Whether the folder takes the keyword that marks them.
    pub(super) takes_keyword: bool,
    pub(super) backoff: Backoff,
    pub(super) retry_at: Instant,
    /// The next try waits for a person, who may change a file with a secret meanwhile.
    pub(super) refused: bool,
    pub(super) trouble_since: Option<Instant>,
    pub(super) opened: bool,
    pub(super) said: HashSet<&'static str>,
}

/// What the session is used for.
pub(super) enum Work {
    Open,
    List,
    Size(Vec<u32>),
    Fetch,
    Settle,
    Keep,
}

impl Run {
    pub fn new(source: ImapSource, intake: Intake) -> Self {
        let now = Instant::now();
        Self {
            folder: source.config.folder.as_str().into(),
            stop: intake.stop.clone(),
            source,
            intake,
            stopping: false,
            link: Link::Down,
            work: None,
            uid_validity: None,
            round: Round::default(),
            next_pass: now,
            reservation: None,
            granted: None,
            fetching: None,
            pending: HashMap::new(),
            handed_over: 0,
            owed: BTreeMap::new(),
            done: HashSet::new(),
            takes_keyword: false,
            backoff: Backoff::new(FIRST_DELAY, LONGEST_DELAY),
            retry_at: now,
            refused: false,
            trouble_since: None,
            opened: false,
            said: HashSet::new(),
        }
    }

    pub async fn run(mut self) -> Result<Pass, SourceError> {
        loop {
            if let Some(pass) = self.advance().await? {
                return Ok(pass);
            }
            let wake = self.wake();
            tokio::select! {
                biased;
                () = self.stop.cancelled(), if !self.stopping => self.stop_taking(),
                verdict = self.intake.verdict() => {
                    let (mail, verdict) = verdict.ok_or(SourceError::Stopped)?;
                    self.judged(mail, &verdict);
                }
                progress = self.link.progress() => self.progressed(progress).await?,
                permit = granted(&mut self.reservation) => {
                    self.granted = self.reservation.take().map(|(batch, _)| (batch, permit));
                }
                () = self.source.account.changed(), if self.refused => {
                    self.refused = false;
                    self.retry_at = Instant::now();
                }
                () = sleep_until_some(wake) => {}
            }
        }
    }

    /// Begins what can be begun; returns the last pass when all is done.
    async fn advance(&mut self) -> Result<Option<Pass>, SourceError> {
        self.reserve_next().await?;
        if self.is_complete() && (self.round.listed || self.stopping) {
            let pass = self.complete();
            if self.stopping || self.intake.once || self.source.config.poll_interval > KEPT_BETWEEN_PASSES {
                self.log_out().await;
            }
            if self.stopping || self.intake.once {
                return Ok(Some(pass));
            }
        }
        if !matches!(self.link, Link::Busy(_)) {
            self.begin();
        }
        Ok(None)
    }

    /// Reserves the bytes of the next batch while others are still fetched or read.
    async fn reserve_next(&mut self) -> Result<(), SourceError> {
        if let Some((Batch { refused: Some(_), .. }, _)) = &self.granted
            && let Some((batch, permit)) = self.granted.take()
            && let (Some(mail), Some(trouble)) = (batch.mails.first(), batch.refused)
        {
            self.hand_over(mail.uid, Err(trouble), permit).await?;
        }
        let waits = matches!(self.link, Link::Down) && self.retry_at > Instant::now();
        if self.reservation.is_none() && self.granted.is_none() && !waits {
            let budget = u64::from(self.intake.budget_bytes());
            if let Some(batch) = self.round.next_batch(budget, self.source.limits.mail_bytes) {
                let permit: BoxFuture<'static, _> = Box::pin(self.intake.reserve(batch.bytes()));
                self.reservation = Some((batch, permit));
            }
        }
        Ok(())
    }

    /// The session is not in use: put it to the most urgent work, or open one.
    fn begin(&mut self) {
        let now = Instant::now();
        let idle_since = match &self.link {
            Link::Idle { since, .. } => Some(*since),
            _ => None,
        };
        let Some(work) = self.wanted(now, idle_since) else { return };
        self.link = match std::mem::replace(&mut self.link, Link::Down) {
            Link::Idle { open, .. } => {
                let link = self.put_to(&work, open);
                self.work = Some(work);
                link
            }
            _ if self.retry_at > now => {
                self.take_back(work);
                Link::Down
            }
            _ => {
                self.take_back(work);
                self.work = Some(Work::Open);
                self.refused = false;
                Link::open(self.source.config.clone(), self.source.account.clone(), self.intake.dry_run)
            }
        };
    }

    fn wanted(&mut self, now: Instant, idle_since: Option<Instant>) -> Option<Work> {
        if self.round.due_at(self.is_last()).is_some_and(|at| at <= now) {
            return Some(Work::Settle);
        }
        if !self.stopping {
            if !self.round.listed {
                return (self.next_pass <= now).then_some(Work::List);
            }
            if self.granted.is_some() {
                return Some(Work::Fetch);
            }
            if let Some(uids) = self.round.next_to_size() {
                return Some(Work::Size(uids));
            }
        }
        idle_since.filter(|since| *since + NOOP_EVERY <= now).map(|_| Work::Keep)
    }

    fn put_to(&mut self, work: &Work, open: Box<Open>) -> Link {
        match work {
            Work::List => open.list(self.intake.dry_run, self.intake.ships_again()),
            Work::Size(uids) => open.size(uids.clone()),
            Work::Settle => open.settle(self.round.due.clone()),
            Work::Fetch => match self.granted.take() {
                Some((batch, permit)) => {
                    self.fetching = Some((batch.mails.clone(), permit));
                    open.fetch(batch.mails, self.source.limits.mail_bytes)
                }
                None => open.keep(),
            },
            Work::Open | Work::Keep => open.keep(),
        }
    }

    /// `work` can't be done without a session.
    fn take_back(&mut self, work: Work) {
        if let Work::Size(uids) = work {
            self.round.unsize(uids);
        }
    }

    /// When something is to be done though nothing happens.
    fn wake(&self) -> Option<Instant> {
        let down = matches!(self.link, Link::Down);
        let work = match &self.link {
            Link::Busy(_) => return None,
            Link::Idle { since, .. } => Some(*since + NOOP_EVERY),
            Link::Down => None,
        };
        let has_work = !self.stopping && (self.granted.is_some() || (self.round.listed && self.round.has_more()));
        let list = (!self.stopping && !self.round.listed).then_some(self.next_pass);
        let fetch = (down && has_work).then_some(self.retry_at);
        let next = [work, list, fetch, self.round.due_at(self.is_last())].into_iter().flatten().min();
        if down { next.map(|at| at.max(self.retry_at)) } else { next }
    }

    /// Whether no more verdicts are to come before the pass ends.
    fn is_last(&self) -> bool {
        self.pending.is_empty()
            && (self.stopping || (!self.round.has_more() && self.reservation.is_none() && self.granted.is_none()))
            && self.fetching.is_none()
    }

    fn is_complete(&self) -> bool {
        self.is_last() && self.round.due.is_empty() && !matches!(self.link, Link::Busy(_))
    }

    /// Ends the pass, and says what it did if it did anything.
    fn complete(&mut self) -> Pass {
        let Round { pass, tally, .. } = std::mem::take(&mut self.round);
        self.next_pass = Instant::now() + self.source.config.poll_interval;
        if pass.taken + pass.settled + pass.unsettled > 0 {
            info!(
                source = &*self.source.name,
                taken = pass.taken,
                archived = tally.archived,
                quarantined = tally.quarantined,
                deleted = tally.deleted,
                kept = tally.kept,
                left = tally.left + pass.unsettled,
                "looked through {}",
                self.folder
            );
        }
        pass
    }

    async fn log_out(&mut self) {
        if let Link::Idle { open, .. } = std::mem::replace(&mut self.link, Link::Down) {
            open.log_out().await;
        }
    }

    /// Takes no more; what was handed over is still settled.
    fn stop_taking(&mut self) {
        self.stopping = true;
        self.reservation = None;
        self.granted = None;
        self.round.cut_short();
        self.retry_at = Instant::now();
    }

    pub(super) async fn hand_over(
        &mut self,
        uid: u32,
        content: Result<Bytes, Trouble>,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), SourceError> {
        if self.stopping {
            return Ok(());
        }
        let uid_validity = self.uid_validity.unwrap_or_default();
        self.handed_over += 1;
        let mail = MailRef(self.handed_over);
        let place = self.place(uid);
        self.pending.insert(mail, (uid_validity, uid));
        self.round.pass.taken += 1;
        self.intake.hand_over(Mail { mail, place, content, permit }).await
    }

    pub(super) fn place(&self, uid: u32) -> Place {
        Place::Imap {
            source: self.source.name.clone(),
            folder: self.folder.clone(),
            uid_validity: self.uid_validity.unwrap_or_default(),
            uid,
        }
    }

    /// Something broke: fail where nothing can be gained by another try, else say so once and wait.
    pub(super) fn broke(&mut self, fault: Fault) -> Result<(), SourceError> {
        let now = Instant::now();
        let since = *self.trouble_since.get_or_insert(now);
        let patience = (since + self.source.give_up_after).saturating_duration_since(now);
        let needs_a_person = matches!(fault, Fault::Credentials(_) | Fault::Configuration(_));
        let hopeless = match fault {
            _ if self.intake.once => !self.opened || needs_a_person || patience.is_zero(),
            Fault::Configuration(_) => !self.opened,
            _ => false,
        };
        if hopeless {
            return Err(fault.into());
        }
        self.intake.troubled(&self.source.name, &fault.to_string());
        if self.stopping {
            self.forget_due();
        }
        self.give_back();
        let mut delay = self.backoff.delay();
        self.refused = needs_a_person;
        if needs_a_person {
            delay = delay.max(LONGEST_DELAY);
        }
        if self.intake.once {
            delay = delay.min(patience);
        }
        self.retry_at = now + delay;
        let source = &*self.source.name;
        match fault {
            // Servers do that every hour or day.
            Fault::LoggedOut(_) => info!(source, "{fault}; logging in again"),
            _ if now == since => warn!(source, "{fault}; trying again"),
            _ => debug!(source, "{fault}; trying again in {delay:.0?}"),
        }
        Ok(())
    }

    /// A server may be away for long: what was reserved for its mails is for other sources meanwhile.
    fn give_back(&mut self) {
        let reserved = self.reservation.take().map(|(batch, _)| batch);
        let granted = self.granted.take().map(|(batch, _)| batch);
        for batch in granted.into_iter().chain(reserved) {
            self.round.put_back(batch);
        }
    }

    pub(super) fn works(&mut self) {
        self.backoff.reset();
        if self.trouble_since.take().is_some() {
            info!(source = &*self.source.name, "the mailbox can be worked with again");
        }
    }

    /// What is still to be done to mails can't be done any more: they are shipped, and the next run settles them.
    pub(super) fn forget_due(&mut self) {
        self.round.pass.unsettled += self.round.due.len() as u64;
        self.round.due.clear();
    }
}

async fn granted(reservation: &mut Option<(Batch, BoxFuture<'static, OwnedSemaphorePermit>)>) -> OwnedSemaphorePermit {
    match reservation {
        Some((_, permit)) => permit.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until_some(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap as Map;

    use tokio::sync::{Semaphore, mpsc};

    use super::*;
    use crate::{
        config::{self, Format, source::SourceConfig},
        limits::Limits,
        source::{Memory, Place},
    };

    struct Nothing;

    impl Memory for Nothing {
        fn knows(&self, _: &Place) -> bool {
            false
        }
    }

    /// A source that goes on, of a mailbox that nobody connects to.
    fn run() -> Run {
        let text = "sources: {rua: {type: imap, host: h, user: u, password: p}}\nsinks: {out: {type: stdout}}\n";
        let sources = config::parse(text, Format::Yaml, "test.yaml").unwrap().config.sources;
        let Some(SourceConfig::Imap(imap)) = sources.into_values().next() else { panic!("it is a mailbox") };
        let (mails, _) = mpsc::channel(1);
        let (_, verdicts) = mpsc::unbounded_channel();
        let (budget, stop) = (Arc::new(Semaphore::new(1)), CancellationToken::new());
        let intake = Intake::new(mails, verdicts, budget, 1, Arc::new(Nothing), false, false, stop);
        Run::new(ImapSource::new("rua".into(), *imap, Limits::default(), Duration::ZERO), intake)
    }

    #[tokio::test(start_paused = true)]
    async fn refused_credentials_are_not_tried_again_for_five_minutes_and_other_trouble_is_sooner() {
        let mut run = run();
        let waits: Map<&str, Duration> = [
            ("refused", Fault::Credentials("no".into())),
            ("lost", Fault::Lost("gone".into())),
            ("logged out", Fault::LoggedOut("expired".into())),
        ]
        .into_iter()
        .map(|(what, fault)| {
            run.works();
            run.broke(fault).unwrap();
            (what, run.retry_at - Instant::now())
        })
        .collect();
        assert!(waits["refused"] >= Duration::from_secs(300), "{waits:?}");
        assert!(waits["lost"] <= FIRST_DELAY && waits["logged out"] <= FIRST_DELAY, "{waits:?}");
    }
}
