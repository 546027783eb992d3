//! Layout of events in a file: lines, compressed or not, or the elements of a JSON array; also finds the end of a file after a
//! crash.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::FileExt,
};

use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::{
    config::sink::{Codec, Compression},
    sink::compression::compress,
};

/// Form of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) codec: Codec,
    /// Not with an array.
    pub(super) compression: Compression,
}

/// Bytes after the last element of an array.
pub(super) const CLOSING: &[u8] = b"\n]\n";

/// Maximum number of bytes that a crash can leave incomplete: a batch and one frame, with room to spare. Anything further
/// back was confirmed, or was not written by this program.
pub(super) const TORN_BYTES: u64 = 16 << 20;

/// Reason why a file can't be continued.
#[derive(Debug)]
pub(super) enum Unusable {
    /// Its content was not written by a sink with this codec; the text says what was expected.
    NotOurs(&'static str),
    Io(io::Error),
}

/// Position of the next event in an existing file, and the repair that is needed before it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Offset after the last whole event.
    pub(super) at: u64,
    pub(super) tail: Tail,
}

/// Bytes after the last whole event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Exactly the bytes that this program leaves there.
    Whole,
    /// Part of a write that a crash interrupted.
    Torn,
    /// Nothing, not even a line end: the file holds a single event.
    NoLineEnd,
    /// The end of an array as another program writes it.
    Foreign,
}

/// Finds the end of the last whole event in `file`, which is not compressed and `len` bytes long.
pub(super) fn find_end(file: &File, len: u64, codec: Codec) -> Result<End, Unusable> {
    if len == 0 {
        return Ok(End { at: 0, tail: Tail::Whole });
    }
    let end = match codec {
        Codec::Array => end_of_array(file, len)?,
        Codec::Json | Codec::Text => end_of_lines(file, len, codec)?,
    };
    if len.saturating_sub(end.at) > TORN_BYTES {
        return Err(Unusable::NotOurs("more is broken at its end than a crash can break"));
    }
    Ok(end)
}

/// Makes `block` the bytes that append `frames` after the last event, which ends at `end`; returns the new end of the last event.
pub(super) fn block(frames: &[Bytes], end: u64, layout: Layout, block: &mut Vec<u8>) -> io::Result<u64> {
    block.clear();
    let mut first = end == 0;
    for frame in frames {
        let event = frame.strip_suffix(b"\n").unwrap_or(frame);
        match layout.codec {
            Codec::Array => {
                block.extend_from_slice(if first { b"[\n" } else { b",\n" });
                block.extend_from_slice(event);
                first = false;
            }
            Codec::Json | Codec::Text => {
                block.extend_from_slice(event);
                block.push(b'\n');
            }
        }
    }
    if layout.compression != Compression::None {
        *block = compress(std::mem::take(block), layout.compression)?;
    }
    let end = end + block.len() as u64;
    if layout.codec == Codec::Array {
        block.extend_from_slice(CLOSING);
    }
    Ok(end)
}

fn end_of_lines(file: &File, len: u64, codec: Codec) -> Result<End, Unusable> {
    let first = read(file, 0, 1)?;
    let object = first.starts_with(b"{");
    match codec {
        Codec::Text if object || first.starts_with(b"[") => {
            return Err(Unusable::NotOurs("it holds JSON; expected lines of text"));
        }
        Codec::Json if !object => return Err(Unusable::NotOurs("expected a JSON object on each line")),
        Codec::Text | Codec::Json | Codec::Array => {}
    }
    let mut start = len;
    while start > 0 && len - start <= TORN_BYTES {
        let from = start.saturating_sub(64 << 10);
        let piece = read(file, from, start - from)?;
        if let Some(newline) = piece.iter().rposition(|byte| *byte == b'\n') {
            let at = from + newline as u64 + 1;
            return Ok(End { at, tail: if at == len { Tail::Whole } else { Tail::Torn } });
        }
        start = from;
    }
    // There is no whole line. A whole object is kept all the same: the file may be somebody else's.
    if codec == Codec::Json && len <= TORN_BYTES && serde_json::from_slice::<IgnoredAny>(&read(file, 0, len)?).is_ok() {
        return Ok(End { at: len, tail: Tail::NoLineEnd });
    }
    Ok(End { at: 0, tail: Tail::Torn })
}

/// Reads the whole array: after a power failure, the block with the old closing bracket may be newer or older than the
/// blocks after it, so that a correct end alone proves nothing.
fn end_of_array(file: &File, len: u64) -> Result<End, Unusable> {
    const EXPECTED: &str = "expected a JSON array";
    let opening = read(file, 0, len.min(3))?;
    if b"[\n{".starts_with(&opening)
        && let Some(end) = end_of_elements(file, len)?
    {
        return Ok(end);
    }
    if !opening.starts_with(b"[") {
        return Err(Unusable::NotOurs(EXPECTED));
    }
    // An array of another program, such as one written by Python: continued if it is whole.
    let whole: Result<Vec<IgnoredAny>, _> = serde_json::from_reader(BufReader::new(from_start(file)?));
    let elements = whole.map_err(|error| match error.io_error_kind() {
        Some(kind) => Unusable::Io(kind.into()),
        None => Unusable::NotOurs(EXPECTED),
    })?;
    if elements.is_empty() {
        return Ok(End { at: 0, tail: Tail::Foreign });
    }
    let from = len.saturating_sub(64 << 10);
    let tail = read(file, from, len - from)?;
    match tail.trim_ascii_end().strip_suffix(b"]").map(<[u8]>::trim_ascii_end) {
        Some(elements) if !elements.is_empty() => Ok(End { at: from + elements.len() as u64, tail: Tail::Foreign }),
        _ => Err(Unusable::NotOurs("its end is nothing but white space")),
    }
}

/// Scans an array that has each element on a line of its own, up to the first that is not whole. `None` if the elements
/// span lines: then this program did not write it.
fn end_of_elements(file: &File, len: u64) -> io::Result<Option<End>> {
    let mut reader = BufReader::new(from_start(file)?);
    let mut line = Vec::new();
    let mut position = reader.read_until(b'\n', &mut line)? as u64;
    let mut at = 0;
    loop {
        line.clear();
        let start = position;
        position += reader.by_ref().take(TORN_BYTES).read_until(b'\n', &mut line)? as u64;
        let torn = Ok(Some(End { at, tail: Tail::Torn }));
        if !line.starts_with(b"{") {
            return torn;
        }
        let mut values = serde_json::Deserializer::from_slice(&line).into_iter::<IgnoredAny>();
        let Some(Ok(_)) = values.next() else {
            // Before the first element there was nothing of ours: if the first element is incomplete, it has no line end.
            return if at == 0 && line.ends_with(b"\n") { Ok(None) } else { torn };
        };
        let element = values.byte_offset();
        at = start + element as u64;
        match &line[element..] {
            b",\n" => {}
            b"\n" => {
                let closing = len == at + CLOSING.len() as u64 && read(file, at, CLOSING.len() as u64)? == CLOSING;
                return Ok(Some(End { at, tail: if closing { Tail::Whole } else { Tail::Torn } }));
            }
            _ => return Ok(Some(End { at, tail: Tail::Torn })),
        }
    }
}

pub(super) fn from_start(file: &File) -> io::Result<&File> {
    let mut start = file;
    io::Seek::rewind(&mut start)?;
    Ok(file)
}

pub(super) fn read(file: &File, at: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Unusable::Io(error)
    }
}
