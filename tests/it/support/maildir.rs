//! A mailbox as Dovecot keeps it on disk: delivered into and looked at without IMAP.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// The root of one user's Maildir++ tree.
pub struct Maildir {
    root: PathBuf,
    /// Whom Dovecot runs as for mails, where that is another user than the tests'.
    owner: Option<u32>,
}

impl Maildir {
    /// Makes an empty mailbox.
    pub fn create(root: &Path, owner: Option<u32>) -> Self {
        let mailbox = Self { root: root.to_owned(), owner };
        mailbox.create_folder("INBOX");
        mailbox
    }

    /// Makes a folder, named with `/` or `.` between its levels.
    pub fn create_folder(&self, folder: &str) {
        let path = self.path(folder);
        for part in ["", "cur", "new", "tmp"] {
            fs::create_dir_all(path.join(part)).unwrap();
            chown(path.join(part), self.owner, self.owner).unwrap();
        }
    }

    /// Delivers as a mail server does: whole, under a name of its own that tells its size on disk and in IMAP, into a folder
    /// that is made where it is missing.
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

    /// Gives a folder that no server has looked at yet this UIDVALIDITY.
    pub fn set_uid_validity(&self, folder: &str, uid_validity: u32) {
        let list = self.path(folder).join("dovecot-uidlist");
        fs::write(&list, format!("3 V{uid_validity} N1\n")).unwrap();
        chown(&list, self.owner, self.owner).unwrap();
    }

    /// Lets nobody but root change a folder, or lets its owner again.
    pub fn write_protect(&self, folder: &str, protected: bool) {
        let mode = if protected { 0o555 } else { 0o755 };
        for part in ["tmp", "new", "cur", ""] {
            fs::set_permissions(self.path(folder).join(part), fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    pub fn count(&self, folder: &str) -> usize {
        self.files(folder).len()
    }

    /// The mails of a folder, whole, in the order of their delivery.
    pub fn mails(&self, folder: &str) -> Vec<Vec<u8>> {
        self.files(folder).iter().map(|path| fs::read(path).unwrap()).collect()
    }

    /// The names of a folder's mail files with their flags: the same before and after means that nothing changed.
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
