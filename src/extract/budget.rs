//! Resource budget of one mail: limits that are spent while reading.

use std::cell::Cell;

use crate::{
    limits::Limits,
    trouble::{Reason, Trouble},
};

use super::room::Room;

/// Maximum size, in bytes, of what is held in memory of an archive or mail inside an archive, or of a member of a compressed
/// tar. Reporters nest a zip of some kilobytes. Smaller in tests, which would take half a minute with the real value.
pub(super) const HELD_BYTES: usize = if cfg!(test) { 1 << 20 } else { 32 << 20 };

/// Inflated size, in bytes, up to which the ratio is not checked: a short, very regular document is not a decompression
/// bomb.
const RATIO_FREE_BYTES: u64 = 1 << 20;

/// Resources that one mail has used so far. Spent through shared references, since readers of one mail are nested.
#[derive(Debug)]
pub(super) struct Budget<'l> {
    pub limits: &'l Limits,
    pub room: &'l Room<'l>,
    /// Maximum number of inflated bytes if lower than the limit, and the trouble to report when the mail exceeds it.
    allowance: Option<(u64, Trouble)>,
    inflated: Cell<u64>,
    parts: Cell<u64>,
    entries: Cell<u64>,
    unpacked: Cell<u64>,
    skipped: Cell<u64>,
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
            skipped: Cell::new(0),
        }
    }

    /// Number of bytes inflated so far.
    pub fn inflated(&self) -> u64 {
        self.inflated.get()
    }

    /// True if the mail inflates to more than its allowance.
    pub fn is_exhausted(&self) -> bool {
        self.allowance.as_ref().is_some_and(|(most, _)| self.inflated() > *most)
    }

    /// Counts `bytes` that were inflated for the first time.
    pub fn inflate(&self, bytes: u64) -> Result<(), Trouble> {
        let limit = self.limits.mail_inflated_bytes;
        let (allowed, trouble) = self.allowance.as_ref().map_or((limit, None), |(most, why)| (*most, Some(why)));
        spend(&self.inflated, bytes, allowed.min(limit)).map_err(|()| {
            if let Some(trouble) = trouble.filter(|_| allowed < limit) {
                return trouble.clone();
            }
            let what = "the decompressed size of the mail, in bytes,";
            Trouble::over(Reason::MailInflatesTooFar, what, "limits.mail_inflated_bytes", limit)
        })
    }

    /// Checks the inflation ratio of a stream that has read `taken` bytes and produced `put`.
    pub fn ratio(&self, taken: u64, put: u64) -> Result<(), Trouble> {
        let limit = self.limits.inflation_ratio;
        if put <= RATIO_FREE_BYTES || put <= taken.saturating_mul(limit) {
            return Ok(());
        }
        let what = "the ratio of inflated to compressed bytes";
        Err(Trouble::over(Reason::InflationRatio, what, "limits.inflation_ratio", limit))
    }

    /// Counts one more part of this mail or of a mail inside it.
    pub fn part(&self) -> Result<(), Trouble> {
        let limit = self.limits.mail_parts;
        spend(&self.parts, 1, limit)
            .map_err(|()| Trouble::over(Reason::TooManyParts, "the mail's number of parts", "limits.mail_parts", limit))
    }

    /// Counts one more archive member. Counted over the whole mail: the members of nested archives multiply.
    pub fn entry(&self) -> Result<(), Trouble> {
        let limit = self.limits.archive_entries;
        spend(&self.entries, 1, limit).map_err(|()| {
            let what = "the number of members in the mail's archives";
            Trouble::over(Reason::TooManyEntries, what, "limits.archive_entries", limit)
        })
    }

    /// Counts `bytes` of an archive or mail that was unpacked from an archive. Their total may be as large as a mail may be:
    /// compressed data hardly shrinks when compressed again, unless it is a bomb.
    pub fn unpack(&self, bytes: u64) -> Result<(), Trouble> {
        let limit = self.limits.mail_bytes;
        spend(&self.unpacked, bytes, limit).map_err(|()| {
            let what = "the size of archives inside archives, in bytes,";
            Trouble::over(Reason::MailInflatesTooFar, what, "limits.mail_bytes", limit)
        })
    }

    /// Counts `bytes` that are decoded again to get to one of several documents in a stream. Their total may be as large as all
    /// decompressed data: then a mail takes no more than twice the time.
    pub fn skip(&self, bytes: u64) -> Result<(), Trouble> {
        let limit = self.limits.mail_inflated_bytes;
        spend(&self.skipped, bytes, limit).map_err(|()| {
            let what = "what is decoded again of streams with several reports, in bytes,";
            Trouble::over(Reason::MailInflatesTooFar, what, "limits.mail_inflated_bytes", limit)
        })
    }

    /// Maximum number of members, mails or documents that are looked for in one of them: one more than can be read, so that it
    /// is told that there are more.
    pub fn most_entries(&self) -> usize {
        usize::try_from(self.limits.archive_entries.saturating_add(1)).unwrap_or(usize::MAX)
    }

    /// Returns the nesting depth inside a container at `depth`; a mail from the mailbox has depth 0.
    pub fn deeper(&self, depth: u64) -> Result<u64, Trouble> {
        let limit = self.limits.nesting;
        if depth < limit {
            return Ok(depth + 1);
        }
        let what = "the nesting depth of mails and archives";
        Err(Trouble::over(Reason::NestedTooDeep, what, "limits.nesting", limit))
    }
}

fn spend(spent: &Cell<u64>, more: u64, limit: u64) -> Result<(), ()> {
    let sum = spent.get().saturating_add(more);
    spent.set(sum);
    if sum > limit { Err(()) } else { Ok(()) }
}
