//! Parser of aggregate reports (RFC 9990, RFC 7489): a document → its rows, one after the other, and what stands outside them.

mod clean;
mod elements;
pub(in crate::report) mod extension;
mod open_elements;
mod parser;
pub(in crate::report) mod report;
mod text_room;

pub use clean::{Clean, Unclean};
pub use extension::Extension;
pub use parser::{Document, Finished};
pub use report::{Aggregate, DkimAuth, Override, Policy, Row, SpfAuth, Text};
