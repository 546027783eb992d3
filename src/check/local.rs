//! What lies on this machine: the data folder, files that are read, files that are written.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::steps::{Failure, Steps};
use crate::{exit::Exit, ops::lock};

pub const FOLDER: &str = "folder";
const FILES: &str = "files";
const INSTANCE: &str = "instance";
pub const FILE: &str = "file";

const LET_WRITE: &str = "let this user write there, or name another path";
const LET_READ: &str = "let this user read it";

/// The folder that a running instance may be using at this moment: nothing in it is opened but the lock, to be read.
pub async fn data_dir(data_dir: Option<&Path>, steps: &mut Steps) -> Option<()> {
    let Some(data_dir) = data_dir else {
        steps.note(
            FOLDER,
            "no data_dir is set: nothing is remembered between runs, and mails left in place are shipped again unless the \
             mailbox takes a mark on them",
        );
        return Some(());
    };
    steps.plan([FOLDER, FILES, INSTANCE]);
    writable_folder(data_dir, steps).await?;
    if !data_dir.is_dir() {
        steps.well(FILES, "none yet");
        steps.well(INSTANCE, "none is running");
        return Some(());
    }
    if steps.attempt(FILES, async { own_files(data_dir) }).await.is_some() {
        steps.well(FILES, "what is there can be written to");
    }
    let holder = lock::holder_of(data_dir).map_err(|error| {
        Failure::new(Exit::CannotCreate, format!("can't see whether an instance is running: {error}"))
            .advising(LET_READ)
    });
    match steps.attempt(INSTANCE, async { holder }).await? {
        Some(holder) => steps.note(INSTANCE, format!("{holder} is running, and is left alone")),
        None => steps.well(INSTANCE, "none is running"),
    }
    Some(())
}

/// A file or folder that is read; what lies in a folder is not opened.
pub async fn read(path: &Path, steps: &mut Steps) -> Option<()> {
    if path == Path::new("-") {
        steps.well(FILE, "stdin, which is not read");
        return Some(());
    }
    let found = steps.attempt(FILE, async { readable(path) }).await?;
    steps.well(FILE, found);
    Some(())
}

/// The file that events of today go to. Returns the folder that is there and may be written to, of it or above it.
pub async fn written(path: &Path, steps: &mut Steps) -> Option<PathBuf> {
    let folder = writable_folder(path.parent().unwrap_or(Path::new("")), steps).await?;
    let usable = async {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok("would be made"),
            Err(error) => Err(cannot(Exit::CannotCreate, "look at", path, &error).advising(LET_WRITE)),
            Ok(about) if !about.is_file() => {
                let why = format!("{} is no regular file", path.display());
                Err(Failure::new(Exit::Io, why).advising("move it away, or name another path"))
            }
            Ok(_) => may(path, Access::READ_OK | Access::WRITE_OK)
                .map(|()| "is there, and can be written to")
                .map_err(|error| cannot(Exit::CannotCreate, "write to", path, &error).advising(LET_WRITE)),
        }
    };
    let state = steps.attempt(FILE, usable).await?;
    steps.well(FILE, format!("{} {state}", path.display()));
    Some(folder)
}

/// A folder that can be written to, or made. Returns itself, or what is there of the way to it.
async fn writable_folder(folder: &Path, steps: &mut Steps) -> Option<PathBuf> {
    let there = there(folder);
    let may_write = match there.is_dir() {
        true => may(&there, Access::WRITE_OK | Access::EXEC_OK),
        false => Err(io::ErrorKind::NotADirectory.into()),
    };
    let may_write =
        may_write.map_err(|error| cannot(Exit::CannotCreate, "write to", &there, &error).advising(LET_WRITE));
    steps.attempt(FOLDER, async { may_write }).await?;
    if there == folder || folder.as_os_str().is_empty() {
        steps.well(FOLDER, format!("{} can be written to", there.display()));
    } else {
        steps.well(FOLDER, format!("{} would be made: {} can be written to", folder.display(), there.display()));
    }
    Some(there)
}

/// The folder, or the nearest one above it that exists.
fn there(folder: &Path) -> PathBuf {
    let mut ancestors = folder.ancestors().filter(|above| !above.as_os_str().is_empty());
    ancestors.find(|above| above.exists()).unwrap_or(Path::new(".")).to_owned()
}

/// What the last instance left, perhaps as another user.
fn own_files(data_dir: &Path) -> Result<(), Failure> {
    let unreadable = |error| cannot(Exit::CannotCreate, "list", data_dir, &error).advising(LET_READ);
    for entry in fs::read_dir(data_dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_ours = path.file_name().is_some_and(|name| name == "lock" || name == "reading" || name == "ledger.redb");
        if is_ours {
            may(&path, Access::READ_OK | Access::WRITE_OK).map_err(|error| {
                cannot(Exit::CannotCreate, "write to", &path, &error)
                    .advising("an instance of another user may have made it: give it to the user that runs this one")
            })?;
        }
    }
    Ok(())
}

fn readable(path: &Path) -> Result<String, Failure> {
    let failed = |error: io::Error| cannot(Exit::NoInput, "read", path, &error).advising(LET_READ);
    let about = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => cannot(Exit::NoInput, "read", path, &error)
            .advising("look at the path, and whether a volume is mounted there"),
        _ => failed(error),
    })?;
    if about.is_dir() {
        fs::read_dir(path).map_err(failed)?;
        Ok(format!("{} is a folder, and can be listed", path.display()))
    } else {
        File::open(path).map_err(failed)?;
        Ok(format!("{} can be read", path.display()))
    }
}

fn may(path: &Path, access: Access) -> io::Result<()> {
    Ok(accessat(CWD, path, access, AtFlags::EACCESS)?)
}

fn cannot(exit: Exit, doing: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(exit, format!("can't {doing} {}: {error}", path.display()))
}
