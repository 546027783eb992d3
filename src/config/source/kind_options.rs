//! Options that every kind of source has.

use std::time::Duration;

use crate::config::senders::Senders;

/// A kind of source, by its options.
pub trait SourceOptions {
    /// Tenant of the events, if the source sets one.
    fn tenant(&self) -> Option<&str>;

    fn senders(&self) -> &Senders;

    /// Maximum time between two polls.
    fn poll_interval(&self) -> Duration;

    /// Place that is read, for the report of `check`.
    fn shown(&self) -> String;
}
