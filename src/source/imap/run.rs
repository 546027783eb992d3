//! Main loop of the source: waits for events, handles them, and starts the next job.

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
    net::backoff::{Backoff, MAIL_SERVER},
    source::{Intake, MailRef, Pass, SourceError},
};
use futures::future::BoxFuture;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// Time between passes above which the session is closed in between.
const KEPT_BETWEEN_PASSES: Duration = Duration::from_secs(600);
/// Longer than any job of a session takes.
const A_LONG_TIME: Duration = Duration::from_secs(86_400 * 365);

/// State of a running source.
pub struct Run {
    pub(super) source: ImapSource,
    pub(super) intake: Intake,
    pub(super) stop: CancellationToken,
    pub(super) stopping: bool,
    pub(super) link: Link,
    /// Kind of the job that the session is running.
    pub(super) work: Option<Work>,
    pub(super) tour: Tour,
    /// Round through the current folder of the tour.
    pub(super) round: Round,
    /// Counts of the completed rounds of this pass.
    pub(super) pass: Pass,
    pub(super) reservation: Option<(Batch, BoxFuture<'static, OwnedSemaphorePermit>)>,
    /// Next batch, for which the bytes are reserved.
    pub(super) granted: Option<(Batch, OwnedSemaphorePermit)>,
    /// Mails of the batch being fetched that have not arrived yet.
    pub(super) fetching: Option<(Vec<Candidate>, OwnedSemaphorePermit)>,
    /// Mails of the current folder that were handed over and have no verdict yet, with their UIDVALIDITY and UID.
    pub(super) pending: HashMap<MailRef, (u32, u32)>,
    pub(super) handed_over: u64,
    /// True if moves are pipelined with a FETCH; false once a session broke during that.
    pub(super) moves_along: bool,
    /// True if the folder accepts the keyword for handled mails.
    pub(super) takes_keyword: bool,
    pub(super) backoff: Backoff,
    pub(super) retry_at: Instant,
    /// True if the next attempt waits for a person to fix something; a change of a credential file ends that wait.
    pub(super) refused: bool,
    /// Time that the server has been failing: includes attempts and retry delays, but no time in which nothing was wanted
    /// of it. `None` if it works.
    pub(super) trouble: Option<Duration>,
    /// Trouble has been counted up to the first time. From then on, time counts as trouble up to the second one, unless an
    /// event changes that.
    counted: (Instant, Instant),
    /// Time of the last flood.
    pub(super) flooded: Option<Instant>,
    /// Start of the last session.
    pub(super) began: Instant,
    /// True if a mail arrived in that session.
    pub(super) brought_mail: bool,
    /// True if the server closed the connection during the last wait for new mail, in a session that was short and had
    /// brought no mail.
    pub(super) hung_up: bool,
    /// Delay after reports of new mail that turned out false.
    pub(super) news: Backoff,
    /// Time from which IDLE is used again, and at which a report of new mail is followed up.
    pub(super) news_at: Instant,
    /// True if a session was opened.
    pub(super) opened: bool,
    /// True if opening a session was attempted.
    pub(super) tried: bool,
    /// True if a folder was listed.
    pub(super) looked: bool,
    /// True if the server supports IDLE; `None` before the first session.
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
            backoff: Backoff::new(MAIL_SERVER),
            retry_at: now,
            refused: false,
            trouble: None,
            counted: (now, now),
            flooded: None,
            began: now,
            brought_mail: false,
            hung_up: false,
            news: Backoff::new(MAIL_SERVER),
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

    /// Starts everything that can be started; returns the counts of the last pass when all is done.
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

    /// Ends a pass: all folders that were due have been read.
    async fn end_pass(&mut self, now: Instant) {
        if !self.intake.once {
            self.pass = Pass::default();
        }
        let pause = self.tour.due_at().map(|due| due - now);
        if pause.is_some_and(|pause| pause > KEPT_BETWEEN_PASSES) && !self.waits_for_news() {
            self.log_out().await;
        }
    }

    /// Reserves the bytes of the next batch while others are still being fetched or parsed.
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

    /// Returns when to wake up if no event comes before.
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

    /// Adds the time since the last call, as far as the server was failing in it.
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

    /// Stops fetching; mails that were handed over are still settled.
    fn stop_taking(&mut self) {
        self.stopping = true;
        self.reservation = None;
        self.granted = None;
        self.round.cut_short();
        self.retry_at = Instant::now();
        // A session that is still being opened, perhaps with a server that never answers, is of no use any more.
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
        source::{Memory, Place, PlaceStatus},
    };

    struct Nothing;

    impl Memory for Nothing {
        fn look_up(&self, places: Vec<Place>) -> BoxFuture<'static, Vec<PlaceStatus>> {
            Box::pin(std::future::ready(vec![PlaceStatus::default(); places.len()]))
        }
    }

    /// Returns a source that runs as a service (not `once`), for a mailbox that is never connected to.
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

    /// Regression: time spent on reading mails that had arrived was counted as trouble of the server, so that its second
    /// fault in ten minutes ended the run.
    #[tokio::test(start_paused = true)]
    async fn time_in_which_nothing_is_wanted_of_a_server_is_not_time_in_which_it_is_away() {
        let mut run = run_that_gives_up_after(Duration::from_secs(300));
        (run.intake.once, run.opened, run.looked) = (true, true, true);
        let lost = || Fault::Lost("gone".into());
        run.broke(lost()).unwrap();
        run.count_trouble_from_here();
        // A retry would be due after a second, but does not happen: there is no room for more mails.
        tokio::time::advance(Duration::from_secs(600)).await;
        run.count_trouble_from_here();
        run.broke(lost()).expect("it was away for a second");
        run.retry_at = Instant::now() + Duration::from_secs(600);
        run.count_trouble_from_here();
        tokio::time::advance(Duration::from_secs(600)).await;
        run.broke(lost()).expect_err("it was left alone for ten minutes");
    }

    /// Returns the retry delay after a number of sessions that each ended during the wait for new mail after `lived`, and
    /// in each of which a command had succeeded.
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
        assert!(delay_after(1, soon, false) <= MAIL_SERVER.first);
        assert!(delay_after(7, soon, false) > Duration::from_secs(30));
        assert!(delay_after(7, later, false) <= MAIL_SERVER.first);
        assert!(delay_after(7, soon, true) <= MAIL_SERVER.first);
    }

    /// Regression: time spent on receiving a flood was not counted as trouble, so that a run took longer than
    /// `give_up_after`.
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
        assert!(waits["lost"] <= MAIL_SERVER.first && waits["logged out"] <= MAIL_SERVER.first, "{waits:?}");
    }
}
