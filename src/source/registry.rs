//! Registry of the kinds of sources: the half that runs. The half that the configuration knows is in
//! [`config::source`](crate::config::source).

use std::sync::Arc;

use futures::future::BoxFuture;

use super::{Source, Verdict};
use crate::{
    config::{Config, source::SourceConfig},
    steps::Steps,
};

/// A kind of source: implemented by its options, in its own folder.
pub trait Kind: Sync {
    /// Builds the source; it does not run yet.
    fn build(&self, name: Arc<str>, config: &Config) -> Box<dyn Source>;

    /// True if the verdict takes the mail away from where the source finds it, so that nothing has to be remembered of it.
    fn takes_away(&self, verdict: &Verdict) -> bool;

    /// Tests each step on the way to the mails. `None`: one failed.
    fn check<'a>(&'a self, checking: Checking, steps: &'a mut Steps) -> BoxFuture<'a, Option<()>>;
}

/// Settings of the command `check`.
#[derive(Debug, Clone, Copy)]
pub struct Checking {
    /// True if shipped reports are remembered in a data_dir, so that mails which stay need no mark.
    pub remembers: bool,
    /// True if something may be created and deleted again.
    pub probes: bool,
}

/// Returns the kind of a configured source: one line per kind.
pub fn kind(source: &SourceConfig) -> &dyn Kind {
    match source {
        SourceConfig::Imap(imap) => &**imap,
        SourceConfig::File(file) => file,
    }
}
