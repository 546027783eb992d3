//! The loop: what to do next, and what to do about what happened.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::{
    ImapSource,
    fetch::Candidate,
    link::Link,
    owed::Awaited,
    round::{Batch, Round},
    tour::Tour,
    work::{NOOP_EVERY, Work},
};
use crate::{
    net::backoff::Backoff,
    source::{Intake, MailRef, Pass, SourceError},
};
use futures::future::BoxFuture;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// Between passes further apart than this, the session is given back.
const KEPT_BETWEEN_PASSES: Duration = Duration::from_secs(600);
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// Also the least after refused credentials: accounts get locked.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(300);
/// No work of a session takes longer.
const A_LONG_TIME: Duration = Duration::from_secs(86_400 * 365);

/// A source at work.
pub struct Run {
    pub(super) source: ImapSource,
    pub(super) intake: Intake,
    pub(super) stop: CancellationToken,
    pub(super) stopping: bool,
    pub(super) link: Link,
    /// What the link is busy with.
    pub(super) work: Option<Work>,
    pub(super) tour: Tour,
    /// Through the current folder of the tour.
    pub(super) round: Round,
    /// What was done in the rounds of this pass that are complete.
    pub(super) pass: Pass,
    pub(super) reservation: Option<(Batch, BoxFuture<'static, OwnedSemaphorePermit>)>,
    /// A batch whose bytes are reserved.
    pub(super) granted: Option<(Batch, OwnedSemaphorePermit)>,
    /// Of the batch under way, what has not come yet.
    pub(super) fetching: Option<(Vec<Candidate>, OwnedSemaphorePermit)>,
    /// Handed over from the current folder, without a verdict yet.
    pub(super) pending: HashMap<MailRef, (u32, u32)>,
    pub(super) handed_over: u64,
    /// Mails are moved along with a fetch of others; not after a session that broke meanwhile.
    pub(super) moves_along: bool,
    /// Whether the folder takes the keyword that marks mails that were dealt with.
    pub(super) takes_keyword: bool,
    pub(super) backoff: Backoff,
    pub(super) retry_at: Instant,
    /// The next try waits for a person, who may change a file with a secret meanwhile.
    pub(super) refused: bool,
    /// How long the server has been of no use: the time in which it was tried, or left alone until the next try, and none
    /// in which nothing was wanted of it. `None`: it works.
    pub(super) trouble: Option<Duration>,
    /// Up to here that is counted, and until then, unless something happens, it goes on.
    counted: (Instant, Instant),
    /// The last flood.
    pub(super) flooded: Option<Instant>,
    /// When the last session began.
    pub(super) began: Instant,
    /// A mail came in it.
    pub(super) brought_mail: bool,
    /// The server hung up on the last wait for new mail, in a session that had brought none and had just begun.
    pub(super) hung_up: bool,
    /// News that brought no mail.
    pub(super) news: Backoff,
    /// When news are next heeded.
    pub(super) news_at: Instant,
    /// There was a session.
    pub(super) opened: bool,
    /// One was begun, or tried to be.
    pub(super) tried: bool,
    /// A folder was looked through.
    pub(super) looked: bool,
    /// Whether the server lets us wait for new mail; not known before the first session.
    pub(super) idles: Option<bool>,
    pub(super) said: HashSet<&'static str>,
}

impl Run {
    pub fn new(source: ImapSource, intake: Intake) -> Self {
        let now = Instant::now();
        Self {
            stop: intake.stop.clone(),
            stopping: false,
            link: Link::Down,
            work: None,
            tour: Tour::new(source.config.folder.clone(), now),
            round: Round::new(source.max_attempts),
            pass: Pass::default(),
            reservation: None,
            granted: None,
            fetching: None,
            pending: HashMap::new(),
            handed_over: 0,
            moves_along: true,
            takes_keyword: false,
            backoff: Backoff::new(FIRST_DELAY, LONGEST_DELAY),
            retry_at: now,
            refused: false,
            trouble: None,
            counted: (now, now),
            flooded: None,
            began: now,
            brought_mail: false,
            hung_up: false,
            news: Backoff::new(FIRST_DELAY, LONGEST_DELAY),
            news_at: now,
            opened: false,
            tried: false,
            looked: false,
            idles: None,
            said: HashSet::new(),
            source,
            intake,
        }
    }

    pub async fn run(mut self) -> Result<Pass, SourceError> {
        loop {
            if let Some(pass) = self.advance().await? {
                return Ok(pass);
            }
            let wake = self.wake();
            self.count_trouble_from_here();
            tokio::select! {
                biased;
                () = self.stop.cancelled(), if !self.stopping => self.stop_taking(),
                verdict = self.intake.verdict() => self.judged_together(verdict.ok_or(SourceError::Stopped)?),
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
        if self.tour.current().is_some() && self.is_complete() && (self.round.listed || self.stopping) {
            self.complete()?;
        }
        let now = Instant::now();
        if self.tour.current().is_none() {
            let is_over = self.stopping || (!self.tour.go_on(now) && self.tour.due_at().is_none());
            let is_wanted = self.stopping || self.tour.due_at().is_none_or(|due| due <= now);
            if is_wanted {
                self.link.end_wait();
            }
            if is_over && !matches!(self.link, Link::Busy(_)) {
                self.log_out().await;
                return Ok(Some(std::mem::take(&mut self.pass)));
            }
            if self.tour.due_at().is_some_and(|due| due > now) {
                self.end_pass(now).await;
            }
        }
        match (&self.link, &self.work) {
            (Link::Busy(_), Some(Work::Fetch)) if self.moves_along => self.settle_too(),
            (Link::Busy(_), Some(Work::Settle)) => self.settle_too(),
            (Link::Busy(_), _) => {}
            _ => self.begin(),
        }
        Ok(None)
    }

    /// All folders that were due have been looked through.
    async fn end_pass(&mut self, now: Instant) {
        if !self.intake.once {
            self.pass = Pass::default();
        }
        let pause = self.tour.due_at().map(|due| due - now);
        if pause.is_some_and(|pause| pause > KEPT_BETWEEN_PASSES) && !self.waits_for_news() {
            self.log_out().await;
        }
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
            if self.fetching.is_none() && self.round.is_for_judging() {
                self.judge_suspects();
            }
            let budget = u64::from(self.intake.budget_bytes());
            if let Some(batch) = self.round.next_batch(budget, self.source.limits.mail_bytes) {
                let permit: BoxFuture<'static, _> = Box::pin(self.intake.reserve(batch.bytes()));
                self.reservation = Some((batch, permit));
            }
        }
        Ok(())
    }

    /// When something is to be done though nothing happens.
    fn wake(&self) -> Option<Instant> {
        let down = matches!(self.link, Link::Down);
        let tour = if self.tour.current().is_none() && !self.stopping { self.tour.due_at() } else { None };
        let silence = match &self.link {
            Link::Busy(_) => return tour.filter(|_| self.link.is_waiting()),
            Link::Idle { since, .. } => Some(*since + NOOP_EVERY),
            Link::Down => None,
        };
        let has_work = match self.tour.current() {
            Some(_) => !self.stopping && (!self.round.listed || self.granted.is_some() || self.round.has_more()),
            None => self.waits_for_news(),
        };
        let reopen = (down && has_work).then_some(self.retry_at);
        let news = (self.tour.current().is_none() && self.waits_for_news()).then_some(self.news_at);
        let news = news.filter(|at| *at > Instant::now());
        let next = [tour, silence, reopen, news, self.round.owed.due_at(self.awaited())].into_iter().flatten().min();
        if down { next.map(|at| at.max(self.retry_at)) } else { next }
    }

    pub(super) fn awaited(&self) -> Awaited {
        let has_more = self.round.has_more() || self.reservation.is_some() || self.granted.is_some();
        let is_fetching = self.fetching.as_ref().is_some_and(|(missing, _)| !missing.is_empty());
        if is_fetching || (has_more && !self.stopping) {
            return Awaited::Mails;
        }
        if self.pending.is_empty() { Awaited::Nothing } else { Awaited::Verdicts }
    }

    fn is_complete(&self) -> bool {
        self.awaited() == Awaited::Nothing && self.round.owed.is_empty() && !matches!(self.link, Link::Busy(_))
    }

    fn count_trouble_from_here(&mut self) {
        self.count_trouble();
        self.counted.1 = match self.link {
            Link::Busy(_) => self.counted.0 + A_LONG_TIME,
            Link::Down => self.retry_at,
            Link::Idle { .. } => self.counted.0,
        };
    }

    /// Adds the time since the last look, as far as it is the server's.
    pub(super) fn count_trouble(&mut self) {
        let (from, until) = self.counted;
        self.counted.0 = Instant::now();
        if let Some(trouble) = &mut self.trouble {
            *trouble += self.counted.0.min(until).saturating_duration_since(from);
        }
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
        // Nothing is left to do with a session that is only being opened, perhaps with a server that never answers.
        if matches!(self.work, Some(Work::Open)) && self.pending.is_empty() && self.round.owed.is_empty() {
            (self.link, self.work) = (Link::Down, None);
        }
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
    use std::{collections::HashMap as Map, sync::Arc};

    use tokio::sync::{Semaphore, mpsc};

    use super::{super::fault::Fault, *};
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
        run_that_gives_up_after(Duration::ZERO)
    }

    fn run_that_gives_up_after(give_up_after: Duration) -> Run {
        let text = "sources: {rua: {type: imap, host: h, user: u, password: p}}\nsinks: {out: {type: stdout}}\n";
        let sources = config::parse(text, Format::Yaml, "test.yaml").unwrap().config.sources;
        let Some(SourceConfig::Imap(imap)) = sources.into_values().next() else { panic!("it is a mailbox") };
        let (mails, _) = mpsc::channel(1);
        let (_, verdicts) = mpsc::unbounded_channel();
        let (budget, stop) = (Arc::new(Semaphore::new(1)), CancellationToken::new());
        let intake = Intake::new(mails, verdicts, budget, 1, Arc::new(Nothing), false, false, stop);
        Run::new(ImapSource::new("rua".into(), *imap, Limits::default(), give_up_after, 3), intake)
    }

    /// The time in which mails that had come were read counted as the server's: its second fault in ten minutes ended the run.
    #[tokio::test(start_paused = true)]
    async fn time_in_which_nothing_is_wanted_of_a_server_is_not_time_in_which_it_is_away() {
        let mut run = run_that_gives_up_after(Duration::from_secs(300));
        (run.intake.once, run.opened, run.looked) = (true, true, true);
        let lost = || Fault::Lost("gone".into());
        run.broke(lost()).unwrap();
        run.count_trouble_from_here();
        // It would be tried again after a second, and is not: there is no room for its mails.
        tokio::time::advance(Duration::from_secs(600)).await;
        run.count_trouble_from_here();
        run.broke(lost()).expect("it was away for a second");
        run.retry_at = Instant::now() + Duration::from_secs(600);
        run.count_trouble_from_here();
        tokio::time::advance(Duration::from_secs(600)).await;
        run.broke(lost()).expect_err("it was left alone for ten minutes");
    }

    /// How long the next session is waited for when those before ended at the wait for new mail, each after so long, and each
    /// with something that worked.
    fn delay_after(sessions: u32, lived: Duration, brought_mail: bool) -> Duration {
        let mut run = run();
        for _ in 0..sessions {
            run.began = Instant::now() - lived;
            run.brought_mail = brought_mail;
            run.works();
            run.wait_failed(Fault::Lost("gone".into())).unwrap();
        }
        run.retry_at - Instant::now()
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_on_each_wait_is_left_alone_unless_sessions_last_or_bring_mail() {
        let (soon, later) = (Duration::from_secs(1), Duration::from_secs(60));
        assert!(delay_after(1, soon, false) <= FIRST_DELAY);
        assert!(delay_after(7, soon, false) > Duration::from_secs(30));
        assert!(delay_after(7, later, false) <= FIRST_DELAY);
        assert!(delay_after(7, soon, true) <= FIRST_DELAY);
    }

    /// The time in which it listened to the flood did not count, so that a run went on for longer than `give_up_after`.
    #[tokio::test]
    async fn a_session_that_brought_nothing_but_a_flood_is_time_in_which_the_server_is_of_no_use() {
        for (brought_mail, is_given_up) in [(false, true), (true, false)] {
            let mut run = run_that_gives_up_after(Duration::from_secs(30));
            (run.intake.once, run.opened, run.looked, run.brought_mail) = (true, true, true, brought_mail);
            run.began = Instant::now() - Duration::from_secs(30);
            assert_eq!(run.broke(Fault::Flooded("it does not stop".into())).is_err(), is_given_up);
        }
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
