//! Parses YAML 1.2 from the parser's events, so that duplicate keys are detected and aliases can't expand without bound.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use crate::config::{
    node::{At, Entry, MAX_DEPTH, Node, Value},
    problem::Problem,
};

/// Maximum number of nodes in a file, including those repeated by aliases. A hundred sinks have some thousand.
const MAX_NODES: usize = 20_000;

/// Returns the tree of the only document in `text`.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| explain(&error))?;
        builder.take(event, at(&span.start))?;
    }
    Ok(builder.root.unwrap_or(Node { value: Value::Null, at: At::File }))
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    /// The node of each anchor, and its number of nodes.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    documents: usize,
}

/// A table or list that is not complete yet.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<(String, At)>,
    /// Number of nodes before it began.
    before: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: At) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Problem::new(at, "", "a second document begins here; write one document per file"));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                untagged(tag.as_deref(), &at)?;
                // The core schema's forms of null, unless quoted or tagged as text.
                let null = style == ScalarStyle::Plain
                    && tag.is_none()
                    && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let key_follows = self.open.last().is_some_and(Open::wants_key);
                let value = if null && !key_follows { Value::Null } else { Value::Text(text.into_owned()) };
                self.add(Node { value, at }, anchor, 1)?;
            }
            Event::SequenceStart(anchor, tag) => self.begin(Value::List(Vec::new()), at, anchor, tag.as_deref())?,
            Event::MappingStart(anchor, tag) => self.begin(Value::Table(Vec::new()), at, anchor, tag.as_deref())?,
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(done) = self.open.pop() {
                    let size = self.nodes - done.before + 1;
                    self.nodes = done.before;
                    self.add(done.node, done.anchor, size)?;
                }
            }
            Event::Alias(anchor) => {
                let Some((mut node, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err(Problem::new(at, "", "this alias refers to a node that contains it"));
                };
                node.at = at;
                self.add(node, 0, size)?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn begin(&mut self, value: Value, at: At, anchor: usize, tag: Option<&Tag>) -> Result<(), Problem> {
        untagged(tag, &at)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(Problem::new(at, "", format!("tables are nested more than {MAX_DEPTH} levels deep")));
        }
        self.open.push(Open { node: Node { value, at }, anchor, key: None, before: self.nodes });
        Ok(())
    }

    /// Adds a complete node that consists of `size` nodes: as a key, a value, an item or the root.
    fn add(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), Problem> {
        self.nodes += size;
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values with aliases expanded; use fewer aliases");
            return Err(Problem::new(node.at, "", message));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.node.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Table(entries), Some((key, at))) => entries.push(Entry { key, at, value: node }),
            (_, _) => match node.value {
                Value::Text(key) => open.key = Some((key, node.at)),
                _ => return Err(Problem::new(node.at, "", "a key must be a scalar, not a list or table")),
            },
        }
        Ok(())
    }
}

impl Open {
    fn wants_key(&self) -> bool {
        matches!(self.node.value, Value::Table(_)) && self.key.is_none()
    }
}

/// Ignores YAML's own tags (`!!str`), as the option determines a value's type; refuses others, which have no meaning here.
fn untagged(tag: Option<&Tag>, at: &At) -> Result<(), Problem> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.is_yaml_core_schema() => Ok(()),
        Some(tag) => {
            Err(Problem::new(at.clone(), "", format!("the tag {tag} is not supported; write the value without it")))
        }
    }
}

fn at(marker: &Marker) -> At {
    At::Line { line: marker.line().max(1), column: marker.col() + 1 }
}

/// Converts a syntax error to a problem, with advice on its usual cause.
fn explain(error: &ScanError) -> Problem {
    const ADVICE: &[(&str, &str)] = &[
        ("tab", "indent with spaces, not tabs"),
        ("mapping values are not allowed", "indent this line like its neighbours, and quote a text that holds \": \""),
        ("expected key", "indent this line like its neighbours"),
        ("expected '-'", "indent this line like its neighbours"),
        ("unknown escape", "write a backslash twice, or use single quotes"),
        ("unexpected end of stream", "a quote is not closed"),
        ("flow ", "a bracket is not closed, or a comma is missing"),
        ("unknown anchor", "define the anchor with & before the alias that uses it"),
        ("expected alphabetic or numeric", "quote a text that begins with * or &"),
        ("unexpected character", "quote a text that begins with @, ` or %"),
    ];
    let advice = ADVICE.iter().find(|(part, _)| error.info().contains(part)).map(|(_, advice)| *advice);
    let message = match advice {
        Some(advice) => format!("invalid YAML: {}; {advice}", error.info()),
        None => format!("invalid YAML: {}", error.info()),
    };
    Problem::new(at(error.marker()), "", message)
}
