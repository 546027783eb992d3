//! Runtime of commands that do one thing after another.

use std::io;

/// Runs `work` to its end, on a runtime of its own that is given up afterwards.
pub fn block_on<T>(work: impl Future<Output = T>) -> io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work))
}
