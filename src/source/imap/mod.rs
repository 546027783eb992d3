//! Mails from an IMAP folder: fetched in batches, handed over, and moved once their verdict is there.
//!
//! `guard` (caps what is read) → `session` (commands, checked) → `auth`, `mailbox`, `fetch`, `settle` (what is said) →
//! `link` (the task that says it) → `round` (what is to be done in one pass) → `run` (when) and `heed`
//! (what is made of it).

mod auth;
mod fault;
mod fetch;
mod guard;
mod heed;
mod link;
mod mailbox;
mod name;
mod round;
mod run;
mod session;
mod settle;
mod targets;
mod uids;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;

use self::auth::Account;
pub use self::settle::takes_away;
use super::{Intake, Pass, Source, SourceError};
use crate::{config, limits::Limits};

/// One folder of one account, over one session at a time.
pub struct ImapSource {
    name: Arc<str>,
    config: Arc<config::source::Imap>,
    account: Arc<Account>,
    limits: Limits,
    give_up_after: Duration,
}

impl ImapSource {
    /// `give_up_after`: how long a single pass (`once`) goes on trying when its session was lost.
    pub fn new(name: Arc<str>, config: config::source::Imap, limits: Limits, give_up_after: Duration) -> Self {
        let account = Arc::new(Account::new(&config));
        Self { name, config: Arc::new(config), account, limits, give_up_after }
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
