//! Crash marker: records which mails are being read, so that the next process knows which mails this one died over.
//!
//! Nothing is synced: the kernel keeps what was written when the process dies, and no mail crashes the machine.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::debug;

use super::key::{self, PlaceName};
use crate::source::Place;

const FILE: &str = "reading";
/// Size of one reader's slot: a byte that is 1 while it reads, and the name of its mail.
const SLOT: usize = 1 + size_of::<PlaceName>();
/// Maximum number of slots read from the file; a file with more was not written by this program.
const SLOTS: u64 = 1 << 16;

/// A file with a slot for each reader; no file if nothing can be kept.
#[derive(Debug, Default)]
pub(super) struct CrashMarker {
    file: Option<File>,
    readers: Mutex<u64>,
}

/// Record of the mail that one reader is reading. While the reader only waits (for memory, or for room in a sink's queue),
/// a crash of the process is not caused by the mail, so that the record says that nothing is being read.
#[derive(Debug, Clone)]
pub struct Bookmark {
    crash_marker: Arc<CrashMarker>,
    slot: u64,
    mail: Option<PlaceName>,
}

impl CrashMarker {
    /// Opens the crash marker of `data_dir` (0600), and returns the mails that were being read when the last process died.
    pub(super) fn open(data_dir: &Path) -> io::Result<(Self, Vec<PlaceName>)> {
        let path = data_dir.join(FILE);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut slots = Vec::new();
        (&mut file).take(SLOTS * SLOT as u64).read_to_end(&mut slots)?;
        let left = slots.chunks_exact(SLOT).filter(|slot| slot[0] == 1);
        let left = left.filter_map(|slot| slot[1..].try_into().ok()).collect();
        Ok((Self { file: Some(file), readers: Mutex::default() }, left))
    }

    /// Clears the entries of the last process, after they were counted.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| file.set_len(0))
    }

    pub(super) fn bookmark(self: &Arc<Self>) -> Bookmark {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        *readers += 1;
        Bookmark { crash_marker: self.clone(), slot: *readers - 1, mail: None }
    }

    fn write(&self, slot: u64, bytes: &[u8]) {
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.write_all_at(bytes, slot * SLOT as u64)) {
            // Only one count is lost, of a mail that may never crash anything.
            debug!(%error, "can't write the crash marker");
        }
    }
}

impl Bookmark {
    pub fn begin(&mut self, mail: &Place) {
        self.mail = key::place_name(mail);
        self.resume();
    }

    pub fn resume(&self) {
        if let Some(name) = self.mail {
            let mut slot = [1; SLOT];
            slot[1..].copy_from_slice(&name);
            self.crash_marker.write(self.slot, &slot);
        }
    }

    pub fn pause(&self) {
        if self.mail.is_some() {
            self.crash_marker.write(self.slot, &[0]);
        }
    }

    pub fn end(&mut self) {
        self.pause();
        self.mail = None;
    }
}
