//! Reads the attachments of an Outlook message (.msg): a compound file (MS-CFB) whose streams are the message's properties
//! (MS-OXMSG). Nothing else of the message is read.

use std::{collections::HashSet, ops::Range};

use crate::{
    limits::OUTLOOK_BYTES,
    trouble::{Reason, Trouble},
};

use super::header::clip;

/// Numbers that end a chain of sectors, or mark sectors that belong to none, are greater.
const LAST_SECTOR: u32 = 0xffff_fffa;
/// Index of no directory entry.
const NO_ENTRY: u32 = u32::MAX;
/// Number of FAT sectors that the header lists.
const LISTED: usize = 109;
/// Size of a directory entry, in bytes.
const ENTRY_BYTES: usize = 128;
/// Streams below this size are in the mini stream.
const MINI_BELOW: u64 = 4096;
const MINI_SHIFT: u32 = 6;
/// Maximum nesting of messages attached to messages.
const DEPTH: u32 = 5;

/// Types of directory entries.
mod kind {
    pub const STORAGE: u8 = 1;
    pub const STREAM: u8 = 2;
}

/// Names of the streams and storages of an attachment: its data, the message that it is, and its names, the best first.
const ATTACHMENT: &str = "__attach_version1.0_";
const DATA: &str = "__substg1.0_37010102";
const MESSAGE: &str = "__substg1.0_3701000D";
const NAMES: [&str; 4] =
    ["__substg1.0_3707001F", "__substg1.0_3704001F", "__substg1.0_3707001E", "__substg1.0_3704001E"];
/// Every message has a stream with properties.
const PROPERTIES: &str = "__properties_version1.0";

/// An attached file.
pub(super) struct Attachment {
    /// At most 255 characters; empty if it has none.
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Returns the attachments, `OUTLOOK_BYTES` at most. `None` if the compound file is no message, such as a Word document, or so
/// damaged that this can't be told.
pub(super) fn attachments(file: &[u8]) -> Option<Result<Vec<Attachment>, Trouble>> {
    let file = Compound::of(file)?;
    let root = file.children(0);
    if !root.iter().any(|entry| entry.name == PROPERTIES || entry.name.starts_with(ATTACHMENT)) {
        return None;
    }
    let (mut room, mut found) = (OUTLOOK_BYTES, Vec::new());
    Some(file.collect(&root, DEPTH, &mut room, &mut found).map(|()| found))
}

/// Trouble of a message that is too damaged to be read.
pub(super) fn damaged() -> Trouble {
    Trouble::new(Reason::CorruptMessage, "the Outlook message (.msg) is damaged")
}

/// A compound file: a file system of sectors.
struct Compound<'f> {
    file: &'f [u8],
    /// Binary logarithm of the sector size.
    shift: u32,
    /// Numbers of the sectors of the FAT, of the directory, of the mini FAT and of the mini stream, in order.
    fat: Vec<u32>,
    directory: Vec<u32>,
    mini_fat: Vec<u32>,
    mini_stream: Vec<u32>,
}

/// An entry of the directory.
struct Entry {
    name: String,
    kind: u8,
    id: u32,
    start: u32,
    size: u64,
}

impl<'f> Compound<'f> {
    fn of(file: &'f [u8]) -> Option<Self> {
        let shift = u32::from(u16::from_le_bytes(*file.get(30..)?.first_chunk()?));
        if !(7..=16).contains(&shift) {
            return None;
        }
        let mut compound =
            Self { file, shift, fat: Vec::new(), directory: Vec::new(), mini_fat: Vec::new(), mini_stream: Vec::new() };
        compound.fat = compound.fat_sectors()?;
        compound.directory = compound.chain(long(file, 48)?);
        compound.mini_fat = compound.chain(long(file, 60)?);
        compound.mini_stream = compound.chain(compound.entry(0)?.start);
        Some(compound)
    }

    /// Returns the numbers of the sectors of the FAT: the first are in the header, further ones in a chain of sectors.
    fn fat_sectors(&self) -> Option<Vec<u32>> {
        let is_used = |sector: &u32| *sector < LAST_SECTOR;
        let listed = (0..LISTED).map_while(|number| long(self.file, 76 + 4 * number));
        let mut fat: Vec<u32> = listed.filter(is_used).collect();
        let (mut next, per_sector) = (long(self.file, 68)?, (1usize << self.shift) / 4);
        for _ in 0..self.sectors() {
            if next >= LAST_SECTOR || fat.len() > self.sectors() {
                break;
            }
            let sector = self.sector(next)?;
            fat.extend((0..per_sector - 1).map_while(|number| long(sector, 4 * number)).filter(is_used));
            next = long(sector, 4 * (per_sector - 1))?;
        }
        Some(fat)
    }

    /// Number of sectors that fit into the file, to bound chains that form a circle.
    fn sectors(&self) -> usize {
        (self.file.len() >> self.shift) + 1
    }

    /// The bytes of a sector; the last one may be shorter.
    fn sector(&self, number: u32) -> Option<&'f [u8]> {
        let begin = (usize::try_from(number).ok()?.checked_add(1)?).checked_mul(1 << self.shift)?;
        let rest = self.file.get(begin..).filter(|rest| !rest.is_empty())?;
        Some(rest.get(..1 << self.shift).unwrap_or(rest))
    }

    /// The numbers of the sectors that follow from `first`, as far as there are any.
    fn chain(&self, first: u32) -> Vec<u32> {
        let per_sector = (1usize << self.shift) / 4;
        let next = |sector: &u32| {
            let index = usize::try_from(*sector).ok()?;
            long(self.sector(*self.fat.get(index / per_sector)?)?, 4 * (index % per_sector))
        };
        std::iter::successors(Some(first), next)
            .take_while(|sector| *sector < LAST_SECTOR)
            .take(self.sectors())
            .collect()
    }

    fn entry(&self, id: u32) -> Option<Entry> {
        let bytes = self.raw(id)?;
        let length = usize::from(u16::from_le_bytes(*bytes.get(64..)?.first_chunk()?)).saturating_sub(2).min(62);
        let size = u64::from(long(bytes, 120)?);
        Some(Entry { name: utf16(bytes.get(..length)?), kind: *bytes.get(66)?, id, start: long(bytes, 116)?, size })
    }

    fn raw(&self, id: u32) -> Option<&'f [u8]> {
        let per_sector = (1usize << self.shift) / ENTRY_BYTES;
        let index = usize::try_from(id).ok()?;
        let sector = self.sector(*self.directory.get(index / per_sector)?)?;
        sector.get(index % per_sector * ENTRY_BYTES..)?.get(..ENTRY_BYTES)
    }

    /// Entries directly in the storage `id`: a binary tree of siblings.
    fn children(&self, id: u32) -> Vec<Entry> {
        let most = self.directory.len() * ((1usize << self.shift) / ENTRY_BYTES);
        let mut children = Vec::new();
        let mut seen = HashSet::new();
        let mut open: Vec<u32> = self.raw(id).and_then(|entry| long(entry, 76)).into_iter().collect();
        while let Some(id) = open.pop().filter(|_| seen.len() <= most) {
            if id == NO_ENTRY || !seen.insert(id) {
                continue;
            }
            let (Some(raw), Some(entry)) = (self.raw(id), self.entry(id)) else { continue };
            children.push(entry);
            open.extend([long(raw, 68), long(raw, 72)].into_iter().flatten());
        }
        children.sort_by(|a, b| a.name.cmp(&b.name));
        children
    }

    /// Adds the attachments of the message that consists of `entries`, and of the messages attached to it.
    fn collect(
        &self,
        entries: &[Entry],
        depth: u32,
        room: &mut usize,
        found: &mut Vec<Attachment>,
    ) -> Result<(), Trouble> {
        let is_attachment = |entry: &&Entry| entry.kind == kind::STORAGE && entry.name.starts_with(ATTACHMENT);
        for attachment in entries.iter().filter(is_attachment) {
            let parts = self.children(attachment.id);
            let named = |name: &str, kind: u8| parts.iter().find(|part| part.name == name && part.kind == kind);
            if let Some(message) = named(MESSAGE, kind::STORAGE) {
                if depth == 0 {
                    let detail = format!("Outlook messages are nested more than {DEPTH} levels deep");
                    return Err(Trouble::new(Reason::NestedTooDeep, detail));
                }
                self.collect(&self.children(message.id), depth - 1, room, found)?;
            }
            let Some(data) = named(DATA, kind::STREAM) else { continue };
            let name = NAMES.iter().find_map(|name| named(name, kind::STREAM));
            let name = name.map(|name| self.text(name)).unwrap_or_default();
            found.push(Attachment { name: clip(name.trim_end_matches('\0')), bytes: self.stream(data, room)? });
        }
        Ok(())
    }

    /// The text of a stream whose name ends in its type; empty if it can't be read.
    fn text(&self, entry: &Entry) -> String {
        let mut room = NAME_BYTES;
        match self.stream(entry, &mut room) {
            Ok(bytes) if entry.name.ends_with("1F") => utf16(&bytes),
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => String::new(),
        }
    }

    /// Copies a stream; `room` is the number of bytes that may still be copied.
    fn stream(&self, entry: &Entry, room: &mut usize) -> Result<Vec<u8>, Trouble> {
        let size = usize::try_from(entry.size).unwrap_or(usize::MAX);
        *room = room.checked_sub(size).ok_or_else(|| {
            let detail = format!("the attachments of the Outlook message (.msg) are larger than {OUTLOOK_BYTES} bytes");
            Trouble::new(Reason::UnsupportedContainer, detail)
        })?;
        let mut bytes = Vec::with_capacity(size);
        if entry.size < MINI_BELOW {
            let mut next = entry.start;
            while bytes.len() < size {
                let piece = self.mini_sector(next).ok_or_else(damaged)?;
                bytes.extend_from_slice(&piece[..piece.len().min(size - bytes.len())]);
                next = self.next_mini(next).ok_or_else(damaged)?;
            }
        } else {
            for sector in self.chain(entry.start) {
                let sector = self.sector(sector).ok_or_else(damaged)?;
                bytes.extend_from_slice(&sector[..sector.len().min(size - bytes.len())]);
            }
        }
        if bytes.len() == size { Ok(bytes) } else { Err(damaged()) }
    }

    fn mini_sector(&self, number: u32) -> Option<&'f [u8]> {
        let (sector, range) = self.place(number, MINI_SHIFT)?;
        let sector = self.sector(*self.mini_stream.get(sector)?)?;
        sector.get(range.start..range.end.min(sector.len())).filter(|piece| !piece.is_empty())
    }

    fn next_mini(&self, number: u32) -> Option<u32> {
        let (sector, range) = self.place(number, 2)?;
        long(self.sector(*self.mini_fat.get(sector)?)?, range.start)
    }

    /// Index of the sector that has the item `number`, of a power of two of bytes, and its range there.
    fn place(&self, number: u32, item_shift: u32) -> Option<(usize, Range<usize>)> {
        let begin = usize::try_from(number).ok()?.checked_mul(1 << item_shift)?;
        let within = begin & ((1 << self.shift) - 1);
        Some((begin >> self.shift, within..within + (1 << item_shift)))
    }
}

/// Maximum size of an attachment's name that is read, in bytes.
const NAME_BYTES: usize = 2048;

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    String::from_utf16_lossy(&units)
}
