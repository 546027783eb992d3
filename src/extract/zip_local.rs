//! Finds the members of a zip archive that has no central directory, as its end is missing: by their local headers
//! (APPNOTE.TXT 4.3.7).

use std::ops::Range;

use memchr::memmem;

/// Size of the local header before the member's name, in bytes.
pub(super) const HEADER_BYTES: usize = 30;
const HEADER: &[u8] = b"PK\x03\x04";
/// Begin the records after the last member: the entry of a member in the central directory, and the end of that.
const AFTER: [&[u8]; 2] = [b"PK\x01\x02", b"PK\x05\x06"];
const DESCRIPTOR: &[u8] = b"PK\x07\x08";
/// Flag of a member whose checksum and size follow it, in a data descriptor (4.3.9).
const HAS_DESCRIPTOR: u16 = 8;
/// Highest version of the format that a member may need: of those defined, 63 is the highest (4.4.3).
const VERSIONS: u16 = 100;

/// A member as its local header and data descriptor describe it.
pub(super) struct LocalMember<'a> {
    pub name: &'a [u8],
    pub flags: u16,
    pub method: u16,
    pub crc32: u32,
    /// Range of its data, which ends where the next record begins.
    pub data: Range<usize>,
}

/// Lists at most `most` members.
pub(super) fn members(archive: &[u8], most: usize) -> Vec<LocalMember<'_>> {
    let mut members = Vec::new();
    let mut at = next_header(archive, 0);
    while let Some(member) = at.and_then(|at| member(archive, at)) {
        at = next_header(archive, member.data.end);
        members.push(member);
        if members.len() == most {
            break;
        }
    }
    members
}

fn member(archive: &[u8], at: usize) -> Option<LocalMember<'_>> {
    let header = archive.get(at..)?.get(..HEADER_BYTES)?;
    let short = |at: usize| Some(u16::from_le_bytes(header.get(at..)?.first_chunk().copied()?));
    let (flags, method) = (short(6)?, short(8)?);
    let name = at + HEADER_BYTES..at + HEADER_BYTES + usize::from(short(26)?);
    let begin = name.end + usize::from(short(28)?);
    let rest = archive.get(begin..)?;
    let (mut crc32, told) = (long(header, 14)?, usize::try_from(long(header, 18)?).ok()?);
    let mut end = if flags & HAS_DESCRIPTOR == 0 && told <= rest.len() && is_record(rest, told) {
        told
    } else {
        let next = next_header(archive, begin).map_or(rest.len(), |next| next - begin);
        AFTER.iter().filter_map(|record| memmem::find(rest, record)).fold(next, usize::min)
    };
    if flags & HAS_DESCRIPTOR != 0
        && let Some((length, told)) = descriptor(rest, end)
    {
        (end, crc32) = (length, told);
    }
    Some(LocalMember { name: archive.get(name)?, flags, method, crc32, data: begin..begin + end })
}

/// True if a record begins at `at`, or nothing follows.
fn is_record(bytes: &[u8], at: usize) -> bool {
    bytes.get(at..).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"PK"))
}

/// Returns the length and the checksum of a member from the data descriptor that ends at `end`: with or without its
/// signature, and with sizes of four or eight bytes.
fn descriptor(data: &[u8], end: usize) -> Option<(usize, u32)> {
    let found = [(16, 4), (24, 4), (12, 0), (20, 0)].into_iter().find(|&(size, skipped)| {
        let begin = end.checked_sub(size);
        begin.is_some_and(|begin| {
            let is_signed = data.get(begin..).is_some_and(|rest| rest.starts_with(DESCRIPTOR));
            let told = long(data, begin + skipped + 4).and_then(|told| usize::try_from(told).ok());
            is_signed == (skipped > 0) && told == Some(begin)
        })
    });
    let (size, skipped) = found?;
    Some((end - size, long(data, end - size + skipped)?))
}

/// Returns where the next local header begins. A signature alone can be part of a member's data.
fn next_header(archive: &[u8], from: usize) -> Option<usize> {
    let rest = archive.get(from..)?;
    memmem::find_iter(rest, HEADER).map(|at| from + at).find(|&at| {
        archive.get(at..).and_then(|rest| rest.get(..HEADER_BYTES)).is_some_and(|header| {
            let short = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
            short(4) & 0xff < VERSIONS && short(8) < VERSIONS && usize::from(short(26)) < archive.len() - at
        })
    })
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}
