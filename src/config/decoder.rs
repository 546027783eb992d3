//! Context of decoding: the environment, the values of scalars, and all problems found.

use std::cell::RefCell;

use super::{
    interpolate::interpolate,
    node::{At, Node, Value},
    problem::Problem,
};

/// Context of decoding, and the problems and warnings collected.
pub(crate) struct Decoder<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    /// Valid names in `encoding.only_fields`; empty: any.
    pub fields: &'a [&'a str],
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<String>>,
}

/// Marker error: the problem has been reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told;

impl<'a> Decoder<'a> {
    pub(crate) fn new(variable: &'a dyn Fn(&str) -> Option<String>, fields: &'a [&'a str]) -> Self {
        Self { variable, fields, problems: RefCell::default(), warnings: RefCell::default() }
    }

    pub(crate) fn problem(&self, at: &At, key: &str, message: impl Into<String>) -> Told {
        self.problems.borrow_mut().push(Problem::new(at.clone(), key, message));
        Told
    }

    pub(crate) fn warn(&self, warning: String) {
        self.warnings.borrow_mut().push(warning);
    }

    pub(crate) fn into_parts(self) -> (Vec<Problem>, Vec<String>) {
        (self.problems.into_inner(), self.warnings.into_inner())
    }

    /// Returns the text of a scalar, with variables replaced; `None` for null, or if replaced variables leave it empty.
    pub(crate) fn text(&self, node: &Node, key: &str, expected: &str) -> Result<Option<String>, Told> {
        match &node.value {
            Value::Null => Ok(None),
            Value::Literal(text) => Ok(Some(text.clone())),
            Value::Text(text) => {
                let replaced = interpolate(text, self.variable).map_err(|error| self.problem(&node.at, key, error))?;
                Ok((!replaced.is_empty() || text.is_empty()).then_some(replaced))
            }
            Value::List(_) | Value::Table(_) => {
                Err(self.problem(&node.at, key, format!("expected {expected}, not {}", node.kind())))
            }
        }
    }
}

/// Joins two parts of a dotted path; either may be empty.
pub(crate) fn join(path: &str, key: &str) -> String {
    match (path.is_empty(), key.is_empty()) {
        (true, _) => key.to_owned(),
        (_, true) => path.to_owned(),
        _ => format!("{path}.{key}"),
    }
}
