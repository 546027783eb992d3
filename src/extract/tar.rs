//! Reads the members of a tar archive, plain or compressed.

use std::io::Read;

use crate::trouble::{Reason, Trouble};

use super::{
    budget::{Budget, HELD_BYTES},
    stream::{Container, End, Extent, SMALL_BYTES, Stream, read_up_to, too_large_to_hold},
};

/// Callback for a member's name, if known, and its bytes.
pub(super) type Each<'e> = dyn FnMut(Option<&str>, Result<Stream<'_>, Trouble>) + 'e;

/// Passes the regular files in the archive to `each`, or the trouble with one, until the archive ends or is damaged.
pub(super) fn members(archive: &Stream<'_>, budget: &Budget<'_>, each: &mut Each<'_>) {
    let unheld = Container::of(archive, budget);
    let whole = archive.plain().cloned().unwrap_or_else(|| unheld.first(usize::MAX));
    let mut tar = ::tar::Archive::new(archive.open(budget));
    let damage = |error: &std::io::Error| {
        let trouble = Trouble::from_io(error, Reason::CorruptTar);
        match trouble.reason {
            Reason::CorruptTar => Trouble::new(Reason::CorruptTar, format!("the tar is damaged: {}", trouble.detail)),
            _ => trouble,
        }
    };
    let entries = match tar.entries() {
        // Raw entries: otherwise the long names given in extra members are held in memory, whatever their length.
        Ok(entries) => entries.raw(true),
        Err(error) => return each(None, Err(damage(&error))),
    };
    for entry in entries {
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) => return each(None, Err(damage(&error))),
        };
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file() || name.ends_with('/') {
            continue;
        }
        if let Err(trouble) = budget.entry() {
            return each(Some(&name), Err(trouble));
        }
        let size = usize::try_from(entry.size()).unwrap_or(usize::MAX);
        let at = usize::try_from(entry.raw_file_position()).unwrap_or(usize::MAX);
        let place = whole.part(at..at.saturating_add(size));
        if archive.plain().is_some() {
            let is_whole = place.len() == size;
            let end = if is_whole { End::Whole } else { End::Broken(cut_off()) };
            each(Some(&name), Ok(Stream::ending(place, end)));
            if !is_whole {
                return;
            }
            continue;
        }
        if size > HELD_BYTES {
            each(Some(&name), Err(too_large_to_hold()));
            continue;
        }
        // A large member is held in memory as the archive is read, and read from the archive again if it was dropped.
        let again = Stream::ending(place, End::Whole);
        let container = Container::of(&again, budget);
        let mut small = Vec::new();
        let (bytes, trouble) = if size < SMALL_BYTES {
            let (bytes, trouble) = read_up_to(entry.by_ref(), size);
            small = bytes;
            (small.len(), trouble)
        } else {
            container.fill(entry.by_ref(), budget)
        };
        if let Some(trouble) = trouble.clone().filter(|trouble| trouble.limit.is_some()) {
            return each(Some(&name), Err(trouble));
        }
        let trouble = trouble.or_else(|| (bytes < size).then(cut_off));
        let is_last = trouble.is_some();
        let end = trouble.map_or(End::Whole, End::Broken);
        let extent = if size < SMALL_BYTES { Extent::Memory(&small) } else { container.first(bytes) };
        each(Some(&name), Ok(Stream::ending(extent, end)));
        if is_last {
            return;
        }
    }
}

fn cut_off() -> Trouble {
    Trouble::new(Reason::CorruptTar, "the tar ends inside a member")
}
