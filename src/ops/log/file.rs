//! Log file: rotated by size here, or by logrotate; errors never stop the process.
//!
//! Before each line, the file's name is checked: if logrotate renamed or truncated the file, or somebody deleted its
//! folder, the next line goes to the file that now has the name. So no signal is needed.

use std::{
    ffi::OsString,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::folder;

/// `path`, and up to `max_files` older files as `path.1`, `path.2`, …; none exceeds `max_size` bytes by more than a line.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    max_size: u64,
    max_files: u32,
    open: Option<File>,
    /// True if a write stopped within a line.
    torn: bool,
    missed: u64,
    complained: bool,
}

impl LogFile {
    pub(super) fn new(path: &Path, max_size: u64, max_files: u32) -> Self {
        let path = path.to_owned();
        Self { path, max_size, max_files, open: None, torn: false, missed: 0, complained: false }
    }

    /// Returns the number of lines lost since the last one that was written to the file.
    pub(super) fn missed(&self) -> u64 {
        self.missed
    }

    /// Appends `line`, line end included. Returns the error the first time that it occurs.
    pub(super) fn write(&mut self, line: &str) -> Option<String> {
        let written = self.try_write(line);
        let complained = std::mem::replace(&mut self.complained, written.is_err());
        let error = written.err().filter(|_| !complained)?;
        Some(format!("can't write the log file {}: {error}; logging only to stderr", self.path.display()))
    }

    fn try_write(&mut self, line: &str) -> io::Result<()> {
        self.missed += 1;
        let size = self.follow()?;
        let full = size > 0 && size + line.len() as u64 > self.max_size;
        // A file that can't be rotated is still written to.
        let rotated = if full { self.rotate() } else { Ok(()) };
        let Some(file) = &mut self.open else { return rotated };
        if self.torn && size > 0 {
            file.write_all(b"\n")?;
        }
        self.torn = false;
        file.write_all(line.as_bytes()).inspect_err(|_| self.torn = true)?;
        self.missed = 0;
        rotated
    }

    /// Opens the file that has the name now, unless it is open; returns its size.
    fn follow(&mut self) -> io::Result<u64> {
        let named = fs::metadata(&self.path);
        if let (Some(file), Ok(named)) = (&self.open, &named)
            && same(&file.metadata()?, named)
        {
            return Ok(named.len());
        }
        self.open = None;
        let file = self.open()?;
        let size = file.metadata()?.len();
        self.open = Some(file);
        Ok(size)
    }

    fn open(&self) -> io::Result<File> {
        let open = || OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path);
        match open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.path.parent().map_or(Ok(()), folder::create)?;
                open()
            }
            opened => opened,
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.max_files).rev() {
            match fs::rename(self.older(number), self.older(number + 1)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.older(1))?;
        self.torn = false;
        self.open = Some(self.open()?);
        Ok(())
    }

    fn older(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }
}

fn same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_full_log_file_is_rotated_and_old_ones_are_deleted() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("logs/own.log");
        let mut file = LogFile::new(&path, 12, 2);
        for line in ["one 1\n", "two 2\n", "three\n", "four4\n", "five5\n", "a line longer than a file\n", "seven\n"] {
            assert_eq!(file.write(line), None);
        }
        let mut names: Vec<_> =
            fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["own.log", "own.log.1", "own.log.2"]);
        let older = |number| read(&file.older(number));
        assert_eq!(
            (read(&path), older(1), older(2)),
            ("seven\n".into(), "a line longer than a file\n".into(), "five5\n".into())
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn the_log_file_is_reopened_after_logrotate_renamed_it() {
        let root = tempfile::tempdir().unwrap();
        let (path, moved) = (root.path().join("own.log"), root.path().join("moved"));
        let mut file = LogFile::new(&path, 1 << 20, 5);
        file.write("one\n");
        fs::rename(&path, &moved).unwrap();
        file.write("two\n");
        assert_eq!((read(&moved), read(&path)), ("one\n".into(), "two\n".into()));
        // logrotate's `create`, and its `copytruncate`
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        file.write("three\n");
        assert_eq!(read(&path), "three\n");
        fs::write(&path, "").unwrap();
        file.write("four\n");
        assert_eq!(read(&path), "four\n");
    }

    #[test]
    fn a_deleted_log_folder_is_created_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("logs/own.log");
        let mut file = LogFile::new(&path, 1 << 20, 5);
        file.write("one\n");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        assert_eq!(file.write("two\n"), None);
        assert_eq!(read(&path), "two\n");
    }

    #[test]
    fn lost_log_lines_are_counted_and_the_write_error_reported_once() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("own.log");
        fs::create_dir(&path).unwrap();
        let mut file = LogFile::new(&path, 1 << 20, 5);
        let complaint = file.write("one\n").unwrap();
        assert!(complaint.contains("own.log: ") && complaint.contains("logging only to stderr"), "{complaint}");
        assert_eq!((file.write("two\n"), file.missed()), (None, 2));
        fs::remove_dir(&path).unwrap();
        assert_eq!((file.write("three\n"), file.missed()), (None, 0));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(file.write("four\n").is_some(), "trouble that comes back is told again");
    }

    #[test]
    fn a_full_disk_loses_log_lines_but_truncates_at_most_one() {
        let Some(disk) = crate::small_disk::SmallDisk::mount(256) else { return };
        let path = disk.path().join("own.log");
        let mut file = LogFile::new(&path, 1 << 20, 5);
        let line = "x".repeat(999) + "\n";
        file.write(&line);
        let filler = disk.fill();
        let complaint = std::iter::repeat_with(|| file.write(&line)).take(100).flatten().next().unwrap();
        assert!(complaint.contains("own.log"), "{complaint}");
        fs::remove_file(filler).unwrap();
        assert_eq!(file.write("after\n"), None);
        let text = read(&path);
        let (before, last) = text.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(last, "after");
        let torn = before.lines().filter(|line| line.len() != 999).count();
        assert!(torn <= 1 && before.bytes().all(|byte| b"x\n".contains(&byte)), "{before}");
    }
}
