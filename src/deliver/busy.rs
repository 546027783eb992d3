//! Counter of active workers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A shared count of active workers.
#[derive(Debug, Clone, Default)]
pub struct Busy(Arc<AtomicUsize>);

/// Guard of one active worker; dropping it ends the work.
#[derive(Debug)]
pub struct AtWork(Arc<AtomicUsize>);

impl Busy {
    #[must_use = "the work ends when this is dropped"]
    pub fn begin(&self) -> AtWork {
        self.0.fetch_add(1, Ordering::Relaxed);
        AtWork(self.0.clone())
    }

    pub fn is_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
