//! IMAP source: fetches mails from the folders of an account in batches, hands them to the pipeline, and moves, deletes or
//! flags each after its verdict.
//!
//! * `driver` is a state machine without I/O: it takes events and returns actions. `plan` holds its parts: the schedule
//!   of the folders, the pass through one of them, the mails to settle, the search for a mail that can't be fetched, and
//!   the retry policy.
//! * `session_task` runs `commands` on the session, one after the other, each in a task of its own.
//! * `commands` are IMAP commands with their meaning: LIST, SELECT, SEARCH, FETCH, MOVE, IDLE.
//! * `wire` is the session itself: connection, login, pipelining, and limits on what the server may send.
//! * `check` only examines an account.

mod check;
mod commands {
    pub mod configured_folders;
    pub mod fetch;
    pub mod idle;
    pub mod mailbox;
    pub mod search;
    pub mod settle;
    pub mod startup;
}
mod driver;
mod error;
mod plan {
    pub mod bisect;
    pub mod folders;
    pub mod pass;
    pub mod retry;
    pub mod settle_queue;
}
mod session_task;
mod wire {
    pub mod auth;
    pub mod connect;
    pub mod mailbox_name;
    pub mod response_limits;
    pub mod server_texts;
    pub mod session;
    pub mod uid_set;
}

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until},
};

use self::{
    driver::{Action, Driver, Input, Settings},
    plan::settle_queue::takes_away,
    session_task::{Connector, Event, SessionTask},
    wire::auth::credentials::Account,
};
use super::{
    Intake, PLACES_AT_ONCE, Pass, PlaceStatus, Source, SourceError, Verdict,
    registry::{Checking, Kind},
};
use crate::{
    config::{self, Config},
    limits::Limits,
    steps::Steps,
};

/// Source that reads the folders of one account in turn, over a single session at a time.
pub struct ImapSource {
    name: Arc<str>,
    config: Arc<config::source::Imap>,
    limits: Limits,
    give_up_after: Duration,
    max_attempts: u32,
}

impl ImapSource {
    /// `give_up_after`: how long a single pass (`once`) keeps retrying after it lost its session. `max_attempts`: how
    /// often a mail that can't be fetched is tried before it is handed over unread.
    pub fn new(
        name: Arc<str>,
        config: config::source::Imap,
        limits: Limits,
        give_up_after: Duration,
        max_attempts: u32,
    ) -> Self {
        Self { name, config: Arc::new(config), limits, give_up_after, max_attempts }
    }
}

impl Source for ImapSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(self: Box<Self>, intake: Intake) -> BoxFuture<'static, Result<Pass, SourceError>> {
        let Self { name, config, limits, give_up_after, max_attempts } = *self;
        let connector = Connector {
            account: Arc::new(Account::new(&config)),
            config: config.clone(),
            mail_bytes: limits.mail_bytes,
            dry_run: intake.dry_run,
        };
        let account_id = format!("{}@{}:{}", config.user, config.host.to_ascii_lowercase(), config.port).into();
        let settings = Settings {
            name,
            config,
            account_id,
            mail_bytes: limits.mail_bytes,
            give_up_after,
            max_attempts,
            budget_bytes: intake.budget_bytes(),
            once: intake.once,
            dry_run: intake.dry_run,
            forgets: intake.forgets(),
            ships_again: intake.ships_again(),
        };
        Box::pin(run(settings, connector, intake))
    }
}

/// Feeds the driver with events, and carries its actions out.
async fn run(settings: Settings, connector: Connector, mut intake: Intake) -> Result<Pass, SourceError> {
    let (source, stop) = (settings.name.clone(), intake.stop.clone());
    let mut driver = Driver::new(settings, Instant::now());
    let mut session = SessionTask::None;
    let mut reservation: Option<BoxFuture<'static, OwnedSemaphorePermit>> = None;
    let mut look_up: Option<LookUp> = None;
    let mut is_stopping = false;
    let mut input = Input::Timer;
    loop {
        let mut wake_at = None;
        for action in driver.step(input, Instant::now()) {
            match action {
                Action::Open(first) => session.open(&connector, first),
                Action::Start(command) => session.start(command),
                Action::SettleToo(due) => session.settle_too(due),
                Action::EndWait => session.end_wait(),
                Action::Close => session.close(),
                Action::LogOut => session.log_out().await,
                Action::LookUp(uids) => look_up = Some(LookUp::start(uids, Vec::new(), &driver, &intake)),
                Action::Reserve(bytes) => reservation = Some(Box::pin(intake.reserve(bytes))),
                Action::CancelReservation => reservation = None,
                Action::HandOver(mail) => intake.hand_over(mail).await?,
                Action::Expect(mails) => intake.expects(mails),
                Action::AllLookedUp => intake.looked_through(&source),
                Action::Troubled(why) => intake.troubled(&source, &why),
                Action::SleepUntil(at) => wake_at = Some(at),
                Action::End(result) => return result,
            }
        }
        input = tokio::select! {
            biased;
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                Input::Stop
            }
            verdict = intake.verdict() => {
                // All that have arrived are handled together, so that their mails are settled with one command.
                let mut verdicts = vec![verdict.ok_or(SourceError::Stopped)?];
                verdicts.extend(std::iter::from_fn(|| intake.try_verdict()));
                Input::Verdicts(verdicts)
            }
            event = session.event() => match event {
                Event::Mail(uid, content) => Input::Mail(uid, content),
                Event::Completed(completed) => Input::Completed(completed),
            },
            permit = some(reservation.as_mut()) => {
                reservation = None;
                Input::Reserved(permit)
            }
            found = some(look_up.as_mut().map(|look_up| &mut look_up.next)) => {
                let LookUp { uids, mut statuses, .. } = look_up.take().expect("it is the one that was waited for");
                statuses.extend(found);
                if statuses.len() < uids.len() {
                    look_up = Some(LookUp::start(uids, statuses, &driver, &intake));
                    Input::Timer
                } else {
                    Input::LookedUp(statuses)
                }
            }
            () = connector.account.changed(), if driver.awaits_credentials() => Input::CredentialsChanged,
            () = some(wake_at.map(|at| Box::pin(sleep_until(at)))) => Input::Timer,
        };
    }
}

/// Look-up of the mails of a listing in the ledger, [`PLACES_AT_ONCE`] at a time.
struct LookUp {
    uids: Vec<u32>,
    /// Statuses of the first of them.
    statuses: Vec<PlaceStatus>,
    /// Statuses of the next ones.
    next: BoxFuture<'static, Vec<PlaceStatus>>,
}

impl LookUp {
    fn start(uids: Vec<u32>, statuses: Vec<PlaceStatus>, driver: &Driver, intake: &Intake) -> Self {
        let next = uids.iter().skip(statuses.len()).take(PLACES_AT_ONCE);
        let next = intake.remembered(next.map(|uid| driver.place(*uid)).collect());
        Self { uids, statuses, next }
    }
}

/// Waits for a future, if there is one; otherwise forever.
async fn some<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

impl Kind for config::source::Imap {
    fn build(&self, name: Arc<str>, config: &Config) -> Box<dyn Source> {
        Box::new(ImapSource::new(name, self.clone(), config.limits.clone(), config.give_up_after, config.max_attempts))
    }

    fn takes_away(&self, verdict: &Verdict) -> bool {
        takes_away(verdict, self)
    }

    fn check<'a>(&'a self, checking: Checking, steps: &'a mut Steps) -> BoxFuture<'a, Option<()>> {
        Box::pin(check::check(check::Mailbox { imap: self, checking }, steps))
    }
}
