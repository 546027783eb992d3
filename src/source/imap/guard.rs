//! Guard between the network and async-imap: limits each response before it is buffered, enforces the [`Budget`] of the
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

use super::budget::{Asked, Budget};

/// Maximum bytes of text in one response. The longest legitimate one is a SEARCH over 5,000 mails, about 55 KB.
const LINE_BYTES: u64 = 1 << 20;
/// Maximum nesting depth of parentheses, for each of which imap-proto recurses. A FETCH needs three, a MIME structure a
/// few dozen.
const DEPTH: u32 = 64;
const HELD_BYTES: usize = 16 << 10;

/// A connection that can carry IMAP.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// The server exceeded the limits of the commands under way. Passed to the caller inside an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overrun {
    #[error("the server announced {announced} bytes where at most {allowed} were expected")]
    Literal { announced: u64, allowed: u64 },
    #[error("the server sent a response of more than {LINE_BYTES} bytes of text")]
    Line,
    #[error("the server sent a response with more than {DEPTH} brackets within each other")]
    Depth,
    #[error("the server does not stop sending what nobody asked for")]
    Unasked,
    #[error("the server sent no more than {came} bytes of an answer in {limit:.0?}")]
    Slow { came: u64, limit: Duration },
}

/// A connection that reads one response at a time, and fails if a response is too large, if the server is silent for too
/// long, or if its responses exceed the budget of the commands under way.
pub struct Guard {
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

impl Guard {
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
    pub fn begin(&mut self, asked: Asked) {
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
    pub fn end(&mut self, asked: Asked) {
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

impl AsyncRead for Guard {
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

impl AsyncWrite for Guard {
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
impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
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
mod tests;
