//! `sources.*`: mailboxes and files that mails are read from. Each kind has a file of its own here, and one line in `kinds!`.

mod file;
mod imap;

use std::time::Duration;

use super::{
    decode::{Options, View},
    kinds::{self, kinds},
    option_doc::OptionDoc,
    senders::Senders,
};

pub use self::{
    file::File,
    imap::{After, Auth, Credentials, Imap, Security, Watch, WithoutReport},
};

kinds! {
    /// A named source: its type, with the options of that type.
    pub enum SourceConfig: SourceOptions {
        /// A mailbox.
        Imap(Box<Imap>): Imap = "imap",
        /// Files, folders, Maildirs and mboxes.
        File(File): File = "file",
    }
}

/// Options that every kind of source has.
pub trait SourceOptions {
    /// Tenant of the events, if the source sets one.
    fn tenant(&self) -> Option<&str>;

    fn senders(&self) -> &Senders;

    /// Maximum time between two polls.
    fn poll_interval(&self) -> Duration;

    /// Place that is read, for the report of `check`.
    fn shown(&self) -> String;
}

impl Options for SourceConfig {
    fn read(view: &View<'_>) -> Option<Self> {
        kinds::read(view)
    }

    fn options() -> Vec<OptionDoc> {
        Vec::new()
    }
}
