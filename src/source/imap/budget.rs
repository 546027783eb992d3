//! Limits on the bytes and the time of a server's responses. Each command states the size of its response when it is sent.
//! No I/O.
//!
//! Received bytes count first against those that were requested; all further bytes are unsolicited, and count against one
//! allowance for the whole session, which refills slowly. Tagged responses and requested bytes grant time: a large mail
//! may take hours over a slow link, but a server that sends a byte now and then is given up after minutes.

use std::time::Duration;

use tokio::time::Instant;

use super::guard::Overrun;

/// Bytes per second below which a server is treated as silent. A modem of 9,600 bit/s carries 1,200.
const LEAST_RATE: u64 = 1 << 10;
/// A command may take as long as the server may be silent (`read_timeout`). On top of that, all commands together may be
/// late by this many times as much: Dovecot sends `* OK Still here` while it works.
const LATE: u32 = 4;
/// Bytes of the response to any command: a tagged line, a few untagged ones, the capabilities. The longest seen have 3 KB.
const ANSWER_BYTES: u64 = 64 << 10;
/// Bytes of all literals of one response to a command that fetches no mail: folder names.
const NAME_BYTES: u64 = 64 << 10;
/// Bytes of text about one mail: its size and flags, its sequence number, its EXPUNGE, its new UID. About 110 with many
/// keywords.
const MAIL_TEXT_BYTES: u64 = 256;
/// Time that a server may take to search, move or flag one mail: a maildir on a network file system takes less.
const MAIL_TIME: Duration = Duration::from_millis(20);
/// Bytes of text about all mails of a folder, before the server has sent EXISTS: enough for 150,000 mails. A larger folder
/// is listed by other means.
const FOLDER_TEXT_BYTES: u64 = 16 << 20;
/// Bytes of a LIST of all folders: 20,000 names of 100 bytes.
const NAMES_BYTES: u64 = 2 << 20;
/// Unsolicited bytes that may arrive at once: another client that flags 15,000 mails causes as many. One that flags more
/// costs a session, but no mail.
const UNASKED_BYTES: u64 = 1 << 20;
/// Unsolicited bytes per second in the long run: as many as 50 mails cause that arrive or are expunged.
const UNASKED_RATE: u64 = 4 << 10;

/// Size and time of the response that a command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    bytes: u64,
    /// Bytes of all literals of one response.
    literal: u64,
    /// Time that the server may need for its own work.
    time: Duration,
    /// Time that the server may be silent, in addition to `read_timeout`.
    silence: Duration,
}

impl Asked {
    /// A tagged response and a few untagged ones.
    pub const LITTLE: Self =
        Self { bytes: ANSWER_BYTES, literal: NAME_BYTES, time: Duration::ZERO, silence: Duration::ZERO };
    /// A LIST of folder names.
    pub const NAMES: Self = Self { bytes: NAMES_BYTES, ..Self::LITTLE };
    /// One line per mail of the folder.
    pub const FOLDER: Self = Self { bytes: FOLDER_TEXT_BYTES, ..Self::LITTLE };

    /// One line, or one number, for each of `mails` mails.
    pub fn mails(mails: usize) -> Self {
        let (text, time) = (mails as u64 * MAIL_TEXT_BYTES, MAIL_TIME * u32::try_from(mails).unwrap_or(u32::MAX));
        Self { bytes: ANSWER_BYTES + text, time, ..Self::LITTLE }
    }

    /// `mails` mails, or parts of them, with `bytes` bytes in total, which grant their own time. `literal`: the maximum
    /// size of one of them.
    pub fn contents(mails: usize, bytes: u64, literal: u64) -> Self {
        Self { bytes: Self::mails(mails).bytes.saturating_add(bytes), literal, ..Self::LITTLE }
    }

    /// Unsolicited responses (IDLE), within this time.
    pub fn news(within: Duration) -> Self {
        Self { bytes: 0, time: within, silence: within, ..Self::LITTLE }
    }
}

/// Bytes that the server may still send, and time that it may take, for the commands under way.
#[derive(Debug)]
pub struct Budget {
    silence: Duration,
    under_way: Vec<Asked>,
    /// Number of mails in the first folder of the session (EXISTS), once known.
    mails: Option<u32>,
    /// Requested bytes that have not arrived.
    left: u64,
    unasked: u64,
    refilled: Instant,
    /// Requested bytes that arrived since the last tagged response.
    came: u64,
    /// Time that the server took, until `looked`, beyond what tagged responses have granted.
    spent: Duration,
    looked: Instant,
}

impl Budget {
    /// `silence`: how long the server may be silent (`read_timeout`).
    pub fn new(silence: Duration, now: Instant) -> Self {
        Self {
            silence,
            under_way: Vec::new(),
            mails: None,
            left: 0,
            unasked: UNASKED_BYTES,
            refilled: now,
            came: 0,
            spent: Duration::ZERO,
            looked: now,
        }
    }

    /// Adds a command that is being sent.
    pub fn begin(&mut self, asked: Asked, now: Instant) {
        if self.under_way.is_empty() {
            self.left = 0;
            self.spent = self.spent.saturating_sub(now.saturating_duration_since(self.looked));
            self.looked = now;
        }
        self.under_way.push(asked);
        self.left = self.left.saturating_add(self.bytes_of(asked));
    }

    /// Records EXISTS: a command for all mails of the folder may return this many lines. Only the first value counts;
    /// otherwise the server could raise it as it likes.
    pub fn exists(&mut self, mails: u32) {
        let before = self.bytes_under_way();
        self.mails.get_or_insert(mails);
        self.left = self.left.saturating_sub(before - self.bytes_under_way());
    }

    fn bytes_of(&self, asked: Asked) -> u64 {
        match self.mails {
            Some(mails) if asked == Asked::FOLDER => asked.bytes.min(Asked::mails(mails as usize).bytes),
            _ => asked.bytes,
        }
    }

    fn bytes_under_way(&self) -> u64 {
        self.under_way.iter().fold(0, |sum, asked| sum.saturating_add(self.bytes_of(*asked)))
    }

    /// Removes a command that was added with `asked`, after its tagged response. Bytes that it did not use are not left to
    /// other commands.
    pub fn end(&mut self, asked: Asked, now: Instant) {
        if let Some(at) = self.under_way.iter().position(|begun| *begun == asked) {
            self.under_way.swap_remove(at);
        }
        self.left = self.left.min(self.bytes_under_way());
        self.look(now);
        self.spent = self.spent.saturating_sub(self.silence + asked.time + self.earned());
        self.came = 0;
    }

    pub fn is_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Returns the maximum number of bytes in all literals of one response.
    pub fn literal(&self) -> u64 {
        self.under_way.iter().map(|asked| asked.literal).max().unwrap_or(NAME_BYTES)
    }

    /// Returns how long the server may be silent.
    pub fn silence(&self) -> Duration {
        self.silence + self.under_way.iter().map(|asked| asked.silence).max().unwrap_or_default()
    }

    /// Returns when the server's time is up if nothing more arrives.
    pub fn ends(&self) -> Instant {
        self.looked + self.time().saturating_sub(self.spent)
    }

    /// Counts `bytes` received bytes; an error if they exceed the limits.
    pub fn take(&mut self, bytes: u64, now: Instant) -> Result<(), Overrun> {
        let more = UNASKED_RATE as f64 * now.saturating_duration_since(self.refilled).as_secs_f64();
        self.unasked = self.unasked.saturating_add(more as u64).min(UNASKED_BYTES);
        self.refilled = now;
        let asked = bytes.min(self.left);
        self.left -= asked;
        self.came += asked;
        self.unasked = self.unasked.checked_sub(bytes - asked).ok_or(Overrun::Unasked)?;
        self.look(now);
        if self.spent > self.time() { Err(self.slow()) } else { Ok(()) }
    }

    /// Returns the error for a server whose time is up.
    pub fn slow(&self) -> Overrun {
        Overrun::Slow { came: self.came, limit: self.time() }
    }

    fn time(&self) -> Duration {
        let asked: Duration = self.under_way.iter().map(|asked| asked.time).sum();
        self.silence * (1 + LATE) + asked + self.earned()
    }

    fn earned(&self) -> Duration {
        Duration::from_secs(self.came / LEAST_RATE)
    }

    /// Adds the time since the last call to `spent`, at most `silence`: a process that was suspended could not see
    /// anything arrive.
    fn look(&mut self, now: Instant) {
        self.spent += now.saturating_duration_since(self.looked).min(self.silence());
        self.looked = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    /// Returns how long it takes until a server that sends `bytes` bytes per second is given up, and how many bytes
    /// arrived.
    fn listened(asked: &[Asked], bytes: u64) -> (Duration, u64, Option<Overrun>) {
        let begin = Instant::now();
        let mut budget = Budget::new(SILENCE, begin);
        asked.iter().for_each(|asked| budget.begin(*asked, begin));
        let (mut now, mut came) = (begin, 0);
        while now < begin + SECOND * 100_000 {
            now += SECOND;
            came += bytes;
            if let Err(overrun) = budget.take(bytes, now) {
                return (now - begin, came, Some(overrun));
            }
        }
        (now - begin, came, None)
    }

    #[test]
    fn a_byte_a_second_is_listened_to_for_five_times_the_silence_whatever_was_asked_for() {
        for asked in [Asked::LITTLE, Asked::contents(1, 25 << 20, 25 << 20), Asked::FOLDER] {
            let (time, _, overrun) = listened(&[asked], 1);
            assert!(time <= SILENCE * (1 + LATE) + SECOND * 2, "{time:?}");
            assert!(matches!(overrun, Some(Overrun::Slow { .. })), "{overrun:?}");
        }
    }

    #[test]
    fn a_mail_of_25_mib_comes_through_over_64_kbit() {
        let mail = 25 << 20;
        let begin = Instant::now();
        let mut budget = Budget::new(SILENCE, begin);
        budget.begin(Asked::contents(1, mail, mail), begin);
        for second in 1..=mail / 8_000 {
            budget.take(8_000, begin + SECOND * u32::try_from(second).unwrap()).unwrap();
        }
    }

    #[test]
    fn no_more_comes_than_was_asked_for_and_the_unasked_allowance() {
        for (asked, bytes) in
            [(Asked::LITTLE, ANSWER_BYTES), (Asked::contents(2, 1 << 20, 1 << 20), (1 << 20) + ANSWER_BYTES + 512)]
        {
            let (_, came, overrun) = listened(&[asked], 1 << 20);
            assert_eq!(overrun, Some(Overrun::Unasked));
            assert!(came <= bytes + UNASKED_BYTES + (2 << 20), "{came}");
        }
    }

    /// A server that completes each command at once and floods the session along with it.
    #[test]
    fn the_unasked_allowance_is_that_of_a_session_and_not_of_each_command() {
        let mut now = Instant::now();
        let mut budget = Budget::new(SILENCE, now);
        let mut came = 0;
        let overrun = loop {
            now += Duration::from_millis(1);
            budget.begin(Asked::LITTLE, now);
            if let Err(overrun) = budget.take(256 << 10, now) {
                break overrun;
            }
            budget.end(Asked::LITTLE, now);
            came += 1;
        };
        // 192 KiB of each response are unsolicited.
        assert_eq!((overrun, came), (Overrun::Unasked, 5));
    }

    #[test]
    fn no_more_is_told_of_a_folder_than_it_is_told_to_hold_whenever_that_comes() {
        let now = Instant::now();
        for is_asked_first in [true, false] {
            let mut budget = Budget::new(SILENCE, now);
            if is_asked_first {
                budget.begin(Asked::LITTLE, now);
                budget.begin(Asked::FOLDER, now);
                budget.exists(3);
                budget.end(Asked::LITTLE, now);
            } else {
                budget.exists(3);
                budget.begin(Asked::FOLDER, now);
            }
            budget.exists(u32::MAX);
            assert_eq!(budget.left, Asked::mails(3).bytes);
        }
        let mut budget = Budget::new(SILENCE, now);
        budget.begin(Asked::FOLDER, now);
        budget.exists(u32::MAX);
        assert_eq!(budget.left, FOLDER_TEXT_BYTES);
    }

    #[test]
    fn what_a_command_did_not_use_is_not_left_to_those_after_it() {
        let now = Instant::now();
        let mut budget = Budget::new(SILENCE, now);
        let large = Asked::contents(1, 25 << 20, 25 << 20);
        budget.begin(large, now);
        budget.begin(Asked::LITTLE, now);
        assert_eq!(budget.literal(), 25 << 20);
        budget.end(large, now);
        assert_eq!((budget.left, budget.literal()), (ANSWER_BYTES, NAME_BYTES));
        budget.end(Asked::LITTLE, now);
        assert_eq!((budget.left, budget.is_under_way()), (0, false));
    }

    #[test]
    fn a_trickle_of_news_is_heard_for_as_long_as_the_wait_lasts_and_a_flood_ends_it() {
        let wait = Asked::news(SECOND * 540);
        let (time, _, overrun) = listened(&[wait], 100);
        assert!(time > SECOND * 540 && matches!(overrun, Some(Overrun::Slow { .. })), "{time:?}");
        let (time, came, overrun) = listened(&[wait], 64 << 10);
        assert_eq!(overrun, Some(Overrun::Unasked));
        assert!(came <= UNASKED_BYTES + UNASKED_RATE * time.as_secs() + (64 << 10), "{came} in {time:?}");
    }

    #[test]
    fn time_in_which_the_process_was_suspended_is_not_the_servers() {
        let begin = Instant::now();
        let mut budget = Budget::new(SILENCE, begin);
        budget.begin(Asked::LITTLE, begin);
        assert_eq!(budget.take(1, begin + SILENCE * 1000), Ok(()));
    }

    #[test]
    fn work_on_mails_has_more_time_and_a_tagged_line_grants_it_anew() {
        let begin = Instant::now();
        let mut budget = Budget::new(SILENCE, begin);
        let moves = Asked::mails(2000);
        budget.begin(moves, begin);
        budget.begin(Asked::LITTLE, begin);
        assert_eq!(budget.ends(), begin + SILENCE * (1 + LATE) + SECOND * 40);
        budget.end(moves, begin + SECOND * 30);
        assert_eq!(budget.ends(), begin + SECOND * 30 + SILENCE * (1 + LATE));
    }

    /// Returns how many commands, of at most 1,000, are completed by a server that takes `each` for each of them.
    fn answered(each: Duration, between: Duration) -> usize {
        let mut now = Instant::now();
        let mut budget = Budget::new(SILENCE, now);
        (0..1000)
            .take_while(|_| {
                now += between;
                budget.begin(Asked::LITTLE, now);
                let steps = 10;
                let is_in_time = (0..steps).all(|_| {
                    now += each / steps;
                    budget.take(1, now).is_ok()
                });
                budget.end(Asked::LITTLE, now);
                is_in_time
            })
            .count()
    }

    #[test]
    fn a_server_may_be_late_but_not_with_each_command() {
        assert_eq!(answered(SILENCE, Duration::ZERO), 1000);
        assert_eq!(answered(SILENCE * 2, SILENCE), 1000, "time between commands makes up for it");
        assert_eq!(answered(SILENCE * 2, Duration::ZERO), 4);
        assert_eq!(answered(SILENCE * 5, Duration::ZERO), 1);
    }
}
