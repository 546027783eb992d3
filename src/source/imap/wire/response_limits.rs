//! Limits on what a server may send, between the network and async-imap: limits each response before it is buffered, enforces the [`Budget`] of the
//! commands under way, and rewrites input that makes the parser panic.
//!
//! async-imap allocates an announced literal before it arrives (`{400000000}` costs 394 MB), buffers a line without end,
//! parses a whole line again whenever a piece of it arrives, and recurses into parentheses. The [`Scanner`] reads along,
//! recognizes literals exactly where imap-proto does, passes a line on only when it is complete, and fails the read if a
//! limit is exceeded.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::net::Wire;

/// Maximum bytes of text in one response. The longest legitimate one is a SEARCH over 5,000 mails, about 55 KB.
const LINE_BYTES: u64 = 1 << 20;
/// Maximum nesting depth of parentheses, for each of which imap-proto recurses. A FETCH needs three, a MIME structure a
/// few dozen.
const DEPTH: u32 = 64;
const HELD_BYTES: usize = 16 << 10;
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

/// The server exceeded the limits of the commands under way. Passed to the caller inside an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overrun {
    #[error("the server announced {announced} bytes where at most {allowed} were expected")]
    Literal { announced: u64, allowed: u64 },
    #[error("the server sent a response of more than {LINE_BYTES} bytes of text")]
    Line,
    #[error("the server sent a response with more than {DEPTH} nested parentheses")]
    Depth,
    #[error("the server keeps sending unsolicited responses")]
    Unasked,
    #[error("the server sent only {came} bytes of a response in {limit:.0?}")]
    Slow { came: u64, limit: Duration },
}

/// A connection that reads one response at a time, and fails if a response is too large, if the server is silent for too
/// long, or if its responses exceed the budget of the commands under way.
pub struct LimitedStream {
    wire: Box<dyn Wire>,
    /// Buffer for at most one line plus the bytes of one read; received bytes are between `start` and `end`.
    held: Vec<u8>,
    start: usize,
    /// End of the bytes that may be passed on.
    free: usize,
    /// End of the bytes that were scanned.
    scanned: usize,
    end: usize,
    scanner: Scanner,
    budget: Budget,
    /// When the current wait for the next byte began.
    silent_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl LimitedStream {
    /// `silence`: how long a read may wait for the next byte (`read_timeout`), from which the time limit of a response is
    /// derived too.
    pub fn new(wire: Box<dyn Wire>, silence: Duration) -> Self {
        Self {
            wire,
            held: vec![0; HELD_BYTES],
            start: 0,
            free: 0,
            scanned: 0,
            end: 0,
            scanner: Scanner::new(),
            budget: Budget::new(silence, Instant::now()),
            silent_since: None,
            timer: Box::pin(sleep(silence)),
        }
    }

    /// Registers a command that is being sent.
    pub fn begin(&mut self, asked: Allowance) {
        if !self.budget.is_under_way() {
            self.silent_since = None;
        }
        self.budget.begin(asked, Instant::now());
        self.scanner.allowed = self.budget.literal();
    }

    /// Records the number of mails in the selected folder (EXISTS).
    pub fn exists(&mut self, mails: u32) {
        self.budget.exists(mails);
    }

    /// Unregisters a command after its tagged response.
    pub fn end(&mut self, asked: Allowance) {
        self.budget.end(asked, Instant::now());
        self.scanner.allowed = self.budget.literal();
    }

    /// Returns the connection itself, to start TLS on it; `None` if unread data is left in the buffer (command injection
    /// before STARTTLS).
    pub fn into_wire(self) -> Option<Box<dyn Wire>> {
        (self.start == self.end).then_some(self.wire)
    }

    /// Reads from the connection into the buffer; true at end of file.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.make_room();
        let mut buffer = ReadBuf::new(&mut self.held[self.end..]);
        match Pin::new(&mut self.wire).poll_read(cx, &mut buffer) {
            Poll::Ready(result) => {
                let came = buffer.filled().len();
                self.end += came;
                self.silent_since = None;
                result?;
                self.budget.take(came as u64, Instant::now()).map_err(io::Error::other)?;
                Poll::Ready(Ok(came == 0))
            }
            Poll::Pending => {
                ready!(self.poll_overdue(cx));
                let since = self.silent_since.unwrap_or_else(Instant::now);
                Poll::Ready(Err(match since.elapsed() >= self.budget.silence() {
                    true => io::ErrorKind::TimedOut.into(),
                    false => io::Error::other(self.budget.slow()),
                }))
            }
        }
    }

    /// Ready if the server has been silent, or has taken its time, for too long. Compares the clock itself: TLS records
    /// without application data can use up the cooperative budget of this task, and then a timer never fires.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let since = *self.silent_since.get_or_insert(now);
        let ends = self.budget.ends().min(since + self.budget.silence());
        if now >= ends {
            return Poll::Ready(());
        }
        if self.timer.deadline() != ends {
            self.timer.as_mut().reset(ends);
        }
        self.timer.as_mut().poll(cx)
    }

    /// Makes room in the buffer for another read, behind the incomplete line that it holds.
    fn make_room(&mut self) {
        if self.start > 0 {
            self.held.copy_within(self.start..self.end, 0);
            for place in [&mut self.free, &mut self.scanned, &mut self.end] {
                *place -= self.start;
            }
            self.start = 0;
        }
        let wanted = self.end + HELD_BYTES;
        if self.held.len() < wanted || self.held.len() > 4 * wanted {
            self.held.resize(2 * wanted, 0);
            self.held.shrink_to_fit();
        }
    }
}

impl AsyncRead for LimitedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.start == this.free {
            if this.scanned == this.end && ready!(this.poll_fill(cx))? {
                return Poll::Ready(Ok(()));
            }
            let Passed { scanned, free } =
                this.scanner.pass(&mut this.held[this.scanned..this.end]).map_err(io::Error::other)?;
            if free > 0 {
                this.free = this.scanned + free;
            }
            this.scanned += scanned;
        }
        let fits = buf.remaining().min(this.free - this.start);
        buf.put_slice(&this.held[this.start..this.start + fits]);
        this.start += fits;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LimitedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().wire).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_shutdown(cx)
    }
}

/// async-imap requires `Debug`; the buffer may contain mail, and is not shown.
impl fmt::Debug for LimitedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LimitedStream")
    }
}

/// Size and time of the response that a command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    bytes: u64,
    /// Bytes of all literals of one response.
    literal: u64,
    /// Time that the server may need for its own work.
    time: Duration,
    /// Time that the server may be silent, in addition to `read_timeout`.
    silence: Duration,
}

impl Allowance {
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
    under_way: Vec<Allowance>,
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
    pub fn begin(&mut self, asked: Allowance, now: Instant) {
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

    fn bytes_of(&self, asked: Allowance) -> u64 {
        match self.mails {
            Some(mails) if asked == Allowance::FOLDER => asked.bytes.min(Allowance::mails(mails as usize).bytes),
            _ => asked.bytes,
        }
    }

    fn bytes_under_way(&self) -> u64 {
        self.under_way.iter().fold(0, |sum, asked| sum.saturating_add(self.bytes_of(*asked)))
    }

    /// Removes a command that was added with `asked`, after its tagged response. Bytes that it did not use are not left to
    /// other commands.
    pub fn end(&mut self, asked: Allowance, now: Instant) {
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

/// Progress of the scanner in its input.
struct Passed {
    scanned: usize,
    /// Number of these bytes that may be passed on.
    free: usize,
}

/// State machine that scans responses byte by byte, across reads of any size.
struct Scanner {
    /// Maximum bytes of all literals of one response.
    allowed: u64,
    /// First bytes of the response, which distinguish status text from data.
    head: [u8; 9],
    is_status: bool,
    text_bytes: u64,
    literal_bytes: u64,
    /// Bytes of the current literal that have not arrived.
    remaining: u64,
    announcement: Announcement,
    depth: u32,
    quoted: bool,
    last: u8,
}

/// Matched part of a literal announcement `{n}CRLF`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Announcement {
    None,
    Number(Option<u64>),
    Closed(u64),
    Return(u64),
}

impl Scanner {
    fn new() -> Self {
        Self {
            allowed: 0,
            head: [0; 9],
            is_status: false,
            text_bytes: 0,
            literal_bytes: 0,
            remaining: 0,
            announcement: Announcement::None,
            depth: 0,
            quoted: false,
            last: 0,
        }
    }

    /// Scans `input` up to the end of the response. Complete lines may be passed on, and literals as they arrive:
    /// async-imap tries to parse a response, at some cost, whenever it gets data.
    fn pass(&mut self, input: &mut [u8]) -> Result<Passed, Overrun> {
        let (mut at, mut free) = (0, 0);
        while let Some(byte) = input.get_mut(at) {
            if self.remaining > 0 {
                let passed = (input.len() - at).min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
                self.remaining -= passed as u64;
                at += passed;
                free = at;
                continue;
            }
            let byte = {
                *byte = self.clean(*byte);
                *byte
            };
            at += 1;
            if byte == b'\n' {
                free = at;
            }
            if self.step(byte)? {
                break;
            }
        }
        Ok(Passed { scanned: at, free })
    }

    /// Replaces bytes that imap-proto can't parse. It panics on a non-ASCII byte in status text right after a response
    /// code, and fails at NUL; that text is only for people. A `{` there must not look like a literal, neither to
    /// imap-proto nor to this scanner. imap-proto does not know NAMESPACE either, a response that is only sent on request:
    /// `* NAMESPACE (…` is passed on as the status text `* NO ESPACE (…`.
    fn clean(&self, byte: u8) -> u8 {
        match byte {
            b'A' | b'a' if self.text_bytes == 3 && self.head[..3].eq_ignore_ascii_case(b"* N") => b'O',
            b'M' | b'm' if self.text_bytes == 4 && self.head[..4].eq_ignore_ascii_case(b"* NO") => b' ',
            b'{' if self.is_status => b'(',
            0 if self.is_status => b'?',
            0x80.. if self.is_status && self.last == b']' => b'?',
            _ => byte,
        }
    }

    /// Processes one byte of text; true at the end of a response.
    fn step(&mut self, byte: u8) -> Result<bool, Overrun> {
        if let Some(place) = usize::try_from(self.text_bytes).ok().and_then(|at| self.head.get_mut(at)) {
            *place = byte;
            self.is_status = is_status(&self.head);
        }
        self.text_bytes += 1;
        if self.text_bytes > LINE_BYTES {
            return Err(Overrun::Line);
        }
        self.follow_brackets(byte)?;
        let announced = self.follow_announcement(byte);
        // The second byte of an escape sequence escapes nothing itself.
        self.last = if self.quoted && self.last == b'\\' { 0 } else { byte };
        if let Some(bytes) = announced {
            self.literal_bytes = self.literal_bytes.saturating_add(bytes);
            if self.literal_bytes > self.allowed {
                return Err(Overrun::Literal { announced: bytes, allowed: self.allowed });
            }
            self.remaining = bytes;
            return Ok(false);
        }
        if byte == b'\n' {
            *self = Self { allowed: self.allowed, ..Self::new() };
        }
        Ok(byte == b'\n')
    }

    fn follow_announcement(&mut self, byte: u8) -> Option<u64> {
        use Announcement::{Closed, Number, Return};
        let digit = u64::from(byte.wrapping_sub(b'0'));
        self.announcement = match (self.announcement, byte) {
            (_, b'{') => Number(None),
            (Number(so_far), b'0'..=b'9') => Number(Some(so_far.unwrap_or(0).saturating_mul(10).saturating_add(digit))),
            (Number(so_far), b'+') => Number(so_far),
            (Number(Some(bytes)), b'}') => Closed(bytes),
            (Closed(bytes), b'\r') => Return(bytes),
            (Return(bytes), b'\n') => {
                self.announcement = Announcement::None;
                return Some(bytes);
            }
            _ => Announcement::None,
        };
        None
    }

    fn follow_brackets(&mut self, byte: u8) -> Result<(), Overrun> {
        match byte {
            _ if self.is_status => {}
            b'"' if self.last != b'\\' => self.quoted = !self.quoted,
            b'(' if !self.quoted => self.depth += 1,
            b')' if !self.quoted => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if self.depth > DEPTH { Err(Overrun::Depth) } else { Ok(()) }
    }
}

/// True if a response that begins with `head` is `tag STATUS text`, `+ text` or `* STATUS text`, by the same rules as in
/// imap-proto. False until the word is complete, before which it is not needed.
fn is_status(head: &[u8; 9]) -> bool {
    let begins = |word: &[u8]| head.get(2..2 + word.len()).is_some_and(|at| at.eq_ignore_ascii_case(word));
    match head {
        [0, ..] => false,
        [b'*', 0 | b' ', ..] => [&b"OK"[..], b"NO", b"BAD", b"BYE", b"PREAUTH"].into_iter().any(begins),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use async_imap::imap_proto::Response;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Returns what the scanner passes on for `input` that arrives in pieces of `piece` bytes.
    fn scan(input: &[u8], allowed: u64, piece: usize) -> Result<Vec<u8>, Overrun> {
        let mut scanner = Scanner::new();
        scanner.allowed = allowed;
        let mut up = Vec::new();
        for chunk in input.chunks(piece) {
            let mut chunk = chunk.to_vec();
            let mut at = 0;
            while at < chunk.len() {
                let passed = scanner.pass(&mut chunk[at..])?;
                up.extend(&chunk[at..at + passed.scanned]);
                at += passed.scanned;
            }
        }
        Ok(up)
    }

    #[track_caller]
    fn unchanged(input: &[u8]) {
        for piece in [1, 3, 4096] {
            assert_eq!(scan(input, 100, piece).unwrap(), input);
        }
    }

    #[track_caller]
    fn refused(input: &[u8]) -> Overrun {
        let whole = scan(input, 100, 4096).unwrap_err();
        assert_eq!(scan(input, 100, 1).unwrap_err(), whole);
        whole
    }

    #[test]
    fn literals_are_passed_on_unchanged() {
        unchanged(b"* 1 FETCH (UID 1 BODY[] {8}\r\n({9}\r\n\0\xff)\r\nS1 OK done\r\n");
        unchanged(b"* LIST () \"/\" {3}\r\na\"b\r\n* SEARCH 1 2\r\n");
    }

    #[test]
    fn oversized_literal_fails_when_it_is_announced() {
        let overrun = Overrun::Literal { announced: 400_000_000, allowed: 100 };
        assert_eq!(refused(b"* 1 FETCH (BODY[] {400000000}\r\n"), overrun);
        assert_eq!(refused(b"* 1 FETCH (BODY[] {00000000000000000000000000000000400000000}\r\n"), overrun);
        assert_eq!(refused(b"* 1 FETCH (BODY[] ~{400000000}\r\n"), overrun);
        assert_eq!(refused(b"* 1 FETCH (BODY[] {400000000+}\r\n"), overrun);
        let absurd = refused(b"* 1 FETCH (BODY[] {99999999999999999999999999}\r\n");
        assert!(matches!(absurd, Overrun::Literal { announced: u64::MAX, .. }));
    }

    #[test]
    fn literals_of_one_response_are_counted_together() {
        let sixty = [b'x'; 60];
        let two = [b"* 1 FETCH (BODY[1] {60}\r\n", &sixty[..], b" BODY[2] {60}\r\n"].concat();
        assert!(matches!(refused(&two), Overrun::Literal { announced: 60, .. }));
        let apart = [b"* 1 FETCH (X {60}\r\n", &sixty[..], b")\r\n* 2 FETCH (X {60}\r\n", &sixty, b")\r\n"].concat();
        unchanged(&apart);
    }

    #[test]
    fn status_text_can_not_hide_a_literal() {
        let hidden = b"* OK {60}\r\n* 1 FETCH (UID 1 BODY[] {400000000}\r\n";
        assert!(matches!(refused(hidden), Overrun::Literal { announced: 400_000_000, .. }));
        assert_eq!(scan(b"S1 NO {5}\r\n", 100, 1).unwrap(), b"S1 NO (5}\r\n");
        assert_eq!(scan(b"+ {5}\r\n", 100, 1).unwrap(), b"+ (5}\r\n");
    }

    #[test]
    fn status_text_that_panics_the_parser_is_rewritten() {
        let clean = scan("* OK [ALERT]é\r\n".as_bytes(), 100, 1).unwrap();
        assert!(Response::parse(&clean).is_ok());
        unchanged("* OK [ALERT] é\r\n".as_bytes());
    }

    #[test]
    fn namespace_is_passed_on_as_status_text() {
        for line in [r#"* NAMESPACE (("INBOX." ".")) NIL (("" "."))"#, r#"* namespace (("" "/")) NIL NIL"#] {
            for piece in [1, 3, 4096] {
                let up = scan(format!("{line}\r\nS1 OK done\r\n").as_bytes(), 100, piece).unwrap();
                let (_, response) = Response::parse(&up).unwrap();
                let Response::Data { outcome, .. } = response else { panic!("{response:?}") };
                assert_eq!(
                    outcome.information.unwrap().split_once(' ').unwrap().1,
                    line.splitn(3, ' ').nth(2).unwrap()
                );
            }
        }
        unchanged(b"* NO such luck\r\n* NAP\r\n".split_at(16).0);
    }

    #[test]
    fn endless_line_is_an_error() {
        let endless = [b"* SEARCH".to_vec(), b" 1".repeat(600_000)].concat();
        assert_eq!(scan(&endless, 100, 4096), Err(Overrun::Line));
    }

    #[test]
    fn nested_parentheses_are_limited_outside_of_quotes() {
        assert_eq!(refused(&[b"* 1 FETCH ".to_vec(), b"(".repeat(100)].concat()), Overrun::Depth);
        unchanged(&[b"* LIST () \"/\" \"\\\\\\\"".to_vec(), b"(".repeat(100), b"\"\r\n".to_vec()].concat());
    }

    #[tokio::test]
    async fn unread_bytes_are_noticed_before_starttls() {
        let (mut server, client) = duplex(100);
        server.write_all(b"S1 OK begin TLS\r\nS2 OK injected\r\n").await.unwrap();
        let mut guard = LimitedStream::new(Box::new(client), Duration::from_secs(5));
        let mut line = [0; 100];
        assert_eq!(guard.read(&mut line).await.unwrap(), b"S1 OK begin TLS\r\n".len());
        assert!(guard.into_wire().is_none());
    }

    #[tokio::test]
    async fn one_response_at_a_time_is_passed_on() {
        let (mut server, client) = duplex(100);
        let (first, second) = (b"* 1 FETCH (UID 1 BODY[] {6}\r\n\r\n({9}\r X {0}\r\n)\r\n", b"S1 OK done\r\n");
        server.write_all(&[&first[..], second].concat()).await.unwrap();
        let mut guard = LimitedStream::new(Box::new(client), Duration::from_secs(5));
        guard.begin(Allowance::contents(1, 100, 100));
        let mut up = [0; 100];
        for response in [&first[..], second] {
            let length = guard.read(&mut up).await.unwrap();
            assert_eq!(&up[..length], response);
        }
    }

    /// Regression: async-imap's parser parsed the whole line again for each byte that arrived.
    #[tokio::test]
    async fn lines_are_passed_on_when_complete_and_literals_as_they_arrive() {
        let (mut server, client) = duplex(1);
        let text = [&b"* SEARCH"[..], &b" 12345".repeat(10_000), b"\r\n"].concat();
        let line = text.clone();
        tokio::spawn(async move {
            server.write_all(&text).await.unwrap();
            server.write_all(b"* 1 FETCH (BODY[] {4}\r\nabcd)\r\n").await.unwrap();
            std::future::pending::<()>().await;
        });
        let mut guard = LimitedStream::new(Box::new(client), Duration::from_secs(60));
        guard.begin(Allowance::mails(10_000));
        let mut up = vec![0; line.len()];
        assert_eq!(guard.read(&mut up).await.unwrap(), line.len());
        assert!(up == line);
        let mut pieces = Vec::new();
        while pieces.last().is_none_or(|piece: &Vec<u8>| !piece.ends_with(b")\r\n")) {
            let length = guard.read(&mut up).await.unwrap();
            pieces.push(up[..length].to_vec());
        }
        assert_eq!(pieces[0], b"* 1 FETCH (BODY[] {4}\r\n");
        assert_eq!((pieces.len(), pieces.concat().len()), (6, 30));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_bytes_time_out() {
        let (mut server, client) = duplex(100);
        tokio::spawn(async move {
            loop {
                server.write_all(b"x").await.ok();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let mut guard = LimitedStream::new(Box::new(client), Duration::from_secs(60));
        guard.begin(Allowance::LITTLE);
        let begin = Instant::now();
        let error = guard.read(&mut [0; 10]).await.unwrap_err();
        assert!(
            matches!(error.get_ref().unwrap().downcast_ref(), Some(Overrun::Slow { came: 300..302, .. })),
            "{error}"
        );
        assert!(begin.elapsed() < Duration::from_secs(305), "{:?}", begin.elapsed());
    }

    /// TLS handshake messages can go on without end, and carry no byte of IMAP.
    #[tokio::test(start_paused = true)]
    async fn tls_records_without_data_count_as_silence() {
        struct Busy;
        impl AsyncRead for Busy {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                // Like a socket that always has data: until the task's cooperative budget is used up.
                while let Poll::Ready(progress) = tokio::task::coop::poll_proceed(cx) {
                    progress.made_progress();
                }
                Poll::Pending
            }
        }
        impl AsyncWrite for Busy {
            fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                Poll::Ready(Ok(buf.len()))
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
        let mut guard = LimitedStream::new(Box::new(Busy), Duration::from_secs(5));
        tokio::spawn(async {
            // The paused clock advances by itself only when all tasks are idle.
            loop {
                tokio::time::advance(Duration::from_millis(100)).await;
            }
        });
        let error = guard.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn silence_times_out() {
        let (_server, client) = duplex(100);
        let mut guard = LimitedStream::new(Box::new(client), Duration::from_millis(10));
        let error = guard.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    /// Tokens that are significant to the scanner, and others.
    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let token = prop::sample::select(vec![
            "* ",
            "OK ",
            "NO",
            "BYE ",
            "1 FETCH (",
            "S1 ",
            "+ ",
            "{",
            "3",
            "90",
            "}",
            "+}",
            "\r\n",
            "\n",
            "\"",
            "\\",
            "(",
            ")",
            "[ALERT]",
            "[UIDNEXT 5]",
            "é",
            "\0",
            "x",
        ]);
        prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn split_reads_make_no_difference(input in hostile(), piece in 1_usize..20) {
            prop_assert_eq!(scan(&input, 100, piece), scan(&input, 100, 4096));
        }

        #[test]
        fn no_status_line_makes_the_parser_panic(text in hostile(), status in prop::sample::select(vec!["* OK ", "S1 NO ", "+ ", "* BYE "])) {
            let line = [status.as_bytes(), &text, b"\r\n"].concat();
            if let Ok(clean) = scan(&line, 100, 4096) {
                let _ = Response::parse(&clean);
            }
        }

        #[test]
        fn no_literal_that_the_parser_awaits_is_larger_than_allowed(input in hostile()) {
            let Ok(clean) = scan(&input, 80, 4096) else { return Ok(()) };
            // With the literal `{90}`, the parser would ask for 90 more bytes.
            if let Err(awaited) = Response::parse(&clean) {
                let text = format!("{awaited:?}");
                prop_assert!(!text.contains("Size(90)"), "{}", text);
            }
        }
    }

    const SILENCE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    /// Returns how long it takes until a server that sends `bytes` bytes per second is given up, and how many bytes
    /// arrived.
    fn listened(asked: &[Allowance], bytes: u64) -> (Duration, u64, Option<Overrun>) {
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
    fn one_byte_per_second_times_out_after_five_read_timeouts() {
        for asked in [Allowance::LITTLE, Allowance::contents(1, 25 << 20, 25 << 20), Allowance::FOLDER] {
            let (time, _, overrun) = listened(&[asked], 1);
            assert!(time <= SILENCE * (1 + LATE) + SECOND * 2, "{time:?}");
            assert!(matches!(overrun, Some(Overrun::Slow { .. })), "{overrun:?}");
        }
    }

    #[test]
    fn mail_of_25_mib_is_received_over_64_kbit() {
        let mail = 25 << 20;
        let begin = Instant::now();
        let mut budget = Budget::new(SILENCE, begin);
        budget.begin(Allowance::contents(1, mail, mail), begin);
        for second in 1..=mail / 8_000 {
            budget.take(8_000, begin + SECOND * u32::try_from(second).unwrap()).unwrap();
        }
    }

    #[test]
    fn bytes_are_limited_to_the_allowance_and_the_unsolicited_one() {
        for (asked, bytes) in [
            (Allowance::LITTLE, ANSWER_BYTES),
            (Allowance::contents(2, 1 << 20, 1 << 20), (1 << 20) + ANSWER_BYTES + 512),
        ] {
            let (_, came, overrun) = listened(&[asked], 1 << 20);
            assert_eq!(overrun, Some(Overrun::Unasked));
            assert!(came <= bytes + UNASKED_BYTES + (2 << 20), "{came}");
        }
    }

    /// A server that completes each command at once and floods the session along with it.
    #[test]
    fn unsolicited_allowance_is_per_session() {
        let mut now = Instant::now();
        let mut budget = Budget::new(SILENCE, now);
        let mut came = 0;
        let overrun = loop {
            now += Duration::from_millis(1);
            budget.begin(Allowance::LITTLE, now);
            if let Err(overrun) = budget.take(256 << 10, now) {
                break overrun;
            }
            budget.end(Allowance::LITTLE, now);
            came += 1;
        };
        // 192 KiB of each response are unsolicited.
        assert_eq!((overrun, came), (Overrun::Unasked, 5));
    }

    #[test]
    fn folder_listing_is_limited_by_exists_whenever_it_arrives() {
        let now = Instant::now();
        for is_asked_first in [true, false] {
            let mut budget = Budget::new(SILENCE, now);
            if is_asked_first {
                budget.begin(Allowance::LITTLE, now);
                budget.begin(Allowance::FOLDER, now);
                budget.exists(3);
                budget.end(Allowance::LITTLE, now);
            } else {
                budget.exists(3);
                budget.begin(Allowance::FOLDER, now);
            }
            budget.exists(u32::MAX);
            assert_eq!(budget.left, Allowance::mails(3).bytes);
        }
        let mut budget = Budget::new(SILENCE, now);
        budget.begin(Allowance::FOLDER, now);
        budget.exists(u32::MAX);
        assert_eq!(budget.left, FOLDER_TEXT_BYTES);
    }

    #[test]
    fn unused_allowance_is_not_carried_over() {
        let now = Instant::now();
        let mut budget = Budget::new(SILENCE, now);
        let large = Allowance::contents(1, 25 << 20, 25 << 20);
        budget.begin(large, now);
        budget.begin(Allowance::LITTLE, now);
        assert_eq!(budget.literal(), 25 << 20);
        budget.end(large, now);
        assert_eq!((budget.left, budget.literal()), (ANSWER_BYTES, NAME_BYTES));
        budget.end(Allowance::LITTLE, now);
        assert_eq!((budget.left, budget.is_under_way()), (0, false));
    }

    #[test]
    fn idle_accepts_a_trickle_and_ends_on_a_flood() {
        let wait = Allowance::news(SECOND * 540);
        let (time, _, overrun) = listened(&[wait], 100);
        assert!(time > SECOND * 540 && matches!(overrun, Some(Overrun::Slow { .. })), "{time:?}");
        let (time, came, overrun) = listened(&[wait], 64 << 10);
        assert_eq!(overrun, Some(Overrun::Unasked));
        assert!(came <= UNASKED_BYTES + UNASKED_RATE * time.as_secs() + (64 << 10), "{came} in {time:?}");
    }

    #[test]
    fn suspended_time_does_not_count() {
        let begin = Instant::now();
        let mut budget = Budget::new(SILENCE, begin);
        budget.begin(Allowance::LITTLE, begin);
        assert_eq!(budget.take(1, begin + SILENCE * 1000), Ok(()));
    }

    #[test]
    fn commands_on_mails_have_more_time_per_tagged_response() {
        let begin = Instant::now();
        let mut budget = Budget::new(SILENCE, begin);
        let moves = Allowance::mails(2000);
        budget.begin(moves, begin);
        budget.begin(Allowance::LITTLE, begin);
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
                budget.begin(Allowance::LITTLE, now);
                let steps = 10;
                let is_in_time = (0..steps).all(|_| {
                    now += each / steps;
                    budget.take(1, now).is_ok()
                });
                budget.end(Allowance::LITTLE, now);
                is_in_time
            })
            .count()
    }

    #[test]
    fn late_responses_are_limited_over_all_commands() {
        assert_eq!(answered(SILENCE, Duration::ZERO), 1000);
        assert_eq!(answered(SILENCE * 2, SILENCE), 1000, "time between commands makes up for it");
        assert_eq!(answered(SILENCE * 2, Duration::ZERO), 4);
        assert_eq!(answered(SILENCE * 5, Duration::ZERO), 1);
    }
}
