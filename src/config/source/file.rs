//! `type: file`: report files, mails, folders of them, Maildirs and mboxes.

use std::{path::PathBuf, time::Duration};

use super::kind_options::SourceOptions;
use crate::config::{
    decode::View, kinds::KindOptions, node::Value, options::options, senders::Senders, units::Time, url::Urls,
};

options! {
    /// `type: file`: a report, a mail, a folder of them, a Maildir, an mbox, or `-` for stdin. Read-only: nothing is changed
    /// there.
    #[derive(Debug, Clone)]
    pub struct File {
        /// File or folder to read, or `-` for stdin. Of a Maildir, the folders in it are read too (Maildir++), and mails that
        /// are marked as deleted (flag T) are not.
        pub path: PathBuf = required,
        /// Interval at which to look for new files.
        pub poll_interval: Duration as Time<1_000, 86_400_000> = Duration::from_secs(300),
        /// Tenant name, added to every event of this source instead of the global `tenant`.
        pub tenant: Option<String> = None,
        /// Authentication of senders.
        pub senders: Senders = flattened,
    }
}

impl SourceOptions for File {
    fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    fn senders(&self) -> &Senders {
        &self.senders
    }

    fn poll_interval(&self) -> Duration {
        self.poll_interval
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

impl KindOptions for File {
    const URLS: Urls = Urls {
        schemes: &["file"],
        examples: "file:PATH",
        read: |url, node| {
            node.put("path", Value::Literal(url.path().to_owned()));
            url.options(node)?;
            Ok(None)
        },
    };

    fn is_sensible(&self, view: &View<'_>) -> bool {
        self.senders.is_sensible(view)
    }
}
