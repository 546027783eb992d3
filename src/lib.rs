//! Ships e-mail authentication reports from mailboxes to log pipelines.
//!
//! ```text
//! source ─▶ extract ─▶ report ─▶ event ─▶ encode ─▶ sink
//!   ▲        unpack    parse   normalise   bytes    send
//!   └───────── settle the mail ◀── confirm ◀──────────┘
//! ```
//!
//! The stages between `source` and `sink` are pure: no sockets, no clock, no logging. Only the pipeline knows them all.

pub mod cli;
pub mod config;
pub mod deliver;
pub mod encode;
pub mod event;
pub mod extract;
mod folder;
pub mod ledger;
pub mod limits;
pub mod net;
pub mod ops;
pub mod report;
pub mod sink;
#[cfg(test)]
mod small_disk;
pub mod source;
pub mod trouble;
