//! Backends of the ledger: the one place that names its implementations.

use std::{path::Path, sync::Arc};

use super::{Ledger, LedgerError, View, redb::RedbLedger};

/// Opens the ledger of `data_dir`, or creates it (mode 0600).
///
/// A corrupt ledger is set aside as `ledger.redb.corrupt-<time>` with a warning, and a new one is created: the mailbox
/// is the queue, so some reports are shipped again under the same event ids, but none are lost.
///
/// Counts the mails that the last process was reading when it died: see [`Ledger::attempts`]. Blocks.
pub fn open(data_dir: &Path) -> Result<Arc<dyn Ledger>, LedgerError> {
    Ok(Arc::new(RedbLedger::open(data_dir)?))
}

/// Copies the ledger of `data_dir` into memory, for a dry run: writes to the copy are lost. The copy is empty if there is
/// no ledger, or if a running instance holds it. Blocks.
pub fn open_copy(data_dir: &Path) -> Result<(Arc<dyn Ledger>, View), LedgerError> {
    let (ledger, view) = RedbLedger::open_copy(data_dir)?;
    Ok((Arc::new(ledger), view))
}

/// Creates a ledger that lasts as long as this process.
pub fn in_memory() -> Arc<dyn Ledger> {
    Arc::new(RedbLedger::in_memory())
}
