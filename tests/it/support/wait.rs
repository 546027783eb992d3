//! Waiting for conditions in other processes.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// Timeout that nothing reaches, even on a busy machine; a test that waits this long has failed.
pub const LONG: Duration = Duration::from_secs(60);

/// Polls until there is a value; fails with `what` if there is none within `limit`.
#[track_caller]
pub fn eventually<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(20));
    }
}
