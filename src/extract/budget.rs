//! What one mail may cost: limits that are spent while reading.

use std::cell::Cell;

use crate::{
    limits::Limits,
    trouble::{Reason, Trouble},
};

use super::room::Room;

/// The most that is held of an archive or mail inside an archive, and of a member of a compressed tar, in bytes.
/// Reporters nest a zip of some kilobytes. Less in tests, which would take half a minute for it.
pub(super) const HELD_BYTES: usize = if cfg!(test) { 1 << 20 } else { 32 << 20 };

/// Output below this is never a bomb, so that a short, very regular document is not taken for one, in bytes.
const RATIO_FREE_BYTES: u64 = 1 << 20;

/// What one mail has cost so far. Spent through shared references: readers of one mail are open inside each other.
#[derive(Debug)]
pub(super) struct Budget<'l> {
    pub limits: &'l Limits,
    pub room: &'l Room<'l>,
    /// The most that the mail may inflate to where that is less than the limit, and the trouble of one that goes on.
    allowance: Option<(u64, Trouble)>,
    inflated: Cell<u64>,
    parts: Cell<u64>,
    entries: Cell<u64>,
    unpacked: Cell<u64>,
}

impl<'l> Budget<'l> {
    pub fn new(limits: &'l Limits, room: &'l Room<'l>, allowance: Option<(u64, Trouble)>) -> Self {
        Self {
            limits,
            room,
            allowance,
            inflated: Cell::new(0),
            parts: Cell::new(0),
            entries: Cell::new(0),
            unpacked: Cell::new(0),
        }
    }

    /// Bytes that have come out of compressed streams so far.
    pub fn inflated(&self) -> u64 {
        self.inflated.get()
    }

    /// True if the mail would have gone on beyond its allowance.
    pub fn is_exhausted(&self) -> bool {
        self.allowance.as_ref().is_some_and(|(most, _)| self.inflated() > *most)
    }

    /// `bytes` came out of a compressed stream for the first time.
    pub fn inflate(&self, bytes: u64) -> Result<(), Trouble> {
        let limit = self.limits.mail_inflated_bytes;
        let (allowed, trouble) = self.allowance.as_ref().map_or((limit, None), |(most, why)| (*most, Some(why)));
        spend(&self.inflated, bytes, allowed.min(limit)).map_err(|()| {
            if let Some(trouble) = trouble.filter(|_| allowed < limit) {
                return trouble.clone();
            }
            let what = "what the mail inflates to, in bytes,";
            Trouble::over(Reason::MailInflatesTooFar, what, "limits.mail_inflated_bytes", limit)
        })
    }

    /// A stream has taken in and put out so many bytes.
    pub fn ratio(&self, taken: u64, put: u64) -> Result<(), Trouble> {
        let limit = self.limits.inflation_ratio;
        if put <= RATIO_FREE_BYTES || put <= taken.saturating_mul(limit) {
            return Ok(());
        }
        let what = "the ratio of inflated to compressed bytes";
        Err(Trouble::over(Reason::InflationRatio, what, "limits.inflation_ratio", limit))
    }

    /// One more part of this mail or of a mail in it.
    pub fn part(&self) -> Result<(), Trouble> {
        let limit = self.limits.mail_parts;
        spend(&self.parts, 1, limit)
            .map_err(|()| Trouble::over(Reason::TooManyParts, "the mail's number of parts", "limits.mail_parts", limit))
    }

    /// One more member of an archive. Counted over the whole mail: archives of archives grow by multiplication.
    pub fn entry(&self) -> Result<(), Trouble> {
        let limit = self.limits.archive_entries;
        spend(&self.entries, 1, limit).map_err(|()| {
            let what = "the number of members in the mail's archives";
            Trouble::over(Reason::TooManyEntries, what, "limits.archive_entries", limit)
        })
    }

    /// An archive or mail of so many bytes was unpacked from an archive. Together they may weigh what a mail may: what
    /// was packed once hardly shrinks when packed again, unless it is a bomb.
    pub fn unpack(&self, bytes: u64) -> Result<(), Trouble> {
        let limit = self.limits.mail_bytes;
        spend(&self.unpacked, bytes, limit).map_err(|()| {
            let what = "the size of archives inside archives, in bytes,";
            Trouble::over(Reason::MailInflatesTooFar, what, "limits.mail_bytes", limit)
        })
    }

    /// The depth inside a container that stands at `depth`; a mail from the mailbox stands at 0.
    pub fn deeper(&self, depth: u64) -> Result<u64, Trouble> {
        let limit = self.limits.nesting;
        if depth < limit {
            return Ok(depth + 1);
        }
        let what = "the depth of mails and archives inside each other";
        Err(Trouble::over(Reason::NestedTooDeep, what, "limits.nesting", limit))
    }
}

fn spend(spent: &Cell<u64>, more: u64, limit: u64) -> Result<(), ()> {
    let sum = spent.get().saturating_add(more);
    spent.set(sum);
    if sum > limit { Err(()) } else { Ok(()) }
}
