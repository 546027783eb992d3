//! Byte streams described by a source in memory and the layers to decode, and the readers that decode them.

use std::{
    borrow::Cow,
    cell::Cell,
    io::{self, BufRead, BufReader, Read},
    ops::Range,
};

use flate2::Crc;

use crate::trouble::{Reason, Trouble};

use super::{
    budget::{Budget, HELD_BYTES},
    buffered::read_buffered,
    decode::{Decode, Encoding},
    inflate::{Compressed, Compression, Inflate},
    room::Id,
};

/// Number of bytes at the start of a stream that content detection looks at.
pub(super) const PEEK_BYTES: usize = 8 << 10;

/// A stream of fewer bytes is small: it is inflated once and kept in memory, which saves more time than peeking into longer
/// ones costs.
pub const SMALL_BYTES: usize = 32 << 10;
/// Typical size of a stream, in bytes.
const USUAL_BYTES: usize = 4 << 10;
/// Number of bytes read from a container at once.
const CHUNK_BYTES: usize = 8 << 10;

/// A range of bytes and the layers (encoding, compression) to remove from them, outermost first. Can be opened any number of
/// times.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    extent: Extent<'a>,
    end: End,
    layers: Vec<Layer>,
    /// Appended to the decoded bytes.
    appendix: Vec<u8>,
}

/// A range of the mail, or of a container extracted from it.
#[derive(Debug, Clone)]
pub(super) enum Extent<'a> {
    Memory(&'a [u8]),
    Within(&'a Container<'a>, Range<usize>),
}

/// The decoded bytes of a stream that contains other files: held in memory when they are needed as a whole, else read from
/// the stream.
#[derive(Debug)]
pub(super) struct Container<'a> {
    id: Id,
    stream: &'a Stream<'a>,
}

/// End condition of a range of bytes.
#[derive(Debug)]
pub(super) enum End {
    Whole,
    /// The checksum that the bytes must have (a stored zip member).
    Crc32(u32),
    /// The bytes are truncated.
    Broken(Trouble),
}

/// One layer to remove from a stream.
#[derive(Debug)]
enum Layer {
    Encoded(Encoding),
    Compressed(Compressed),
}

impl<'a> Stream<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        Self::ending(Extent::Memory(bytes), End::Whole)
    }

    pub fn ending(extent: Extent<'a>, end: End) -> Self {
        Self { extent, end, layers: Vec::new(), appendix: Vec::new() }
    }

    pub fn inflated(mut self, by: Compression) -> Self {
        self.layers.push(Layer::Compressed(Compressed { by, paid: Cell::new(0) }));
        self
    }

    pub fn decoded(mut self, encoding: Encoding) -> Self {
        if encoding != Encoding::Identity {
            self.layers.push(Layer::Encoded(encoding));
        }
        self
    }

    pub fn followed_by(mut self, appendix: Vec<u8>) -> Self {
        self.appendix = appendix;
        self
    }

    /// The range that holds the stream's bytes as they are, if there are no layers and no appendix.
    pub fn plain(&self) -> Option<&Extent<'a>> {
        (self.layers.is_empty() && self.appendix.is_empty()).then_some(&self.extent)
    }

    /// True if a layer of the stream is a compression.
    pub fn is_inflated(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer, Layer::Compressed(_)))
    }

    pub fn innermost(&self) -> Option<Compression> {
        match self.layers.last()? {
            Layer::Compressed(layer) => Some(layer.by),
            Layer::Encoded(_) => None,
        }
    }

    pub fn open<'s>(&'s self, budget: &'s Budget<'_>) -> Box<dyn BufRead + 's> {
        let base: Box<dyn BufRead + 's> = match &self.extent {
            Extent::Memory(bytes) => Box::new(Ending::new(*bytes, bytes.len(), &self.end)),
            Extent::Within(container, range) => {
                let reader = BufReader::with_capacity(CHUNK_BYTES, Within::new(container, range.start, budget));
                Box::new(Ending::new(reader, range.len(), &self.end))
            }
        };
        let stream = self.layers.iter().fold(base, |input, layer| match layer {
            Layer::Encoded(encoding) => Box::new(Decode::new(input, *encoding)) as Box<dyn BufRead + 's>,
            Layer::Compressed(layer) => Box::new(Inflate::new(input, layer, budget)),
        });
        if self.appendix.is_empty() { stream } else { Box::new(stream.chain(self.appendix.as_slice())) }
    }

    /// Opens the stream as a document; reading fails after `limits.document_bytes`.
    pub fn open_capped<'s>(&'s self, budget: &'s Budget<'_>) -> Box<dyn BufRead + 's> {
        let limit = budget.limits.document_bytes;
        Box::new(Capped { input: self.open(budget), rest: limit, limit })
    }

    /// Returns the stream's first bytes, at most `SMALL_BYTES`, and the trouble that ended it early.
    pub fn peek(&self, budget: &Budget<'_>) -> (Cow<'a, [u8]>, Option<Trouble>) {
        match (self.plain(), &self.end) {
            (Some(Extent::Memory(bytes)), End::Whole) => (bytes[..bytes.len().min(SMALL_BYTES)].into(), None),
            _ => {
                let (head, trouble) = read_up_to(self.open(budget), SMALL_BYTES);
                (head.into(), trouble)
            }
        }
    }
}

impl<'a> Extent<'a> {
    /// Returns a subrange.
    pub fn part(&self, range: Range<usize>) -> Self {
        let range = range.start.min(self.len())..range.end.min(self.len());
        match self {
            Extent::Memory(bytes) => Extent::Memory(bytes.get(range).unwrap_or_default()),
            Extent::Within(container, all) => {
                Extent::Within(container, all.start + range.start..all.start + range.end.max(range.start))
            }
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Extent::Memory(bytes) => bytes.len(),
            Extent::Within(_, range) => range.len(),
        }
    }

    /// Calls `look` with all bytes of the range.
    pub fn look<T>(&self, budget: &Budget<'_>, look: impl FnOnce(&[u8]) -> T) -> Result<T, Trouble> {
        match self {
            Extent::Memory(bytes) => Ok(look(bytes)),
            Extent::Within(container, range) => {
                container.look(budget, |bytes| look(bytes.get(range.clone()).unwrap_or_default()))
            }
        }
    }
}

impl<'a> Container<'a> {
    /// A container of the decoded bytes of `stream`.
    pub fn of(stream: &'a Stream<'a>, budget: &Budget<'_>) -> Self {
        Self { id: budget.room.new_container(), stream }
    }

    pub fn first(&'a self, bytes: usize) -> Extent<'a> {
        Extent::Within(self, 0..bytes)
    }

    /// Reads the container into memory for the first time. Returns its size and the trouble that ended it early. Fails if it
    /// is too large to hold or exceeds a limit.
    pub fn hold(&self, budget: &Budget<'_>) -> Result<(usize, Option<Trouble>), Trouble> {
        let (bytes, trouble) = budget.room.hold(self.id, self.stream.open(budget), self.most(budget));
        if self.stream.is_inflated() {
            budget.unpack(bytes.unwrap_or(HELD_BYTES) as u64)?;
        }
        match (bytes, trouble) {
            (None, _) => Err(too_large_to_hold()),
            (_, Some(trouble)) if trouble.limit.is_some() => Err(trouble),
            (Some(bytes), trouble) => Ok((bytes, trouble)),
        }
    }

    /// Reads the container into memory from `input`, a reader that is already at its bytes.
    pub fn fill(&self, input: impl Read, budget: &Budget<'_>) -> (usize, Option<Trouble>) {
        let (bytes, trouble) = budget.room.hold(self.id, input, HELD_BYTES);
        (bytes.unwrap_or_default(), trouble)
    }

    fn look<T>(&self, budget: &Budget<'_>, look: impl FnOnce(&[u8]) -> T) -> Result<T, Trouble> {
        if !budget.room.holds(self.id) {
            budget.room.hold(self.id, self.stream.open(budget), self.most(budget));
        }
        budget.room.look(self.id, look).ok_or_else(too_large_to_hold)
    }

    /// Maximum size held. Bytes that are encoded but not compressed are no larger than the mail they are in.
    fn most(&self, budget: &Budget<'_>) -> usize {
        match self.stream.is_inflated() {
            true => HELD_BYTES,
            false => usize::try_from(budget.limits.mail_bytes).unwrap_or(usize::MAX).max(HELD_BYTES),
        }
    }
}

pub(super) fn too_large_to_hold() -> Trouble {
    let detail =
        format!("a file inside a compressed archive is larger than {HELD_BYTES} bytes, the maximum held in memory");
    Trouble::new(Reason::DocumentTooLarge, detail)
}

/// Reads at most `bytes`. Returns them, and the trouble if reading failed.
pub(super) fn read_up_to(input: impl Read, bytes: usize) -> (Vec<u8>, Option<Trouble>) {
    let mut head = Vec::with_capacity(bytes.min(USUAL_BYTES));
    // On an error, the bytes read before it stay in the buffer.
    let end = input.take(bytes as u64).read_to_end(&mut head);
    (head, end.err().map(|error| Trouble::from_io(&error, Reason::NotAReport)))
}

/// Reads `input` to its end and returns the last byte.
pub(super) fn last_byte(mut input: impl BufRead) -> Option<u8> {
    let mut last = None;
    while let Ok(chunk @ [.., byte]) = input.fill_buf() {
        last = Some(*byte);
        let length = chunk.len();
        input.consume(length);
    }
    last
}

/// Reads a container from an offset: from memory while it is held, and after that by decoding its stream again.
struct Within<'s> {
    container: &'s Container<'s>,
    at: usize,
    again: Option<Box<dyn BufRead + 's>>,
    budget: &'s Budget<'s>,
}

impl<'s> Within<'s> {
    fn new(container: &'s Container<'s>, at: usize, budget: &'s Budget<'_>) -> Self {
        Self { container, at, again: None, budget }
    }
}

impl Read for Within<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Self { container, at, again, budget } = self;
        if again.is_none() {
            let copied = budget.room.look(container.id, |bytes| {
                let rest = bytes.get(*at..).unwrap_or_default();
                let amount = rest.len().min(into.len());
                into[..amount].copy_from_slice(&rest[..amount]);
                amount
            });
            if let Some(amount) = copied {
                *at += amount;
                return Ok(amount);
            }
            let mut stream = container.stream.open(budget);
            io::copy(&mut (&mut stream).take(*at as u64), &mut io::sink())?;
            *again = Some(stream);
        }
        again.as_mut().map_or(Ok(0), |stream| stream.read(into))
    }
}

/// Reads a number of bytes, and then applies the end condition.
struct Ending<'s, R> {
    input: R,
    rest: usize,
    crc: Crc,
    end: &'s End,
}

impl<'s, R> Ending<'s, R> {
    fn new(input: R, rest: usize, end: &'s End) -> Self {
        Self { input, rest, crc: Crc::new(), end }
    }
}

impl<R: BufRead> BufRead for Ending<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest == 0 {
            return match self.end {
                End::Broken(trouble) => Err(trouble.clone().into()),
                End::Crc32(crc32) if self.crc.sum() != *crc32 => {
                    Err(Trouble::checksum(Reason::CorruptZip, "the member's checksum is wrong").into())
                }
                End::Crc32(_) | End::Whole => Ok(&[]),
            };
        }
        let buffer = self.input.fill_buf()?;
        Ok(&buffer[..buffer.len().min(self.rest)])
    }

    fn consume(&mut self, amount: usize) {
        let amount = amount.min(self.rest);
        if matches!(self.end, End::Crc32(_)) {
            // The consumed bytes are those of the buffer that the caller has seen, and which is unchanged.
            if let Ok(buffer) = self.input.fill_buf() {
                self.crc.update(&buffer[..amount.min(buffer.len())]);
            }
        }
        self.rest -= amount;
        self.input.consume(amount);
    }
}

impl<R: BufRead> Read for Ending<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, into)
    }
}

/// Fails with a trouble if the input has more than `limit` bytes, after returning the first `limit`.
struct Capped<R> {
    input: R,
    rest: u64,
    limit: u64,
}

impl<R: BufRead> BufRead for Capped<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let (rest, limit) = (self.rest, self.limit);
        let buffer = self.input.fill_buf()?;
        if rest == 0 && !buffer.is_empty() {
            let what = "the size of the document, in bytes,";
            return Err(Trouble::over(Reason::DocumentTooLarge, what, "limits.document_bytes", limit).into());
        }
        let most = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        Ok(&buffer[..most])
    }

    fn consume(&mut self, amount: usize) {
        self.rest = self.rest.saturating_sub(amount as u64);
        self.input.consume(amount);
    }
}

impl<R: BufRead> Read for Capped<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, into)
    }
}
