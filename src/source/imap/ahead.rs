//! Prefetch: fetches small mails together with the first listing, before it is known that they exist; this saves a round
//! trip.

use std::{collections::HashMap, sync::Arc};

use async_imap::imap_proto::Response;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{bodies::body, budget::Asked, flight::Command};
use crate::source::Intake;

/// Maximum number of mails to prefetch: about as many as are read while the next command is on its way to a distant
/// server.
const MAILS: u32 = 768;
/// Size in bytes below which a prefetched mail arrives whole; of others this much is transferred in vain. Most mails with
/// one report are smaller.
const MAIL_BYTES: u32 = 8 << 10;

/// Range of UIDs to prefetch, if the intake's budget has room at that time.
#[derive(Debug, Clone)]
pub struct Ahead {
    /// First UID of the range.
    from: u32,
    mails: u32,
    budget: Arc<Semaphore>,
}

/// Prefetch under way, and the mails that arrived.
#[derive(Debug)]
pub struct Early {
    first: u32,
    last: u32,
    held: HashMap<u32, Bytes>,
    /// Reservation in the intake's budget for all bytes that may arrive.
    permit: OwnedSemaphorePermit,
}

impl Ahead {
    /// Prefetches at most `most` mails from UID `from` on; none if the last UID is forgotten between processes: in an
    /// INBOX that has other mails, those would be transferred in vain each time.
    pub fn of(from: u32, most: u32, intake: &Intake) -> Self {
        let room = if intake.forgets() { 0 } else { intake.budget_bytes() / 4 / MAIL_BYTES };
        Self { from: from.max(1), mails: MAILS.min(most).min(room), budget: intake.budget() }
    }

    /// Reserves the bytes and starts the prefetch; `None` if the budget has no room now.
    pub fn begin(&self) -> Option<Early> {
        let last = self.from.checked_add(self.mails.checked_sub(1)?)?;
        let permit = self.budget.clone().try_acquire_many_owned(self.mails * MAIL_BYTES).ok()?;
        Some(Early { first: self.from, last, held: HashMap::new(), permit })
    }
}

impl Early {
    /// Returns the FETCH command. UIDs in the range need not exist (RFC 3501 section 6.4.8).
    pub fn command(&self) -> Command {
        let (mails, most) = (self.last - self.first + 1, u64::from(MAIL_BYTES));
        let text = format!("UID FETCH {}:{} (UID BODY.PEEK[]<0.{MAIL_BYTES}>)", self.first, self.last);
        // Servers without partial FETCH send whole mails: small ones may pass.
        Command::new(text, Asked::contents(mails as usize, u64::from(mails) * most, 8 * most))
    }

    /// True if `uid` is in the prefetched range.
    pub fn has(&self, uid: u32) -> bool {
        (self.first..=self.last).contains(&uid)
    }

    pub fn hear(&mut self, response: &Response<'_>) {
        if let Some((uid, _, content)) = body(response)
            && self.has(uid)
            && content.len() < MAIL_BYTES as usize
        {
            self.held.insert(uid, Bytes::copy_from_slice(content));
        }
    }

    /// Removes from `uids` the mails that arrived whole, and returns them: those whose length is the one in `sizes`, and
    /// at most `mail_bytes`. The permit is for all of them.
    pub fn take_whole(
        self,
        uids: &mut Vec<u32>,
        sizes: &HashMap<u32, u64>,
        mail_bytes: u64,
    ) -> (Vec<(u32, Bytes)>, OwnedSemaphorePermit) {
        let Self { mut held, permit, .. } = self;
        held.retain(|uid, content| {
            let length = content.len() as u64;
            sizes.get(uid) == Some(&length) && length <= mail_bytes
        });
        let mut mails = Vec::with_capacity(held.len());
        uids.retain(|uid| match held.remove(uid) {
            Some(content) => {
                mails.push((*uid, content));
                false
            }
            None => true,
        });
        (mails, permit)
    }
}
