//! Options of a run, from the command line.

use jiff::Timestamp;

/// Command-line options of `run`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Make one pass over what is there now, then end.
    pub once: bool,
    /// Dry run: change and send nothing.
    pub dry_run: bool,
    /// Exit with 65 if an input could not be read, also in a mailbox.
    pub strict: bool,
    pub reship: Option<Reship>,
}

/// Selection of reports that were shipped before and are shipped again when a source finds them.
#[derive(Debug, Clone, Copy)]
pub struct Reship {
    /// Only reports first shipped at this time or later.
    pub since: Timestamp,
    /// Skip reports that were never shipped: some of the sinks that are to receive them take no part in this run.
    pub only_known: bool,
}
