//! Directory walk: finds the files and folders to be read, ordered by path. Blocking.

use std::{
    collections::VecDeque,
    fs::{self, File, Metadata},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use bytes::Bytes;

use crate::{
    limits::Limits,
    source::{PLACES_AT_ONCE, Place},
    stdio,
    trouble::Trouble,
};

use super::{mbox::Mbox, too_large::too_large};

/// Suffixes of files that are still being written, as used by downloads and copies.
const UNFINISHED: &[&str] = &[".tmp", ".part", ".partial", ".filepart", ".crdownload"];

/// Walks over what `path` names: a file, a folder and its folders, a Maildir, an mbox, or `-` for stdin.
///
/// Hidden files are skipped, and so are special files (devices, sockets, pipes) and links to folders, unless `path` itself
/// names one. Of a Maildir, `cur` and `new` are read, and the Maildirs in it, whose names begin with a dot (Maildir++). Mails
/// there that are marked as deleted are passed over.
pub fn walk(source: Arc<str>, path: &Path, limits: &Limits) -> Walker {
    match path.to_str() {
        Some("-") => match stdio::input() {
            Ok(stdin) => walk_input(source, Box::new(BufReader::new(stdin)), limits),
            Err(error) => {
                Walker::from(source, Pending::Unreadable(Unreadable { path: path.to_owned(), error }), limits)
            }
        },
        _ => Walker::from(source, Pending::Named(path.to_owned()), limits),
    }
}

/// Walks over the input from stdin: one file, or an mbox.
pub(super) fn walk_input(source: Arc<str>, stdin: Box<dyn Read + Send>, limits: &Limits) -> Walker {
    Walker::from(source, Pending::Stdin(stdin), limits)
}

/// A walk in progress. Holds the names in the folders on its current path, and of an mbox one mail.
pub struct Walker {
    source: Arc<str>,
    /// Maximum size of a mail, in bytes.
    limit: u64,
    folders: Vec<VecDeque<Pending>>,
    mbox: Option<OpenMbox>,
}

/// One step of a walk.
#[derive(Debug)]
pub enum Step {
    Found(FoundFile),
    /// A mail in a Maildir that is marked as deleted, and is not read.
    Deleted,
    /// Something can't be read; the walk continues.
    Unreadable(Unreadable),
}

/// A file or folder that can't be read, with the error.
#[derive(Debug)]
pub struct Unreadable {
    pub path: PathBuf,
    pub error: io::Error,
}

/// A file, or a mail in an mbox, to be read.
#[derive(Debug)]
pub struct FoundFile {
    pub place: Place,
    /// Memory that reading it takes, in bytes.
    pub bytes: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    At(FileAt),
    Here(Bytes),
    TooLarge(Trouble),
}

/// A file that is not read yet, as it was when the walk came by.
#[derive(Debug)]
struct FileAt {
    path: PathBuf,
    size: u64,
    mtime: i128,
    in_maildir: bool,
    /// True if it had changed after the walk came by for the first time.
    is_second_look: bool,
}

enum Pending {
    Stdin(Box<dyn Read + Send>),
    /// The path that the user gave.
    Named(PathBuf),
    InFolder(PathBuf),
    InMaildir(PathBuf),
    SecondLook(FileAt),
    Unreadable(Unreadable),
}

struct OpenMbox {
    mails: Mbox<Box<dyn BufRead + Send>>,
    /// `part` is the number of the mail handed out last.
    place: Place,
    path: PathBuf,
}

impl FoundFile {
    /// Reads the file. Fails also if the file changes meanwhile: then it is still being written.
    pub fn read(self) -> Result<(Place, Result<Bytes, Trouble>), Unreadable> {
        let content = match self.content {
            Content::Here(bytes) => Ok(bytes),
            Content::TooLarge(trouble) => Err(trouble),
            Content::At(FileAt { path, size, mtime, .. }) => match read_unchanged(&path, size, mtime) {
                Ok(bytes) => Ok(bytes),
                Err(error) => return Err(Unreadable { path, error }),
            },
        };
        Ok((self.place, content))
    }

    /// True if the walk has to come by again, as the file has changed since: other files were read meanwhile. False for one
    /// that changes all the time.
    pub fn has_changed(&self) -> bool {
        let Content::At(file) = &self.content else { return false };
        let is_other = |now: Metadata| now.len() != file.size || mtime(&now) != file.mtime;
        !file.is_second_look && fs::metadata(&file.path).is_ok_and(is_other)
    }

    fn is_in_memory(&self) -> bool {
        !matches!(self.content, Content::At(_))
    }
}

impl Iterator for Walker {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            if let Some(step) = self.next_of_mbox() {
                return Some(step);
            }
            let Some(pending) = self.folders.last_mut()?.pop_front() else {
                self.folders.pop();
                continue;
            };
            if let Pending::InMaildir(path) = &pending
                && is_deleted(path)
            {
                return Some(Step::Deleted);
            }
            let step = match pending {
                Pending::Stdin(input) => self.stream(PathBuf::from("-"), None, input),
                Pending::Unreadable(unreadable) => Err(unreadable),
                Pending::Named(path) => self.named(path),
                Pending::InFolder(path) => self.in_folder(path, false),
                Pending::InMaildir(path) => self.in_folder(path, true),
                Pending::SecondLook(file) => self.second_look(file),
            };
            match step {
                Ok(None) => (),
                Ok(Some(found)) => return Some(Step::Found(found)),
                Err(unreadable) => return Some(Step::Unreadable(unreadable)),
            }
        }
    }
}

impl Walker {
    fn from(source: Arc<str>, first: Pending, limits: &Limits) -> Self {
        Self { source, limit: limits.mail_bytes, folders: vec![VecDeque::from([first])], mbox: None }
    }

    /// Returns the next steps of the walk: [`PLACES_AT_ONCE`] at most, and no more than one whose content is in memory.
    /// Empty at the end.
    pub fn next_steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        while steps.len() < PLACES_AT_ONCE
            && let Some(step) = self.next()
        {
            let is_in_memory = matches!(&step, Step::Found(found) if found.is_in_memory());
            steps.push(step);
            if is_in_memory {
                break;
            }
        }
        steps
    }

    /// Has the walk come by a file once more, as its next step.
    pub fn look_again(&mut self, found: FoundFile) {
        if let Content::At(file) = found.content {
            self.folders.push(VecDeque::from([Pending::SecondLook(file)]));
        }
    }

    fn second_look(&mut self, file: FileAt) -> Result<Option<FoundFile>, Unreadable> {
        let mut found = self.in_folder(file.path, file.in_maildir)?;
        if let Some(FoundFile { content: Content::At(file), .. }) = &mut found {
            file.is_second_look = true;
        }
        Ok(found)
    }

    fn named(&mut self, path: PathBuf) -> Result<Option<FoundFile>, Unreadable> {
        let metadata = about(&path, fs::metadata(&path))?;
        if metadata.is_dir() {
            self.enter(path);
            return Ok(None);
        }
        if metadata.is_file() {
            return self.file(path, &metadata, false);
        }
        let input = about(&path, File::open(&path))?;
        self.stream(path, Some(&metadata), Box::new(input))
    }

    fn in_folder(&mut self, path: PathBuf, in_maildir: bool) -> Result<Option<FoundFile>, Unreadable> {
        let link = about(&path, fs::symlink_metadata(&path))?;
        let metadata = if link.is_symlink() { about(&path, fs::metadata(&path))? } else { link.clone() };
        if metadata.is_file() {
            return self.file(path, &metadata, in_maildir);
        }
        // A link to a folder may lead back to a folder above.
        if metadata.is_dir() && !link.is_symlink() {
            self.enter(path);
        }
        Ok(None)
    }

    fn file(&mut self, path: PathBuf, metadata: &Metadata, in_maildir: bool) -> Result<Option<FoundFile>, Unreadable> {
        let (size, mtime) = (metadata.len(), mtime(metadata));
        let place = self.place(&path, size, mtime);
        if !in_maildir {
            let (is_mbox, input) = about(&path, File::open(&path).and_then(|file| begins_mbox(Box::new(file))))?;
            if is_mbox {
                self.mbox = Some(OpenMbox { mails: Mbox::new(input, self.limit), place, path });
                return Ok(None);
            }
        }
        let content = if size > self.limit {
            Content::TooLarge(too_large("the file's size", self.limit))
        } else {
            Content::At(FileAt { path, size, mtime, in_maildir, is_second_look: false })
        };
        let bytes = if size > self.limit { 0 } else { size };
        Ok(Some(FoundFile { place, bytes, content }))
    }

    /// Reads an input whose size is not known beforehand: stdin, a pipe.
    fn stream(
        &mut self,
        path: PathBuf,
        metadata: Option<&Metadata>,
        input: Box<dyn Read + Send>,
    ) -> Result<Option<FoundFile>, Unreadable> {
        let place = match metadata {
            Some(metadata) => self.place(&path, 0, mtime(metadata)),
            None => Place::Stdin { source: self.source.clone() },
        };
        let (is_mbox, input) = about(&path, begins_mbox(input))?;
        if is_mbox {
            self.mbox = Some(OpenMbox { mails: Mbox::new(input, self.limit), place, path });
            return Ok(None);
        }
        let mut bytes = Vec::new();
        about(&path, input.take(self.limit.saturating_add(1)).read_to_end(&mut bytes))?;
        if bytes.len() as u64 > self.limit {
            let content = Content::TooLarge(too_large("the size of the input on stdin", self.limit));
            return Ok(Some(FoundFile { place, bytes: 0, content }));
        }
        Ok(Some(FoundFile { place, bytes: bytes.len() as u64, content: Content::Here(bytes.into()) }))
    }

    fn enter(&mut self, folder: PathBuf) {
        let pending = if is_maildir(&folder) {
            let mails = [folder.join("cur"), folder.join("new")];
            let mails = mails.iter().flat_map(|folder| list(folder, Pending::InMaildir));
            let folders = list(&folder, Pending::InFolder).into_iter().filter(|pending| match pending {
                Pending::InFolder(path) => is_maildir(path),
                _ => true,
            });
            mails.chain(folders).collect()
        } else {
            list(&folder, Pending::InFolder)
        };
        self.folders.push(pending);
    }

    fn next_of_mbox(&mut self) -> Option<Step> {
        let mbox = self.mbox.as_mut()?;
        let Some(mail) = mbox.mails.next() else {
            self.mbox = None;
            return None;
        };
        if let Place::File { part, .. } = &mut mbox.place {
            *part = part.saturating_add(1);
        }
        let place = mbox.place.clone();
        Some(match mail {
            Ok(Ok(mail)) => Step::Found(FoundFile { place, bytes: mail.len() as u64, content: Content::Here(mail) }),
            Ok(Err(trouble)) => Step::Found(FoundFile { place, bytes: 0, content: Content::TooLarge(trouble) }),
            Err(error) => Step::Unreadable(Unreadable { path: mbox.path.clone(), error }),
        })
    }

    fn place(&self, path: &Path, size: u64, mtime: i128) -> Place {
        let path = path.to_string_lossy().into();
        Place::File { source: self.source.clone(), path, part: 0, size, mtime }
    }
}

fn about<T>(path: &Path, result: io::Result<T>) -> Result<T, Unreadable> {
    result.map_err(|error| Unreadable { path: path.to_owned(), error })
}

fn is_maildir(folder: &Path) -> bool {
    ["cur", "new", "tmp"].iter().all(|name| folder.join(name).is_dir())
}

/// True if the name of a mail in a Maildir has the flag T, trashed, after `:2,`, or after another separator where file
/// systems don't allow a colon.
fn is_deleted(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let flags = [":2,", ";2,", "!2,"].iter().find_map(|separator| name.rsplit_once(separator));
    flags.is_some_and(|(_, flags)| flags.contains('T'))
}

/// Lists the entries of a folder that are neither hidden nor unfinished, ordered by name. A hidden Maildir is the folder of
/// another one.
fn list(folder: &Path, pending: fn(PathBuf) -> Pending) -> VecDeque<Pending> {
    let mut paths = Vec::new();
    let mut failed = None;
    match fs::read_dir(folder) {
        Err(error) => failed = Some(error),
        Ok(entries) => {
            for entry in entries {
                match entry {
                    Ok(entry) if is_wanted(&entry.file_name().to_string_lossy()) || is_maildir(&entry.path()) => {
                        paths.push(entry.path());
                    }
                    Ok(_) => (),
                    Err(error) => failed = Some(error),
                }
            }
        }
    }
    paths.sort();
    let failed = failed.map(|error| Pending::Unreadable(Unreadable { path: folder.to_owned(), error }));
    failed.into_iter().chain(paths.into_iter().map(pending)).collect()
}

fn is_wanted(name: &str) -> bool {
    !name.starts_with('.') && !UNFINISHED.iter().any(|ending| name.ends_with(ending))
}

/// Returns whether the input begins like an mbox, and the input from its start.
fn begins_mbox(mut input: Box<dyn Read + Send>) -> io::Result<(bool, Box<dyn BufRead + Send>)> {
    let mut head = Vec::new();
    input.by_ref().take(8).read_to_end(&mut head)?;
    // Some tools put a byte order mark before it.
    let marked = head.strip_prefix(b"\xef\xbb\xbf").filter(|rest| *rest == b"From ").map(<[u8]>::to_vec);
    let head = marked.unwrap_or(head);
    Ok((head.starts_with(b"From "), Box::new(io::Cursor::new(head).chain(BufReader::with_capacity(64 << 10, input)))))
}

fn read_unchanged(path: &Path, size: u64, changed: i128) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.by_ref().take(size.saturating_add(1)).read_to_end(&mut bytes)?;
    let after = file.metadata()?;
    if bytes.len() as u64 != size || after.len() != size || mtime(&after) != changed {
        return Err(io::Error::other("it changed while it was read"));
    }
    Ok(bytes.into())
}

/// Nanoseconds since 1970.
fn mtime(metadata: &Metadata) -> i128 {
    let nanoseconds = |duration: std::time::Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
    match metadata.modified().map(|modified| modified.duration_since(UNIX_EPOCH)) {
        Ok(Ok(after)) => nanoseconds(after),
        Ok(Err(before)) => -nanoseconds(before.duration()),
        // Does not happen on any system that the program runs on.
        Err(_) => 0,
    }
}
