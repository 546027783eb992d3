//! Folders that we write in: made 0750 where they are missing, and synced so that what was made in them survives.

use std::{
    fs::{DirBuilder, File},
    io::{self, ErrorKind},
    os::unix::fs::DirBuilderExt,
    path::Path,
};

/// Makes `folder` and whatever is missing above it, each 0750 and on the disk when this returns.
pub(crate) fn create(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        create(above)?;
    }
    match DirBuilder::new().mode(0o750).create(folder) {
        Ok(()) => folder.parent().map_or(Ok(()), sync),
        // Somebody else was faster.
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

/// The parent of a bare file name is the empty path, which no system call understands.
pub(crate) fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}
