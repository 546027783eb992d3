//! Mails from an IMAP folder: fetched in batches, handed over, and moved once their verdict is there.
//!
//! `budget` (what answers may cost) and `guard` (holds the server to it) → `session` and `flight` (commands, one or several at once, checked) → `opening`, `auth`,
//! `outset`, `mailbox`, `find`, `fetch`, `ahead`, `bodies`, `settle`, `due` and `along`, `idle` (what is said) → `link` (the task that says it) →
//! `tour` (which folder), `round` and `owed` (what is to be done in it) and `suspects` (whose fault it is) → `run` (when), `work` (what next),
//! `heed`, `turn` and `setback` (what is made of it). `check` only looks.

mod ahead;
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

/// Folders of one account, one after the other, over one session at a time.
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
    /// `give_up_after`: how long a single pass (`once`) goes on trying when its session was lost. `max_attempts`: how often
    /// a mail that can't be fetched is tried before it is handed over unread.
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
