//! The commands `ledger list` and `ledger reset`: show shipped reports, to a person or a script, or forget them.

use std::{
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    path::Path,
};

use serde_json::json;
use tracing::{error, info, warn};

use crate::{
    exit::Exit,
    ledger::{DocumentKey, Ledger, LedgerError, Shipped, View},
    ops::lock::InstanceLock,
    stdio,
};

/// Prints one JSON line for each document that was shipped. Reads a copy of the ledger, so it changes nothing.
pub fn list(data_dir: &Path) -> Exit {
    let ledger = match Ledger::open_for_reading(data_dir) {
        Ok((_, View::Locked)) => {
            error!(
                "a running instance holds the ledger in {}; stop it to list what it has shipped",
                data_dir.display()
            );
            return Exit::Undelivered;
        }
        Ok((ledger, View::Missing)) => {
            warn!("there is no ledger in {}: nothing was shipped from there yet", data_dir.display());
            ledger
        }
        Ok((ledger, View::Copy)) => ledger,
        Err(error) => return failed(&error),
    };
    let mut out = match stdio::output() {
        Ok(out) => BufWriter::new(out),
        Err(error) => return cannot_write(&error),
    };
    let mut written = Ok(());
    let read = ledger.documents(&mut |key, shipped| {
        written = print(&mut out, &key, &shipped);
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    match (read, written.and_then(|()| out.flush())) {
        (Err(error), _) => failed(&error),
        (Ok(()), Err(error)) => cannot_write(&error),
        (Ok(()), Ok(())) => Exit::Done,
    }
}

/// Forgets everything that was shipped with this data folder.
pub fn reset(data_dir: &Path) -> Exit {
    let _lock = match InstanceLock::acquire(data_dir) {
        Ok(lock) => lock,
        Err(error) => {
            error!("{error}");
            return Exit::CannotCreate;
        }
    };
    match Ledger::open(data_dir).and_then(|ledger| ledger.reset()) {
        Ok(forgotten) => {
            info!(forgotten, "the ledger is empty; what is still in the mailboxes will be shipped again");
            Exit::Done
        }
        Err(error) => failed(&error),
    }
}

fn print(out: &mut impl Write, key: &DocumentKey, shipped: &Shipped) -> io::Result<()> {
    let hash: String = key.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let line = json!({
        "document_sha256": hash,
        "tenant": key.tenant,
        "org": shipped.org,
        "report_id": shipped.report_id,
        "rows": shipped.rows,
        "first_shipped": shipped.first_shipped.to_string(),
        "last_seen": shipped.last_seen.to_string(),
        "mail": shipped.mail,
    });
    writeln!(out, "{line}")
}

fn cannot_write(error: &io::Error) -> Exit {
    // `ledger list | head` has closed the pipe on purpose.
    if error.kind() != io::ErrorKind::BrokenPipe {
        error!("can't write to stdout: {error}");
    }
    Exit::Io
}

fn failed(error: &LedgerError) -> Exit {
    error!("{error}");
    Exit::CannotCreate
}
