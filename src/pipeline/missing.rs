//! Missing deliveries: the sinks that still need a document, and the recipients of each event.

/// Rows of a document that each sink of a route still needs. Two sources that share a document may ship to different sinks,
/// and a sink may have received the first rows before the process was killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// By the number of the sink: the number of rows, from the first, that have arrived there. `None`: it has all of the
    /// document, or another mail in flight brings it.
    sinks: Vec<(usize, Option<u64>)>,
}

impl Missing {
    pub fn new(sinks: Vec<(usize, Option<u64>)>) -> Self {
        Self { sinks }
    }

    /// Returns the state of a document that every sink needs from row `arrived` + 1 on, for a reader with one output.
    pub fn from_row(arrived: u64) -> Self {
        Self::new(vec![(0, Some(arrived))])
    }

    /// True if some sink needs the document.
    pub fn is_any(&self) -> bool {
        self.sinks.iter().any(|(_, rows)| rows.is_some())
    }

    /// True if some sink of the route does not need the document.
    pub fn is_partial(&self) -> bool {
        self.sinks.iter().any(|(_, rows)| rows.is_none())
    }

    /// Returns the number of rows, from the first, that no sink needs.
    pub fn arrived(&self) -> u64 {
        self.sinks.iter().filter_map(|(_, rows)| *rows).min().unwrap_or_default()
    }

    /// Returns the number of each sink that needs the document, with the number of rows that it has.
    pub fn needed(&self) -> impl Iterator<Item = (usize, u64)> {
        self.sinks.iter().filter_map(|(sink, rows)| Some((*sink, (*rows)?)))
    }

    fn rows_of(&self, sink: usize) -> Option<u64> {
        self.sinks.iter().find(|(number, _)| *number == sink)?.1
    }
}

/// The sinks of a route that an event is sent to.
#[derive(Debug, Clone, Copy)]
pub enum Recipients<'a> {
    /// All of them: events of the mail itself, or of a document that no sink needs.
    All,
    /// Those that need the document: its `report` event.
    Needing(&'a Missing),
    /// Those that need this row of the document, counted from 1.
    NeedingRow(&'a Missing, u64),
    /// Those that have the document already.
    Having(&'a Missing),
}

impl Recipients<'_> {
    pub fn include(&self, sink: usize) -> bool {
        match self {
            Self::All => true,
            Self::Needing(missing) => missing.rows_of(sink).is_some(),
            Self::NeedingRow(missing, row) => missing.rows_of(sink).is_some_and(|arrived| *row > arrived),
            Self::Having(missing) => missing.rows_of(sink).is_none(),
        }
    }
}
