//! XML of reports → tokens: a sanitizer repairs the bytes, quick-xml parses them.

mod character;
mod reader;
mod sanitizer;
mod tag_scanner;

pub use character::may_be_forbidden;
pub use reader::{Token, Xml};
#[cfg(test)]
pub use sanitizer::Sanitizer;
pub use tag_scanner::simple as simple_tag;
