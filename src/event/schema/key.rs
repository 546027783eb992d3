//! A key of an event, as the schema describes it.

/// One key of an event.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub null: Null,
    pub part: Part,
    /// Documentation: meaning, unit, when the value is null, and the element that it comes from.
    pub doc: &'static str,
}

impl Key {
    /// The same key in an event type whose null is named only if another key has one of these values.
    pub(super) const fn named_if(self, other: &'static str, values: &'static [&'static str]) -> Self {
        Self { null: Null::NamedIf(other, values), ..self }
    }

    /// The same key in an event type where its null is usual.
    pub(super) const fn usual(self) -> Self {
        Self { null: Null::Usual, ..self }
    }

    /// An array whose objects have these keys named if they are null.
    pub(super) const fn naming(self, members: &'static [&'static str]) -> Self {
        Self { null: Null::Members(members), ..self }
    }
}

/// Nullability of a key, and the promise that `parse_warnings` names a null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Null {
    Never,
    /// Null is usual: the value is optional, or derived from others. One that is there but not understood is named.
    Usual,
    /// The standards require the value: if it is null, `parse_warnings` names the key.
    Named,
    /// Like [`Null::Named`], in events whose value of this key is one of these; null in all others.
    NamedIf(&'static str, &'static [&'static str]),
    /// An array, which is never null; null values of these keys of its objects are named, as `key[0].member`.
    Members(&'static [&'static str]),
}

impl Null {
    pub fn is_possible(self) -> bool {
        matches!(self, Null::Usual | Null::Named | Null::NamedIf(..))
    }
}

/// JSON type of a key, which never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bool,
    /// An integer that fits i64.
    Int,
    Text,
    /// A string: RFC 3339, UTC with `Z`, whole seconds.
    Time,
    /// An array of strings; `[]` if there are none.
    Texts,
    /// An array of flat objects of nullable strings with these keys; `[]` if there are none.
    Objects(&'static [&'static str]),
}

/// Category of a key, by which the presets of `encoding.fields` select.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The schema of dmarc-ingest, for which its users have dashboards.
    Seed,
    /// Identity of the event.
    Identity,
    /// Data of the reporter, or of the program.
    Told,
    /// Derived from other keys.
    Derived,
    /// Provenance of the document.
    Provenance,
}
