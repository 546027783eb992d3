//! Ships e-mail authentication reports from mailboxes to log pipelines.
//!
//! ```text
//! source ─▶ extract ─▶ report ─▶ event ─▶ encode ─▶ sink
//!   ▲        unpack    parse   normalise   bytes    send
//!   └───────── settle the mail ◀── confirm ◀──────────┘
//! ```
//!
//! The stages between `source` and `sink` are pure: no sockets, no clock, no logging. Only `pipeline` knows all of them.

pub mod source;

pub mod extract;
pub mod report;

pub mod event;

pub mod encode;

pub mod deliver;
pub mod sink;

pub mod check;
pub mod history;
pub mod ledger;
pub mod parse;
pub mod pipeline;

pub mod cli;
pub mod config;
mod date;
pub mod exit;
pub mod flood;
mod folder;
mod invisible;
pub mod limits;
pub mod migrate;
pub mod net;
pub mod ops;
pub mod service;
pub mod stdio;
mod steps;
pub mod trouble;

#[cfg(test)]
mod small_disk;
