//! Look-ups of documents in the ledger that are under way: marks those whose answer is outdated before it is used.
//!
//! A reader looks a document up without holding the lock of the settlement, as the ledger may be slow. A delivery that was
//! in flight when the look-up began may have been recorded in the ledger since, and no longer be in flight: then neither
//! says that it was made, and the reader has to look again.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, Ordering},
};

use crate::ledger::{DocumentKey, ReportName};

/// All look-ups under way; no more than readers.
#[derive(Debug, Default)]
pub struct LookUps(Vec<Weak<LookUp>>);

/// One look-up, until it is dropped.
#[derive(Debug)]
pub struct LookUp {
    document: DocumentKey,
    name: Option<ReportName>,
    is_outdated: AtomicBool,
}

impl LookUps {
    pub fn begin(&mut self, document: &DocumentKey, name: Option<&ReportName>) -> Arc<LookUp> {
        let look_up = LookUp { document: document.clone(), name: name.copied(), is_outdated: AtomicBool::new(false) };
        let look_up = Arc::new(look_up);
        self.0.retain(|other| other.strong_count() > 0);
        self.0.push(Arc::downgrade(&look_up));
        look_up
    }

    /// Marks the look-ups of a document whose deliveries were recorded, and are no longer in flight.
    pub fn recorded(&self, document: &DocumentKey) {
        let outdated = self.iter().filter(|look_up| look_up.document == *document);
        outdated.for_each(|look_up| look_up.is_outdated.store(true, Ordering::Relaxed));
    }

    /// True if a document is being looked up under this name.
    pub fn asks_for(&self, name: &ReportName) -> bool {
        self.iter().any(|look_up| look_up.name.as_ref() == Some(name))
    }

    fn iter(&self) -> impl Iterator<Item = Arc<LookUp>> {
        self.0.iter().filter_map(Weak::upgrade)
    }
}

impl LookUp {
    /// True if the document has to be looked up again. To be asked with the lock held under which it was begun.
    pub fn is_outdated(&self) -> bool {
        self.is_outdated.load(Ordering::Relaxed)
    }
}
