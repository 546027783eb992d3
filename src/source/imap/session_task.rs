//! Runs one command after the other on the session, each in a task of its own that takes the session and returns it: a
//! command is never dropped before its end when something else happens meanwhile, and a panic of the parser costs the
//! session, not the process.

use std::{panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures::FutureExt;
use jiff::Timestamp;
use tokio::{
    sync::{
        mpsc::{self, UnboundedReceiver, UnboundedSender},
        oneshot,
    },
    task::JoinHandle,
};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::{
    commands::{
        configured_folders::{Found, TargetFolders, find_wanted},
        fetch::fetch,
        idle,
        mailbox::{self, Folder, Prelisted, Selected},
        search::{self, Candidate, FullListing, Listing},
        settle::{PipelinedMoves, Requests, SettleReport, settle},
        startup::{FirstFolder, Startup, startup},
    },
    error::Fault,
    plan::settle_queue::Action,
    wire::{auth::credentials::Account, session::Session},
};
use crate::config::{folder::FolderName, source::Imap};

/// A command for the session: an IMAP command, or several that belong together.
#[derive(Debug)]
pub enum Command {
    /// Looks up the configured folders (LIST).
    FindFolders(Vec<FolderName>),
    Select(Folder),
    /// Lists the mails of a folder that match the configured criteria (SELECT, SEARCH). With `marked_too`, mails with the keyword of
    /// handled mails are listed too.
    List {
        folder: Folder,
        marked_too: bool,
    },
    /// Requests the sizes of these mails.
    Size(Vec<u32>),
    /// Fetches the mails of a batch, and settles mails that become due meanwhile. `read`: the folders that mails are read
    /// from.
    Fetch {
        batch: Vec<Candidate>,
        read: Vec<Folder>,
    },
    Settle {
        due: Vec<(u32, Action)>,
        read: Vec<Folder>,
    },
    /// Waits in a folder for mail above UID `newest` (IDLE). `uid_validity`: the UIDVALIDITY that `newest` belongs to;
    /// under another one, all mail is new.
    WaitForMail {
        folder: Folder,
        uid_validity: u32,
        newest: u32,
    },
    Noop,
}

/// A completed command: its result, and the state of the session; `None` if that ended.
#[derive(Debug)]
pub struct Completed {
    pub session: Option<SessionState>,
    pub result: CommandResult,
}

/// State of a session between two commands.
#[derive(Debug, Clone)]
pub struct SessionState {
    pub selected: Option<(Folder, Selected)>,
    /// True if the server offers IDLE.
    pub offers_idle: bool,
}

/// Result of opening a session, and of each [`Command`].
#[derive(Debug)]
pub enum CommandResult {
    /// `logged_in`: also if the session broke right after the login.
    Opened {
        logged_in: bool,
        result: Result<(), Fault>,
    },
    FoldersFound(Result<Vec<Found>, Fault>),
    Selected(Result<(), Fault>),
    Listed(Result<Listing, Fault>),
    Sized(Result<Vec<Candidate>, Fault>),
    /// `withheld`: UIDs that the server did not send although they are in the folder. `settled`: the result of settling
    /// after the fetch.
    Fetched {
        withheld: Result<Vec<u32>, Fault>,
        report: SettleReport,
        settled: Result<(), Fault>,
    },
    Settled {
        report: SettleReport,
        result: Result<(), Fault>,
    },
    /// True if there is new mail.
    WaitedForMail(Result<bool, Fault>),
    Noop(Result<(), Fault>),
}

/// The session of a source, if there is one.
pub enum SessionTask {
    None,
    Idle(Box<OpenSession>),
    Running(Box<Running>),
}

/// Event of a running command.
pub enum Event {
    /// UID and content of a fetched mail.
    Mail(u32, Bytes),
    Completed(Box<Completed>),
}

/// Data that all sessions of a source share.
#[derive(Clone)]
pub struct Connector {
    pub config: Arc<Imap>,
    pub account: Arc<Account>,
    /// Maximum size of a mail in bytes.
    pub mail_bytes: u64,
    /// Folders are opened read-only.
    pub dry_run: bool,
}

/// An authenticated session, its target folders, and its selected folder.
pub struct OpenSession {
    session: Session,
    targets: TargetFolders,
    selected: Option<(Folder, Selected)>,
    /// Responses to the first commands of the session, until they are outdated.
    first_responses: Option<FirstResponses>,
    connector: Connector,
}

#[derive(Default)]
struct FirstResponses {
    full_listing: Option<FullListing>,
    prelisted: Prelisted,
}

pub struct Running {
    task: AbortOnDropHandle<Ended>,
    mails: Option<UnboundedReceiver<(u32, Bytes)>>,
    /// Sender for further actions to settle while the command runs.
    more: Option<UnboundedSender<Vec<(u32, Action)>>>,
    /// Ends the wait for new mail when dropped.
    end: Option<oneshot::Sender<()>>,
    /// Result if the task panics.
    on_panic: Option<CommandResult>,
}

/// A session unless it ended, and the result of the command that ran on it.
type Ended = (Option<Box<OpenSession>>, CommandResult);

/// Ends of the channels that a running command uses.
struct Channels {
    mails: UnboundedSender<(u32, Bytes)>,
    more: UnboundedReceiver<Vec<(u32, Action)>>,
    end: oneshot::Receiver<()>,
}

impl SessionTask {
    /// Connects and logs in. `first`: the folder to read first, if it is known already.
    pub fn open(&mut self, connector: &Connector, first: Option<FirstFolder>) {
        let on_panic = CommandResult::Opened { logged_in: false, result: Err(parser_failed()) };
        *self = Self::Running(Box::new(Running::new(tokio::spawn(open(connector.clone(), first)), on_panic)));
    }

    /// Starts a command on the idle session.
    pub fn start(&mut self, command: Command) {
        let (mails, mails_received) = mpsc::unbounded_channel();
        let (more, more_received) = mpsc::unbounded_channel();
        let (end, end_received) = oneshot::channel();
        let channels = Channels { mails, more: more_received, end: end_received };
        let on_panic = command.failed(parser_failed());
        let settles = matches!(command, Command::Fetch { .. } | Command::Settle { .. });
        let fetches = matches!(command, Command::Fetch { .. });
        let waits = matches!(command, Command::WaitForMail { .. });
        let task = match std::mem::replace(self, Self::None) {
            Self::Idle(open) => tokio::spawn(open.run(command, channels)),
            Self::None | Self::Running(_) => {
                let result = command.failed(Fault::Lost("the session has ended".into()));
                tokio::spawn(async { (None, result) })
            }
        };
        *self = Self::Running(Box::new(Running {
            mails: fetches.then_some(mails_received),
            more: settles.then_some(more),
            end: waits.then_some(end),
            ..Running::new(task, on_panic)
        }));
    }

    /// Waits for the next event of the running command; forever if there is none. Cancel-safe.
    pub async fn event(&mut self) -> Event {
        let Self::Running(running) = self else { return std::future::pending().await };
        if let Some(mails) = &mut running.mails {
            if let Some((uid, content)) = mails.recv().await {
                return Event::Mail(uid, content);
            }
            running.mails = None;
        }
        let (open, result) = match (&mut running.task).await {
            Ok(ended) => ended,
            Err(_) => (None, running.on_panic.take().unwrap_or(CommandResult::Noop(Err(parser_failed())))),
        };
        let session = open.as_ref().map(|open| open.state());
        *self = open.map_or(Self::None, Self::Idle);
        Event::Completed(Box::new(Completed { session, result }))
    }

    /// Adds mails to settle to a running fetch or settle command. Those that arrive too late for it are not in its report.
    pub fn settle_too(&self, due: Vec<(u32, Action)>) {
        if let Self::Running(running) = self
            && let Some(more) = &running.more
        {
            more.send(due).ok();
        }
    }

    /// Ends the wait for new mail; the server's answer to DONE takes a moment.
    pub fn end_wait(&mut self) {
        if let Self::Running(running) = self {
            // Dropping the sender ends the wait.
            running.end = None;
        }
    }

    /// Closes the connection without a word.
    pub fn close(&mut self) {
        *self = Self::None;
    }

    pub async fn log_out(&mut self) {
        if let Self::Idle(open) = std::mem::replace(self, Self::None) {
            open.session.log_out().await;
        }
    }
}

impl Running {
    fn new(task: JoinHandle<Ended>, on_panic: CommandResult) -> Self {
        let task = AbortOnDropHandle::new(task);
        Self { task, mails: None, more: None, end: None, on_panic: Some(on_panic) }
    }
}

impl Command {
    /// Returns the result of this command if it failed before it began.
    fn failed(&self, fault: Fault) -> CommandResult {
        match self {
            Self::FindFolders(_) => CommandResult::FoldersFound(Err(fault)),
            Self::Select(_) => CommandResult::Selected(Err(fault)),
            Self::List { .. } => CommandResult::Listed(Err(fault)),
            Self::Size(_) => CommandResult::Sized(Err(fault)),
            Self::Fetch { .. } => {
                CommandResult::Fetched { withheld: Err(fault), report: SettleReport::default(), settled: Ok(()) }
            }
            Self::Settle { .. } => CommandResult::Settled { report: SettleReport::default(), result: Err(fault) },
            Self::WaitForMail { .. } => CommandResult::WaitedForMail(Err(fault)),
            Self::Noop => CommandResult::Noop(Err(fault)),
        }
    }
}

impl CommandResult {
    /// Returns the fault of the command, if it failed.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Opened { result, .. } | Self::Selected(result) | Self::Noop(result) => result.as_ref().err(),
            Self::Settled { result, .. } => result.as_ref().err(),
            Self::FoldersFound(result) => result.as_ref().err(),
            Self::Listed(result) => result.as_ref().err(),
            Self::Sized(result) => result.as_ref().err(),
            Self::Fetched { withheld, settled, .. } => withheld.as_ref().err().or(settled.as_ref().err()),
            Self::WaitedForMail(result) => result.as_ref().err(),
        }
    }
}

async fn open(connector: Connector, first: Option<FirstFolder>) -> Ended {
    let session = match Session::open(&connector.config, connector.account.clone()).await {
        Ok(session) => session,
        Err(fault) => return (None, CommandResult::Opened { logged_in: false, result: Err(fault) }),
    };
    let (open, result) = match begin(session, connector, first).await {
        Ok(open) => (Some(Box::new(open)), Ok(())),
        Err(fault) => (None, Err(fault)),
    };
    (open, CommandResult::Opened { logged_in: true, result })
}

/// Sends the first commands of a session.
async fn begin(mut session: Session, connector: Connector, first: Option<FirstFolder>) -> Result<OpenSession, Fault> {
    let Connector { config, account, dry_run, .. } = connector.clone();
    let sent = AssertUnwindSafe(startup(&mut session, &config, first.as_ref(), dry_run)).catch_unwind().await;
    let responses = match (sent.unwrap_or_else(|_| Err(parser_failed())), &first) {
        // The full listing is optional, and may be what the server failed at: retry without it.
        (
            Err(fault @ (Fault::Lost(_) | Fault::Unintelligible(_) | Fault::Oversize { .. } | Fault::Flooded(_))),
            Some(FirstFolder { folder, full_listing: true }),
        ) => {
            debug!(host = session.host(), "{fault}; connecting again without a listing of all mails at once");
            drop(session);
            session = Session::open(&config, account).await?;
            let first = FirstFolder { folder: folder.clone(), full_listing: false };
            startup(&mut session, &config, Some(&first), dry_run).await?
        }
        (responses, _) => responses?,
    };
    let Startup { naming, mut prelisted, selected, full_listing } = responses;
    let targets = TargetFolders::find(&mut session, &config, naming, &mut prelisted, dry_run).await?;
    let selected = first.map(|first| first.folder).zip(selected);
    let first_responses = Some(FirstResponses { full_listing, prelisted });
    Ok(OpenSession { session, targets, selected, first_responses, connector })
}

fn parser_failed() -> Fault {
    Fault::Unintelligible("the server sent a response that the parser can't process".into())
}

impl OpenSession {
    fn state(&self) -> SessionState {
        SessionState { selected: self.selected.clone(), offers_idle: self.session.offers("IDLE") }
    }

    /// Runs a command; returns the session unless it ended.
    async fn run(mut self: Box<Self>, command: Command, channels: Channels) -> Ended {
        let Channels { mails, more, end } = channels;
        // The session may have been opened in the middle of a pass, and the folders may be looked up long after that.
        if !matches!(command, Command::FindFolders(_) | Command::List { .. }) {
            self.first_responses = None;
        }
        let result = match command {
            Command::Noop => CommandResult::Noop(self.session.command("NOOP", |_| ()).await.map(drop)),
            Command::FindFolders(wanted) => CommandResult::FoldersFound(self.find_folders(&wanted).await),
            Command::Select(folder) => CommandResult::Selected(self.select(&folder).await.map(drop)),
            Command::List { folder, marked_too } => CommandResult::Listed(self.list(&folder, marked_too).await),
            Command::Size(uids) => CommandResult::Sized(search::sizes(&mut self.session, &uids).await),
            Command::Fetch { batch, read } => self.fetch(&batch, &read, mails, more).await,
            Command::Settle { due, read } => {
                let mut report = SettleReport::default();
                let requests = Requests::new(due, more);
                let result = settle(&mut self.session, &mut self.targets, &read, requests, &mut report).await;
                CommandResult::Settled { report, result }
            }
            Command::WaitForMail { folder, uid_validity, newest } => {
                CommandResult::WaitedForMail(self.wait_for_mail(&folder, uid_validity, newest, end).await)
            }
        };
        let is_usable = result.fault().is_none_or(Fault::leaves_session);
        (is_usable.then_some(self), result)
    }

    /// Returns the result of SELECT for `folder`, if that is the selected one.
    fn selected(&self, folder: &Folder) -> Option<Selected> {
        self.selected.as_ref().filter(|(selected, _)| selected == folder).map(|(_, response)| *response)
    }

    async fn select(&mut self, folder: &Folder) -> Result<Selected, Fault> {
        // A failed SELECT leaves no folder selected (RFC 3501 section 6.3.1).
        self.selected = None;
        let selected = mailbox::select(&mut self.session, folder, self.connector.dry_run).await?;
        self.selected = Some((folder.clone(), selected));
        Ok(selected)
    }

    async fn find_folders(&mut self, wanted: &[FolderName]) -> Result<Vec<Found>, Fault> {
        let prelisted = self.first_responses.as_mut().map(|first| std::mem::take(&mut first.prelisted));
        find_wanted(&mut self.session, wanted, &self.targets, &prelisted.unwrap_or_default()).await
    }

    /// Lists the mails of a folder. Selects it again first, for current data, unless it has just been.
    async fn list(&mut self, folder: &Folder, marked_too: bool) -> Result<Listing, Fault> {
        let first = self.first_responses.take();
        let fresh = self.selected(folder).filter(|_| first.is_some());
        let full = first.and_then(|first| first.full_listing);
        if let Some(listing) = fresh.zip(full).and_then(|(selected, full)| full.listing(selected.exists, marked_too)) {
            return Ok(listing);
        }
        let selected = match fresh {
            Some(selected) => selected,
            None => self.select(folder).await?,
        };
        let mut criteria = self.criteria();
        if selected.knows_keyword && !marked_too {
            criteria = format!("{criteria} UNKEYWORD {}", mailbox::KEYWORD);
        }
        search::list(&mut self.session, selected.exists, criteria.trim_start()).await
    }

    async fn fetch(
        &mut self,
        batch: &[Candidate],
        read: &[Folder],
        mails: UnboundedSender<(u32, Bytes)>,
        more: UnboundedReceiver<Vec<(u32, Action)>>,
    ) -> CommandResult {
        let target = self.targets.archive(read).filter(|_| self.session.offers("MOVE"));
        let mut moves = PipelinedMoves::with(Requests::new(Vec::new(), more), target);
        let withheld = fetch(&mut self.session, batch, self.connector.mail_bytes, &mails, &mut moves).await;
        drop(mails);
        let mut report = SettleReport::default();
        let requests = moves.end(&mut report);
        let settled = match &withheld {
            Ok(_) => settle(&mut self.session, &mut self.targets, read, requests, &mut report).await,
            Err(_) => Ok(()),
        };
        CommandResult::Fetched { withheld, report, settled }
    }

    async fn wait_for_mail(
        &mut self,
        folder: &Folder,
        uid_validity: u32,
        newest: u32,
        end: oneshot::Receiver<()>,
    ) -> Result<bool, Fault> {
        let selected = match self.selected(folder) {
            Some(selected) => selected,
            None => self.select(folder).await?,
        };
        if selected.uid_validity != uid_validity {
            return Ok(true);
        }
        let criteria = self.criteria();
        idle::watch(&mut self.session, newest, &criteria, end).await
    }

    /// Returns the search criteria for today.
    fn criteria(&self) -> String {
        self.connector.config.search.criteria(Timestamp::now())
    }
}
