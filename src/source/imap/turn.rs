//! Reading one folder: lists its mails, hands them over, and completes the round.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tracing::{debug, info, warn};

use super::{fetch::Listing, find::Found, round::Round, run::Run, settle::Action};
use crate::{
    source::{Mail, MailRef, PLACES_AT_ONCE, Pass, Place, SourceError},
    trouble::Trouble,
};

impl Run {
    pub(super) fn found(&mut self, found: Vec<Found>) {
        let now = Instant::now();
        let again = (!self.intake.once).then(|| now + self.source.config.poll_interval);
        for missing in self.tour.found(found, now, again) {
            warn!(source = &*self.source.name, "there is no folder {missing:?}; the others are read");
        }
    }

    /// Checks the UIDVALIDITY: if it has changed, UIDs have lost their meaning, and the round starts again.
    pub(super) fn recognise(&mut self, uid_validity: u32) {
        let Some(stop) = self.tour.current_mut() else { return };
        if stop.uid_validity.replace(uid_validity).is_none_or(|before| before == uid_validity) {
            return;
        }
        stop.owed.clear();
        stop.done.clear();
        stop.newest = 0;
        warn!(
            source = &*self.source.name,
            folder = &*stop.name,
            "the server has renumbered the folder (UIDVALIDITY); looking through it anew"
        );
        self.round.forget_due();
        self.round.cut_short();
        self.round.listed = false;
        self.reservation = None;
        self.granted = None;
    }

    pub(super) async fn list(&mut self, listing: Listing) {
        let Listing { mut uids, sizes, beyond } = listing;
        self.looked = true;
        let is_searched = !self.source.config.search.is_everything();
        let Some(stop) = self.tour.current_mut() else { return };
        stop.newest = uids.last().copied().unwrap_or_default().max(stop.newest);
        stop.done.retain(|uid| uids.binary_search(uid).is_ok());
        for (uid, action) in std::mem::take(&mut stop.owed) {
            // A search need not find a mail again, and none finds a mail that is flagged \Deleted; moving a mail that is
            // gone does nothing.
            if is_searched || action == Action::Delete || uids.binary_search(&uid).is_ok() {
                self.round.owed.owe(uid, action);
            }
        }
        let name = stop.name.clone();
        let before = uids.len();
        let is_done = |uid: &u32| self.tour.current().is_some_and(|stop| stop.done.contains(uid));
        uids.retain(|uid| !is_done(uid));
        let (mut unknown, mut suspected) = (Vec::new(), HashMap::new());
        for asked in uids.chunks(PLACES_AT_ONCE) {
            let places = asked.iter().map(|uid| self.place(*uid)).collect();
            for (uid, status) in asked.iter().zip(self.intake.remembered(places).await) {
                if !status.is_known {
                    unknown.push(*uid);
                    suspected.extend(status.suspected.map(|since| (*uid, since)));
                }
            }
        }
        uids = unknown;
        if self.tour.listed() {
            self.intake.looked_through(&self.source.name);
        }
        if beyond > 0 {
            self.round.pass.unsettled += u64::from(beyond);
            self.say_once(
                "the server claims more than a million mails in a folder; only the newest million are looked at, so mails \
                 that were shipped have to be taken away",
            );
        }
        self.round.pass.remembered = (before - uids.len()) as u64;
        uids.retain(|uid| !self.round.owed.contains(*uid));
        let mut last = Vec::new();
        uids.retain(|uid| {
            let since = suspected.get(uid);
            last.extend(since.map(|since| (*since, *uid)));
            since.is_none()
        });
        last.sort_unstable();
        if let Some(most) = self.source.config.max_messages_per_run {
            uids.truncate(most as usize);
            last.truncate(most as usize - uids.len());
        }
        let wanted = uids.len() + last.len();
        debug!(source = &*self.source.name, listed = before, wanted, "listed {name}");
        self.intake.expects(wanted as u64);
        self.round.list(uids, &sizes);
        for (since, uid) in last {
            self.round.list_last(since, uid, sizes.get(&uid).copied());
        }
    }

    pub(super) async fn hand_over(
        &mut self,
        uid: u32,
        content: Result<Bytes, Trouble>,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), SourceError> {
        if self.stopping {
            return Ok(());
        }
        self.handed_over += 1;
        self.brought_mail = true;
        self.hung_up = false;
        let mail = MailRef(self.handed_over);
        let place = self.place(uid);
        self.pending.insert(mail, (self.uid_validity().unwrap_or_default(), uid));
        self.round.pass.taken += 1;
        self.intake.hand_over(Mail { mail, place, content, permit }).await
    }

    /// Adds mails that became due to a fetch or settle job under way, which settles them without a pause in between.
    pub(super) fn settle_too(&mut self) {
        if self.round.owed.are_worth_it(self.awaited()) {
            self.link.settle_too(self.round.owed.carry_out());
        }
    }

    pub(super) fn uid_validity(&self) -> Option<u32> {
        self.tour.current().and_then(|stop| stop.uid_validity)
    }

    fn place(&self, uid: u32) -> Place {
        Place::Imap {
            source: self.source.name.clone(),
            account: self.source.account_id.clone(),
            folder: self.tour.current().map(|stop| stop.name.clone()).unwrap_or_default(),
            uid_validity: self.uid_validity().unwrap_or_default(),
            uid,
        }
    }

    /// Ends the round of the current folder, and logs its counts unless all are zero.
    pub(super) fn complete(&mut self) -> Result<(), SourceError> {
        let fresh = Round::new(self.source.max_attempts);
        let Round { pass, tally, failed, .. } = std::mem::replace(&mut self.round, fresh);
        let (now, source) = (Instant::now(), &*self.source.name);
        let Some(name) = self.tour.current().map(|stop| stop.name.clone()) else { return Ok(()) };
        if pass.taken + pass.settled + pass.unsettled > 0 {
            info!(
                source,
                taken = pass.taken,
                archived = tally.archived,
                quarantined = tally.quarantined,
                deleted = tally.deleted,
                kept = tally.kept,
                left = tally.left + pass.unsettled,
                "looked through {name}"
            );
        }
        add(&mut self.pass, &pass);
        if pass.taken > 0 {
            self.news.reset();
        }
        if let Some(fault) = failed {
            let since = self.tour.leave_in_trouble(now);
            if since == now {
                warn!(source, folder = &*name, "{fault}; the other folders are read, and this one later");
            }
            let patience = self.source.give_up_after;
            return match self.intake.once && !self.stopping && now >= since + patience {
                true => Err(fault.into()),
                false => Ok(()),
            };
        }
        let again = (!self.intake.once).then(|| now + self.source.config.poll_interval);
        if self.tour.leave(again) {
            info!(source, folder = &*name, "the folder can be read again");
        }
        Ok(())
    }
}

fn add(sum: &mut Pass, more: &Pass) {
    sum.taken += more.taken;
    sum.settled += more.settled;
    sum.unsettled += more.unsettled;
    sum.remembered += more.remembered;
}
