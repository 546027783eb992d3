//! Retention: deletes old files, only those that the sink's own pattern made.

use std::{os::fd::OwnedFd, path::PathBuf};

use jiff::civil::Date;
use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat, unlinkat},
    io::{Errno, Result},
};

use super::pattern::{Pattern, may_match};
use crate::folder;

/// Result of a sweep.
#[derive(Debug, Default)]
pub(super) struct Swept {
    pub(super) deleted: Vec<PathBuf>,
    /// Old files that could not be deleted, and folders that could not be read.
    pub(super) failed: Vec<(PathBuf, Errno)>,
}

/// Deletes the files below `pattern`'s base whose path is one that the pattern makes for a day before `oldest`.
///
/// Folders are entered, and files deleted, by their descriptors and without following symbolic links, so that nobody can
/// redirect the sweep while it runs. The base itself is configured by the user and may be a link.
pub(super) fn delete_before(oldest: Date, pattern: &Pattern) -> Swept {
    let mut swept = Swept::default();
    if pattern.tells_the_day() {
        let base = folder::or_here(pattern.base());
        match openat(CWD, base, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(opened) => sweep(&opened, "", pattern.parts(), &Sweep { pattern, oldest }, &mut swept),
            Err(error) => swept.failed.push((base.into(), error)),
        }
    }
    swept
}

struct Sweep<'a> {
    pattern: &'a Pattern,
    oldest: Date,
}

/// Sweeps the folder at `above` (below the base), where `parts` are the patterns of the names from here on.
fn sweep(folder: &OwnedFd, above: &str, parts: &[String], what: &Sweep<'_>, swept: &mut Swept) {
    let [part, deeper @ ..] = parts else { return };
    let names = match names_in(folder) {
        Ok(names) => names,
        Err(error) => return swept.failed.push((what.pattern.base().join(above), error)),
    };
    for name in names.iter().filter(|name| may_match(part, name)) {
        let tail = if above.is_empty() { name.clone() } else { format!("{above}/{name}") };
        let done = if deeper.is_empty() {
            delete_if_old(folder, name, &tail, what)
        } else {
            enter(folder, name).map(|inner| {
                if let Some(inner) = inner {
                    sweep(&inner, &tail, deeper, what, swept);
                }
                false
            })
        };
        match done {
            Ok(true) => swept.deleted.push(what.pattern.base().join(tail)),
            Ok(false) => {}
            Err(error) => swept.failed.push((what.pattern.base().join(tail), error)),
        }
    }
}

/// Reads all names before anything is deleted: the listing of a folder that changes meanwhile is undefined.
fn names_in(folder: &OwnedFd) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        match entry?.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

fn delete_if_old(folder: &OwnedFd, name: &str, tail: &str, what: &Sweep<'_>) -> Result<bool> {
    if what.pattern.day_of(tail).is_none_or(|day| day >= what.oldest) {
        return Ok(false);
    }
    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(false);
    }
    unlinkat(folder, name, AtFlags::empty()).map(|()| true)
}

/// Opens the folder `name`; `None` if that is something else, such as a link to a folder.
fn enter(folder: &OwnedFd, name: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(folder, name, flags, Mode::empty()) {
        Ok(inner) => Ok(Some(inner)),
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use jiff::civil::date;

    use super::*;

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{}\n").unwrap();
    }

    #[test]
    fn deletes_old_files_of_its_own_name_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let kept = [
            "20260110_all.json",
            "20260111_all.json",
            "20260101_all.json.gz",
            "20260101_all.jso",
            "2026011_all.json",
            "20260101-all.json",
            "99991231_all.json",
            "notes.txt",
            "sub/20260101_all.json",
        ];
        for name in kept.iter().chain(&["20260109_all.json", "20251231_all.json"]) {
            touch(&at(name));
        }
        fs::create_dir(at("20260102_all.json")).unwrap();
        symlink(at("notes.txt"), at("20260103_all.json")).unwrap();

        let pattern = Pattern::new(&at("%Y%m%d_all.json")).unwrap();
        let mut swept = delete_before(date(2026, 1, 10), &pattern);
        swept.deleted.sort();
        assert_eq!(swept.deleted, [at("20251231_all.json"), at("20260109_all.json")]);
        assert!(swept.failed.is_empty());
        for name in kept.iter().chain(&["20260102_all.json", "20260103_all.json"]) {
            assert!(at(name).exists(), "{name}");
        }
        assert!(!at("20260109_all.json").exists() && !at("20251231_all.json").exists());
    }

    #[test]
    fn enters_only_folders_that_the_pattern_makes_and_no_links() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        touch(&at("in/2025/01/02.json"));
        touch(&at("in/other/01/02.json"));
        touch(&at("elsewhere/01/02.json"));
        symlink(at("elsewhere"), at("in/2024")).unwrap();

        let pattern = Pattern::new(&at("in/%Y/%m/%d.json")).unwrap();
        let swept = delete_before(date(2026, 1, 1), &pattern);
        assert_eq!(swept.deleted, [at("in/2025/01/02.json")]);
        assert!(at("in/other/01/02.json").exists() && at("elsewhere/01/02.json").exists());
    }

    #[test]
    fn a_pattern_without_a_whole_date_deletes_nothing() {
        let root = tempfile::tempdir().unwrap();
        touch(&root.path().join("202501.json"));
        let pattern = Pattern::new(&root.path().join("%Y%m.json")).unwrap();
        assert!(delete_before(date(2026, 1, 1), &pattern).deleted.is_empty());
        assert!(root.path().join("202501.json").exists());
    }
}
