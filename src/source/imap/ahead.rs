//! Mails that are asked for before it is known that they are there, along with the list: a way to the server and back is
//! spared for them.

use std::{collections::HashMap, sync::Arc};

use async_imap::imap_proto::Response;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{bodies::body, budget::Asked, flight::Command};
use crate::source::Intake;

/// Mails that are asked for: some as many as are read while the next command is on its way to a server far off.
const MAILS: u32 = 768;
/// Mails below this size come whole, and of others so much comes for nothing, bytes. Most with one report are smaller.
const MAIL_BYTES: u32 = 8 << 10;

/// What is asked for, where the intake's budget has room when it is.
#[derive(Debug, Clone)]
pub struct Ahead {
    /// The UID that the first of them may have.
    from: u32,
    mails: u32,
    budget: Arc<Semaphore>,
}

/// What is under way, or came.
#[derive(Debug)]
pub struct Early {
    first: u32,
    last: u32,
    held: HashMap<u32, Bytes>,
    /// For as much as may come.
    permit: OwnedSemaphorePermit,
}

impl Ahead {
    /// No more than `most` mails. None where it is forgotten from one process to the next where the last one came to: in an
    /// INBOX that has other mails, those would come for nothing each time.
    pub fn of(from: u32, most: u32, intake: &Intake) -> Self {
        let room = if intake.forgets() { 0 } else { intake.budget_bytes() / 4 / MAIL_BYTES };
        Self { from: from.max(1), mails: MAILS.min(most).min(room), budget: intake.budget() }
    }

    /// `None` where there is no room now.
    pub fn begin(&self) -> Option<Early> {
        let last = self.from.checked_add(self.mails.checked_sub(1)?)?;
        let permit = self.budget.clone().try_acquire_many_owned(self.mails * MAIL_BYTES).ok()?;
        Some(Early { first: self.from, last, held: HashMap::new(), permit })
    }
}

impl Early {
    /// UIDs need not be there (RFC 3501 section 6.4.8).
    pub fn command(&self) -> Command {
        let (mails, most) = (self.last - self.first + 1, u64::from(MAIL_BYTES));
        let text = format!("UID FETCH {}:{} (UID BODY.PEEK[]<0.{MAIL_BYTES}>)", self.first, self.last);
        // Servers that know no parts send whole mails: small ones may pass.
        Command::new(text, Asked::contents(mails as usize, u64::from(mails) * most, 8 * most))
    }

    /// Whether it was asked for.
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

    /// Takes those that came whole out of `uids`: as long as they were told to be in `sizes`, and no longer than `mail_bytes`.
    /// The permit is for all of them.
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
