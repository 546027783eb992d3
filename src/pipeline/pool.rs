//! Memory budget of `intake.max_size`: shared by the mails of all sources and by what readers hold inflated.
//!
//! Mails wait for their bytes before they are fetched. A reader that has to hold a large container takes what is left;
//! where that is not enough, it waits for the single permit to go beyond the budget, by one container. There is no
//! deadlock: a reader releases what it holds before it waits for memory, and when it has waited for a sink for a moment
//! (`sink_queue.rs`); so every holder is at work.

use std::sync::Arc;

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{
    extract::{Reservation, Reserve},
    ledger::Bookmark,
};

/// The budget, and the single permit to go beyond it.
#[derive(Debug, Clone)]
pub struct Pool {
    budget: Arc<Semaphore>,
    beyond: Arc<Semaphore>,
}

/// The pool as seen by the reader of one mail.
pub struct Share {
    pool: Pool,
    runtime: Handle,
    bookmark: Bookmark,
}

/// Memory taken from the pool for one container.
struct Taken {
    pool: Pool,
    runtime: Handle,
    bookmark: Bookmark,
    bytes: Option<OwnedSemaphorePermit>,
    beyond: Option<OwnedSemaphorePermit>,
}

impl Pool {
    pub fn new(bytes: u32) -> Self {
        Self { budget: Arc::new(Semaphore::new(bytes as usize)), beyond: Arc::new(Semaphore::new(1)) }
    }

    /// Returns the semaphore from which mails take their bytes.
    pub fn budget(&self) -> &Arc<Semaphore> {
        &self.budget
    }

    /// Returns the share of one reader. `bookmark` is its mail's: a process that dies while its reader waits here did not
    /// die because of the mail.
    pub fn share(&self, runtime: Handle, bookmark: Bookmark) -> Share {
        Share { pool: self.clone(), runtime, bookmark }
    }
}

impl Reserve for Share {
    fn reservation(&self) -> Box<dyn Reservation> {
        Box::new(Taken {
            pool: self.pool.clone(),
            runtime: self.runtime.clone(),
            bookmark: self.bookmark.clone(),
            bytes: None,
            beyond: None,
        })
    }
}

impl Reservation for Taken {
    fn grow(&mut self, bytes: usize) {
        if self.beyond.is_some() {
            return;
        }
        let left = u32::try_from(bytes).ok().map(|bytes| self.pool.budget.clone().try_acquire_many_owned(bytes));
        if let Some(Ok(more)) = left {
            match &mut self.bytes {
                Some(bytes) => bytes.merge(more),
                None => self.bytes = Some(more),
            }
            return;
        }
        self.bookmark.pause();
        let beyond = self.runtime.block_on(self.pool.beyond.clone().acquire_owned());
        self.bookmark.resume();
        self.beyond = Some(beyond.expect("the pool is never closed"));
        // The permit covers all of the container.
        self.bytes = None;
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;
    use crate::ledger::backend;

    const BUDGET: u32 = 1000;

    fn pool() -> (tokio::runtime::Runtime, Pool, Share) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let pool = Pool::new(BUDGET);
        let share = pool.share(runtime.handle().clone(), backend::in_memory().bookmark());
        (runtime, pool, share)
    }

    #[test]
    fn what_a_container_takes_counts_with_the_mails_and_is_given_back() {
        let (_runtime, pool, share) = pool();
        let mail = pool.budget().clone().try_acquire_many_owned(300).unwrap();
        let mut taken = share.reservation();
        taken.grow(400);
        taken.grow(100);
        assert_eq!(pool.budget().available_permits(), 200);
        drop(taken);
        drop(mail);
        assert_eq!(pool.budget().available_permits(), BUDGET as usize);
    }

    #[test]
    fn one_reader_at_a_time_goes_beyond_the_budget_and_needs_nothing_of_it_then() {
        let (runtime, pool, share) = pool();
        let mut first = share.reservation();
        first.grow(600);
        first.grow(600);
        first.grow(usize::MAX);
        assert_eq!(pool.budget().available_permits(), BUDGET as usize);
        // Another one finds room in the budget, and waits if that is not enough.
        let (tell, told) = mpsc::channel();
        let other = pool.share(runtime.handle().clone(), backend::in_memory().bookmark());
        let waiting = std::thread::spawn(move || {
            let mut second = other.reservation();
            second.grow(900);
            tell.send("within").unwrap();
            second.grow(900);
            tell.send("beyond").unwrap();
        });
        assert_eq!(told.recv().unwrap(), "within");
        assert!(told.recv_timeout(Duration::from_millis(200)).is_err());
        drop(first);
        assert_eq!(told.recv().unwrap(), "beyond");
        waiting.join().unwrap();
        assert_eq!(pool.budget().available_permits(), BUDGET as usize);
    }
}
