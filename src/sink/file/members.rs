//! Compressed file: gzip members or zstd frames, one after the other, and where the last whole one ends.

use std::{
    error::Error,
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind, Seek},
};

use flate2::bufread::GzDecoder;
use memchr::memmem;
use ruzstd::decoding::StreamingDecoder;

use super::layout::{End, TORN_BYTES, Tail, Unusable, from_start, read};
use crate::config::sink::Compression;

/// Finds the end of the last whole member in `file`, which is `len` bytes long and may be empty. All of it is decompressed, and
/// checksums are verified: a member does not say how long it is.
pub(super) fn end_of_members(file: &File, len: u64, compression: Compression) -> Result<End, Unusable> {
    let (magic, expected): (&[u8], _) = match compression {
        Compression::Zstd => (&[0x28, 0xb5, 0x2f, 0xfd], "expected zstd frames"),
        Compression::Gzip | Compression::None => (&[0x1f, 0x8b, 8], "expected gzip members"),
    };
    if !magic.starts_with(&read(file, 0, len.min(magic.len() as u64))?) {
        return Err(Unusable::NotOurs(expected));
    }
    let mut reader = BufReader::with_capacity(64 << 10, from_start(file)?);
    let mut at = 0;
    while at < len {
        match skip(&mut reader, compression) {
            Ok(()) => at = reader.stream_position()?,
            Err(error) if any_cause(&error, |cause| cause.raw_os_error().is_some()) => return Err(error.into()),
            // A kill or a full disk leaves a member incomplete.
            Err(error) if any_cause(&error, |cause| cause.kind() == ErrorKind::UnexpectedEof) => {
                if len - at > TORN_BYTES {
                    return Err(Unusable::NotOurs("more is missing at its end than a crash can break"));
                }
                return Ok(End { at, tail: Tail::Torn });
            }
            // A power failure may leave anything, but only in the last member.
            Err(_) if at > 0 && !is_followed(file, at, len, magic, compression)? => {
                return Ok(End { at, tail: Tail::Torn });
            }
            Err(_) => return Err(Unusable::NotOurs("a part before its end is damaged")),
        }
    }
    Ok(End { at, tail: Tail::Whole })
}

/// Decompresses one member, verifies its checksum, and leaves `reader` behind it.
fn skip(reader: &mut impl BufRead, compression: Compression) -> io::Result<()> {
    let mut none = io::sink();
    match compression {
        Compression::Zstd => {
            let mut decoder = StreamingDecoder::new(reader).map_err(io::Error::other)?;
            io::copy(&mut decoder, &mut none)?;
            let decoder = decoder.into_frame_decoder();
            if decoder.get_checksum_from_data() != decoder.get_calculated_checksum() {
                return Err(io::Error::other("the checksum is wrong"));
            }
        }
        Compression::Gzip | Compression::None => {
            io::copy(&mut GzDecoder::new(reader), &mut none)?;
        }
    }
    Ok(())
}

/// True if `holds` does for this error, or for one that it was made of.
fn any_cause(error: &io::Error, holds: impl Fn(&io::Error) -> bool) -> bool {
    let inner = error.get_ref().map(|inner| inner as &(dyn Error + 'static));
    let mut causes = std::iter::successors(inner, |&cause| cause.source());
    holds(error) || causes.any(|cause| cause.downcast_ref().is_some_and(&holds))
}

/// True if a whole member begins behind the damaged one at `at`, or if there is too much to look at.
fn is_followed(file: &File, at: u64, len: u64, magic: &[u8], compression: Compression) -> io::Result<bool> {
    if len - at > TORN_BYTES {
        return Ok(true);
    }
    let rest = read(file, at, len - at)?;
    Ok(memmem::find_iter(&rest, magic).skip(1).any(|begin| skip(&mut &rest[begin..], compression).is_ok()))
}
