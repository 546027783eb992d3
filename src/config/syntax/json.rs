//! Parses JSON. serde_json keeps no positions, but it can borrow each value as a slice of the text, whose offset is the
//! position.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::lines::Lines;
use crate::config::{
    node::{Entry, MAX_DEPTH, Node, Value},
    problem::Problem,
};

/// Returns the tree of a JSON document.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let source = Source { text, lines: Lines::of(text) };
    let root: &RawValue = serde_json::from_str(text).map_err(|error| source.explain(text, &error))?;
    source.node(root, 0)
}

struct Source<'t> {
    text: &'t str,
    lines: Lines,
}

impl<'t> Source<'t> {
    fn node(&self, raw: &'t RawValue, depth: usize) -> Result<Node, Problem> {
        let written = raw.get();
        let at = self.lines.at(self.text, self.offset(written));
        if depth > MAX_DEPTH {
            return Err(Problem::new(at, "", format!("tables are nested more than {MAX_DEPTH} levels deep")));
        }
        let value = match written.as_bytes().first() {
            Some(b'{') => {
                let Pairs(pairs) = self.read(written)?;
                let entries = pairs.into_iter().map(|(key, value)| {
                    Ok(Entry {
                        key: self.read(key.get())?,
                        at: self.lines.at(self.text, self.offset(key.get())),
                        value: self.node(value, depth + 1)?,
                    })
                });
                Value::Table(entries.collect::<Result<_, Problem>>()?)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = self.read(written)?;
                Value::List(items.into_iter().map(|item| self.node(item, depth + 1)).collect::<Result<_, _>>()?)
            }
            Some(b'"') => Value::Text(self.read(written)?),
            Some(b'n') => Value::Null,
            _ => Value::Text(written.to_owned()),
        };
        Ok(Node { value, at })
    }

    fn read<T: Deserialize<'t>>(&self, written: &'t str) -> Result<T, Problem> {
        serde_json::from_str(written).map_err(|error| self.explain(written, &error))
    }

    /// Offset of a slice of the text.
    fn offset(&self, part: &str) -> usize {
        (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize)
    }

    fn explain(&self, part: &str, error: &serde_json::Error) -> Problem {
        let lines = part.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
        let at = self.lines.at(self.text, self.offset(part) + lines + error.column().saturating_sub(1));
        let message = error.to_string();
        let what = message.split(" at line ").next().unwrap_or(&message);
        Problem::new(at, "", format!("invalid JSON: {what}"))
    }
}

/// The members of an object in order, duplicates included.
struct Pairs<'t>(Vec<(&'t RawValue, &'t RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}
