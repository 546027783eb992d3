//! Which mails are being read at this moment: what a process that died leaves here tells which mail it died over.
//!
//! Nothing is synced: the kernel keeps what was written when the process dies, and no mail makes the machine die.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::debug;

use super::key;
use crate::source::Place;

const FILE: &str = "reading";
/// Of one reader: whether it is at work, and the name of its mail.
const SLOT: usize = 1 + NAME;
const NAME: usize = 32;
/// A file of more readers than this is not ours.
const SLOTS: u64 = 1 << 16;

/// A mail's or file's place, hashed.
pub(super) type PlaceName = [u8; NAME];

/// A slot for each reader; none where nothing can be kept.
#[derive(Debug, Default)]
pub(super) struct Journal {
    file: Option<File>,
    readers: Mutex<u64>,
}

/// What one reader is at. While it only waits (for memory, or for room in a sink's queue) nothing that happens to the process is the
/// mail's doing, so that counts as reading nothing.
#[derive(Debug, Clone)]
pub struct Bookmark {
    journal: Arc<Journal>,
    slot: u64,
    mail: Option<PlaceName>,
}

impl Journal {
    /// Opens the journal of `data_dir` (0600), and tells which mails were being read when the last process died.
    pub(super) fn open(data_dir: &Path) -> io::Result<(Self, Vec<PlaceName>)> {
        let path = data_dir.join(FILE);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut slots = Vec::new();
        (&mut file).take(SLOTS * SLOT as u64).read_to_end(&mut slots)?;
        let left = slots.chunks_exact(SLOT).filter(|slot| slot[0] == 1);
        let left = left.filter_map(|slot| slot[1..].try_into().ok()).collect();
        Ok((Self { file: Some(file), readers: Mutex::default() }, left))
    }

    /// What was left is dealt with.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| file.set_len(0))
    }

    pub(super) fn bookmark(self: &Arc<Self>) -> Bookmark {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        *readers += 1;
        Bookmark { journal: self.clone(), slot: *readers - 1, mail: None }
    }

    fn write(&self, slot: u64, bytes: &[u8]) {
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.write_all_at(bytes, slot * SLOT as u64)) {
            // What is lost is one count of a mail that may never kill anything.
            debug!(%error, "can't note which mail is being read");
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
            self.journal.write(self.slot, &slot);
        }
    }

    pub fn pause(&self) {
        if self.mail.is_some() {
            self.journal.write(self.slot, &[0]);
        }
    }

    pub fn end(&mut self) {
        self.pause();
        self.mail = None;
    }
}
