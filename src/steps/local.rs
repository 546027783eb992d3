//! Checks of local files: the data folder, files that are read, files that are written.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{Failure, Steps};
use crate::{exit::Exit, ops::lock};

pub const FOLDER: &str = "folder";
const FILES: &str = "files";
const INSTANCE: &str = "instance";
pub const FILE: &str = "file";

const LET_WRITE: &str = "give this user write permission, or configure another path";
const LET_READ: &str = "give this user read permission";

/// Checks the data folder, which a running instance may be using: nothing in it is opened except the lock, for reading.
pub async fn data_dir(data_dir: Option<&Path>, steps: &mut Steps) -> Option<()> {
    let Some(data_dir) = data_dir else {
        steps.note(
            FOLDER,
            "data_dir is not set: nothing is remembered between runs, and mails left in place are shipped again \
             unless the server stores keywords on them",
        );
        return Some(());
    };
    steps.plan([FOLDER, FILES, INSTANCE]);
    if writable_folder(data_dir, steps).await? != data_dir {
        steps.well(FILES, "none yet");
        steps.well(INSTANCE, "none is running");
        return Some(());
    }
    if steps.attempt(FILES, looked(data_dir, own_files)).await.is_some() {
        steps.well(FILES, "existing files can be written to");
    }
    match steps.attempt(INSTANCE, looked(data_dir, holder)).await? {
        Some(holder) => steps.note(INSTANCE, format!("{holder} is running; it is not disturbed")),
        None => steps.well(INSTANCE, "none is running"),
    }
    Some(())
}

/// Checks a file or folder that is read; files in a folder are not opened.
pub async fn read(path: &Path, steps: &mut Steps) -> Option<()> {
    if path == Path::new("-") {
        steps.well(FILE, "stdin; not read by this command");
        return Some(());
    }
    let found = steps.attempt(FILE, looked(path, readable)).await?;
    steps.well(FILE, found);
    Some(())
}

/// Checks the file for today's events. Returns its folder, or the nearest existing one above, which may be written to.
pub async fn written(path: &Path, steps: &mut Steps) -> Option<PathBuf> {
    let folder = writable_folder(path.parent().unwrap_or(Path::new("")), steps).await?;
    let state = steps.attempt(FILE, looked(path, usable)).await?;
    steps.well(FILE, format!("{} {state}", path.display()));
    Some(folder)
}

/// Checks that a folder can be written to, or created. Returns it, or the nearest existing folder above it.
async fn writable_folder(folder: &Path, steps: &mut Steps) -> Option<PathBuf> {
    let there = steps.attempt(FOLDER, looked(folder, there)).await?;
    if there == folder || folder.as_os_str().is_empty() {
        steps.well(FOLDER, format!("{} can be written to", there.display()));
    } else {
        steps.well(FOLDER, format!("{} would be created: {} can be written to", folder.display(), there.display()));
    }
    Some(there)
}

/// Runs `look` on a blocking thread: calls on a dead network file system never return.
async fn looked<T: Send + 'static>(path: &Path, look: fn(&Path) -> Result<T, Failure>) -> Result<T, Failure> {
    let path = path.to_owned();
    let looked = tokio::task::spawn_blocking(move || look(&path)).await;
    looked.unwrap_or_else(|panic| Err(Failure::new(Exit::Internal, panic.to_string())))
}

/// Returns the folder, or the nearest one above it that exists, if it can be written to.
fn there(folder: &Path) -> Result<PathBuf, Failure> {
    let mut ancestors = folder.ancestors().filter(|above| !above.as_os_str().is_empty());
    let there = ancestors.find(|above| above.exists()).unwrap_or(Path::new("."));
    let may_write = match there.is_dir() {
        true => may(there, Access::WRITE_OK | Access::EXEC_OK),
        false => Err(io::ErrorKind::NotADirectory.into()),
    };
    match may_write {
        Ok(()) => Ok(there.to_owned()),
        Err(error) => Err(cannot(Exit::CannotCreate, "write to", there, &error).advising(LET_WRITE)),
    }
}

fn usable(path: &Path) -> Result<&'static str, Failure> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok("would be created"),
        Err(error) => Err(cannot(Exit::CannotCreate, "access", path, &error).advising(LET_WRITE)),
        Ok(about) if !about.is_file() => {
            let why = format!("{} is not a regular file", path.display());
            Err(Failure::new(Exit::Io, why).advising("move it away, or configure another path"))
        }
        Ok(_) => match may(path, Access::READ_OK | Access::WRITE_OK) {
            Ok(()) => Ok("exists and can be written to"),
            Err(error) => Err(cannot(Exit::CannotCreate, "write to", path, &error).advising(LET_WRITE)),
        },
    }
}

fn holder(data_dir: &Path) -> Result<Option<String>, Failure> {
    lock::holder_of(data_dir).map_err(|error| {
        Failure::new(Exit::CannotCreate, format!("can't determine whether an instance is running: {error}"))
            .advising(LET_READ)
    })
}

/// Checks the files that the last instance left, perhaps as another user.
fn own_files(data_dir: &Path) -> Result<(), Failure> {
    let unreadable = |error| cannot(Exit::CannotCreate, "list", data_dir, &error).advising(LET_READ);
    for entry in fs::read_dir(data_dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_ours = path.file_name().is_some_and(|name| name == "lock" || name == "reading" || name == "ledger.redb");
        if is_ours {
            may(&path, Access::READ_OK | Access::WRITE_OK).map_err(|error| {
                cannot(Exit::CannotCreate, "write to", &path, &error).advising(
                    "an instance of another user may have created it: change its owner to the user that \
                     runs this one",
                )
            })?;
        }
    }
    Ok(())
}

fn readable(path: &Path) -> Result<String, Failure> {
    let failed = |error: io::Error| cannot(Exit::NoInput, "read", path, &error).advising(LET_READ);
    let about = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            cannot(Exit::NoInput, "read", path, &error).advising("check the path, and that its volume is mounted")
        }
        _ => failed(error),
    })?;
    // Not opened: opening a pipe would wait for its writer.
    if about.is_dir() {
        may(path, Access::READ_OK | Access::EXEC_OK).map_err(failed)?;
        Ok(format!("{} is a folder, and can be listed", path.display()))
    } else {
        may(path, Access::READ_OK).map_err(failed)?;
        Ok(format!("{} can be read", path.display()))
    }
}

fn may(path: &Path, access: Access) -> io::Result<()> {
    Ok(accessat(CWD, path, access, AtFlags::EACCESS)?)
}

fn cannot(exit: Exit, doing: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(exit, format!("can't {doing} {}: {error}", path.display()))
}
