//! Folders that the program writes in: created with mode 0750 if missing, and synced so that new files in them survive a crash.

use std::{
    fs::{DirBuilder, File},
    io::{self, ErrorKind},
    os::unix::fs::DirBuilderExt,
    path::Path,
};

/// Creates `folder` and all missing folders above it, each with mode 0750; they are on the disk when this returns.
pub(crate) fn create(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        create(above)?;
    }
    match DirBuilder::new().mode(0o750).create(folder) {
        Ok(()) => folder.parent().map_or(Ok(()), sync),
        // Another process created it first.
        Err(_) if folder.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes the names in `folder` to the disk: a new file is not safe before its name is.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    match File::open(or_here(folder))?.sync_all() {
        // Some network file systems can't sync a folder; they write names through.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

/// Returns `.` for the empty path: that is the parent of a bare file name, and no system call accepts it.
pub(crate) fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}
