//! Places of mails.

use std::{fmt, path::Path, sync::Arc};

/// Location of a mail: identifies it in events, and is the key under which the ledger remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// `account` is `user@host:port`: UIDs of another account or server mean other mails.
    Imap {
        source: Arc<str>,
        account: Arc<str>,
        folder: Arc<str>,
        uid_validity: u32,
        uid: u32,
    },
    /// `part` is the number of the mail in an mbox, 0 elsewhere; `mtime` in nanoseconds since 1970.
    File {
        source: Arc<str>,
        path: Arc<str>,
        part: u32,
        size: u64,
        mtime: i128,
    },
    Stdin {
        source: Arc<str>,
    },
}

impl Place {
    pub fn source(&self) -> &Arc<str> {
        match self {
            Place::Imap { source, .. } | Place::File { source, .. } | Place::Stdin { source } => source,
        }
    }

    /// Folder of the mailbox, or path of the file.
    pub fn mailbox(&self) -> Option<&str> {
        match self {
            Place::Imap { folder, .. } => Some(folder),
            Place::File { path, .. } => Some(path),
            Place::Stdin { .. } => None,
        }
    }

    /// UIDVALIDITY and UID.
    pub fn uid(&self) -> Option<(u32, u32)> {
        match *self {
            Place::Imap { uid_validity, uid, .. } => Some((uid_validity, uid)),
            Place::File { .. } | Place::Stdin { .. } => None,
        }
    }

    /// Path of a file.
    pub fn path(&self) -> Option<&str> {
        match self {
            Place::File { path, .. } => Some(path),
            Place::Imap { .. } | Place::Stdin { .. } => None,
        }
    }

    /// True for files and stdin, which the user has named himself.
    pub fn is_local(&self) -> bool {
        match self {
            Place::Imap { .. } => false,
            Place::File { .. } | Place::Stdin { .. } => true,
        }
    }

    /// True if the next run finds the mail there again, unless it is settled.
    pub fn comes_again(&self) -> bool {
        match self {
            Place::Imap { .. } | Place::File { .. } => true,
            Place::Stdin { .. } => false,
        }
    }

    /// True if the place is in a mailbox, where anyone's private mail may lie; false for a file that was meant as a report.
    pub fn is_in_mailbox(&self) -> bool {
        match self {
            Place::Imap { .. } => true,
            Place::Stdin { .. } => false,
            Place::File { part: 1.., .. } => true,
            Place::File { path, .. } => {
                let folder = Path::new(&**path).parent();
                let is_mails = folder.and_then(Path::file_name).is_some_and(|name| name == "cur" || name == "new");
                is_mails && folder.and_then(Path::parent).is_some_and(|maildir| maildir.join("tmp").is_dir())
            }
        }
    }
}

/// Formats the place as logs name it: `rua/INBOX uid 7`, `reports/a.xml`, `reports.mbox mail 2`, `stdin`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Imap { source, folder, uid, .. } => write!(f, "{source}/{folder} uid {uid}"),
            Place::File { path, part: 0, .. } => f.write_str(path),
            Place::File { path, part, .. } => write!(f, "{path} mail {part}"),
            Place::Stdin { .. } => f.write_str("stdin"),
        }
    }
}
