//! A key of an event, as the schema describes it.

/// One key of an event.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub nullable: bool,
    pub part: Part,
    /// Documentation: meaning, unit, when the value is null, and the element that it comes from.
    pub doc: &'static str,
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
