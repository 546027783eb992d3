//! What was written, before anyone asks what it means: one small tree for all formats, each node with its place.

use std::sync::Arc;

/// A value and where it stands.
/// No `Debug`: it holds secrets that nobody has told apart yet.
#[derive(Clone)]
pub(crate) struct Node {
    pub value: Value,
    pub at: At,
}

/// Scalars stay as they were written: what they mean depends on the option that asks.
#[derive(Clone)]
pub(crate) enum Value {
    Null,
    /// A scalar of a file; `${VAR}` in it is replaced when it is read.
    Text(String),
    /// A scalar that is taken as it is: from a URL or the environment.
    Literal(String),
    List(Vec<Node>),
    /// In the order of the file. Duplicates are kept: they are told when the table is read.
    Table(Vec<Entry>),
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub key: String,
    pub at: At,
    pub value: Node,
}

/// Where something was written. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At {
    /// Nowhere in particular: what is missing from the whole file.
    File,
    Line {
        line: usize,
        column: usize,
    },
    /// A command-line argument, as it may be shown.
    Argument(Arc<str>),
}

/// Tables inside tables; the configuration needs six.
pub(crate) const MAX_DEPTH: usize = 32;

impl Node {
    pub(crate) fn table(at: At, entries: Vec<Entry>) -> Self {
        Self { value: Value::Table(entries), at }
    }

    /// The value under one key of this table; the first, where it is written twice.
    pub(crate) fn child(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The entries of a table; none of anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Sets what lies under a dotted path, making the tables on the way; an earlier value there stays, as a duplicate.
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

    /// Puts `value` in the place of whatever stood under `key`.
    pub(crate) fn replace(&mut self, key: &str, value: Node) {
        if let Value::Table(entries) = &mut self.value {
            entries.retain(|entry| entry.key != key);
            entries.push(Entry { key: key.to_owned(), at: value.at.clone(), value });
        }
    }

    /// What this is, for a message that expected something else.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Text(_) | Value::Literal(_) => "a single value",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}
