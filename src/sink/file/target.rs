//! One open file: appends batches, and restores the last confirmed end after a failure.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{
    layout::{self, CLOSING, Layout, Tail, Unusable},
    members::end_of_members,
};
use crate::{
    config::sink::{Codec, Compression},
    folder,
};

/// A file that events are appended to. Between two calls it ends with a whole event, or is marked as torn.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
    file: File,
    layout: Layout,
    /// Offset after the last confirmed event.
    end: u64,
    /// True if unconfirmed bytes may have been written after `end`.
    torn: bool,
    /// The bytes of the last batch; kept to reuse the memory.
    block: Vec<u8>,
}

/// Repair made when a file was opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mended {
    /// Number of bytes cut off at its end: an event that a crash left incomplete.
    pub(super) cut: u64,
}

/// Error in writing a file. Only a file that is not ours is given up; every other error may pass.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("{} is not a file that this sink can continue: {why}; move it away, or give the sink another path", .path.display())]
    NotOurs { path: PathBuf, why: &'static str },
    #[error("can't {doing} {}: {error}", .path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        error: io::Error,
    },
}

impl Target {
    /// Opens `path`, created with its folders if missing, and cuts off what a crash left incomplete.
    pub(super) fn open(path: &Path, layout: Layout) -> Result<(Self, Option<Mended>), FileError> {
        let failed = |doing| move |error| FileError::Io { doing, path: path.into(), error };
        let above = path.parent().unwrap_or(Path::new(""));
        folder::create(above).map_err(|error| FileError::Io { doing: "create", path: above.into(), error })?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            // Lines are appended at the end even if `logrotate` truncates the file at this very moment.
            .append(layout.codec != Codec::Array)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(path)
            .map_err(failed("open"))?;
        let about = file.metadata().map_err(failed("read"))?;
        if !about.is_file() {
            return Err(FileError::NotOurs { path: path.into(), why: "expected a regular file" });
        }
        // On each open: it is not known whether an earlier attempt that created the file got this far.
        folder::sync(above).map_err(failed("sync the folder of"))?;
        let found = match layout.compression {
            Compression::None => layout::find_end(&file, about.len(), layout.codec),
            compression => end_of_members(&file, about.len(), compression),
        };
        let end = found.map_err(|unusable| match unusable {
            Unusable::NotOurs(why) => FileError::NotOurs { path: path.into(), why },
            Unusable::Io(error) => failed("read")(error),
        })?;
        let mut target =
            Self { path: path.into(), file, layout, end: end.at, torn: end.tail != Tail::Whole, block: Vec::new() };
        if end.tail == Tail::NoLineEnd {
            target.file.write_all_at(b"\n", end.at).map_err(failed("write"))?;
            target.end += 1;
        }
        target.restore()?;
        let mended = (end.tail == Tail::Torn).then(|| Mended { cut: about.len().saturating_sub(target.len()) });
        Ok((target, mended))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// True if the path still leads to this file, and nobody else has changed its length: it was not rotated, deleted,
    /// truncated or written to.
    pub(super) fn is_in_place(&self) -> bool {
        let (Ok(there), Ok(here)) = (fs::metadata(&self.path), self.file.metadata()) else { return false };
        let same = (there.dev(), there.ino()) == (here.dev(), here.ino());
        same && if self.torn { here.len() >= self.end } else { here.len() == self.len() }
    }

    /// Appends `frames` and waits until they are on the disk. On an error, none of them counts as written.
    pub(super) fn append(&mut self, frames: &[Bytes]) -> Result<(), FileError> {
        self.restore()?;
        let end = layout::block(frames, self.end, self.layout, &mut self.block)
            .map_err(|error| self.failed("compress events for", error))?;
        self.torn = true;
        self.file.write_all_at(&self.block, self.end).map_err(|error| self.failed("write", error))?;
        self.file.sync_data().map_err(|error| self.failed("sync", error))?;
        self.torn = false;
        self.end = end;
        Ok(())
    }

    /// Removes what was written after the last confirmed event.
    pub(super) fn restore(&mut self) -> Result<(), FileError> {
        if self.torn {
            if self.layout.codec == Codec::Array && self.end > 0 {
                // Overwrites in place first, for which there is room even on a full disk.
                self.file.write_all_at(CLOSING, self.end).map_err(|error| self.failed("write", error))?;
            }
            self.file.set_len(self.len()).map_err(|error| self.failed("truncate", error))?;
            self.torn = false;
        }
        Ok(())
    }

    /// Returns the length of the file when nothing is torn.
    fn len(&self) -> u64 {
        let closed = self.layout.codec == Codec::Array && self.end > 0;
        self.end + if closed { CLOSING.len() as u64 } else { 0 }
    }

    fn failed(&self, doing: &'static str, error: io::Error) -> FileError {
        FileError::Io { doing, path: self.path.clone(), error }
    }
}
