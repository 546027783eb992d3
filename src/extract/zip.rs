//! The members of a zip archive, and where in it they stand. Of the archive's directory only names, places and checksums are
//! believed, never sizes: members are inflated by the same reader as gzip, until deflate itself says that it ends.

use std::{io::Cursor, ops::Range};

// `ZipArchive` would index a directory of a million members before the first can be counted, and loses members of the
// same name.
use ::zip::{
    CompressionMethod,
    read::{Config, ZipFileEntry},
    unstable::read::ZipIterable,
};

use crate::trouble::{Reason, Trouble};

use super::{
    header::clip,
    marks,
    stream::{Compression, End, Extent, Stream},
};

/// What stands before a member's name in its local header, in bytes (APPNOTE.TXT 4.3.7).
const LOCAL_HEADER_BYTES: usize = 30;

/// Members that only word processors, Java and e-book readers put into a zip.
const OFFICE_MEMBERS: &[&str] = &["[Content_Types].xml", "mimetype"];

/// What the archive's directory lists.
pub(super) struct Directory {
    pub members: Vec<Member>,
    /// Why there are not more.
    pub trouble: Option<Trouble>,
}

pub(super) struct Member {
    /// At most 255 characters.
    pub name: String,
    /// A folder, or what macOS and Windows add to archives on their own.
    pub is_clutter: bool,
    /// Named like a report.
    pub is_marked: bool,
    is_encrypted: bool,
    method: CompressionMethod,
    /// From its first byte to the archive's end; `None`: none stands where the directory says.
    data: Option<Range<usize>>,
    stored_bytes: u64,
    crc32: u32,
}

/// Lists at most `most` members. Fails when there is no directory.
pub(super) fn directory(archive: &[u8], most: u64) -> Result<Directory, Trouble> {
    let damage =
        |error: ::zip::result::ZipError| Trouble::new(Reason::CorruptZip, format!("the zip is damaged: {error}"));
    let mut files = ZipIterable::try_new(Cursor::new(archive), Config::default()).map_err(damage)?;
    let mut directory = Directory { members: Vec::new(), trouble: None };
    for entry in files.files().map_err(damage)?.take(usize::try_from(most).unwrap_or(usize::MAX)) {
        match entry {
            Ok(entry) => directory.members.push(Member::of(&entry, archive)),
            Err(error) => directory.trouble = Some(damage(error)),
        }
    }
    Ok(directory)
}

impl Directory {
    /// Whether this is a document of an office suite or a program, which are zips too.
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
        let file = name.rsplit('/').next().unwrap_or(&name);
        Self {
            is_clutter: name.ends_with('/')
                || name.starts_with("__MACOSX/")
                || [".DS_Store", "Thumbs.db"].contains(&file),
            is_marked: marks::name(&name),
            name: clip(&name),
            is_encrypted: entry.encrypted(),
            method: entry.compression(),
            data: data(archive, entry.header_start()),
            stored_bytes: entry.compressed_size(),
            crc32: entry.crc32(),
        }
    }

    /// The member's bytes.
    pub fn stream<'a>(&self, archive: &Extent<'a>) -> Result<Stream<'a>, Trouble> {
        if self.is_encrypted {
            return Err(Trouble::new(Reason::EncryptedZip, "a zip member needs a password"));
        }
        let Some(data) = self.data.clone() else {
            return Err(Trouble::new(Reason::CorruptZip, "the zip's directory points to where no member stands"));
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
                let detail = format!("a zip member is compressed with {method}; deflate is read");
                Err(Trouble::new(Reason::UnsupportedContainer, detail))
            }
        }
    }
}

/// From a member's first byte to the archive's end.
fn data(archive: &[u8], header_at: u64) -> Option<Range<usize>> {
    let header_at = usize::try_from(header_at).ok()?;
    let header = archive.get(header_at..)?.get(..LOCAL_HEADER_BYTES)?;
    if !header.starts_with(b"PK\x03\x04") {
        return None;
    }
    let length = |at: usize| Some(usize::from(u16::from_le_bytes([*header.get(at)?, *header.get(at + 1)?])));
    let begin = header_at + LOCAL_HEADER_BYTES + length(26)? + length(28)?;
    (begin <= archive.len()).then_some(begin..archive.len())
}
