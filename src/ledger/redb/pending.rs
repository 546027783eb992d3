//! Pending updates: kept in memory until the next write, as they are not worth a transaction of their own.

use std::collections::HashSet;

use jiff::Timestamp;
use redb::WriteTransaction;

use super::{
    rows::micros,
    tables::{PLACES, see},
};

/// Maximum number of places seen; some 100 bytes each. Those that find no room are noted in a later pass.
const MAX_SIGHTED: usize = 1 << 16;

/// Updates that are written with the next commit or expiry.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Keys of the places that were seen.
    sighted: HashSet<Vec<u8>>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.sighted.is_empty()
    }

    pub(super) fn sight(&mut self, place: Vec<u8>) {
        if self.sighted.len() < MAX_SIGHTED {
            self.sighted.insert(place);
        }
    }

    pub(super) fn write(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        if self.sighted.is_empty() {
            return Ok(());
        }
        let now = micros(Timestamp::now());
        let mut places = transaction.open_table(PLACES)?;
        self.sighted.iter().try_for_each(|key| see(&mut places, key, now).map(drop))
    }

    /// Takes back updates whose write failed.
    pub(super) fn take_back(&mut self, before: Self) {
        self.sighted.extend(before.sighted);
    }
}
