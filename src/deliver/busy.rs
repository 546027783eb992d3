//! Counts who is at work.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A shared count of those who are at work at something.
#[derive(Debug, Clone, Default)]
pub struct Busy(Arc<AtomicUsize>);

/// One of them, until it is dropped.
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
