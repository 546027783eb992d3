//! The session and the task it works in.
//!
//! Each piece of work runs in a task of its own that takes the session along and brings it back: a command is never
//! dropped half-way when something else happens meanwhile, and a panic of the parser costs the session, not the process.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    auth::Account,
    fault::Fault,
    fetch::{self, Candidate},
    mailbox::{self, Folders, Selected},
    session::Session,
    settle::{self, Action, Report},
};
use crate::config::source::Imap;

/// A server that doesn't answer to LOGOUT is left without a word.
const FAREWELL: Duration = Duration::from_secs(5);

/// A session that is logged in, with the folders it works with.
pub struct Open {
    session: Session,
    pub folders: Folders,
    pub selected: Selected,
}

pub enum Link {
    Down,
    Idle { open: Box<Open>, since: Instant },
    Busy(Job),
}

/// Work under way.
pub struct Job {
    task: AbortOnDropHandle<Finished>,
    mails: Option<UnboundedReceiver<(u32, Bytes)>>,
}

/// Work that has ended: the session unless it broke, what went wrong, and what came out of it.
pub struct Finished {
    open: Option<Box<Open>>,
    pub fault: Option<Fault>,
    pub yielded: Yield,
}

#[derive(Default)]
pub enum Yield {
    #[default]
    Nothing,
    Opened,
    Listed(Vec<u32>),
    Sized(Vec<Candidate>),
    /// Mails that did not come though they are there.
    Fetched(Vec<u32>),
    Settled(Report),
}

pub enum Progress {
    Mail(u32, Bytes),
    Finished(Finished),
}

impl Link {
    /// What happens next; never, where nothing is under way. Cancel-safe. The session is back when this says that the
    /// work has finished.
    pub async fn progress(&mut self) -> Progress {
        let Link::Busy(job) = self else { return std::future::pending().await };
        if let Some(mails) = &mut job.mails {
            if let Some((uid, content)) = mails.recv().await {
                return Progress::Mail(uid, content);
            }
            job.mails = None;
        }
        let mut finished = (&mut job.task).await.unwrap_or_else(|_| Finished {
            open: None,
            fault: Some(Fault::Unintelligible("the server sent a response that the parser failed at".into())),
            yielded: Yield::Nothing,
        });
        *self = match finished.open.take() {
            Some(open) => Link::Idle { open, since: Instant::now() },
            None => Link::Down,
        };
        Progress::Finished(finished)
    }

    pub fn open(config: Arc<Imap>, account: Arc<Account>, dry_run: bool) -> Self {
        start(None, async move {
            match open(&config, account, dry_run).await {
                Ok(open) => Finished { open: Some(Box::new(open)), fault: None, yielded: Yield::Opened },
                Err(fault) => Finished { open: None, fault: Some(fault), yielded: Yield::Nothing },
            }
        })
    }
}

impl Open {
    /// Selects the folder anew, to learn what is in it now, and lists its mails; `marked_too`, those with the keyword of
    /// mails that were dealt with.
    pub fn list(mut self: Box<Self>, dry_run: bool, marked_too: bool) -> Link {
        start(None, async move {
            let result = async {
                self.selected = mailbox::select(&mut self.session, &self.folders.source, dry_run).await?;
                let passed_over = (self.selected.knows_keyword && !marked_too).then_some(settle::KEYWORD);
                fetch::list(&mut self.session, self.selected.exists, passed_over).await
            };
            let result = result.await;
            finish(self, result, Yield::Listed)
        })
    }

    pub fn size(mut self: Box<Self>, uids: Vec<u32>) -> Link {
        start(None, async move {
            let result = fetch::sizes(&mut self.session, &uids).await;
            finish(self, result, Yield::Sized)
        })
    }

    pub fn fetch(mut self: Box<Self>, batch: Vec<Candidate>, mail_bytes: u64) -> Link {
        let (sender, mails) = mpsc::unbounded_channel();
        start(Some(mails), async move {
            let result = fetch::bodies(&mut self.session, &batch, mail_bytes, &sender).await;
            finish(self, result, Yield::Fetched)
        })
    }

    pub fn settle(mut self: Box<Self>, due: BTreeMap<u32, Action>) -> Link {
        start(None, async move {
            let mut report = Report::default();
            let result = settle::settle(&mut self.session, &mut self.folders, &due, &mut report).await;
            Finished { yielded: Yield::Settled(report), ..finish(self, result, |()| Yield::Nothing) }
        })
    }

    /// Keeps the server from closing an idle session.
    pub fn keep(mut self: Box<Self>) -> Link {
        start(None, async move {
            let result = self.session.command("NOOP", |_| ()).await;
            finish(self, result, |_| Yield::Nothing)
        })
    }

    pub async fn log_out(mut self: Box<Self>) {
        // Everything is done; whether the server still hears it changes nothing.
        let _ = timeout(FAREWELL, self.session.command("LOGOUT", |_| ())).await;
    }
}

async fn open(config: &Imap, account: Arc<Account>, dry_run: bool) -> Result<Open, Fault> {
    let mut session = Session::open(config, account).await?;
    let folders = mailbox::find_all(&mut session, config, dry_run).await?;
    let selected = mailbox::select(&mut session, &folders.source, dry_run).await?;
    Ok(Open { session, folders, selected })
}

fn start(
    mails: Option<UnboundedReceiver<(u32, Bytes)>>,
    work: impl Future<Output = Finished> + Send + 'static,
) -> Link {
    Link::Busy(Job { task: AbortOnDropHandle::new(tokio::spawn(work)), mails })
}

fn finish<T>(open: Box<Open>, result: Result<T, Fault>, yielded: impl FnOnce(T) -> Yield) -> Finished {
    match result {
        Ok(value) => Finished { open: Some(open), fault: None, yielded: yielded(value) },
        Err(fault) => {
            let open = fault.leaves_session().then_some(open);
            Finished { open, fault: Some(fault), yielded: Yield::Nothing }
        }
    }
}
