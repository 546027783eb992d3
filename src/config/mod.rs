//! The configuration: parsed and checked, with one struct per stage. After [`load`] nothing is checked again.
//!
//! ```text
//! text ─▶ syntax: a tree with positions ─▶ decode: structs, all problems ─▶ together: conflicts between options
//! ```
//!
//! Each group of options is declared once (`options!`): struct, decoding, JSON Schema and `docs/configuration.md` are
//! generated from that declaration.

pub mod api;
mod arguments;
pub(crate) mod decode;
mod decoder;
pub mod docs;
mod domain;
pub mod folder;
pub(crate) mod form;
mod host;
mod interpolate;
mod kinds;
mod loader;
mod near;
mod node;
pub mod oauth;
pub(crate) mod option_doc;
pub(crate) mod options;
mod problem;
pub mod schema;
pub mod search;
pub mod secret;
pub mod senders;
pub mod sink;
pub mod source;
mod syntax;
mod template;
#[cfg(test)]
mod tests;
pub mod tls;
mod together;
mod top_level;
pub(crate) mod units;
mod url;

pub use self::{
    loader::{Arguments, Loaded, Loader, from_arguments, limits, load, parse},
    problem::{Problem, Problems},
    syntax::Format,
    top_level::{CheckFormat, Config, FailureReports, Ledger, Log, LogFile, LogFormat, LogLevel},
};
