//! The reader between the network and async-imap: it caps every response before it is buffered, holds the server to the
//! [`Budget`] of the commands under way, and takes out what makes the parser panic.
//!
//! async-imap allocates an announced literal before it arrives (`{400000000}` costs 394 MB), buffers a line without an
//! end, parses all of a line again whenever a piece of it comes, and follows brackets recursively. The [`Scanner`] reads
//! along, sees literals exactly where imap-proto sees them, lets lines up only when they are whole, and fails the read where
//! a cap is met.

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

/// Text of one response. The longest honest one is a SEARCH over 5,000 mails, some 55 KB.
const LINE_BYTES: u64 = 1 << 20;
/// Brackets within brackets; imap-proto calls itself for each. A FETCH needs three, a MIME tree some dozens.
const DEPTH: u32 = 64;
const HELD_BYTES: usize = 16 << 10;

/// Any connection that IMAP can be spoken over.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// The server went beyond what it was asked for, or took too long over it. Travels up inside of an [`io::Error`].
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

/// A connection that reads no further than the end of a response at a time, and fails when a response is too large, when the
/// server is silent for too long, or when its answers cost more than the commands under way allow.
pub struct Guard {
    wire: Box<dyn Wire>,
    /// At most a line, and what one read brings: what came lies between `start` and `end`.
    held: Vec<u8>,
    start: usize,
    /// Up to here it may go up.
    free: usize,
    /// Up to here the scanner has seen it.
    scanned: usize,
    end: usize,
    scanner: Scanner,
    budget: Budget,
    /// Since when a read waits for the next byte.
    silent_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Guard {
    /// `silence`: how long a read may wait for the next byte, which also tells how long an answer may take.
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

    /// A command is sent that asks for this.
    pub fn begin(&mut self, asked: Asked) {
        if !self.budget.is_under_way() {
            self.silent_since = None;
        }
        self.budget.begin(asked, Instant::now());
        self.scanner.allowed = self.budget.literal();
    }

    /// The server tells how many mails the selected folder holds.
    pub fn exists(&mut self, mails: u32) {
        self.budget.exists(mails);
    }

    /// It has had its tagged line.
    pub fn end(&mut self, asked: Asked) {
        self.budget.end(asked, Instant::now());
        self.scanner.allowed = self.budget.literal();
    }

    /// The connection itself, to go on with TLS; `None` when the server has already sent more than was asked for.
    pub fn into_wire(self) -> Option<Box<dyn Wire>> {
        (self.start == self.end).then_some(self.wire)
    }

    /// Adds what comes to what is held; true at the end of the connection.
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

    /// Whether the server has been silent, or taken its time, for too long. Looks at the clock itself: bytes below TLS that
    /// bring none above it can use up the turn of this task, in which a timer then never ends.
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

    /// For another read, behind the part of a line that is held.
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

/// async-imap asks for it; what is held may be mail, and stays out.
impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

/// How far the scanner came.
struct Passed {
    scanned: usize,
    /// As much of it may go up.
    free: usize,
}

/// Follows responses byte by byte, across reads of any size.
struct Scanner {
    /// For the literals of one response together.
    allowed: u64,
    /// The first bytes of the response: they tell status text from data.
    head: [u8; 9],
    is_status: bool,
    text_bytes: u64,
    literal_bytes: u64,
    /// Of the literal that is passing.
    remaining: u64,
    announcement: Announcement,
    depth: u32,
    quoted: bool,
    last: u8,
}

/// How much of `{n}CRLF` the last bytes were.
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

    /// Looks at `input` up to the end of the response. Whole lines may go up, and literals as they come: what is above tries
    /// to read a response, at some cost, whenever something comes.
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

    /// Status text is for people, but imap-proto panics on a non-ASCII byte right after a response code, and gives up on
    /// NUL. A `{` there must not look like a literal to either of us. And it knows no NAMESPACE, a response that comes only
    /// where it was asked for: `* NAMESPACE (…` goes up as the status text `* NO ESPACE (…`.
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

    /// Takes one byte of text; true at the end of a response.
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
        // The second byte of an escaped pair escapes nothing itself.
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

/// Whether the response that begins so is `tag STATUS text`, `+ text` or `* STATUS text`, told as imap-proto tells it. Not
/// known before the word is there, and not needed before.
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
