//! Pending updates: kept in memory until the next write, as they are not worth a transaction of their own.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use redb::WriteTransaction;

use super::{
    rows::micros,
    tables::{FOLDERS, PLACES, see},
};

/// Maximum number of places seen; some 100 bytes each. Those that find no room are noted in a later pass.
const MAX_SIGHTED: usize = 1 << 16;

/// Updates that are written with the next commit or expiry.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Keys of the places that were seen.
    sighted: HashSet<Vec<u8>>,
    /// UID that the next mail of a folder may have, by the folder's key. As many entries as folders that are read.
    next_uids: HashMap<Vec<u8>, u32>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.sighted.is_empty() && self.next_uids.is_empty()
    }

    pub(super) fn sight(&mut self, place: Vec<u8>) {
        if self.sighted.len() < MAX_SIGHTED {
            self.sighted.insert(place);
        }
    }

    pub(super) fn expect_uid(&mut self, folder: Vec<u8>, next: u32) {
        self.next_uids.insert(folder, next);
    }

    pub(super) fn write(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let now = micros(Timestamp::now());
        if !self.sighted.is_empty() {
            let mut places = transaction.open_table(PLACES)?;
            self.sighted.iter().try_for_each(|key| see(&mut places, key, now).map(drop))?;
        }
        if !self.next_uids.is_empty() {
            let mut folders = transaction.open_table(FOLDERS)?;
            for (key, next) in &self.next_uids {
                folders.insert(&**key, (now, &next.to_be_bytes()[..]))?;
            }
        }
        Ok(())
    }

    /// Takes back updates whose write failed; those noted meanwhile are newer and win.
    pub(super) fn take_back(&mut self, before: Self) {
        self.sighted.extend(before.sighted);
        for (folder, next) in before.next_uids {
            self.next_uids.entry(folder).or_insert(next);
        }
    }
}
