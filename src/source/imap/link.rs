//! The session and the task that owns it while it is in use.
//!
//! Each job runs in a task of its own that takes the session and returns it: a command is never dropped before its end
//! when something else happens meanwhile, and a panic of the parser costs the session, not the process.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures::FutureExt;
use tokio::{
    sync::{
        mpsc::{self, UnboundedReceiver, UnboundedSender},
        oneshot,
    },
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::{
    along::Along,
    auth::Account,
    bodies,
    due::Due,
    fault::Fault,
    fetch::{self, Candidate, Census, Listing},
    find::{self, Found},
    idle,
    mailbox::{self, Folder, Selected},
    outset::{First, Foreseen, Outset, outset},
    session::Session,
    settle::{self, Action, Report},
    targets::Targets,
};
use crate::config::{folder::FolderName, source::Imap};

/// An authenticated session, its target folders, and its selected folder.
pub struct Open {
    session: Session,
    targets: Targets,
    selected: Option<(Folder, Selected)>,
    /// True if the SELECT is the one from the start of the session, so that its result is still current.
    is_fresh: bool,
    /// Census of the selected folder from the start of the session.
    census: Option<Census>,
    /// Results of the LIST commands from the start of the session.
    foreseen: Foreseen,
    dry_run: bool,
}

pub enum Link {
    Down,
    Idle { open: Box<Open>, since: Instant },
    Busy(Job),
}

/// A running job.
pub struct Job {
    task: AbortOnDropHandle<Finished>,
    mails: Option<UnboundedReceiver<(u32, Bytes)>>,
    /// Sender for further actions to settle during the job.
    more: Option<UnboundedSender<Vec<(u32, Action)>>>,
    /// Ends the wait for new mail when dropped.
    end: Option<oneshot::Sender<()>>,
}

/// Result of a job: the session unless it broke, the fault if any, and the output.
#[derive(Default)]
pub struct Finished {
    open: Option<Box<Open>>,
    pub fault: Option<Fault>,
    pub yielded: Yield,
    /// Outcome of settling, for jobs that settle mails.
    pub report: Option<Report>,
}

#[derive(Default)]
pub enum Yield {
    #[default]
    Nothing,
    Opened,
    Found(Vec<Found>),
    Selected,
    Listed(Listing),
    Sized(Vec<Candidate>),
    /// UIDs that the server did not send although they are in the folder.
    Fetched(Vec<u32>),
    /// The wait has ended; true if there is new mail.
    Watched(bool),
}

pub enum Progress {
    Mail(u32, Bytes),
    Finished(Box<Finished>),
}

impl Link {
    /// Waits for the next event of the running job; forever if there is none. Cancel-safe. The session is available again
    /// once this has returned [`Progress::Finished`].
    pub async fn progress(&mut self) -> Progress {
        let Link::Busy(job) = self else { return std::future::pending().await };
        if let Some(mails) = &mut job.mails {
            if let Some((uid, content)) = mails.recv().await {
                return Progress::Mail(uid, content);
            }
            job.mails = None;
        }
        let mut finished =
            (&mut job.task).await.unwrap_or_else(|_| Finished { fault: Some(parser_failed()), ..Finished::default() });
        *self = match finished.open.take() {
            Some(open) => Link::Idle { open, since: Instant::now() },
            None => Link::Down,
        };
        Progress::Finished(Box::new(finished))
    }

    /// Opens a session. `first`: the folder to read first, if it is known already.
    pub fn open(config: Arc<Imap>, account: Arc<Account>, first: Option<First>, dry_run: bool) -> Self {
        start(async move {
            let session = match Session::open(&config, account.clone()).await {
                Ok(session) => session,
                Err(fault) => return Finished { fault: Some(fault), ..Finished::default() },
            };
            match begin(session, &config, account, first, dry_run).await {
                Ok(open) => finish(Box::new(open), Ok(()), |()| Yield::Opened),
                // The login succeeded, so this counts as an opened session.
                Err(fault) => Finished { fault: Some(fault), yielded: Yield::Opened, ..Finished::default() },
            }
        })
    }

    /// True if it is waiting for new mail and was not asked to end that yet.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Link::Busy(Job { end: Some(_), .. }))
    }

    /// Adds mails to settle to a running fetch or settle job. Those that arrive too late for it are not in its report.
    pub fn settle_too(&self, due: Vec<(u32, Action)>) {
        if let Link::Busy(Job { more: Some(more), .. }) = self {
            more.send(due).ok();
        }
    }

    /// Ends the wait for new mail; the server's answer to DONE takes a moment.
    pub fn end_wait(&mut self) {
        if let Link::Busy(job) = self {
            // Dropping the sender ends the wait.
            job.end = None;
        }
    }
}

impl Open {
    /// Returns the result of SELECT for `folder`, if that is the selected one.
    pub fn selected(&self, folder: &Folder) -> Option<Selected> {
        self.selected.as_ref().filter(|(selected, _)| selected == folder).map(|(_, said)| *said)
    }

    pub fn offers(&self, capability: &str) -> bool {
        self.session.offers(capability)
    }

    /// Drops the answers from the start of the session, which become outdated.
    pub fn moves_on(&mut self) {
        self.is_fresh = false;
        self.census = None;
        self.foreseen = Foreseen::default();
    }

    pub fn find(mut self: Box<Self>, wanted: Vec<FolderName>) -> Link {
        start(async move {
            let foreseen = std::mem::take(&mut self.foreseen);
            let result = find::find_wanted(&mut self.session, &wanted, &self.targets, &foreseen).await;
            finish(self, result, Yield::Found)
        })
    }

    pub fn select(mut self: Box<Self>, folder: Folder) -> Link {
        start(async move {
            let result = self.select_now(&folder).await;
            finish(self, result, |_| Yield::Selected)
        })
    }

    /// Lists the mails of a folder. Selects it again first, for current data; with `marked_too`, mails with the keyword of
    /// handled mails are listed too.
    pub fn list(mut self: Box<Self>, folder: Folder, mut criteria: String, marked_too: bool) -> Link {
        start(async move {
            let fresh = self.selected(&folder).filter(|_| self.is_fresh);
            let census = self.census.take();
            self.moves_on();
            let result = async {
                let told = fresh.zip(census).and_then(|(said, census)| census.listing(said.exists, marked_too));
                if let Some(listing) = told {
                    return Ok(listing);
                }
                let selected = match fresh {
                    Some(selected) => selected,
                    None => self.select_now(&folder).await?,
                };
                if selected.knows_keyword && !marked_too {
                    criteria = format!("{criteria} UNKEYWORD {}", settle::KEYWORD);
                }
                fetch::list(&mut self.session, selected.exists, criteria.trim_start()).await
            };
            let result = result.await;
            finish(self, result, Yield::Listed)
        })
    }

    /// Waits for mail above UID `newest` in the folder. `uid_validity`: the UIDVALIDITY that `newest` belongs to; under
    /// another one, all mail is new.
    pub fn watch(mut self: Box<Self>, folder: Folder, uid_validity: u32, newest: u32, criteria: String) -> Link {
        let (end, ended) = oneshot::channel();
        let job = job(async move {
            let result = async {
                let selected = match self.selected(&folder) {
                    Some(selected) => selected,
                    None => self.select_now(&folder).await?,
                };
                if selected.uid_validity != uid_validity {
                    return Ok(true);
                }
                idle::watch(&mut self.session, newest, &criteria, ended).await
            };
            let result = result.await;
            finish(self, result, Yield::Watched)
        });
        Link::Busy(Job { end: Some(end), ..job })
    }

    async fn select_now(&mut self, folder: &Folder) -> Result<Selected, Fault> {
        // A failed SELECT leaves no folder selected (RFC 3501 section 6.3.1).
        self.selected = None;
        let said = mailbox::select(&mut self.session, folder, self.dry_run).await?;
        self.selected = Some((folder.clone(), said));
        Ok(said)
    }

    pub fn size(mut self: Box<Self>, uids: Vec<u32>) -> Link {
        start(async move {
            let result = fetch::sizes(&mut self.session, &uids).await;
            finish(self, result, Yield::Sized)
        })
    }

    /// Fetches the mails of `batch`, and settles mails that become due meanwhile.
    pub fn fetch(mut self: Box<Self>, batch: Vec<Candidate>, mail_bytes: u64, read: Vec<Folder>) -> Link {
        let (sender, mails) = mpsc::unbounded_channel();
        let (more, receiver) = mpsc::unbounded_channel();
        let job = job(async move {
            let target = self.targets.archive(&read).filter(|_| self.session.offers("MOVE"));
            let mut along = Along::with(Due::of(Vec::new(), receiver), target);
            let fetched = bodies::bodies(&mut self.session, &batch, mail_bytes, &sender, &mut along).await;
            drop(sender);
            let mut report = Report::default();
            let due = along.end(&mut report);
            let Ok(withheld) = fetched else {
                return Finished { report: Some(report), ..finish(self, fetched, Yield::Fetched) };
            };
            let settled = self.settle_now(&read, due, &mut report).await;
            let yielded = Yield::Fetched(withheld);
            Finished { yielded, report: Some(report), ..finish(self, settled, |()| Yield::Nothing) }
        });
        Link::Busy(Job { mails: Some(mails), more: Some(more), ..job })
    }

    pub fn settle(mut self: Box<Self>, due: Vec<(u32, Action)>, read: Vec<Folder>) -> Link {
        let (more, receiver) = mpsc::unbounded_channel();
        let job = job(async move {
            let mut report = Report::default();
            let result = self.settle_now(&read, Due::of(due, receiver), &mut report).await;
            Finished { report: Some(report), ..finish(self, result, |()| Yield::Nothing) }
        });
        Link::Busy(Job { more: Some(more), ..job })
    }

    async fn settle_now(&mut self, read: &[Folder], due: Due, report: &mut Report) -> Result<(), Fault> {
        settle::settle(&mut self.session, &mut self.targets, read, due, report).await
    }

    /// Sends NOOP, to keep the server from closing an idle session.
    pub fn keep(mut self: Box<Self>) -> Link {
        start(async move {
            let result = self.session.command("NOOP", |_| ()).await;
            finish(self, result, |_| Yield::Nothing)
        })
    }

    pub async fn log_out(self: Box<Self>) {
        self.session.log_out().await;
    }
}

async fn begin(
    mut session: Session,
    config: &Imap,
    account: Arc<Account>,
    first: Option<First>,
    dry_run: bool,
) -> Result<Open, Fault> {
    let asked = AssertUnwindSafe(outset(&mut session, config, first.as_ref(), dry_run)).catch_unwind().await;
    let outset = match (asked.unwrap_or_else(|_| Err(parser_failed())), &first) {
        // The census is optional, and may be what the server failed at: retry without it.
        (
            Err(fault @ (Fault::Lost(_) | Fault::Unintelligible(_) | Fault::Oversize { .. } | Fault::Flooded(_))),
            Some(First { folder, census: true }),
        ) => {
            debug!(host = session.host(), "{fault}; trying without a look at all mails at once");
            drop(session);
            session = Session::open(config, account).await?;
            let first = First { folder: folder.clone(), census: false };
            outset(&mut session, config, Some(&first), dry_run).await?
        }
        (outset, _) => outset?,
    };
    let Outset { naming, mut foreseen, selected, census } = outset;
    let targets = Targets::find(&mut session, config, naming, &mut foreseen, dry_run).await?;
    let selected = first.map(|first| first.folder).zip(selected);
    Ok(Open { session, targets, selected, is_fresh: true, census, foreseen, dry_run })
}

fn parser_failed() -> Fault {
    Fault::Unintelligible("the server sent a response that the parser failed at".into())
}

fn start(work: impl Future<Output = Finished> + Send + 'static) -> Link {
    Link::Busy(job(work))
}

fn job(work: impl Future<Output = Finished> + Send + 'static) -> Job {
    Job { task: AbortOnDropHandle::new(tokio::spawn(work)), mails: None, more: None, end: None }
}

fn finish<T>(open: Box<Open>, result: Result<T, Fault>, yielded: impl FnOnce(T) -> Yield) -> Finished {
    match result {
        Ok(value) => Finished { open: Some(open), yielded: yielded(value), ..Finished::default() },
        Err(fault) => {
            let open = fault.leaves_session().then_some(open);
            Finished { open, fault: Some(fault), ..Finished::default() }
        }
    }
}
