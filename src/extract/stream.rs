//! A recipe that leads from bytes in memory to the bytes of a document, and the readers that follow it.

use std::{
    borrow::Cow,
    cell::Cell,
    io::{self, BufRead, Read},
};

use flate2::Crc;

use crate::trouble::{Reason, Trouble};

use super::{
    budget::{Budget, HELD_BYTES},
    inflate::Inflate,
};

/// The first bytes of a stream that are looked at to tell what it is.
pub(super) const PEEK_BYTES: usize = 8 << 10;

/// A stream of fewer bytes is small: it is inflated once and held, which saves more time than the head of a longer one costs.
pub const SMALL_BYTES: usize = 32 << 10;
/// What a usual stream comes to.
const USUAL_BYTES: usize = 4 << 10;

/// Bytes in memory and the compressions to take off them, outermost first. Can be opened again and again.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    pub bytes: &'a [u8],
    end: End,
    layers: Vec<Layer>,
}

/// What is known of the end of bytes in memory.
#[derive(Debug)]
pub(super) enum End {
    Whole,
    /// A checksum that they must have (a stored zip member).
    Crc32(u32),
    /// They were cut off.
    Broken(Trouble),
}

/// One compression.
#[derive(Debug)]
pub(super) struct Layer {
    pub kind: LayerKind,
    /// The most bytes that any reader of this layer got out of it: those were paid for.
    pub paid: Cell<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LayerKind {
    Gzip,
    Zlib,
    /// A deflated zip member; its checksum stands in the archive's directory.
    Deflate {
        crc32: u32,
    },
}

impl<'a> Stream<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        Self::ending(bytes, End::Whole)
    }

    pub fn ending(bytes: &'a [u8], end: End) -> Self {
        Self { bytes, end, layers: Vec::new() }
    }

    pub fn inflated(mut self, kind: LayerKind) -> Self {
        self.layers.push(Layer { kind, paid: Cell::new(0) });
        self
    }

    /// Whether the bytes in memory are those of the stream.
    pub fn is_plain(&self) -> bool {
        self.layers.is_empty()
    }

    pub fn innermost(&self) -> Option<LayerKind> {
        self.layers.last().map(|layer| layer.kind)
    }

    pub fn open<'s>(&'s self, budget: &'s Budget<'_>) -> Box<dyn BufRead + 's> {
        let base: Box<dyn BufRead + 's> = Box::new(Base { rest: self.bytes, crc: Crc::new(), end: &self.end });
        self.layers.iter().fold(base, |input, layer| Box::new(Inflate::new(input, layer, budget)))
    }

    /// Opens the stream as a document, which may not be longer than `limits.document_bytes`.
    pub fn open_capped<'s>(&'s self, budget: &'s Budget<'_>) -> Box<dyn BufRead + 's> {
        let limit = budget.limits.document_bytes;
        Box::new(Capped { input: self.open(budget), rest: limit, limit })
    }

    /// The stream's first bytes, at most `SMALL_BYTES`, and what ended it when that came early.
    pub fn peek(&self, budget: &Budget<'_>) -> (Cow<'a, [u8]>, Option<Trouble>) {
        match self.end {
            End::Whole if self.is_plain() => (self.bytes[..self.bytes.len().min(SMALL_BYTES)].into(), None),
            _ => {
                let (head, trouble) = read_up_to(self.open(budget), SMALL_BYTES);
                (head.into(), trouble)
            }
        }
    }

    /// All of the stream, for what can only be read from memory, and what ended it early. Fails when it is too large
    /// to hold, or beyond a limit.
    pub fn hold(&self, budget: &Budget<'_>) -> Result<(Vec<u8>, Option<Trouble>), Trouble> {
        let held = read_up_to(self.open(budget), HELD_BYTES + 1);
        budget.unpack(held.0.len() as u64)?;
        match held {
            (bytes, _) if bytes.len() > HELD_BYTES => Err(too_large_to_hold()),
            (_, Some(trouble)) if trouble.limit.is_some() => Err(trouble),
            held => Ok(held),
        }
    }
}

pub(super) fn too_large_to_hold() -> Trouble {
    let detail =
        format!("a file inside a compressed archive is larger than {HELD_BYTES} bytes, the most that is held of one");
    Trouble::new(Reason::DocumentTooLarge, detail)
}

/// Reads at most `bytes`, and gives what came and why no more did, if not for the end.
pub(super) fn read_up_to(input: impl Read, bytes: usize) -> (Vec<u8>, Option<Trouble>) {
    let mut head = Vec::with_capacity(bytes.min(USUAL_BYTES));
    // On an error, what was read before stays in the buffer.
    let end = input.take(bytes as u64).read_to_end(&mut head);
    (head, end.err().map(|error| Trouble::from_io(&error, Reason::NotAReport)))
}

/// Bytes in memory, and whatever their end brings.
struct Base<'s> {
    rest: &'s [u8],
    crc: Crc,
    end: &'s End,
}

impl BufRead for Base<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest.is_empty() {
            match self.end {
                End::Broken(trouble) => return Err(trouble.clone().into()),
                End::Crc32(crc32) if self.crc.sum() != *crc32 => {
                    return Err(Trouble::new(Reason::CorruptZip, "the member's checksum is wrong").into());
                }
                End::Crc32(_) | End::Whole => (),
            }
        }
        Ok(self.rest)
    }

    fn consume(&mut self, amount: usize) {
        let (taken, rest) = self.rest.split_at(amount.min(self.rest.len()));
        if matches!(self.end, End::Crc32(_)) {
            self.crc.update(taken);
        }
        self.rest = rest;
    }
}

impl Read for Base<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, into)
    }
}

/// Fails when there is more than `limit` bytes, after giving those.
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

/// [`Read::read`] for a reader that is a [`BufRead`] at heart.
pub(super) fn read_buffered(input: &mut impl BufRead, into: &mut [u8]) -> io::Result<usize> {
    let buffer = input.fill_buf()?;
    let amount = buffer.len().min(into.len());
    into[..amount].copy_from_slice(&buffer[..amount]);
    input.consume(amount);
    Ok(amount)
}
