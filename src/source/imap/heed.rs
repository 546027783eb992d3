//! Event handlers of a run: verdicts, fetched mails, and completed jobs of the session.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{
    fault::Fault,
    link::{Finished, Link, Progress, Yield},
    run::Run,
    settle::{Action, Marks, Report, action},
    work::Work,
};
use crate::source::{MailRef, SourceError, Verdict};

impl Run {
    /// Handles verdicts of the pipeline. All that have arrived are handled together, so that they are settled with one
    /// command.
    pub(super) fn judged_together(&mut self, first: (MailRef, Verdict)) {
        let mut next = Some(first);
        while let Some((mail, verdict)) = next {
            self.judged(mail, &verdict);
            next = self.intake.try_verdict();
        }
    }

    fn judged(&mut self, mail: MailRef, verdict: &Verdict) {
        let Some((uid_validity, uid)) = self.pending.remove(&mail) else { return };
        let action = action(verdict, &self.source.config);
        match action {
            None => self.round.tally.left += 1,
            // After a change of UIDVALIDITY, the UID belongs to another mail, or to none.
            _ if self.uid_validity() != Some(uid_validity) || self.round.failed.is_some() => {
                self.round.pass.unsettled += 1;
            }
            Some(action) if self.intake.dry_run => self.rehearse(uid, action),
            Some(Action::Stay(marks)) => self.keep(uid, marks, verdict),
            Some(action) => self.round.owed.owe(uid, action),
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
        self.done_with(uid);
    }

    fn done_with(&mut self, uid: u32) {
        if let Some(stop) = self.tour.current_mut() {
            stop.done.insert(uid);
        }
    }

    fn keep(&mut self, uid: u32, mut marks: Marks, verdict: &Verdict) {
        self.done_with(uid);
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
            self.round.owed.owe(uid, Action::Stay(marks));
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
            Progress::Finished(finished) => self.finished(*finished).await,
        }
    }

    async fn came(&mut self, uid: u32, content: Bytes) -> Result<(), SourceError> {
        let Some((awaited, permit)) = &mut self.fetching else { return Ok(()) };
        let Some(at) = awaited.iter().position(|mail| mail.uid == uid) else { return Ok(()) };
        let size = awaited.swap_remove(at).size;
        self.round.suspects.came(uid);
        let permit = share(permit, size);
        self.hand_over(uid, Ok(content), permit).await
    }

    async fn finished(&mut self, finished: Finished) -> Result<(), SourceError> {
        let Finished { fault, yielded, report, .. } = finished;
        // A session that opens and selects has not proved that mails can be fetched.
        let has_proved = report.is_some() || !matches!(yielded, Yield::Opened | Yield::Selected | Yield::Nothing);
        if let Some(report) = report {
            self.settled(report);
        }
        let is_some_undone = self.round.owed.rest();
        self.see_what_is_selected();
        if fault.is_none() && has_proved {
            self.works();
        }
        match (self.work.take(), yielded) {
            (Some(Work::Open), Yield::Opened) => self.opened(),
            (Some(Work::Find), Yield::Found(found)) => self.found(found),
            (Some(Work::List), Yield::Listed(listing)) => self.list(listing).await,
            (Some(Work::Select | Work::List), Yield::Nothing) => {
                return fault.map_or(Ok(()), |fault| self.folder_failed(fault));
            }
            (Some(Work::Size(_)), Yield::Sized(mails)) => self.round.size(mails),
            (Some(Work::Size(uids)), _) => self.round.unsize(uids),
            (Some(Work::Fetch), Yield::Fetched(withheld)) => self.fetched(&withheld),
            (Some(Work::Fetch), _) => return self.not_fetched(fault, is_some_undone),
            (Some(Work::Watch), Yield::Watched(true)) => self.heed_news(),
            (Some(Work::Watch), _) => return fault.map_or(Ok(()), |fault| self.wait_failed(fault)),
            (Some(Work::Keep), _) => {
                if let Some(fault) = fault {
                    debug!(source = &*self.source.name, "{fault}, while idle");
                }
                return Ok(());
            }
            _ => {}
        }
        fault.map_or(Ok(()), |fault| self.broke(fault))
    }

    /// Handles a report of new mail in IDLE. If such reports turn out false, the next are followed up with increasing
    /// delay.
    fn heed_news(&mut self) {
        let (is_first, delay) = (self.news.is_fresh(), self.news.delay());
        self.news_at = Instant::now() + if is_first { Duration::ZERO } else { delay };
        self.tour.first_has_news(self.news_at);
    }

    fn opened(&mut self) {
        self.opened = true;
        if let Link::Idle { open, .. } = &self.link {
            self.idles = Some(self.idles.unwrap_or(true) && open.offers("IDLE"));
        }
    }

    fn see_what_is_selected(&mut self) {
        let (Link::Idle { open, .. }, Some(stop)) = (&self.link, self.tour.current()) else { return };
        let Some(selected) = open.selected(&stop.folder) else { return };
        if selected.read_only && !self.intake.dry_run {
            self.say_once("the server opens the folder read-only: mails can't be moved");
        }
        self.takes_keyword = selected.takes_keyword;
        self.recognise(selected.uid_validity);
    }

    /// Handles a successful batch. A mail that did not arrive was expunged, or is in `withheld`: it exists, but the server
    /// did not send it.
    fn fetched(&mut self, withheld: &[u32]) {
        let Some((mut missing, _)) = self.fetching.take() else { return };
        let gone = missing.len() - withheld.len().min(missing.len());
        if gone > 0 {
            debug!(source = &*self.source.name, "{gone} mails were gone before they were fetched");
        }
        missing.retain(|mail| withheld.contains(&mail.uid));
        if !missing.is_empty() {
            self.try_again(missing, &Fault::Unintelligible("the server does not send it".into()));
        }
    }

    fn settled(&mut self, report: Report) {
        for uid in report.settled {
            self.round.settle(uid);
        }
        for uid in report.refused {
            if let (Some(action), Some(stop)) = (self.round.fail_to_settle(uid), self.tour.current_mut()) {
                stop.owed.insert(uid, action);
            }
        }
        for uid in report.copied {
            self.round.owed.turn_into(uid, Action::Delete);
            if let Some(stop) = self.tour.current_mut() {
                stop.owed.entry(uid).and_modify(|action| *action = Action::Delete);
            }
        }
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

    pub(super) fn say_once(&mut self, what: &'static str) {
        if self.said.insert(what) {
            warn!(source = &*self.source.name, "{what}");
        }
    }
}

/// Splits a mail's part off the bytes reserved for its batch; the reservation may be smaller than the mail, if that is
/// larger than the whole budget.
fn share(permit: &mut OwnedSemaphorePermit, bytes: u64) -> OwnedSemaphorePermit {
    let there = permit.num_permits();
    let wanted = usize::try_from(bytes).unwrap_or(usize::MAX).min(there);
    permit.split(wanted).expect("no more is split off than there is")
}
