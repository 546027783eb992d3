//! Inflates gzip, zlib and the deflate streams of zip members, as common tools do: all output before a damaged place is
//! returned, and then the damage is reported.
//!
//! Real reports need this: Mimecast appends bytes to the gzip trailer, some reporters concatenate several gzip members, and
//! others send wrong checksums.

use std::{
    cell::{Cell, RefCell},
    io::{self, BufRead, Read},
};

use flate2::{Crc, Decompress, FlushDecompress, Status};

use crate::trouble::{Reason, Trouble};

use super::{budget::Budget, buffered::read_buffered};

/// A layer of compression.
#[derive(Debug)]
pub(super) struct Compressed {
    pub by: Compression,
    /// The most bytes that any reader of this layer has produced: these are already counted in the budget.
    pub paid: Cell<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zlib,
    /// A deflated zip member, with its checksum from the archive's directory.
    Deflate {
        crc32: u32,
    },
}

/// Size of the output buffer, in bytes.
const OUT_BYTES: usize = 16 << 10;

/// The decoder's message for a zlib stream that is complete and has a wrong checksum.
const ZLIB_CHECKSUM: &str = "incorrect data check";

const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// Flags of a gzip member's header (RFC 1952 section 2.3.1).
mod flag {
    pub const HEADER_CRC: u8 = 2;
    pub const EXTRA: u8 = 4;
    pub const NAME: u8 = 8;
    pub const COMMENT: u8 = 16;
}

/// Workspaces kept per thread: a report's archive has one compression, or one within another.
const SPARES: usize = 2;

thread_local! {
    static SPARE: RefCell<Vec<Box<Workspace>>> = const { RefCell::new(Vec::new()) };
}

/// Decoder and output buffer: deflate's window of 32 KiB and `OUT_BYTES`.
struct Workspace {
    decoder: Decompress,
    out: [u8; OUT_BYTES],
}

/// A workspace that is reused by the next stream on the same thread: creating one costs as much as inflating a small report.
struct Borrowed(Option<Box<Workspace>>);

impl Borrowed {
    fn of_thread() -> Self {
        Self(SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten())
    }

    fn get(&mut self) -> &mut Workspace {
        self.0.get_or_insert_with(|| Box::new(Workspace { decoder: Decompress::new(false), out: [0; OUT_BYTES] }))
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let Some(workspace) = self.0.take() else { return };
        // A thread that is ending keeps none.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARES {
                spare.push(workspace);
            }
        });
    }
}

/// Decompresses one layer of a stream.
pub(super) struct Inflate<'s> {
    input: Box<dyn BufRead + 's>,
    layer: &'s Compressed,
    budget: &'s Budget<'s>,
    workspace: Borrowed,
    next: Next,
    /// Checksum and length of the current gzip member, or of the zip member.
    crc: Crc,
    /// Compressed bytes read and inflated bytes produced, of the whole stream.
    taken: u64,
    put: u64,
    at: usize,
    filled: usize,
}

/// Next element expected in the input.
enum Next {
    /// Header of a gzip member; only the first is required.
    Header {
        is_first: bool,
    },
    Body,
    Trailer,
    End,
    Failed(Trouble),
}

impl<'s> Inflate<'s> {
    pub fn new(input: Box<dyn BufRead + 's>, layer: &'s Compressed, budget: &'s Budget<'s>) -> Self {
        let next = if layer.by == Compression::Gzip { Next::Header { is_first: true } } else { Next::Body };
        let mut workspace = Borrowed::of_thread();
        workspace.get().decoder.reset(layer.by == Compression::Zlib);
        Self { input, layer, budget, workspace, next, crc: Crc::new(), taken: 0, put: 0, at: 0, filled: 0 }
    }

    fn step(&mut self) -> Result<Next, Trouble> {
        match self.next {
            Next::Header { is_first } => self.header(is_first),
            Next::Body => self.body(),
            Next::Trailer => self.trailer(),
            Next::End | Next::Failed(_) => Ok(Next::End),
        }
    }

    /// After the first member, anything but another member is trailing junk and ignored.
    fn header(&mut self, is_first: bool) -> Result<Next, Trouble> {
        for magic in GZIP_MAGIC {
            match self.byte()? {
                Some(byte) if byte == magic => (),
                _ if is_first => return Err(self.damage("has no gzip header")),
                _ => return Ok(Next::End),
            }
        }
        let flags = self.wanted_byte()?;
        self.skip(6)?;
        if flags & flag::EXTRA != 0 {
            let length = u16::from_le_bytes([self.wanted_byte()?, self.wanted_byte()?]);
            self.skip(length)?;
        }
        for text in [flag::NAME, flag::COMMENT] {
            while flags & text != 0 && self.wanted_byte()? != 0 {}
        }
        if flags & flag::HEADER_CRC != 0 {
            self.skip(2)?;
        }
        self.workspace.get().decoder.reset(false);
        self.crc.reset();
        Ok(Next::Body)
    }

    fn body(&mut self) -> Result<Next, Trouble> {
        let input = match self.input.fill_buf() {
            Ok(input) => input,
            Err(error) => return Err(self.below(&error)),
        };
        let is_end = input.is_empty();
        let Workspace { decoder, out } = self.workspace.get();
        let (in_before, out_before) = (decoder.total_in(), decoder.total_out());
        let status = decoder.decompress(input, out, FlushDecompress::None);
        let taken = (decoder.total_in() - in_before) as usize;
        let put = (decoder.total_out() - out_before) as usize;
        self.input.consume(taken);
        (self.at, self.filled) = (0, put.min(out.len()));
        self.crc.update(&out[..self.filled]);
        self.pay(taken as u64, put as u64)?;
        match status {
            Ok(Status::StreamEnd) => Ok(Next::Trailer),
            Ok(_) if put > 0 || (taken > 0 && !is_end) => Ok(Next::Body),
            Ok(_) if is_end => Err(self.damage("is truncated")),
            Err(error) if error.message() == Some(ZLIB_CHECKSUM) => Err(self.checksum("has a wrong checksum")),
            Ok(_) | Err(_) => Err(self.damage("is damaged")),
        }
    }

    fn trailer(&mut self) -> Result<Next, Trouble> {
        match self.layer.by {
            // The decoder has checked its checksum.
            Compression::Zlib => Ok(Next::End),
            Compression::Deflate { crc32 } if crc32 == self.crc.sum() => Ok(Next::End),
            Compression::Deflate { .. } => Err(self.checksum("has a wrong checksum")),
            Compression::Gzip => {
                let mut trailer = [0; 8];
                for byte in &mut trailer {
                    *byte = self.byte()?.ok_or_else(|| self.checksum("ends within its checksum"))?;
                }
                let [a, b, c, d, e, f, g, h] = trailer;
                let (crc32, length) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
                if crc32 != self.crc.sum() || length != self.crc.amount() {
                    return Err(self.checksum("has a wrong checksum"));
                }
                Ok(Next::Header { is_first: false })
            }
        }
    }

    fn pay(&mut self, taken: u64, put: u64) -> Result<(), Trouble> {
        self.taken += taken;
        self.put += put;
        let paid = self.layer.paid.get();
        if self.put > paid {
            self.budget.inflate(self.put - paid)?;
            self.layer.paid.set(self.put);
        }
        self.budget.ratio(self.taken, self.put)
    }

    fn byte(&mut self) -> Result<Option<u8>, Trouble> {
        let byte = match self.input.fill_buf() {
            Ok(input) => input.first().copied(),
            Err(error) => return Err(self.below(&error)),
        };
        if byte.is_some() {
            self.input.consume(1);
            self.taken += 1;
        }
        Ok(byte)
    }

    fn wanted_byte(&mut self) -> Result<u8, Trouble> {
        self.byte()?.ok_or_else(|| self.damage("is truncated"))
    }

    fn skip(&mut self, bytes: u16) -> Result<(), Trouble> {
        (0..bytes).try_for_each(|_| self.wanted_byte().map(drop))
    }

    fn damage(&self, what: &str) -> Trouble {
        let (reason, stream) = match self.layer.by {
            Compression::Gzip => (Reason::CorruptGzip, "gzip stream"),
            Compression::Zlib => (Reason::CorruptZlib, "zlib stream"),
            Compression::Deflate { .. } => (Reason::CorruptZip, "zip member"),
        };
        Trouble::new(reason, format!("the {stream} {what}, after {} inflated bytes", self.put))
    }

    /// Damage to nothing but the checksum.
    fn checksum(&self, what: &str) -> Trouble {
        let Trouble { reason, detail, .. } = self.damage(what);
        Trouble::checksum(reason, detail)
    }

    /// Converts an error of the layer below, which ends this stream too.
    fn below(&self, error: &io::Error) -> Trouble {
        Trouble::from_io(error, self.damage("").reason)
    }
}

impl BufRead for Inflate<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.filled {
            match &self.next {
                Next::End => break,
                Next::Failed(trouble) => return Err(trouble.clone().into()),
                _ => self.next = self.step().unwrap_or_else(Next::Failed),
            }
        }
        Ok(&self.workspace.get().out[self.at..self.filled])
    }

    fn consume(&mut self, amount: usize) {
        self.at = (self.at + amount).min(self.filled);
    }
}

impl Read for Inflate<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, into)
    }
}
