//! Chooses the next job of the session.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    link::{Link, Open},
    mailbox::Folder,
    outset::First,
    run::Run,
    settle::takes_away,
};
use crate::{config::source::Watch, source::Verdict};

/// Interval of NOOP in an idle session. Servers may close a session that is silent for 30 minutes (RFC 3501 section 5.4),
/// and some firewalls and NAT devices for five.
pub(super) const NOOP_EVERY: Duration = Duration::from_secs(120);

/// Kind of a job.
pub(super) enum Work {
    Open,
    Find,
    Select,
    List,
    Size(Vec<u32>),
    Fetch,
    Settle,
    Watch,
    Keep,
}

impl Run {
    /// Starts the most urgent job if the session is not in use, or opens a session.
    pub(super) fn begin(&mut self) {
        let now = Instant::now();
        let Some(work) = self.wanted(now) else { return };
        self.link = match std::mem::replace(&mut self.link, Link::Down) {
            Link::Idle { open, .. } => {
                let link = self.put_to(&work, open);
                self.work = Some(work);
                link
            }
            _ if self.retry_at > now => {
                self.take_back(work);
                Link::Down
            }
            _ => {
                self.take_back(work);
                self.work = Some(Work::Open);
                self.refused = false;
                let (config, account) = (self.source.config.clone(), self.source.account.clone());
                let first = self.first_folder().map(|folder| First { census: self.wants_census(), folder });
                self.tried = true;
                (self.began, self.brought_mail) = (now, false);
                Link::open(config, account, first, self.intake.dry_run)
            }
        };
    }

    fn wanted(&mut self, now: Instant) -> Option<Work> {
        let work = match self.tour.current() {
            Some(_) => self.wanted_in_folder(now),
            None if self.stopping => None,
            None if self.tour.finds(now) => Some(Work::Find),
            None => (self.waits_for_news() && self.news_at <= now).then_some(Work::Watch),
        };
        let is_silent = matches!(&self.link, Link::Idle { since, .. } if *since + NOOP_EVERY <= now);
        work.or_else(|| is_silent.then_some(Work::Keep))
    }

    fn wanted_in_folder(&mut self, now: Instant) -> Option<Work> {
        if !self.round.listed && !self.stopping {
            return Some(Work::List);
        }
        let is_due = self.round.owed.due_at(self.awaited()).is_some_and(|at| at <= now);
        let is_fetched = !self.stopping && (self.granted.is_some() || self.round.wants_sizes());
        if (is_due || is_fetched) && !self.has_selected() {
            return Some(Work::Select);
        }
        if is_due {
            return Some(Work::Settle);
        }
        if self.stopping {
            return None;
        }
        if self.granted.is_some() {
            return Some(Work::Fetch);
        }
        self.round.next_to_size().map(Work::Size)
    }

    /// True if the session has selected the folder of the current round; also if there is no session or no round.
    fn has_selected(&self) -> bool {
        match (&self.link, self.tour.current()) {
            (Link::Idle { open, .. }, Some(stop)) => open.selected(&stop.folder).is_some(),
            _ => true,
        }
    }

    /// True if IDLE is used between passes.
    pub(super) fn waits_for_news(&self) -> bool {
        let may = self.source.config.watch == Watch::Idle && self.idles != Some(false);
        may && !self.intake.once && !self.stopping && self.tour.first().is_some()
    }

    fn put_to(&mut self, work: &Work, mut open: Box<Open>) -> Link {
        // The session may have been opened in the middle of a round, and the folders may be looked up long after that.
        if !matches!(work, Work::Find | Work::List) {
            open.moves_on();
        }
        match (work, self.tour.current().or_else(|| self.tour.first())) {
            (Work::Find, _) => open.find(self.tour.wanted().to_vec()),
            (Work::Select, Some(stop)) => open.select(stop.folder.clone()),
            (Work::List, Some(stop)) => open.list(stop.folder.clone(), self.criteria(), self.intake.ships_again()),
            (Work::Watch, Some(stop)) => match stop.uid_validity {
                Some(uid_validity) => open.watch(stop.folder.clone(), uid_validity, stop.newest, self.criteria()),
                None => open.keep(),
            },
            (Work::Size(uids), _) => open.size(uids.clone()),
            (Work::Settle, _) => open.settle(self.round.owed.carry_out(), self.tour.folders()),
            (Work::Fetch, _) => match self.granted.take() {
                Some((batch, permit)) => {
                    self.fetching = Some((batch.mails.clone(), permit));
                    open.fetch(batch.mails, self.source.limits.mail_bytes, self.tour.folders())
                }
                None => open.keep(),
            },
            _ => open.keep(),
        }
    }

    /// Returns the folder to select first; `None` if its name is not known yet.
    fn first_folder(&self) -> Option<Folder> {
        let known = self.tour.current().or_else(|| self.tour.first()).map(|stop| stop.folder.clone());
        let inbox = || self.tour.wanted().first().and_then(Folder::always);
        known.or_else(inbox)
    }

    /// True if the session requests a census: only the first does. A census of a folder with many mails takes long, and a
    /// session may break over one.
    fn wants_census(&self) -> bool {
        !self.tried && self.takes_all()
    }

    /// True if most mails in the folder are new, because others are moved out of it.
    pub(super) fn takes_all(&self) -> bool {
        let config = &self.source.config;
        takes_away(&Verdict::Archive, config) && config.search.is_everything()
    }

    /// Returns the search criteria for today.
    fn criteria(&self) -> String {
        self.source.config.search.criteria(jiff::Timestamp::now())
    }

    /// Takes back a job that can't run without a session.
    fn take_back(&mut self, work: Work) {
        if let Work::Size(uids) = work {
            self.round.unsize(uids);
        }
    }
}
