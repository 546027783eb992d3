//! A mailbox as Dovecot stores it: mails are delivered and examined without IMAP.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Root of the Maildir++ tree of one user.
pub struct Maildir {
    root: PathBuf,
    /// User that Dovecot runs as for mails, if that is not the user of the tests.
    owner: Option<u32>,
}

impl Maildir {
    /// Creates an empty mailbox.
    pub fn create(root: &Path, owner: Option<u32>) -> Self {
        let mailbox = Self { root: root.to_owned(), owner };
        mailbox.create_folder("INBOX");
        mailbox
    }

    /// Creates a folder; `/` or `.` separates the levels of its name.
    pub fn create_folder(&self, folder: &str) {
        let path = self.path(folder);
        for part in ["", "cur", "new", "tmp"] {
            fs::create_dir_all(path.join(part)).unwrap();
            chown(path.join(part), self.owner, self.owner).unwrap();
        }
    }

    /// Delivers a mail as a mail server does: atomically, under a unique name that contains its size on disk and in IMAP,
    /// into a folder that is created if it is missing.
    pub fn deliver(&self, folder: &str, mail: &[u8]) {
        if !self.has_folder(folder) {
            self.create_folder(folder);
        }
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let lines = mail.windows(2).filter(|pair| pair[1] == b'\n' && pair[0] != b'\r');
        let sizes = format!("S={},W={}", mail.len(), mail.len() + lines.count());
        let name = format!("{:010}.delivered.test,{sizes}", NEXT.fetch_add(1, Ordering::Relaxed));
        let path = self.path(folder);
        let (unfinished, finished) = (path.join("tmp").join(&name), path.join("new").join(&name));
        fs::write(&unfinished, mail).unwrap();
        chown(&unfinished, self.owner, self.owner).unwrap();
        fs::rename(unfinished, finished).unwrap();
    }

    pub fn has_folder(&self, folder: &str) -> bool {
        self.path(folder).is_dir()
    }

    /// Sets the UIDVALIDITY of a folder that no server has opened yet.
    pub fn set_uid_validity(&self, folder: &str, uid_validity: u32) {
        let list = self.path(folder).join("dovecot-uidlist");
        fs::write(&list, format!("3 V{uid_validity} N1\n")).unwrap();
        chown(&list, self.owner, self.owner).unwrap();
    }

    /// Write-protects a folder for everybody but root, or removes that protection.
    pub fn write_protect(&self, folder: &str, protected: bool) {
        let mode = if protected { 0o555 } else { 0o755 };
        for part in ["tmp", "new", "cur", ""] {
            fs::set_permissions(self.path(folder).join(part), fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    pub fn count(&self, folder: &str) -> usize {
        self.files(folder).len()
    }

    /// Returns the complete mails of a folder, in the order of their delivery.
    pub fn mails(&self, folder: &str) -> Vec<Vec<u8>> {
        self.files(folder).iter().map(|path| fs::read(path).unwrap()).collect()
    }

    /// Returns the file names of a folder's mails with their flags: if they are the same before and after, nothing has
    /// changed.
    pub fn names(&self, folder: &str) -> Vec<String> {
        self.files(folder).iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let path = self.path(folder);
        let mut files: Vec<PathBuf> = ["new", "cur"]
            .iter()
            .filter_map(|part| fs::read_dir(path.join(part)).ok())
            .flat_map(|entries| entries.map(|entry| entry.unwrap().path()))
            .collect();
        files.sort_by_key(|path| path.file_name().unwrap().to_owned());
        files
    }

    fn path(&self, folder: &str) -> PathBuf {
        if folder == "INBOX" { self.root.clone() } else { self.root.join(format!(".{}", folder.replace('/', "."))) }
    }
}
