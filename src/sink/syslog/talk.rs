//! Limit for bytes from a receiver. Syslog has no replies, so they are dropped; a receiver that sends without end is
//! disconnected.

use tokio::time::Instant;

/// Allowance in bytes beyond those sent to the receiver: session tickets, a banner, an echo for each frame.
const BYTES: u64 = 1 << 20;
/// Allowed bytes per second in the long run: too few to cost anything.
const RATE: u64 = 64 << 10;

/// Remaining allowance of a connection.
#[derive(Debug)]
pub struct Talk {
    left: u64,
    refilled: Instant,
    /// Maximum excess so far of the bytes received over those written.
    excess: u64,
}

impl Talk {
    pub fn new(now: Instant) -> Self {
        Self { left: BYTES, refilled: now, excess: 0 }
    }

    /// True if the peer may have sent `heard` bytes in total, with `written` bytes sent to it.
    pub fn may_be(&mut self, heard: u64, written: u64, now: Instant) -> bool {
        let more = RATE as f64 * now.saturating_duration_since(self.refilled).as_secs_f64();
        self.left = self.left.saturating_add(more as u64).min(BYTES);
        self.refilled = now;
        let excess = heard.saturating_sub(written).max(self.excess);
        let Some(left) = self.left.checked_sub(excess - self.excess) else { return false };
        (self.left, self.excess) = (left, excess);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_noticed_and_an_echo_or_a_trickle_is_none() {
        let begin = Instant::now();
        let mut talk = Talk::new(begin);
        assert!(talk.may_be(BYTES, 0, begin));
        assert!(!talk.may_be(BYTES + 1, 0, begin));
        let mut talk = Talk::new(begin);
        assert!(talk.may_be(1 << 40, 1 << 40, begin));
        let mut talk = Talk::new(begin);
        let is_borne = (1..10_000_u32)
            .all(|second| talk.may_be(u64::from(second) * (RATE - 1), 0, begin + Duration::from_secs(1) * second));
        assert!(is_borne);
    }
}
