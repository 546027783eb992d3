//! Waiting for what other processes do.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// Longer than anything on a busy machine takes; a test that waits this long has failed.
pub const LONG: Duration = Duration::from_secs(60);

/// Asks again until there is an answer; fails with `what` when there is none within `limit`.
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
