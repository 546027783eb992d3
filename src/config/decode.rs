//! From the tree to the structs: every option is asked for by name, every problem is kept, and what nobody asked for is
//! told as unknown.

use std::cell::RefCell;

use super::{
    form::Form,
    interpolate::interpolate,
    near::nearest,
    node::{At, Node, Value},
    problem::Problem,
};

/// What decoding needs to know, and the problems and warnings it gathers.
pub(crate) struct Decoder<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    /// Names that `encoding.only_fields` may use; empty: any.
    pub fields: &'a [&'a str],
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<String>>,
}

/// What is wrong has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told;

/// A struct that `options!` made.
pub(crate) trait Options: Sized {
    /// Reads it from a table. `None` only when a problem was told.
    fn read(view: &View<'_>) -> Option<Self>;

    /// Its options, in their order, for schema and documentation.
    fn options() -> Vec<super::options::OptionDoc>;
}

/// A table that is being read, or one inside it (`prefix`).
#[derive(Clone)]
pub(crate) struct View<'a> {
    root: &'a Node,
    key: &'a str,
    prefix: String,
    /// Paths asked for so far. `None` at the end: unknown ones are not told, as the table's type is not known.
    known: &'a RefCell<Option<Vec<String>>>,
    pub decoder: &'a Decoder<'a>,
}

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

    /// The text of a scalar, variables replaced; `None` for null, or where variables leave nothing.
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

    /// Reads a whole table, and tells what in it is unknown or written twice.
    pub(crate) fn table<T: Options>(&self, node: &Node, key: &str) -> Option<T> {
        if !matches!(node.value, Value::Table(_) | Value::Null) {
            self.problem(&node.at, key, format!("expected a table of options, not {}", node.kind()));
            return None;
        }
        let known = RefCell::new(Some(Vec::new()));
        let view = View { root: node, key, prefix: String::new(), known: &known, decoder: self };
        let value = T::read(&view);
        if let Some(known) = &*known.borrow() {
            self.unknown(node, key, "", known);
        }
        value
    }

    fn unknown(&self, node: &Node, full: &str, path: &str, known: &[String]) {
        for (index, entry) in node.entries().iter().enumerate() {
            let (key, path) = (join(full, &entry.key), join(path, &entry.key));
            if node.entries().iter().take(index).any(|earlier| earlier.key == entry.key) {
                self.problem(&entry.at, &key, "is written twice; keep one of them");
            } else if entry.key.contains('.') {
                // A dot in a key is no way into a table: the option's reader has not seen it.
                let message = match path.rsplit_once('.') {
                    Some((table, option)) if known.contains(&path) => {
                        format!("unknown option; write {option} inside the table {table}")
                    }
                    _ => "unknown option".to_owned(),
                };
                self.problem(&entry.at, &key, message);
            } else if known.contains(&path) {
                continue;
            } else if known.iter().any(|name| name.starts_with(&format!("{path}."))) {
                match &entry.value.value {
                    Value::Table(_) => self.unknown(&entry.value, &key, &path, known),
                    Value::Null => {}
                    _ => {
                        let inside: Vec<&str> = known.iter().filter_map(|name| below(name, &path)).collect();
                        let message =
                            format!("expected a table with {}, not {}", inside.join(", "), entry.value.kind());
                        self.problem(&entry.value.at, &key, message);
                    }
                }
            } else {
                self.problem(&entry.at, &key, unknown_option(&path, known));
            }
        }
    }
}

impl<'a> View<'a> {
    /// The table under `key` of this one.
    pub(crate) fn within(&self, key: &str) -> View<'a> {
        View { prefix: join(&self.prefix, key), ..self.clone() }
    }

    /// Reads an option that may be left out. `None`: use the default (or a problem was told).
    pub(crate) fn optional<F: Form>(&self, key: &str) -> Option<F::Value> {
        self.read::<F>(key).ok().flatten()
    }

    /// Reads an option that must be there. `None`: a problem was told.
    pub(crate) fn required<F: Form>(&self, key: &str) -> Option<F::Value> {
        match self.read::<F>(key) {
            Ok(None) => {
                self.problem(key, format!("is missing; expected {}", F::expected()));
                None
            }
            found => found.ok().flatten(),
        }
    }

    /// Tells a problem with an option, where it is written, or else with the table, where that is.
    pub(crate) fn problem(&self, key: &str, message: impl Into<String>) -> Told {
        let at = self.find(key).map_or(&self.root.at, |node| &node.at);
        self.decoder.problem(at, &self.full(key), message)
    }

    pub(crate) fn warn(&self, key: &str, message: &str) {
        self.decoder.warn(format!("{}: {message}", self.full(key)));
    }

    /// Whether the option is written at all.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// What this table is can't be told: so it can't be told either what is unknown in it.
    pub(crate) fn give_up(&self) {
        self.known.replace(None);
    }

    fn read<F: Form>(&self, key: &str) -> Result<Option<F::Value>, Told> {
        if let Some(known) = &mut *self.known.borrow_mut() {
            known.push(join(&self.prefix, key));
        }
        match self.find(key) {
            Some(node) => F::read(node, &self.full(key), self.decoder),
            None => Ok(None),
        }
    }

    fn find(&self, key: &str) -> Option<&'a Node> {
        let path = join(&self.prefix, key);
        path.split('.').try_fold(self.root, |node, key| node.child(key)).filter(|node| !node.is_null())
    }

    fn full(&self, key: &str) -> String {
        join(self.key, &join(&self.prefix, key))
    }
}

/// A dotted path; either side may be empty.
pub(crate) fn join(path: &str, key: &str) -> String {
    match (path.is_empty(), key.is_empty()) {
        (true, _) => key.to_owned(),
        (_, true) => path.to_owned(),
        _ => format!("{path}.{key}"),
    }
}

/// The first step from `path` to `name`, where `name` lies below it.
fn below<'n>(name: &'n str, path: &str) -> Option<&'n str> {
    name.strip_prefix(path)?.strip_prefix('.')?.split('.').next()
}

fn unknown_option(path: &str, known: &[String]) -> String {
    let (parent, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut siblings: Vec<&str> = known
        .iter()
        .filter_map(|name| if parent.is_empty() { name.split('.').next() } else { below(name, parent) })
        .collect();
    siblings.dedup();
    if let Some(name) = nearest(last, siblings.iter().copied()) {
        return format!("unknown option; did you mean {name}?");
    }
    if let Some(name) = known.iter().find(|name| last == name.as_str() || name.ends_with(&format!(".{last}"))) {
        return format!("unknown option here; did you mean {name}?");
    }
    format!("unknown option; known here: {}", siblings.join(", "))
}

/// What a table without a single entry gives.
pub(crate) fn empty<T: Options>() -> Option<T> {
    let nothing = Node::table(At::File, Vec::new());
    Decoder::new(&|_| None, &[]).table(&nothing, "")
}
