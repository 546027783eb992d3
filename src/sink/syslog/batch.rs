//! The batch of frames that one connection carries with `acknowledgements: strict`.

use std::time::Duration;

use tokio::time::Instant;

/// Maximum size of a batch in bytes: it outweighs the round trips of a new connection, and a receiver must be able to read
/// as much within the send timeout.
const BYTES: usize = 1 << 20;
/// Time without a new frame after which the batch is closed, as the queue is empty.
const LINGER: Duration = Duration::from_millis(100);
/// Maximum duration of a batch, so that a slow but steady stream of frames is confirmed.
const LONGEST: Duration = Duration::from_secs(5);

/// The frames between opening and closing one connection. At most 1 MiB plus one write.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: usize,
    /// Time of the first write and of the last one.
    span: Option<(Instant, Instant)>,
}

impl Batch {
    /// Records that these bytes are being written.
    pub fn add(&mut self, bytes: usize, now: Instant) {
        self.bytes += bytes;
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
    }

    pub fn is_full(&self) -> bool {
        self.bytes >= BYTES
    }

    /// Returns the time at which to close the batch unless more frames come; `None` if it is empty.
    pub fn due(&self) -> Option<Instant> {
        self.span.map(|(first, last)| (last + LINGER).min(first + LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_batch_is_never_due_and_a_trickle_is_closed_in_the_end() {
        let start = Instant::now();
        let mut batch = Batch::default();
        assert_eq!(batch.due(), None);
        batch.add(10, start);
        assert_eq!(batch.due(), Some(start + LINGER));
        for tick in 1..100 {
            batch.add(10, start + tick * LINGER / 2);
        }
        assert_eq!(batch.due(), Some(start + LONGEST));
    }

    #[test]
    fn a_batch_is_full_at_its_size() {
        let mut batch = Batch::default();
        batch.add(BYTES - 1, Instant::now());
        assert!(!batch.is_full());
        batch.add(1, Instant::now());
        assert!(batch.is_full());
    }
}
