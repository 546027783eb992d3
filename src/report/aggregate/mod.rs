//! Parser of aggregate reports (RFC 9990, RFC 7489): a document → its rows, one after the other, and what stands outside them.

mod elements;
mod extension;
mod open_elements;
mod parser;
mod text_room;

pub use extension::Extension;
pub use parser::Document;
