//! The members of a tar archive, plain or inside a compression.

use std::{borrow::Cow, io::Read};

use crate::trouble::{Reason, Trouble};

use super::{
    budget::{Budget, HELD_BYTES},
    stream::{End, Stream, read_up_to, too_large_to_hold},
};

/// A regular file in the archive.
pub(super) struct Member<'a> {
    pub name: String,
    /// Of a compressed archive, a copy.
    pub bytes: Cow<'a, [u8]>,
    pub end: End,
}

/// Hands out the members of the archive, or why one can't be read, until the archive ends or is broken.
pub(super) fn members<'a>(
    archive: &Stream<'a>,
    budget: &Budget<'_>,
    each: &mut dyn FnMut(Option<String>, Result<Member<'a>, Trouble>),
) {
    let mut tar = ::tar::Archive::new(archive.open(budget));
    let damage = |error: &std::io::Error| {
        let trouble = Trouble::from_io(error, Reason::CorruptTar);
        match trouble.reason {
            Reason::CorruptTar => Trouble::new(Reason::CorruptTar, format!("the tar is damaged: {}", trouble.detail)),
            _ => trouble,
        }
    };
    let entries = match tar.entries() {
        // Raw: otherwise names that are told in members of their own are held, however long they are.
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
            return each(Some(name), Err(trouble));
        }
        let size = entry.size();
        let (bytes, end) = if archive.is_plain() {
            slice(archive.bytes, entry.raw_file_position(), size)
        } else if size > HELD_BYTES as u64 {
            each(Some(name), Err(too_large_to_hold()));
            continue;
        } else {
            let (bytes, trouble) = read_up_to(entry.by_ref(), HELD_BYTES);
            if let Some(trouble) = trouble.clone().filter(|trouble| trouble.limit.is_some()) {
                return each(Some(name), Err(trouble));
            }
            let trouble = trouble.or_else(|| ((bytes.len() as u64) < size).then(cut_off));
            (Cow::Owned(bytes), trouble.map_or(End::Whole, End::Broken))
        };
        let is_last = matches!(end, End::Broken(_));
        each(Some(name.clone()), Ok(Member { name, bytes, end }));
        if is_last {
            return;
        }
    }
}

fn slice(archive: &[u8], at: u64, size: u64) -> (Cow<'_, [u8]>, End) {
    let rest = usize::try_from(at).ok().and_then(|at| archive.get(at..)).unwrap_or_default();
    match usize::try_from(size).ok().and_then(|size| rest.get(..size)) {
        Some(bytes) => (bytes.into(), End::Whole),
        None => (rest.into(), End::Broken(cut_off())),
    }
}

fn cut_off() -> Trouble {
    Trouble::new(Reason::CorruptTar, "the tar ends inside a member")
}
