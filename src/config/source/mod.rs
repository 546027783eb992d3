//! `sources.*`: mailboxes and files that mails are read from. Each kind has a file of its own here, and one line in `kinds!`.

mod file;
mod imap;
mod kind_options;

use super::{
    decode::{Options, View},
    kinds::{self, kinds},
    option_doc::OptionDoc,
};

pub use self::{
    file::File,
    imap::{After, Auth, Credentials, Imap, Security, Watch, WithoutReport},
    kind_options::SourceOptions,
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

impl Options for SourceConfig {
    fn read(view: &View<'_>) -> Option<Self> {
        kinds::read(view)
    }

    fn options() -> Vec<OptionDoc> {
        Vec::new()
    }
}
