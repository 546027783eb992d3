//! Names of folders on an IMAP server, as the user writes them.

use std::fmt;

use serde_json::json;

use super::{
    decode::{Decoder, Told},
    form::Form,
    node::{Node, Value},
};

/// A folder's name, or a pattern with `*` (any text) or `%` (any text within a level), as in IMAP's LIST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderName(String);

impl FolderName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it may stand for several folders.
    pub fn is_pattern(&self) -> bool {
        self.0.contains(['*', '%'])
    }

    /// INBOX is the one name that has no case (RFC 3501 section 5.1).
    pub fn is_same(&self, other: &Self) -> bool {
        let is_inbox = |name: &Self| name.0.eq_ignore_ascii_case("INBOX");
        self == other || (is_inbox(self) && is_inbox(other))
    }
}

impl From<&str> for FolderName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl fmt::Display for FolderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One folder or a list of them. A comma is part of a name, so one text is one folder.
pub(crate) struct FolderNames;

impl Form for FolderNames {
    type Value = Vec<FolderName>;

    fn expected() -> String {
        "the name of a folder, or a list of names".to_owned()
    }

    fn kind() -> String {
        "text, or list of texts".to_owned()
    }

    fn parse(text: &str) -> Result<Self::Value, String> {
        String::parse(text).map(|name| vec![FolderName(name)])
    }

    fn read(node: &Node, key: &str, decoder: &Decoder<'_>) -> Result<Option<Self::Value>, Told> {
        let Value::List(items) = &node.value else {
            let Some(name) = String::read(node, key, decoder)? else { return Ok(None) };
            return Ok(Some(vec![FolderName(name)]));
        };
        let read =
            items.iter().enumerate().map(|(index, item)| String::read(item, &format!("{key}[{index}]"), decoder));
        // Each name is read before any problem ends the list, so that all are told.
        let read: Vec<_> = read.collect();
        let mut names: Vec<FolderName> = Vec::new();
        for name in read.into_iter().collect::<Result<Vec<_>, Told>>()?.into_iter().flatten().map(FolderName) {
            if names.iter().any(|before| before.is_same(&name)) {
                return Err(decoder.problem(&node.at, key, format!("names {:?} twice; once is enough", name.0)));
            }
            names.push(name);
        }
        Ok(Some(names))
    }

    fn written(value: &Self::Value) -> String {
        value.iter().map(FolderName::as_str).collect::<Vec<_>>().join(", ")
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [{"type": "array", "items": {"type": "string"}, "minItems": 1}, {"type": "string"}]})
    }
}
