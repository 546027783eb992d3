//! State machine of the source: takes events, and returns the actions that follow from them. No I/O.
//!
//! [`Driver::step`] handles one [`Input`] and then starts everything that can be started; the source carries the
//! [`Action`]s out. The state of the connection is [`Connection`], the state of each folder is in `plan`.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tracing::{debug, error, info, warn};

use super::{
    commands::{
        configured_folders::Found,
        mailbox::Folder,
        search::{Candidate, Listing},
        settle::SettleReport,
        startup::FirstFolder,
    },
    error::Fault,
    plan::{
        folders::Folders,
        pass::{Batch, FolderPass},
        retry::{Decision, Reached, Retry},
        settle_queue::{self, Awaited, Marks, action, takes_away},
    },
    session_task::{Command, CommandResult, Completed, SessionState},
};
use crate::{
    config::source::{Imap, Watch},
    net::backoff::{Backoff, MAIL_SERVER},
    source::{Mail, MailRef, Pass, Place, PlaceStatus, SourceError, Verdict},
    trouble::Trouble,
};

/// Time between passes above which the session is closed in between.
const KEPT_BETWEEN_PASSES: Duration = Duration::from_secs(600);
/// Interval of NOOP in an idle session. Servers may close a session that is silent for 30 minutes (RFC 3501 section 5.4),
/// and some firewalls and NAT devices for five.
const NOOP_EVERY: Duration = Duration::from_secs(120);

/// Settings of the source and of the pipeline that it is part of.
pub struct Settings {
    pub name: Arc<str>,
    pub config: Arc<Imap>,
    /// `user@host:port`, as in [`Place::Imap`].
    pub account_id: Arc<str>,
    /// Maximum size of a mail in bytes.
    pub mail_bytes: u64,
    /// Time for which a single pass keeps retrying after it lost its session.
    pub give_up_after: Duration,
    /// Number of attempts to fetch a mail before it is handed over unread.
    pub max_attempts: u32,
    /// Bytes of mail that may be held at once.
    pub budget_bytes: u32,
    /// Make one pass, then end.
    pub once: bool,
    pub dry_run: bool,
    /// Handled mails that stay are not remembered by a ledger.
    pub forgets: bool,
    /// Mails that are marked as handled are read again.
    pub ships_again: bool,
}

/// An event.
pub enum Input {
    /// The timer of [`Action::SleepUntil`] has fired; also the first input.
    Timer,
    /// Take no more mails, settle what was handed over, end.
    Stop,
    Verdicts(Vec<(MailRef, Verdict)>),
    /// UID and content of a mail of the running FETCH.
    Mail(u32, Bytes),
    Completed(Box<Completed>),
    /// Answer to [`Action::Reserve`].
    Reserved(OwnedSemaphorePermit),
    /// Answer to [`Action::LookUp`], in the order of its UIDs.
    LookedUp(Vec<PlaceStatus>),
    /// A credential file has changed since the login that was refused.
    CredentialsChanged,
}

/// Action that the source carries out for the driver.
pub enum Action {
    /// Connect and log in.
    Open(Option<FirstFolder>),
    /// Start a command on the idle session.
    Start(Command),
    /// Add mails to settle to the running command.
    SettleToo(Vec<(u32, settle_queue::Action)>),
    /// End the running wait for new mail.
    EndWait,
    /// Close the connection, whatever runs on it.
    Close,
    LogOut,
    /// Look mails of the current folder up in the ledger.
    LookUp(Vec<u32>),
    /// Wait until so many bytes are free in the intake's budget. Replaces a reservation that is still waited for.
    Reserve(u64),
    CancelReservation,
    HandOver(Mail),
    /// Report that so many more mails will be handed over.
    Expect(u64),
    /// Report that every mail in all folders was looked up.
    AllLookedUp,
    /// Report that the source can't do its work for now.
    Troubled(String),
    /// Wake up then, unless another input comes first.
    SleepUntil(Instant),
    End(Result<Pass, SourceError>),
}

/// State of the connection.
#[derive(Debug)]
enum Connection {
    /// `awaits_credentials`: the login was refused; changed credentials end the wait.
    Down {
        retry_at: Instant,
        awaits_credentials: bool,
    },
    Opening,
    Idle {
        since: Instant,
        session: SessionState,
    },
    Busy(Busy),
}

/// Kind of the running command, as far as it matters while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Busy {
    Fetch,
    Settle,
    /// `is_ending`: it was asked to end.
    WaitForMail {
        is_ending: bool,
    },
    Other,
}

/// Reservation in the intake's budget for the next batch.
enum Reservation {
    None,
    Requested(Batch),
    Granted(Batch, OwnedSemaphorePermit),
}

pub struct Driver {
    settings: Settings,
    stopping: bool,
    connection: Connection,
    retry: Retry,
    folders: Folders,
    /// Pass through the current folder.
    pass: FolderPass,
    /// Listing of the current folder, while its mails are looked up in the ledger.
    looking_up: Option<Listing>,
    /// Counts of the completed passes through folders.
    totals: Pass,
    reservation: Reservation,
    /// Mails of the batch being fetched that have not arrived yet.
    fetching: Option<(Vec<Candidate>, OwnedSemaphorePermit)>,
    /// Mails of the current folder that were handed over and have no verdict yet, with their UIDVALIDITY and UID.
    pending: HashMap<MailRef, (u32, u32)>,
    handed_over: u64,
    /// True if moves are pipelined with a FETCH; false once a session broke during that.
    pipelines_moves: bool,
    /// True if the server supports IDLE; `None` before the first session.
    supports_idle: Option<bool>,
    /// Delay after reports of new mail that turned out false.
    idle_backoff: Backoff,
    /// Time from which IDLE is used again, and at which a report of new mail is followed up.
    idle_from: Instant,
    /// Warnings that were logged.
    warned: HashSet<&'static str>,
    actions: Vec<Action>,
}

impl Driver {
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            stopping: false,
            connection: Connection::Down { retry_at: now, awaits_credentials: false },
            retry: Retry::new(settings.once, settings.give_up_after, now),
            folders: Folders::new(settings.config.folder.clone(), now),
            pass: FolderPass::new(settings.max_attempts),
            looking_up: None,
            totals: Pass::default(),
            reservation: Reservation::None,
            fetching: None,
            pending: HashMap::new(),
            handed_over: 0,
            pipelines_moves: true,
            supports_idle: None,
            idle_backoff: Backoff::new(MAIL_SERVER),
            idle_from: now,
            warned: HashSet::new(),
            actions: Vec::new(),
            settings,
        }
    }

    /// True if the source waits for changed credentials.
    pub fn awaits_credentials(&self) -> bool {
        matches!(self.connection, Connection::Down { awaits_credentials: true, .. })
    }

    /// Handles an event, and returns what is to be done, in order.
    pub fn step(&mut self, input: Input, now: Instant) -> Vec<Action> {
        let result = self.handle(input, now).and_then(|()| self.start_next(now));
        match result {
            Ok(Some(pass)) => self.actions.push(Action::End(Ok(pass))),
            Ok(None) => self.actions.extend(self.wake_at(now).map(Action::SleepUntil)),
            Err(error) => self.actions.push(Action::End(Err(error))),
        }
        self.retry.count_outage(
            now,
            match self.connection {
                Connection::Opening | Connection::Busy(_) => None,
                Connection::Down { retry_at, .. } => Some(retry_at),
                Connection::Idle { .. } => Some(now),
            },
        );
        std::mem::take(&mut self.actions)
    }

    fn handle(&mut self, input: Input, now: Instant) -> Result<(), SourceError> {
        match input {
            Input::Timer => {}
            Input::Stop => self.stop(now),
            Input::Verdicts(verdicts) => {
                for (mail, verdict) in verdicts {
                    self.on_verdict(mail, &verdict, now);
                }
            }
            Input::Mail(uid, content) => self.on_mail(uid, content),
            Input::Completed(completed) => self.on_completed(*completed, now)?,
            Input::Reserved(permit) => match std::mem::replace(&mut self.reservation, Reservation::None) {
                Reservation::Requested(batch) => self.reservation = Reservation::Granted(batch, permit),
                other => self.reservation = other,
            },
            Input::LookedUp(statuses) => self.on_looked_up(&statuses),
            Input::CredentialsChanged => {
                if self.awaits_credentials() {
                    self.connection = Connection::Down { retry_at: now, awaits_credentials: false };
                }
            }
        }
        Ok(())
    }

    /// Starts everything that can be started; returns the counts of the last pass when all is done.
    fn start_next(&mut self, now: Instant) -> Result<Option<Pass>, SourceError> {
        self.reserve_next(now);
        if self.folders.current().is_some() && self.is_pass_complete() && (self.pass.listed || self.stopping) {
            self.complete_pass(now)?;
        }
        if self.folders.current().is_none() {
            let is_over = self.stopping || (!self.folders.start_next(now) && self.folders.due_at().is_none());
            let is_wanted = self.stopping || self.folders.due_at().is_none_or(|due| due <= now);
            if is_wanted {
                self.end_wait();
            }
            if is_over && !self.is_busy() {
                self.log_out(now);
                return Ok(Some(std::mem::take(&mut self.totals)));
            }
            if let Some(due) = self.folders.due_at().filter(|due| *due > now) {
                self.end_pass(due - now, now);
            }
        }
        match self.connection {
            Connection::Busy(Busy::Fetch) if self.pipelines_moves => self.settle_too(),
            Connection::Busy(Busy::Settle) => self.settle_too(),
            Connection::Opening | Connection::Busy(_) => {}
            Connection::Idle { .. } => {
                if let Some(command) = self.next_command(now) {
                    self.start(command);
                }
            }
            Connection::Down { retry_at, .. } => {
                if retry_at <= now && self.wants_session(now) {
                    self.open(now);
                }
            }
        }
        Ok(None)
    }

    // Choosing the next command.

    /// Returns the most urgent command for the idle session.
    fn next_command(&mut self, now: Instant) -> Option<Command> {
        let Connection::Idle { since, session } = &self.connection else { return None };
        let is_silent = *since + NOOP_EVERY <= now;
        let selected = session.selected.as_ref().map(|(folder, _)| folder.clone());
        let command = match self.folders.current() {
            Some(state) => {
                let folder = state.folder.clone();
                self.next_command_in(folder, selected.as_ref(), now)
            }
            None if self.stopping => None,
            None if self.folders.lookup_is_due(now) => Some(Command::FindFolders(self.settings.config.folder.clone())),
            None => self.watched().filter(|_| self.idle_from <= now),
        };
        command.or_else(|| is_silent.then_some(Command::Noop))
    }

    fn next_command_in(&mut self, folder: Folder, selected: Option<&Folder>, now: Instant) -> Option<Command> {
        if self.wants_listing() {
            return Some(Command::List { folder, marked_too: self.settings.ships_again });
        }
        let settle_is_due = self.settle_is_due(now);
        if !settle_is_due && !self.has_mails_to_fetch() {
            return None;
        }
        if selected != Some(&folder) {
            return Some(Command::Select(folder));
        }
        let read = self.folders.existing();
        if settle_is_due {
            return Some(Command::Settle { due: self.folders.current_mut()?.settle.start(), read });
        }
        match std::mem::replace(&mut self.reservation, Reservation::None) {
            Reservation::Granted(batch, permit) => {
                self.fetching = Some((batch.mails.clone(), permit));
                Some(Command::Fetch { batch: batch.mails, read })
            }
            other => {
                self.reservation = other;
                Some(Command::Size(self.pass.start_sizing()))
            }
        }
    }

    /// True if a command other than NOOP waits for a session.
    fn wants_session(&self, now: Instant) -> bool {
        match self.folders.current() {
            Some(_) => self.wants_listing() || self.settle_is_due(now) || self.has_mails_to_fetch(),
            None if self.stopping => false,
            None => self.folders.lookup_is_due(now) || (self.idle_from <= now && self.watched().is_some()),
        }
    }

    fn wants_listing(&self) -> bool {
        !self.pass.listed && self.looking_up.is_none() && !self.stopping
    }

    fn settle_is_due(&self, now: Instant) -> bool {
        self.settle_due_at().is_some_and(|at| at <= now)
    }

    fn settle_due_at(&self) -> Option<Instant> {
        self.folders.current()?.settle.due_at(self.awaited())
    }

    fn has_mails_to_fetch(&self) -> bool {
        !self.stopping && (matches!(self.reservation, Reservation::Granted(..)) || self.pass.wants_sizes())
    }

    /// Returns the command that waits for new mail between passes (IDLE), if it is to be used.
    fn watched(&self) -> Option<Command> {
        let may_idle = self.settings.config.watch == Watch::Idle && self.supports_idle != Some(false);
        let state = self.folders.watched().filter(|_| may_idle && !self.settings.once && !self.stopping)?;
        Some(Command::WaitForMail {
            folder: state.folder.clone(),
            uid_validity: state.uid_validity?,
            newest: state.newest,
        })
    }

    fn start(&mut self, command: Command) {
        self.connection = Connection::Busy(match command {
            Command::Fetch { .. } => Busy::Fetch,
            Command::Settle { .. } => Busy::Settle,
            Command::WaitForMail { .. } => Busy::WaitForMail { is_ending: false },
            _ => Busy::Other,
        });
        self.actions.push(Action::Start(command));
    }

    /// Opens a session. Only the first session requests a full listing: that of a folder with many mails takes long, and a
    /// session may break over it.
    fn open(&mut self, now: Instant) {
        let full_listing = self.retry.reached() == Reached::Nothing && self.takes_all();
        let first = self.first_folder().map(|folder| FirstFolder { folder, full_listing });
        self.connection = Connection::Opening;
        self.retry.session_begins(now);
        self.actions.push(Action::Open(first));
    }

    /// Returns the folder to select first; `None` if its name is not known yet.
    fn first_folder(&self) -> Option<Folder> {
        let known = self.folders.current().or_else(|| self.folders.watched()).map(|state| state.folder.clone());
        let inbox = || self.settings.config.folder.first().and_then(Folder::always);
        known.or_else(inbox)
    }

    /// True if most mails in the folder are new, because others are moved out of it.
    fn takes_all(&self) -> bool {
        let config = &self.settings.config;
        takes_away(&Verdict::Archive, config) && config.search.is_everything()
    }

    /// Adds mails that became due to a running fetch or settle command, which settles them without a pause in between.
    fn settle_too(&mut self) {
        let awaited = self.awaited();
        let Some(state) = self.folders.current_mut() else { return };
        if state.settle.is_worth_a_command(awaited) {
            self.actions.push(Action::SettleToo(state.settle.start()));
        }
    }

    /// Reserves the bytes of the next batch while others are still being fetched or parsed.
    fn reserve_next(&mut self, now: Instant) {
        if let Reservation::Granted(Batch { refused: Some(_), .. }, _) = &self.reservation
            && let Reservation::Granted(batch, permit) = std::mem::replace(&mut self.reservation, Reservation::None)
            && let (Some(mail), Some(trouble)) = (batch.mails.first(), batch.refused)
        {
            self.hand_over(mail.uid, Err(trouble), permit);
        }
        let waits = matches!(self.connection, Connection::Down { retry_at, .. } if retry_at > now);
        if !matches!(self.reservation, Reservation::None) || waits {
            return;
        }
        if self.fetching.is_none() && self.pass.needs_decision() {
            self.decide_on_suspects();
        }
        let budget = u64::from(self.settings.budget_bytes);
        if let Some(batch) = self.pass.next_batch(budget, self.settings.mail_bytes) {
            self.actions.push(Action::Reserve(batch.bytes()));
            self.reservation = Reservation::Requested(batch);
        }
    }

    /// Returns when to wake up if no event comes before.
    fn wake_at(&self, now: Instant) -> Option<Instant> {
        let has_folder = self.folders.current().is_some();
        let next_folder = if !has_folder && !self.stopping { self.folders.due_at() } else { None };
        let (silence, retry_at) = match self.connection {
            Connection::Busy(Busy::WaitForMail { is_ending: false }) => return next_folder,
            Connection::Opening | Connection::Busy(_) => return None,
            Connection::Idle { since, .. } => (Some(since + NOOP_EVERY), None),
            Connection::Down { retry_at, .. } => (None, Some(retry_at)),
        };
        let watches = !has_folder && self.watched().is_some();
        let has_work = match has_folder {
            true => {
                let has_more = self.pass.has_more() || matches!(self.reservation, Reservation::Granted(..));
                !self.stopping && has_more && self.looking_up.is_none()
            }
            false => watches,
        };
        // A session that is wanted now is being opened.
        let reopen = retry_at.filter(|at| has_work && *at > now);
        let idle_again = Some(self.idle_from).filter(|at| watches && *at > now);
        let next = [next_folder, silence, reopen, idle_again, self.settle_due_at()].into_iter().flatten().min();
        match retry_at {
            Some(retry_at) => next.map(|at| at.max(retry_at)),
            None => next,
        }
    }

    /// Returns the events that the pass through the current folder still waits for.
    fn awaited(&self) -> Awaited {
        let has_more = self.pass.has_more() || !matches!(self.reservation, Reservation::None);
        let is_fetching = self.fetching.as_ref().is_some_and(|(missing, _)| !missing.is_empty());
        if is_fetching || (has_more && !self.stopping) {
            return Awaited::Mails;
        }
        if self.pending.is_empty() { Awaited::Nothing } else { Awaited::Verdicts }
    }

    fn is_pass_complete(&self) -> bool {
        self.awaited() == Awaited::Nothing && self.has_settled() && !self.is_busy()
    }

    /// True if no action on a mail of the current folder is waiting or under way.
    fn has_settled(&self) -> bool {
        self.folders.current().is_none_or(|state| state.settle.is_empty())
    }

    fn is_busy(&self) -> bool {
        matches!(self.connection, Connection::Opening | Connection::Busy(_))
    }

    fn end_wait(&mut self) {
        if let Connection::Busy(Busy::WaitForMail { is_ending: is_ending @ false }) = &mut self.connection {
            *is_ending = true;
            self.actions.push(Action::EndWait);
        }
    }

    fn log_out(&mut self, now: Instant) {
        if matches!(self.connection, Connection::Idle { .. }) {
            self.actions.push(Action::LogOut);
            self.connection = Connection::Down { retry_at: now, awaits_credentials: false };
        }
    }

    /// Stops fetching; mails that were handed over are still settled.
    fn stop(&mut self, now: Instant) {
        self.stopping = true;
        self.cancel_reservation();
        self.looking_up = None;
        self.pass.drop_unfetched();
        match self.connection {
            Connection::Down { .. } => {
                self.connection = Connection::Down { retry_at: now, awaits_credentials: false };
            }
            // A session that is still being opened, perhaps with a server that never answers, is of no use any more.
            Connection::Opening if self.pending.is_empty() && self.has_settled() => self.close(now, false),
            _ => {}
        }
    }

    /// Drops the reservation of the next batch, and the batch.
    fn cancel_reservation(&mut self) {
        if let Reservation::Requested(_) = std::mem::replace(&mut self.reservation, Reservation::None) {
            self.actions.push(Action::CancelReservation);
        }
    }

    /// Returns the reserved bytes to the budget for other sources: a server may be away for long.
    fn put_back_reservation(&mut self) {
        match std::mem::replace(&mut self.reservation, Reservation::None) {
            Reservation::None => {}
            Reservation::Granted(batch, _) => self.pass.put_back(batch),
            Reservation::Requested(batch) => {
                self.pass.put_back(batch);
                self.actions.push(Action::CancelReservation);
            }
        }
    }

    fn close(&mut self, retry_at: Instant, awaits_credentials: bool) {
        self.connection = Connection::Down { retry_at, awaits_credentials };
        self.actions.push(Action::Close);
    }

    // Verdicts and mails.

    fn on_verdict(&mut self, mail: MailRef, verdict: &Verdict, now: Instant) {
        let Some((uid_validity, uid)) = self.pending.remove(&mail) else { return };
        let action = action(verdict, &self.settings.config);
        match action {
            None => self.pass.tally.left += 1,
            // After a change of UIDVALIDITY, the UID belongs to another mail, or to none.
            _ if self.uid_validity() != Some(uid_validity) || self.pass.failed.is_some() => {
                self.pass.counts.unsettled += 1;
            }
            Some(action) if self.settings.dry_run => self.rehearse(uid, action),
            Some(settle_queue::Action::Stay(marks)) => self.keep(uid, marks, verdict, now),
            Some(action) => self.settle(uid, action, now),
        }
    }

    fn settle(&mut self, uid: u32, action: settle_queue::Action, now: Instant) {
        if let Some(state) = self.folders.current_mut() {
            state.settle.push(uid, action, now);
        }
    }

    /// Logs an action instead of carrying it out (dry run).
    fn rehearse(&mut self, uid: u32, action: settle_queue::Action) {
        use settle_queue::Action;
        let (source, config) = (&*self.settings.name, &self.settings.config);
        let target = match action {
            Action::Archive => config.archive_folder.as_deref(),
            Action::Quarantine => config.quarantine_folder.as_deref(),
            Action::Delete | Action::Stay(_) => None,
        };
        match (target, action) {
            (Some(target), _) => info!(source, "would move uid {uid} to {target}"),
            (None, Action::Stay(Marks { seen: true, .. })) => info!(source, "would mark uid {uid} as read"),
            (None, Action::Stay(_)) => info!(source, "would leave uid {uid} in place"),
            (None, _) => info!(source, "would delete uid {uid}"),
        }
        self.pass.tally.kept += 1;
        self.mark_done(uid);
    }

    fn mark_done(&mut self, uid: u32) {
        if let Some(state) = self.folders.current_mut() {
            state.done.insert(uid);
        }
    }

    /// Handles a verdict that leaves the mail in its folder.
    fn keep(&mut self, uid: u32, mut marks: Marks, verdict: &Verdict, now: Instant) {
        self.mark_done(uid);
        if self.settings.forgets {
            marks.keyword = self.folders.current().is_some_and(|state| state.takes_keyword);
            if !marks.keyword {
                self.warn_once(
                    "the server does not accept keywords, with which shipped mails would be marked, so the next run ships \
                     those left in the folder again; set data_dir to have them remembered, or after: archive or delete",
                );
            }
        }
        if marks.any() {
            self.settle(uid, settle_queue::Action::Stay(marks), now);
        } else {
            self.pass.counts.settled += 1;
            self.pass.tally.kept += 1;
        }
        if matches!(verdict, Verdict::Quarantine(_)) {
            self.warn_once(
                "mails that can't be read in full stay in the folder; set quarantine_folder to have them moved",
            );
        }
    }

    fn on_mail(&mut self, uid: u32, content: Bytes) {
        let Some((awaited, permit)) = &mut self.fetching else { return };
        let Some(at) = awaited.iter().position(|mail| mail.uid == uid) else { return };
        let size = awaited.swap_remove(at).size;
        self.pass.suspects.arrived(uid);
        let permit = split_off(permit, size);
        self.hand_over(uid, Ok(content), permit);
    }

    fn hand_over(&mut self, uid: u32, content: Result<Bytes, Trouble>, permit: OwnedSemaphorePermit) {
        if self.stopping {
            return;
        }
        self.handed_over += 1;
        self.retry.mail_arrived();
        let mail = MailRef(self.handed_over);
        let place = self.place(uid);
        self.pending.insert(mail, (self.uid_validity().unwrap_or_default(), uid));
        self.pass.counts.taken += 1;
        self.actions.push(Action::HandOver(Mail { mail, place, content, permit }));
    }

    fn uid_validity(&self) -> Option<u32> {
        self.folders.current().and_then(|state| state.uid_validity)
    }

    /// Returns the place of a mail in the current folder.
    pub fn place(&self, uid: u32) -> Place {
        Place::Imap {
            source: self.settings.name.clone(),
            account: self.settings.account_id.clone(),
            folder: self.folders.current().map(|state| state.name.clone()).unwrap_or_default(),
            uid_validity: self.uid_validity().unwrap_or_default(),
            uid,
        }
    }

    // Completed commands.

    fn on_completed(&mut self, completed: Completed, now: Instant) -> Result<(), SourceError> {
        let Completed { session, mut result } = completed;
        self.connection = match session {
            Some(session) => Connection::Idle { since: now, session },
            None => Connection::Down { retry_at: now, awaits_credentials: false },
        };
        if let CommandResult::Fetched { report, .. } | CommandResult::Settled { report, .. } = &mut result {
            let report = std::mem::take(report);
            self.on_settled(report);
        }
        let moves_broke_off = self.folders.current_mut().is_some_and(|state| state.settle.requeue_uncompleted(now));
        self.check_selected();
        // A session that opens and selects has not proved that mails can be fetched.
        let proves_nothing =
            matches!(result, CommandResult::Opened { .. } | CommandResult::Selected(_) | CommandResult::Noop(_));
        if result.fault().is_none() && !proves_nothing {
            self.on_success(now);
        }
        match result {
            CommandResult::Opened { logged_in, result } => {
                if logged_in {
                    self.on_login();
                }
                self.or_fail(result, now)
            }
            CommandResult::FoldersFound(result) => {
                let result = result.map(|found| self.on_folders_found(found, now));
                self.or_fail(result, now)
            }
            CommandResult::Selected(Ok(())) => Ok(()),
            CommandResult::Listed(Ok(listing)) => {
                self.on_listed(listing, now);
                Ok(())
            }
            CommandResult::Selected(Err(fault)) | CommandResult::Listed(Err(fault)) => self.on_folder_fault(fault, now),
            CommandResult::Sized(Ok(mails)) => {
                self.pass.add_sized(mails);
                Ok(())
            }
            CommandResult::Sized(Err(fault)) => {
                self.pass.sizing_failed();
                self.on_fault(fault, now)
            }
            CommandResult::Fetched { withheld: Ok(withheld), settled, .. } => {
                self.on_fetched(&withheld, now);
                self.or_fail(settled, now)
            }
            CommandResult::Fetched { withheld: Err(fault), .. } => self.on_fetch_fault(fault, moves_broke_off, now),
            CommandResult::Settled { result, .. } => self.or_fail(result, now),
            CommandResult::WaitedForMail(Ok(has_mail)) => {
                if has_mail {
                    self.on_new_mail(now);
                }
                Ok(())
            }
            CommandResult::WaitedForMail(Err(fault)) => self.on_idle_fault(fault, now),
            CommandResult::Noop(result) => {
                if let Err(fault) = result {
                    debug!(source = &*self.settings.name, "{fault}, while the session was idle");
                }
                Ok(())
            }
        }
    }

    fn or_fail(&mut self, result: Result<(), Fault>, now: Instant) -> Result<(), SourceError> {
        result.or_else(|fault| self.on_fault(fault, now))
    }

    fn on_login(&mut self) {
        self.retry.reach(Reached::Login);
        if let Connection::Idle { session, .. } = &self.connection {
            self.supports_idle = Some(self.supports_idle.unwrap_or(true) && session.offers_idle);
        }
    }

    fn on_folders_found(&mut self, found: Vec<Found>, now: Instant) {
        let again = self.next_pass_at(now);
        for missing in self.folders.update(found, now, again) {
            warn!(source = &*self.settings.name, "folder {missing:?} not found; the others are read");
        }
    }

    fn next_pass_at(&self, now: Instant) -> Option<Instant> {
        (!self.settings.once).then(|| now + self.settings.config.poll_interval)
    }

    /// Takes over what SELECT reported about the current folder. If its UIDVALIDITY has changed, UIDs have lost their
    /// meaning, and the pass starts again.
    fn check_selected(&mut self) {
        let Connection::Idle { session, .. } = &self.connection else { return };
        let Some(state) = self.folders.current_mut() else { return };
        let Some((_, selected)) = session.selected.as_ref().filter(|(folder, _)| *folder == state.folder) else {
            return;
        };
        state.takes_keyword = selected.takes_keyword;
        let is_read_only = selected.read_only;
        let before = state.uid_validity.replace(selected.uid_validity);
        if before.is_some_and(|before| before != selected.uid_validity) {
            let dropped = state.settle.clear();
            state.done.clear();
            state.newest = 0;
            warn!(
                source = &*self.settings.name,
                folder = &*state.name,
                "UIDVALIDITY of the folder has changed; all its mails are listed again"
            );
            self.pass.counts.unsettled += dropped as u64;
            self.pass.drop_unfetched();
            self.pass.listed = false;
            self.looking_up = None;
            self.cancel_reservation();
        }
        if is_read_only && !self.settings.dry_run {
            self.warn_once("the server opens the folder read-only: mails can't be moved");
        }
    }

    fn on_listed(&mut self, listing: Listing, now: Instant) {
        self.retry.reach(Reached::Listing);
        let is_searched = !self.settings.config.search.is_everything();
        let Listing { uids, beyond, .. } = &listing;
        let Some(state) = self.folders.current_mut() else { return };
        state.newest = uids.last().copied().unwrap_or_default().max(state.newest);
        state.done.retain(|uid| uids.binary_search(uid).is_ok());
        if *beyond > 0 {
            self.pass.counts.unsettled += u64::from(*beyond);
            self.warn_once(
                "the folder has more than a million mails; only the newest million are read, so shipped mails have to be \
                 moved or deleted",
            );
        }
        let Some(state) = self.folders.current_mut() else { return };
        // A search need not find a mail again, and none finds a mail that is flagged \Deleted; moving a mail that is gone
        // does nothing.
        let is_possible = |uid: u32, action| {
            is_searched || action == settle_queue::Action::Delete || uids.binary_search(&uid).is_ok()
        };
        state.settle.retry_failed(is_possible, now);
        let state = &*state;
        let new: Vec<u32> = uids.iter().filter(|uid| !state.done.contains(uid)).copied().collect();
        self.pass.counts.remembered = (uids.len() - new.len()) as u64;
        self.actions.push(Action::LookUp(new.clone()));
        self.looking_up = Some(Listing { uids: new, ..listing });
    }

    fn on_looked_up(&mut self, statuses: &[PlaceStatus]) {
        let Some(Listing { uids, sizes, .. }) = self.looking_up.take() else { return };
        let Some(state) = self.folders.current() else { return };
        let listed = uids.len() as u64 + self.pass.counts.remembered;
        let (mut fresh, mut suspects) = (Vec::new(), Vec::new());
        for (uid, status) in uids.into_iter().zip(statuses) {
            match status {
                PlaceStatus { is_known: true, .. } => self.pass.counts.remembered += 1,
                _ if state.settle.contains(uid) => {}
                PlaceStatus { suspected: Some(since), .. } => suspects.push((*since, uid)),
                PlaceStatus { suspected: None, .. } => fresh.push(uid),
            }
        }
        let name = state.name.clone();
        if self.folders.mark_listed() {
            self.actions.push(Action::AllLookedUp);
        }
        suspects.sort_unstable();
        if let Some(most) = self.settings.config.max_messages_per_run {
            fresh.truncate(most as usize);
            suspects.truncate(most as usize - fresh.len());
        }
        let wanted = fresh.len() + suspects.len();
        debug!(source = &*self.settings.name, listed, wanted, "listed {name}");
        self.actions.push(Action::Expect(wanted as u64));
        self.pass.set_listing(fresh, &sizes);
        for (since, uid) in suspects {
            self.pass.add_stall_suspect(since, uid, sizes.get(&uid).copied());
        }
    }

    /// Handles a successful FETCH. A mail that did not arrive was expunged, or is in `withheld`: it exists, but the server
    /// did not send it.
    fn on_fetched(&mut self, withheld: &[u32], now: Instant) {
        let Some((mut missing, _)) = self.fetching.take() else { return };
        let gone = missing.len() - withheld.len().min(missing.len());
        if gone > 0 {
            debug!(source = &*self.settings.name, "{gone} mails were expunged before they were fetched");
        }
        missing.retain(|mail| withheld.contains(&mail.uid));
        if !missing.is_empty() {
            self.fetch_apart(missing, &Fault::Unintelligible("the server does not send the mail".into()), now);
        }
    }

    fn on_settled(&mut self, report: SettleReport) {
        let Some(state) = self.folders.current_mut() else { return };
        for uid in report.settled {
            if let Some(action) = state.settle.complete(uid) {
                self.pass.count_settled(action);
            }
        }
        for uid in report.refused {
            self.pass.counts.unsettled += u64::from(state.settle.fail(uid));
        }
        for uid in report.copied {
            state.settle.was_copied(uid);
        }
        if let Some(reason) = report.reason {
            warn!(
                source = &*self.settings.name,
                "mails were shipped but can't be settled: {reason}; the next pass tries again"
            );
        }
        if report.only_marked {
            self.warn_once(
                "the server has no UIDPLUS: mails are flagged \\Deleted where they are, but stay until expunged",
            );
        }
    }

    /// Handles new mail during IDLE. If such reports turn out false, the next are followed up with increasing delay.
    fn on_new_mail(&mut self, now: Instant) {
        let (is_first, delay) = (self.idle_backoff.is_fresh(), self.idle_backoff.delay());
        self.idle_from = now + if is_first { Duration::ZERO } else { delay };
        self.folders.make_watched_due(self.idle_from);
    }

    // Faults.

    fn on_success(&mut self, now: Instant) {
        if self.retry.succeeded(now) {
            info!(source = &*self.settings.name, "reconnected to {}", self.settings.config.host);
        }
    }

    /// Handles a fault: ends the source if a retry can't help, otherwise logs it once and schedules a retry.
    fn on_fault(&mut self, fault: Fault, now: Instant) -> Result<(), SourceError> {
        self.actions.push(Action::Troubled(fault.to_string()));
        let Decision::Retry { delay, is_new, needs_a_person } = self.retry.failed(&fault, now) else {
            return Err(fault.into());
        };
        if self.stopping {
            self.drop_pending_settles();
        }
        self.close(now + delay, needs_a_person);
        self.put_back_reservation();
        let source = &*self.settings.name;
        match fault {
            // Normal: servers do that every hour or day.
            Fault::LoggedOut(_) => info!(source, "{fault}; logging in again"),
            _ if is_new => warn!(source, "{fault}; retrying"),
            _ => debug!(source, "{fault}; retrying in {delay:.0?}"),
        }
        Ok(())
    }

    /// Drops actions that can't be carried out any more: the mails are shipped, and a later pass settles them.
    fn drop_pending_settles(&mut self) {
        if let Some(state) = self.folders.current_mut() {
            self.pass.counts.unsettled += state.settle.drop_pending() as u64;
        }
    }

    /// Handles a refusal to read the current folder. If it is one of several, the others are still read.
    fn on_folder_fault(&mut self, fault: Fault, now: Instant) -> Result<(), SourceError> {
        if self.folders.is_single() || !matches!(fault, Fault::Refused { .. }) {
            return self.on_fault(fault, now);
        }
        self.put_back_reservation();
        self.drop_pending_settles();
        self.pass.fail(fault);
        Ok(())
    }

    /// Handles a fault during IDLE. Mail that arrived meanwhile is found as soon as there is a session again.
    fn on_idle_fault(&mut self, fault: Fault, now: Instant) -> Result<(), SourceError> {
        match fault {
            Fault::Refused { .. } => {
                self.supports_idle = Some(false);
                self.warn_once("the server refuses IDLE, which it offers; it is polled every poll_interval instead");
                Ok(())
            }
            Fault::Lost(_) => match self.retry.lost_in_idle(now) {
                Some(delay) => {
                    debug!(source = &*self.settings.name, "{fault}, during IDLE");
                    self.connection = Connection::Down { retry_at: now + delay, awaits_credentials: false };
                    Ok(())
                }
                None => self.on_fault(fault, now),
            },
            fault => self.on_fault(fault, now),
        }
    }

    /// Handles a failed FETCH: its mails are fetched in parts, to find the one at fault. `moves_broke_off`: moves were
    /// pipelined with it and not completed, so the server may have failed at those.
    fn on_fetch_fault(&mut self, fault: Fault, moves_broke_off: bool, now: Instant) -> Result<(), SourceError> {
        let mut missing = self.fetching.take().map(|(missing, _)| missing).unwrap_or_default();
        missing.sort_unstable_by_key(|mail| mail.uid);
        let is_over_moves = moves_broke_off && matches!(fault, Fault::Lost(_) | Fault::Unintelligible(_));
        self.pipelines_moves &= !is_over_moves;
        // No mail is to blame; or if one is, it will also fail in a FETCH without moves.
        let is_excused = is_over_moves || matches!(fault, Fault::Throttled { .. });
        match is_excused && !self.stopping {
            true => self.pass.put_back(Batch { mails: missing, refused: None }),
            false => self.fetch_apart(missing, &fault, now),
        }
        if fault.leaves_session() { Ok(()) } else { self.on_fault(fault, now) }
    }

    /// Fetches mails that did not arrive in smaller batches, or records the failure of a single one.
    fn fetch_apart(&mut self, missing: Vec<Candidate>, fault: &Fault, now: Instant) {
        match (&missing[..], fault) {
            _ if self.stopping => {}
            (_, Fault::LoggedOut(_)) if self.pass.excuse_login() => self.pass.retry_apart(missing),
            ([mail], Fault::Oversize { announced, .. }) => self.pass.resize(*mail, *announced),
            ([mail], _) => {
                self.pass.suspects.record_failure(*mail, fault.to_string());
                if self.pass.suspects.are_likely() {
                    // So that they are decided on before `give_up_after`.
                    self.retry.reset_delay(now);
                }
            }
            _ => self.pass.retry_apart(missing),
        }
    }

    /// Decides on the mails that failed `max_attempts` times, when nothing else is left to fetch.
    fn decide_on_suspects(&mut self) {
        let source = &*self.settings.name;
        let (at_fault, left, why) = self.pass.decide_on_suspects();
        if at_fault > 0 {
            warn!(source, mails = at_fault, "mails can't be fetched, though others can; they are quarantined unread");
        }
        if left > 0 {
            error!(
                source,
                mails = left,
                "mails can't be fetched, and no others either: {why}; they stay for the next pass"
            );
        }
    }

    // Ends of passes.

    /// Ends the pass through the current folder, and logs its counts unless all are zero.
    fn complete_pass(&mut self, now: Instant) -> Result<(), SourceError> {
        let fresh = FolderPass::new(self.settings.max_attempts);
        let FolderPass { counts, tally, failed, .. } = std::mem::replace(&mut self.pass, fresh);
        let source = &*self.settings.name;
        let Some(name) = self.folders.current().map(|state| state.name.clone()) else { return Ok(()) };
        if counts.taken + counts.settled + counts.unsettled > 0 {
            info!(
                source,
                taken = counts.taken,
                archived = tally.archived,
                quarantined = tally.quarantined,
                deleted = tally.deleted,
                kept = tally.kept,
                left = tally.left + counts.unsettled,
                "read folder {name}"
            );
        }
        add(&mut self.totals, &counts);
        if counts.taken > 0 {
            self.idle_backoff.reset();
        }
        if let Some(fault) = failed {
            let since = self.folders.postpone(now);
            if since == now {
                warn!(source, folder = &*name, "{fault}; the other folders are read, and this one later");
            }
            return match self.settings.once && !self.stopping && now >= since + self.settings.give_up_after {
                true => Err(fault.into()),
                false => Ok(()),
            };
        }
        let again = self.next_pass_at(now);
        if self.folders.finish_pass(again) {
            info!(source, folder = &*name, "the folder can be read again");
        }
        Ok(())
    }

    /// Ends a pass through all folders; the next one begins after `pause`.
    fn end_pass(&mut self, pause: Duration, now: Instant) {
        if !self.settings.once {
            self.totals = Pass::default();
        }
        if pause > KEPT_BETWEEN_PASSES && self.watched().is_none() {
            self.log_out(now);
        }
    }

    /// Logs a warning unless it was logged before.
    fn warn_once(&mut self, warning: &'static str) {
        if self.warned.insert(warning) {
            warn!(source = &*self.settings.name, "{warning}");
        }
    }
}

fn add(sum: &mut Pass, more: &Pass) {
    sum.taken += more.taken;
    sum.settled += more.settled;
    sum.unsettled += more.unsettled;
    sum.remembered += more.remembered;
}

/// Splits a mail's part off the bytes reserved for its batch; the reservation may be smaller than the mail, if that is
/// larger than the whole budget.
fn split_off(permit: &mut OwnedSemaphorePermit, bytes: u64) -> OwnedSemaphorePermit {
    let there = permit.num_permits();
    let wanted = usize::try_from(bytes).unwrap_or(usize::MAX).min(there);
    permit.split(wanted).expect("no more is split off than there is")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::{
        config::{self, Format, source::SourceConfig},
        source::imap::commands::mailbox::Selected,
    };

    fn settings(once: bool, options: &str) -> Settings {
        let text = format!(
            "sources: {{rua: {{type: imap, host: h, user: u, password: p, archive_folder: Done{options}}}}}\n\
             sinks: {{out: {{type: stdout}}}}\n"
        );
        let sources = config::parse(&text, Format::Yaml, "test.yaml").unwrap().config.sources;
        let Some(SourceConfig::Imap(imap)) = sources.into_values().next() else { panic!("it is a mailbox") };
        Settings {
            name: "rua".into(),
            config: Arc::new(*imap),
            account_id: "u@h:993".into(),
            mail_bytes: 1 << 20,
            give_up_after: Duration::from_secs(300),
            max_attempts: 3,
            budget_bytes: 1 << 20,
            once,
            dry_run: false,
            forgets: false,
            ships_again: false,
        }
    }

    /// A driver with its clock, and its actions since the last command was completed or the timer fired.
    struct Bench {
        driver: Driver,
        now: Instant,
        actions: Vec<Action>,
    }

    impl Bench {
        fn new(settings: Settings) -> Self {
            let now = Instant::now();
            let mut bench = Self { driver: Driver::new(settings, now), now, actions: Vec::new() };
            bench.step(Input::Timer);
            bench
        }

        fn step(&mut self, input: Input) {
            self.actions.extend(self.driver.step(input, self.now));
        }

        /// Lets the timer fire.
        fn wake(&mut self) {
            self.now = self.wakes_at().expect("it goes on at some time");
            self.actions.clear();
            self.step(Input::Timer);
        }

        /// Completes the running command, with the session if there still is one.
        fn complete(&mut self, session: Option<SessionState>, result: CommandResult) {
            self.actions.clear();
            self.step(Input::Completed(Box::new(Completed { session, result })));
        }

        fn succeed(&mut self, result: CommandResult) {
            self.complete(Some(session()), result);
        }

        /// Returns the name of the command that the last step started.
        fn started(&self) -> Option<&'static str> {
            self.actions.iter().find_map(|action| match action {
                Action::Open(_) => Some("open"),
                Action::Start(command) => Some(match command {
                    Command::FindFolders(_) => "find",
                    Command::Select(_) => "select",
                    Command::List { .. } => "list",
                    Command::Size(_) => "size",
                    Command::Fetch { .. } => "fetch",
                    Command::Settle { .. } => "settle",
                    Command::WaitForMail { .. } => "idle",
                    Command::Noop => "noop",
                }),
                _ => None,
            })
        }

        fn ended(&self) -> Option<&Result<Pass, SourceError>> {
            self.actions.iter().find_map(|action| match action {
                Action::End(result) => Some(result),
                _ => None,
            })
        }

        fn wakes_at(&self) -> Option<Instant> {
            self.actions.iter().rev().find_map(|action| match action {
                Action::SleepUntil(at) => Some(*at),
                _ => None,
            })
        }

        fn is_reserving(&self) -> bool {
            matches!(self.driver.reservation, Reservation::Requested(_))
        }

        fn grant_reservation(&mut self) {
            let budget = Arc::new(Semaphore::new(20));
            self.step(Input::Reserved(budget.try_acquire_many_owned(20).unwrap()));
        }

        /// Runs commands without a fault until the one with this name is running.
        fn until(mut self, command: &str) -> Self {
            for _ in 0..30 {
                let Some(running) = self.started() else {
                    self.wake();
                    continue;
                };
                if running == command {
                    return self;
                }
                self.succeed_with(running);
            }
            panic!("{command} is not reached");
        }

        /// Completes the running command with two mails in the folder, until they are settled.
        fn succeed_with(&mut self, running: &str) {
            let is_settled = self.driver.totals.settled > 0;
            match running {
                "open" => self.succeed(CommandResult::Opened { logged_in: true, result: Ok(()) }),
                "find" => {
                    let found = vec![Found { name: "INBOX".into(), folder: Some(Folder::of("INBOX")) }];
                    self.succeed(CommandResult::FoldersFound(Ok(found)));
                }
                "list" => {
                    let uids = if is_settled { vec![] } else { vec![1, 2] };
                    self.succeed(CommandResult::Listed(Ok(Listing { uids, ..Listing::default() })));
                    self.step(Input::LookedUp(vec![PlaceStatus::default(); 2]));
                }
                "select" => self.succeed(CommandResult::Selected(Ok(()))),
                "size" => {
                    let sizes = [1, 2].map(|uid| Candidate { uid, size: 10 });
                    self.succeed(CommandResult::Sized(Ok(sizes.to_vec())));
                    assert!(self.is_reserving());
                    self.grant_reservation();
                }
                "fetch" => {
                    for uid in [1, 2] {
                        self.step(Input::Mail(uid, Bytes::from_static(b"mail")));
                    }
                    let (report, settled) = (SettleReport::default(), Ok(()));
                    self.succeed(CommandResult::Fetched { withheld: Ok(vec![]), report, settled });
                    self.step(Input::Verdicts([1, 2].map(|mail| (MailRef(mail), Verdict::Archive)).to_vec()));
                }
                "settle" => {
                    let report = SettleReport { settled: vec![1, 2], ..SettleReport::default() };
                    self.succeed(CommandResult::Settled { report, result: Ok(()) });
                }
                "idle" => self.succeed(CommandResult::WaitedForMail(Ok(false))),
                _ => self.succeed(CommandResult::Noop(Ok(()))),
            }
        }
    }

    fn session() -> SessionState {
        let selected =
            Selected { uid_validity: 7, exists: 2, read_only: false, takes_keyword: true, knows_keyword: false };
        SessionState { selected: Some((Folder::of("INBOX"), selected)), offers_idle: true }
    }

    fn failure(command: &str, fault: Fault) -> CommandResult {
        let report = SettleReport::default();
        match command {
            "open" => CommandResult::Opened { logged_in: false, result: Err(fault) },
            "find" => CommandResult::FoldersFound(Err(fault)),
            "select" => CommandResult::Selected(Err(fault)),
            "list" => CommandResult::Listed(Err(fault)),
            "size" => CommandResult::Sized(Err(fault)),
            "fetch" => CommandResult::Fetched { withheld: Err(fault), report, settled: Ok(()) },
            "settle" => CommandResult::Settled { report, result: Err(fault) },
            "idle" => CommandResult::WaitedForMail(Err(fault)),
            _ => CommandResult::Noop(Err(fault)),
        }
    }

    fn faults() -> [Fault; 9] {
        [
            Fault::Lost("gone".into()),
            Fault::LoggedOut("expired".into()),
            Fault::Unintelligible("what".into()),
            Fault::Oversize { announced: 20, allowed: 10 },
            Fault::Flooded("flood".into()),
            Fault::Refused { command: "X".into(), answer: Default::default() },
            Fault::Throttled { text: "slow".into(), wait: None },
            Fault::Credentials("no".into()),
            Fault::Configuration("none".into()),
        ]
    }

    /// Returns the connection state after `fault` ended `command`: `E` the source has ended, `D` down until a retry, `O`
    /// the next session is being opened, `I` the session is used further.
    fn after(command: &str, fault: &Fault, once: bool) -> char {
        // NOOP is sent only to a session that nothing else is to be done with.
        let options = if command == "noop" { ", watch: poll" } else { "" };
        let mut bench = Bench::new(settings(once, options)).until(command);
        let session = fault.leaves_session().then(session);
        bench.complete(session, failure(command, fault.clone()));
        match (bench.ended(), &bench.driver.connection) {
            (Some(result), _) => {
                assert!(result.is_err(), "{command}, {fault:?}");
                'E'
            }
            (None, Connection::Down { retry_at, awaits_credentials }) => {
                let needs_a_person = matches!(fault, Fault::Credentials(_) | Fault::Configuration(_));
                assert_eq!(*awaits_credentials, needs_a_person && command != "noop", "{command}, {fault:?}");
                assert!(bench.wakes_at().is_none_or(|at| at >= *retry_at), "{command}, {fault:?}");
                'D'
            }
            (None, Connection::Opening) => 'O',
            (None, Connection::Idle { .. } | Connection::Busy(_)) => 'I',
        }
    }

    /// Every fault at every command. The columns are the faults in the order of [`faults`]: lost, logged out,
    /// unintelligible, oversize, flooded, refused, throttled, credentials, configuration.
    #[test]
    fn each_fault_in_each_connection_state_ends_retries_or_continues() {
        let table = BTreeMap::from([
            // A service retries, unless a configured folder is missing at its start.
            (("open", false), "DDDDDDDDE"),
            (("find", false), "DDDDDDDDE"),
            (("list", false), "DDDDDDDDE"),
            (("size", false), "DDDDDDDDD"),
            (("fetch", false), "DDDDDIDDD"),
            (("settle", false), "DDDDDDDDD"),
            (("idle", false), "DDDDDIDDD"),
            (("noop", false), "DDDDDIDDD"),
            // A single run ends at once before its first listing, unless its session was lost after the login.
            (("open", true), "EEEEEEDEE"),
            (("find", true), "DDEEEEDEE"),
            (("list", true), "DDEEEEDEE"),
            (("size", true), "DDDDDDDEE"),
            (("fetch", true), "DDDDDIDEE"),
            (("settle", true), "DDDDDDDEE"),
        ]);
        for ((command, once), expected) in table {
            let found: String = faults().iter().map(|fault| after(command, fault, once)).collect();
            assert_eq!(found, expected, "{command}, once: {once}");
        }
    }

    #[test]
    fn a_pass_opens_finds_lists_sizes_fetches_and_settles() {
        let mut bench = Bench::new(settings(true, ""));
        let mut sent = Vec::new();
        while bench.ended().is_none() {
            match bench.started() {
                Some(command) => {
                    sent.push(command);
                    bench.succeed_with(command);
                }
                None => bench.wake(),
            }
        }
        assert_eq!(sent, ["open", "find", "list", "size", "fetch", "settle"]);
        let Some(Ok(pass)) = bench.ended() else { panic!("it ended well") };
        assert_eq!(*pass, Pass { taken: 2, settled: 2, ..Pass::default() });
        assert!(bench.actions.iter().any(|action| matches!(action, Action::LogOut)));
    }

    #[test]
    fn changed_uidvalidity_lists_the_folder_again_and_drops_what_was_known() {
        let mut bench = Bench::new(settings(false, "")).until("settle");
        let mut session = session();
        let Some((_, selected)) = &mut session.selected else { panic!("it is selected") };
        selected.uid_validity = 8;
        let result = CommandResult::Settled { report: SettleReport::default(), result: Ok(()) };
        bench.complete(Some(session), result);
        assert_eq!(bench.started(), Some("list"));
        assert_eq!(bench.driver.pass.counts.unsettled, 2, "the two mails are settled by a later pass");
    }

    #[test]
    fn new_credentials_end_the_wait_after_a_refused_login() {
        let mut bench = Bench::new(settings(false, ""));
        bench.complete(None, failure("open", Fault::Credentials("no".into())));
        assert!(bench.driver.awaits_credentials() && bench.started().is_none());
        assert!(bench.wakes_at().is_some_and(|at| at >= bench.now + Duration::from_secs(300)));
        bench.step(Input::CredentialsChanged);
        assert_eq!(bench.started(), Some("open"));
    }

    #[test]
    fn stop_closes_a_session_that_is_being_opened() {
        let mut bench = Bench::new(settings(false, ""));
        bench.step(Input::Stop);
        assert!(bench.actions.iter().any(|action| matches!(action, Action::Close)));
        assert!(matches!(bench.ended(), Some(Ok(_))));
    }

    /// Regression: a source without a session whose next batch waited for room in the intake woke up again and again.
    #[test]
    fn a_lost_session_is_not_retried_while_the_next_batch_waits_for_memory() {
        let mut bench = Bench::new(settings(false, "")).until("size");
        let sizes = [1, 2].map(|uid| Candidate { uid, size: 10 });
        bench.succeed(CommandResult::Sized(Ok(sizes.to_vec())));
        assert!(bench.is_reserving() && bench.started().is_none());
        bench.wake();
        assert_eq!(bench.started(), Some("noop"));
        bench.complete(None, failure("noop", Fault::Lost("gone".into())));
        assert_eq!((bench.started(), bench.wakes_at()), (None, None));
        bench.grant_reservation();
        assert_eq!(bench.started(), Some("open"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever fails in whatever order: commands are started only on an idle session and a session only where there
        /// is none, each wake-up is in the future, every mail handed over is settled or counted, and a stop ends it.
        #[test]
        fn no_order_of_faults_breaks_the_protocol_or_wakes_in_the_past(
            choices in prop::collection::vec((0usize..12, any::<bool>()), 1..60),
            once in any::<bool>(),
        ) {
            let mut bench = Bench::new(settings(once, ""));
            let (mut running, mut has_session) = (None, false);
            for (choice, early) in choices {
                if bench.ended().is_some() {
                    break;
                }
                for action in &bench.actions {
                    match action {
                        Action::Open(_) => prop_assert!(running.is_none() && !has_session),
                        Action::Start(_) => prop_assert!(running.is_none() && has_session),
                        Action::Close => (running, has_session) = (None, false),
                        Action::LogOut => has_session = false,
                        Action::SleepUntil(at) => prop_assert!(*at > bench.now, "it wakes at once"),
                        _ => {}
                    }
                }
                running = bench.started().or(running);
                match running {
                    // Half of the faults come as early as possible, half after the mails of a fetch.
                    Some(command) if choice < 9 => {
                        let fault = faults()[choice].clone();
                        if command == "fetch" && !early {
                            bench.step(Input::Mail(1, Bytes::from_static(b"mail")));
                            bench.step(Input::Verdicts(vec![(MailRef(1), Verdict::Archive)]));
                        }
                        running = None;
                        has_session = fault.leaves_session() && command != "open";
                        bench.complete(has_session.then(session), failure(command, fault));
                    }
                    Some(command) => {
                        (running, has_session) = (None, true);
                        bench.succeed_with(command);
                    }
                    None => match bench.wakes_at() {
                        Some(_) => bench.wake(),
                        None if bench.is_reserving() => {
                            bench.actions.clear();
                            bench.grant_reservation();
                        }
                        None => {
                            bench.actions.clear();
                            let verdicts = bench.driver.pending.keys().map(|mail| (*mail, Verdict::Archive)).collect();
                            bench.step(Input::Verdicts(verdicts));
                        }
                    },
                }
            }
            bench.actions.retain(|action| matches!(action, Action::Open(_) | Action::Start(_) | Action::End(_)));
            running = bench.started().or(running);
            if bench.ended().is_none() {
                bench.step(Input::Stop);
                let is_closed = bench.actions.iter().any(|action| matches!(action, Action::Close));
                running = if is_closed { None } else { bench.started().or(running) };
            }
            for _ in 0..20 {
                match running.take() {
                    _ if bench.ended().is_some() => break,
                    Some(command) => bench.complete(None, failure(command, Fault::Lost("gone".into()))),
                    None if bench.driver.pending.is_empty() => {
                        prop_assert!(bench.wakes_at().is_some(), "{:?}", bench.driver.connection);
                        bench.wake();
                    }
                    None => {
                        bench.actions.clear();
                        let verdicts = bench.driver.pending.keys().map(|mail| (*mail, Verdict::Archive)).collect();
                        bench.step(Input::Verdicts(verdicts));
                    }
                }
                running = bench.started();
            }
            match bench.ended() {
                Some(Ok(pass)) => prop_assert!(!once || pass.taken <= pass.settled + pass.unsettled, "{pass:?}"),
                Some(Err(_)) => {}
                None => prop_assert!(false, "a stop does not end it"),
            }
        }
    }
}
