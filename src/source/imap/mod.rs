//! IMAP source: fetches mails from the folders of an account in batches, hands them to the pipeline, and moves, deletes or
//! flags each after its verdict.
//!
//! The modules, from the bottom up: `budget` (limits on responses) and `guard` (enforces them) → `session` and `flight`
//! (commands, single or pipelined, with checked outcomes) → `opening`, `auth`, `outset`, `mailbox`, `find`, `fetch`,
//! `bodies`, `settle`, `due` and `along`, `idle` (the commands themselves) → `link` (the task that runs them) →
//! `tour` (choice of the folder), `round` and `owed` (work left in it) and `suspects` (tells faults of mails from faults
//! of the server) → `run` (main loop), `work` (next command), `heed`, `turn` and `setback` (handling of results and
//! errors). `check` only examines.

mod along;
mod auth;
mod bodies;
mod budget;
pub mod check;
mod due;
mod fault;
mod fetch;
mod find;
mod flight;
mod guard;
mod heed;
mod idle;
mod link;
mod mailbox;
mod name;
mod opening;
mod outset;
mod owed;
mod round;
mod run;
mod session;
mod setback;
mod settle;
mod suspects;
mod targets;
mod throttle;
mod tour;
mod turn;
mod uids;
mod work;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;

use self::auth::Account;
pub use self::settle::{deletes, takes_away};
use super::{Intake, Pass, Source, SourceError};
use crate::{config, limits::Limits};

/// Source that reads the folders of one account in turn, over a single session at a time.
pub struct ImapSource {
    name: Arc<str>,
    config: Arc<config::source::Imap>,
    account: Arc<Account>,
    /// `user@host:port`, as in [`Place::Imap`](super::Place::Imap).
    account_id: Arc<str>,
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
        let account = Arc::new(Account::new(&config));
        let account_id = format!("{}@{}:{}", config.user, config.host.to_ascii_lowercase(), config.port).into();
        Self { name, config: Arc::new(config), account, account_id, limits, give_up_after, max_attempts }
    }
}

impl Source for ImapSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(self: Box<Self>, intake: Intake) -> BoxFuture<'static, Result<Pass, SourceError>> {
        Box::pin(run::Run::new(*self, intake).run())
    }
}
