//! One instance per `data_dir`: a file lock that the kernel releases when the process dies, for any reason.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::folder;

/// A lock held for as long as this lives. The file `lock` stays: a lock on a deleted name would keep nobody out.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

/// Reason why this instance may not use the folder.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds the lock; `holder` is how that process identifies itself.
    #[error("{} is in use by {holder}; stop that instance, or set another data_dir for this one", .data_dir.display())]
    Held { data_dir: PathBuf, holder: String },
    #[error("can't create the data_dir {}: {error}; expected a folder that this user may write to", .data_dir.display())]
    Create {
        data_dir: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("can't lock {}: {error}; expected a file system with flock and a folder that this user may write to", .path.display())]
    Lock {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
}

impl InstanceLock {
    /// Takes the lock of `data_dir`, which is created (0750) if it is missing. Never waits.
    pub fn acquire(data_dir: &Path) -> Result<Self, LockError> {
        folder::create(data_dir).map_err(|error| LockError::Create { data_dir: data_dir.into(), error })?;
        let path = data_dir.join("lock");
        let failed = |error| LockError::Lock { path: path.clone(), error };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { data_dir: data_dir.into(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).and_then(|()| file.write_all(introduction().as_bytes())).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// Returns the holder of the lock of `data_dir`, if there is one. Takes a shared lock for a moment: an instance that starts
/// at that very moment may be refused.
pub fn holder_of(data_dir: &Path) -> io::Result<Option<String>> {
    let mut file = match File::open(data_dir.join("lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(holder(&mut file))),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Text that identifies this process. A process id alone is not enough if the folder is shared between containers, in each
/// of which it is 1.
fn introduction() -> String {
    let pid = std::process::id();
    match rustix::system::uname().nodename().to_str() {
        Ok(host) => format!("process {pid} on {host}\n"),
        Err(_) => format!("process {pid}\n"),
    }
}

/// Returns the text that the holder wrote, if it has got that far.
fn holder(file: &mut File) -> String {
    let mut said = String::new();
    match file.take(300).read_to_string(&mut said) {
        Ok(_) if !said.trim().is_empty() => said.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt,
        process::{Command, Stdio},
    };

    use super::*;

    /// Set in the child process that holds a lock until its stdin ends.
    const HOLD: &str = "DMARC_SHIPPER_TEST_HOLD_LOCK";

    #[test]
    fn a_second_instance_is_refused_with_the_lock_holder() {
        let root = tempfile::tempdir().unwrap();
        let data_dir = root.path().join("var/lib");
        assert_eq!(holder_of(&data_dir).unwrap(), None);
        let held = InstanceLock::acquire(&data_dir).unwrap();
        let refused = InstanceLock::acquire(&data_dir).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {} on ", std::process::id())), "{refused}");
        assert!(refused.contains("data_dir"), "{refused}");
        assert_eq!(holder_of(&data_dir).unwrap(), Some(introduction().trim().to_owned()));
        drop(held);
        assert_eq!(holder_of(&data_dir).unwrap(), None);
        InstanceLock::acquire(&data_dir).unwrap();
        assert_eq!(fs::metadata(&data_dir).unwrap().permissions().mode() & 0o777, 0o750);
        assert_eq!(fs::metadata(data_dir.join("lock")).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_killed_process_releases_its_lock() {
        if let Ok(data_dir) = std::env::var(HOLD) {
            let _held = InstanceLock::acquire(Path::new(&data_dir)).unwrap();
            println!("held");
            rustix::io::read(rustix::stdio::stdin(), &mut [0; 1]).unwrap();
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ops::lock::tests::a_killed_process_releases_its_lock", "--nocapture"])
            .env(HOLD, root.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = io::BufRead::lines(io::BufReader::new(child.stdout.take().unwrap()));
        assert!(lines.map_while(Result::ok).any(|line| line.contains("held")));
        let refused = InstanceLock::acquire(root.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {} on ", child.id())), "{refused}");
        child.kill().unwrap();
        child.wait().unwrap();
        InstanceLock::acquire(root.path()).unwrap();
    }

    #[test]
    fn a_file_in_place_of_the_data_dir_is_named_in_the_error() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let refused = InstanceLock::acquire(&file.join("data")).unwrap_err();
        assert!(matches!(refused, LockError::Create { .. }), "{refused}");
        assert!(refused.to_string().contains("file/data"), "{refused}");
        let cause = std::error::Error::source(&refused).and_then(|cause| cause.downcast_ref::<io::Error>());
        assert_eq!(cause.map(io::Error::kind), Some(io::ErrorKind::AlreadyExists));
    }
}
