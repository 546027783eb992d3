//! Syntax tree of the configuration: one small tree for all formats, each node with its position.

use std::sync::Arc;

/// A value and its position. No `Debug`: it may contain secrets, which are not identified before decoding.
#[derive(Clone)]
pub(crate) struct Node {
    pub value: Value,
    pub at: At,
}

/// A value of the tree. Scalars keep their text: its meaning depends on the option.
#[derive(Clone)]
pub(crate) enum Value {
    Null,
    /// A scalar of a file; `${VAR}` in it is replaced during decoding.
    Text(String),
    /// A scalar that is used unchanged: from a URL or the environment.
    Literal(String),
    List(Vec<Node>),
    /// A table, in the order of the file. Duplicates are kept, and reported when the table is read.
    Table(Vec<Entry>),
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub key: String,
    pub at: At,
    pub value: Node,
}

/// Position in the input. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At {
    /// The file as a whole, for options that are missing.
    File,
    Line {
        line: usize,
        column: usize,
    },
    /// A command-line argument, in a form that may be shown.
    Argument(Arc<str>),
}

/// Maximum nesting of tables; the configuration needs six.
pub(crate) const MAX_DEPTH: usize = 32;

impl Node {
    pub(crate) fn table(at: At, entries: Vec<Entry>) -> Self {
        Self { value: Value::Table(entries), at }
    }

    /// The value of a key of this table; the first of duplicates.
    pub(crate) fn child(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    pub(crate) fn child_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Table(entries) => entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value),
            _ => None,
        }
    }

    /// The entries of a table; empty for other values.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Inserts a value at a dotted path, creating tables as needed; an earlier value there is kept, as a duplicate.
    pub(crate) fn put(&mut self, path: &str, value: Value) {
        let at = self.at.clone();
        let Value::Table(entries) = &mut self.value else { return };
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let Some(rest) = rest else {
            let value = Node { value, at: at.clone() };
            return entries.push(Entry { key: first.to_owned(), at, value });
        };
        let inner = entries.iter().position(|entry| entry.key == first && matches!(entry.value.value, Value::Table(_)));
        let index = inner.unwrap_or_else(|| {
            let value = Node::table(at.clone(), Vec::new());
            entries.push(Entry { key: first.to_owned(), at, value });
            entries.len() - 1
        });
        if let Some(entry) = entries.get_mut(index) {
            entry.value.put(rest, value);
        }
    }

    /// Replaces all values of `key` by `value`.
    pub(crate) fn replace(&mut self, key: &str, value: Node) {
        if let Value::Table(entries) = &mut self.value {
            entries.retain(|entry| entry.key != key);
            entries.push(Entry { key: key.to_owned(), at: value.at.clone(), value });
        }
    }

    /// Describes the kind of value, for a message that expected another.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Text(_) | Value::Literal(_) => "a single value",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}
