//! What is made of what happened: verdicts, mails that came, work that ended.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tracing::{debug, error, info, warn};

use super::{
    fault::Fault,
    fetch::Candidate,
    link::{Finished, Link, Progress, Yield},
    round::Next,
    run::{Run, Work},
    settle::{Action, Marks, Report, action},
};
use crate::source::{MailRef, SourceError, Verdict};

impl Run {
    /// The pipeline has decided on a mail.
    pub(super) fn judged(&mut self, mail: MailRef, verdict: &Verdict) {
        let Some((uid_validity, uid)) = self.pending.remove(&mail) else { return };
        let action = action(verdict, &self.source.config);
        match action {
            None => self.round.tally.left += 1,
            // Its number means another mail now, or none.
            _ if self.uid_validity != Some(uid_validity) => self.round.pass.unsettled += 1,
            Some(action) if self.intake.dry_run => self.rehearse(uid, action),
            Some(Action::Stay(marks)) => self.keep(uid, marks, verdict),
            Some(action) => self.round.owe(uid, action),
        }
    }

    fn rehearse(&mut self, uid: u32, action: Action) {
        let (source, config) = (&*self.source.name, &self.source.config);
        let target = match action {
            Action::Archive => config.archive_folder.as_deref(),
            Action::Quarantine => config.quarantine_folder.as_deref(),
            Action::Delete | Action::Stay(_) => None,
        };
        match (target, action) {
            (Some(target), _) => info!(source, "would move uid {uid} to {target}"),
            (None, Action::Stay(Marks { seen: true, .. })) => info!(source, "would mark uid {uid} as read"),
            (None, Action::Stay(_)) => info!(source, "would leave uid {uid} where it is"),
            (None, _) => info!(source, "would delete uid {uid}"),
        }
        self.round.tally.kept += 1;
        self.done.insert(uid);
    }

    fn keep(&mut self, uid: u32, mut marks: Marks, verdict: &Verdict) {
        self.done.insert(uid);
        if self.intake.forgets() {
            marks.keyword = self.takes_keyword;
            if !self.takes_keyword {
                self.say_once(
                    "the server takes no keywords that tell which mails were shipped, so the next run ships those left in \
                     the folder again; set data_dir to have them remembered, or after: archive or delete",
                );
            }
        }
        if marks.any() {
            self.round.owe(uid, Action::Stay(marks));
        } else {
            self.round.pass.settled += 1;
            self.round.tally.kept += 1;
        }
        if matches!(verdict, Verdict::Quarantine(_)) {
            self.say_once(
                "mails that can't be read in full stay in the folder; set quarantine_folder to have them moved",
            );
        }
    }

    pub(super) async fn progressed(&mut self, progress: Progress) -> Result<(), SourceError> {
        match progress {
            Progress::Mail(uid, content) => self.came(uid, content).await,
            Progress::Finished(finished) => self.finished(finished),
        }
    }

    async fn came(&mut self, uid: u32, content: Bytes) -> Result<(), SourceError> {
        let Some((awaited, permit)) = &mut self.fetching else { return Ok(()) };
        let Some(at) = awaited.iter().position(|mail| mail.uid == uid) else { return Ok(()) };
        let size = awaited.swap_remove(at).size;
        let permit = share(permit, size);
        self.hand_over(uid, Ok(content), permit).await
    }

    fn finished(&mut self, finished: Finished) -> Result<(), SourceError> {
        let Finished { fault, yielded, .. } = finished;
        if let Link::Idle { open, .. } = &self.link {
            let uid_validity = open.selected.uid_validity;
            self.takes_keyword = open.selected.takes_keyword;
            self.recognise(uid_validity);
        }
        if fault.is_none() && !matches!(yielded, Yield::Opened | Yield::Nothing) {
            self.works();
        }
        match (self.work.take(), yielded) {
            (Some(Work::Open), Yield::Opened) => self.open(),
            (Some(Work::List), Yield::Listed(uids)) => self.list(uids),
            (Some(Work::Size(_)), Yield::Sized(mails)) => self.round.size(mails),
            (Some(Work::Size(uids)), _) => self.round.unsize(uids),
            (Some(Work::Fetch), Yield::Fetched(withheld)) => self.fetched(&withheld),
            (Some(Work::Fetch), _) => return self.not_fetched(fault),
            (Some(Work::Settle), Yield::Settled(report)) => self.settled(report),
            (Some(Work::Keep), _) => {
                if let Some(fault) = fault {
                    debug!(source = &*self.source.name, "{fault}, while idle");
                }
                return Ok(());
            }
            _ => {}
        }
        match fault {
            Some(fault) => {
                self.link = Link::Down;
                self.broke(fault)
            }
            None => Ok(()),
        }
    }

    fn open(&mut self) {
        self.opened = true;
        let Link::Idle { open, .. } = &self.link else { return };
        if open.selected.read_only && !self.intake.dry_run {
            self.say_once("the server opens the folder read-only: mails can't be moved");
        }
    }

    /// Numbers of mails mean nothing under another UIDVALIDITY: begin the pass anew.
    fn recognise(&mut self, uid_validity: u32) {
        if self.uid_validity.replace(uid_validity).is_some_and(|before| before != uid_validity) {
            warn!(
                source = &*self.source.name,
                "the server has renumbered the folder (UIDVALIDITY); looking through it anew"
            );
            self.forget_due();
            self.round.cut_short();
            self.round.listed = false;
            self.reservation = None;
            self.granted = None;
            self.owed.clear();
            self.done.clear();
        }
    }

    fn list(&mut self, mut uids: Vec<u32>) {
        self.done.retain(|uid| uids.binary_search(uid).is_ok());
        for (uid, action) in std::mem::take(&mut self.owed) {
            if uids.binary_search(&uid).is_ok() {
                self.round.owe(uid, action);
            }
        }
        let before = uids.len();
        uids.retain(|uid| !self.done.contains(uid) && !self.intake.remembers(&self.place(*uid)));
        self.intake.looked_through(&self.source.name);
        self.round.pass.remembered = (before - uids.len()) as u64;
        uids.retain(|uid| !self.round.due.contains_key(uid));
        if let Some(most) = self.source.config.max_messages_per_run {
            uids.truncate(most as usize);
        }
        debug!(source = &*self.source.name, listed = before, wanted = uids.len(), "listed {}", self.folder);
        self.round.list(uids);
    }

    /// A batch has ended well. What did not come is gone from the folder, or `withheld`.
    fn fetched(&mut self, withheld: &[u32]) {
        let Some((mut missing, _)) = self.fetching.take() else { return };
        let gone = missing.len() - withheld.len().min(missing.len());
        if gone > 0 {
            debug!(source = &*self.source.name, "{gone} mails were gone before they were fetched");
        }
        missing.retain(|mail| withheld.contains(&mail.uid));
        self.try_again(missing, &Fault::Unintelligible("the server does not send it".into()));
    }

    /// A batch was in the way of an error: each of its mails is fetched by itself, to find the one at fault.
    fn not_fetched(&mut self, fault: Option<Fault>) -> Result<(), SourceError> {
        let Some(fault) = fault else { return Ok(()) };
        let missing = self.fetching.take().map(|(missing, _)| missing).unwrap_or_default();
        self.try_again(missing, &fault);
        if fault.leaves_session() { Ok(()) } else { self.broke(fault) }
    }

    fn try_again(&mut self, missing: Vec<Candidate>, fault: &Fault) {
        match missing[..] {
            _ if self.stopping => {}
            _ if matches!(fault, Fault::LoggedOut(_)) && self.round.excuse() => self.round.retry_singly(missing),
            [mail] => self.blame(mail, fault),
            _ => self.round.retry_singly(missing),
        }
    }

    /// `mail` was being fetched by itself when the session failed.
    fn blame(&mut self, mail: Candidate, fault: &Fault) {
        let next = match *fault {
            Fault::Lost(_) => self.round.retry(mail, None),
            Fault::Oversize { announced, .. } => self.round.retry(mail, Some(announced)),
            _ => Next::Abandon,
        };
        if next == Next::Again {
            return;
        }
        let source = &*self.source.name;
        warn!(source, "uid {} can't be fetched and is left until the next start: {fault}", mail.uid);
        self.done.insert(mail.uid);
        if self.round.abandon() {
            error!(source, "too many mails can't be fetched; the others wait for the next pass");
            self.round.cut_short();
        }
    }

    fn settled(&mut self, report: Report) {
        for uid in report.settled {
            self.round.settle(uid);
        }
        for uid in report.refused {
            if let Some(action) = self.round.fail_to_settle(uid) {
                self.owed.insert(uid, action);
            }
        }
        for uid in report.copied {
            for waiting in [&mut self.round.due, &mut self.owed] {
                waiting.entry(uid).and_modify(|action| *action = Action::Delete);
            }
        }
        self.round.restart_wait();
        if let Some(reason) = report.reason {
            warn!(
                source = &*self.source.name,
                "mails were shipped but can't be settled: {reason}; the next pass tries again"
            );
        }
        if report.only_marked {
            self.say_once(
                "the server has no UIDPLUS: mails are marked as deleted where they were, but stay until expunged",
            );
        }
    }

    fn say_once(&mut self, what: &'static str) {
        if self.said.insert(what) {
            warn!(source = &*self.source.name, "{what}");
        }
    }
}

/// A mail's part of what was reserved for its batch; the budget may hold less than a mail that is larger than all of it.
fn share(permit: &mut OwnedSemaphorePermit, bytes: u64) -> OwnedSemaphorePermit {
    let there = permit.num_permits();
    let wanted = usize::try_from(bytes).unwrap_or(usize::MAX).min(there);
    permit.split(wanted).expect("no more is split off than there is")
}
