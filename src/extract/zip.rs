//! Lists the members of a zip archive with their offsets. Only names, offsets and checksums of the archive's directory are
//! trusted, and sizes never: members are inflated by the same reader as gzip, until the end marker of the deflate stream.

use std::{io::Cursor, ops::Range};

// `ZipArchive` would index a directory of a million members before the first can be counted, and loses members that share a
// name.
use ::zip::{
    CompressionMethod,
    read::{Config, ZipFileEntry},
    unstable::read::ZipIterable,
};

use crate::trouble::{Reason, Trouble};

use super::{
    header::clip,
    inflate::Compression,
    report_hints,
    stream::{End, Extent, Stream},
    zip_local::{self, HEADER_BYTES, LocalMember},
};

/// Flag of an encrypted member (APPNOTE.TXT 4.4.4).
const ENCRYPTED: u16 = 1;

/// Members that only office documents, Java and e-books have.
const OFFICE_MEMBERS: &[&str] = &["[Content_Types].xml", "mimetype"];

/// Entries of the archive's central directory.
pub(super) struct Directory {
    pub members: Vec<Member>,
    /// The damage that ended the list early.
    pub trouble: Option<Trouble>,
}

pub(super) struct Member {
    /// At most 255 characters.
    pub name: String,
    /// Named like a report.
    pub is_marked: bool,
    is_encrypted: bool,
    method: CompressionMethod,
    /// From the member's first byte to the archive's end; `None` if the directory points to no member.
    data: Option<Range<usize>>,
    stored_bytes: u64,
    crc32: u32,
}

/// Lists at most `most` members. Fails if the archive has neither a directory nor members.
pub(super) fn directory(archive: &[u8], most: u64) -> Result<Directory, Trouble> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    central(archive, most).or_else(|trouble| {
        let members: Vec<Member> = zip_local::members(archive, most).into_iter().map(Member::local).collect();
        if members.is_empty() { Err(trouble) } else { Ok(Directory { members, trouble: Some(without_directory()) }) }
    })
}

fn without_directory() -> Trouble {
    let detail = "the zip has no central directory, as its end is missing; members were found by their own headers, and others \
                  may be missing too";
    Trouble::new(Reason::CorruptZip, detail)
}

/// Lists the entries of the central directory.
fn central(archive: &[u8], most: usize) -> Result<Directory, Trouble> {
    let damage =
        |error: ::zip::result::ZipError| Trouble::new(Reason::CorruptZip, format!("the zip is damaged: {error}"));
    let mut files = ZipIterable::try_new(Cursor::new(archive), Config::default()).map_err(damage)?;
    let mut directory = Directory { members: Vec::new(), trouble: None };
    for entry in files.files().map_err(damage)?.take(most) {
        match entry {
            Ok(entry) => directory.members.push(Member::of(&entry, archive)),
            Err(error) => directory.trouble = Some(damage(error)),
        }
    }
    Ok(directory)
}

impl Directory {
    /// True if the archive is an office document or a program, which are zips too.
    pub fn is_office(&self) -> bool {
        let begins = self.members.first().is_some_and(|member| member.name.starts_with("META-INF/"));
        begins || self.members.iter().any(|member| OFFICE_MEMBERS.contains(&member.name.as_str()))
    }
}

impl Member {
    fn of(entry: &ZipFileEntry<'_>, archive: &[u8]) -> Self {
        let name = match entry.name() {
            Ok(name) => name.into_owned(),
            Err(_) => String::from_utf8_lossy(entry.name_raw()).into_owned(),
        };
        Self {
            is_marked: report_hints::name(&name),
            name: clip(&name),
            is_encrypted: entry.encrypted(),
            method: entry.compression(),
            data: data(archive, entry.header_start()),
            stored_bytes: entry.compressed_size(),
            crc32: entry.crc32(),
        }
    }

    fn local(member: LocalMember<'_>) -> Self {
        let name = String::from_utf8_lossy(member.name);
        Self {
            is_marked: report_hints::name(&name),
            name: clip(&name),
            is_encrypted: member.flags & ENCRYPTED != 0,
            #[expect(deprecated, reason = "the number comes from the archive")]
            method: CompressionMethod::from_u16(member.method),
            stored_bytes: member.data.len() as u64,
            crc32: member.crc32,
            data: Some(member.data),
        }
    }

    /// Opens the member's bytes.
    pub fn stream<'a>(&self, archive: &Extent<'a>) -> Result<Stream<'a>, Trouble> {
        if self.is_encrypted {
            return Err(Trouble::new(Reason::EncryptedZip, "a zip member needs a password"));
        }
        let Some(data) = self.data.clone() else {
            return Err(Trouble::new(Reason::CorruptZip, "the zip's central directory points to no member"));
        };
        match self.method {
            CompressionMethod::DEFLATE => {
                let stream = Stream::ending(archive.part(data), End::Whole);
                Ok(stream.inflated(Compression::Deflate { crc32: self.crc32 }))
            }
            CompressionMethod::STORE => {
                let length = usize::try_from(self.stored_bytes).unwrap_or(usize::MAX).min(data.len());
                Ok(Stream::ending(archive.part(data.start..data.start + length), End::Crc32(self.crc32)))
            }
            method => {
                let detail = format!("a zip member is compressed with {method}; expected deflate");
                Err(Trouble::new(Reason::UnsupportedContainer, detail))
            }
        }
    }
}

/// Returns the range from a member's first byte to the archive's end.
fn data(archive: &[u8], header_at: u64) -> Option<Range<usize>> {
    let header_at = usize::try_from(header_at).ok()?;
    let header = archive.get(header_at..)?.get(..HEADER_BYTES)?;
    if !header.starts_with(b"PK\x03\x04") {
        return None;
    }
    let length = |at: usize| Some(usize::from(u16::from_le_bytes([*header.get(at)?, *header.get(at + 1)?])));
    let begin = header_at + HEADER_BYTES + length(26)? + length(28)?;
    (begin <= archive.len()).then_some(begin..archive.len())
}
