//! Documentation of an option, made from its declaration.

use super::form::Form;

/// Documentation and schema of one option.
#[derive(Debug, Clone)]
pub(crate) struct OptionDoc {
    /// Dotted path within its table.
    pub key: String,
    /// Description of valid values.
    pub kind: String,
    pub need: Need,
    pub doc: String,
    /// JSON Schema of the value.
    pub schema: serde_json::Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    /// The default as text; empty for no value.
    Default(String),
}

impl OptionDoc {
    pub(crate) fn of<F: Form>(key: &str, lines: &[&str], need: Need) -> Self {
        let doc = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        Self { key: key.to_owned(), kind: F::kind(), need, doc, schema: F::schema() }
    }

    /// The same option, with its path relative to the enclosing table.
    pub(crate) fn within(self, table: &str) -> Self {
        Self { key: format!("{table}.{}", self.key), ..self }
    }
}
