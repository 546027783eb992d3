//! The commands `ledger list` and `ledger reset`: show shipped reports, to a person or a script, or forget them.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use serde_json::json;
use tracing::{error, info, warn};

use crate::{
    exit::Exit,
    ledger::{DocumentKey, Ledger, LedgerError, Shipped, View, backend},
    ops::{lock::InstanceLock, runtime::block_on},
    stdio,
};

/// Number of documents that are read at once; some hundred bytes each.
const AT_ONCE: usize = 1_000;

/// Prints one JSON line for each document that was shipped. Reads a copy of the ledger, so it changes nothing.
pub fn list(data_dir: &Path) -> Exit {
    let ledger = match backend::open_copy(data_dir) {
        Ok((_, View::Locked)) => {
            error!("the ledger in {} is locked by a running instance; stop it to list the ledger", data_dir.display());
            return Exit::Undelivered;
        }
        Ok((ledger, View::Missing)) => {
            warn!("there is no ledger in {}: nothing was shipped with this data_dir yet", data_dir.display());
            ledger
        }
        Ok((ledger, View::Copy)) => ledger,
        Err(error) => return failed(&error),
    };
    let mut out = match stdio::output() {
        Ok(out) => BufWriter::new(out),
        Err(error) => return cannot_write(&error),
    };
    match block_on(print_all(&*ledger, &mut out)) {
        Ok(Ok(())) => Exit::Done,
        Ok(Err(exit)) => exit,
        Err(error) => cannot_start(&error),
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
    let ledger = match backend::open(data_dir) {
        Ok(ledger) => ledger,
        Err(error) => return failed(&error),
    };
    match block_on(ledger.reset()) {
        Ok(Ok(forgotten)) => {
            info!(forgotten, "the ledger was reset; reports that are still in the mailboxes will be shipped again");
            Exit::Done
        }
        Ok(Err(error)) => failed(&error),
        Err(error) => cannot_start(&error),
    }
}

async fn print_all(ledger: &dyn Ledger, out: &mut impl Write) -> Result<(), Exit> {
    let mut after = None;
    loop {
        let documents = ledger.documents(after, AT_ONCE).await.map_err(|error| failed(&error))?;
        for (key, shipped) in &documents {
            print(out, key, shipped).map_err(|error| cannot_write(&error))?;
        }
        after = documents.into_iter().next_back().map(|(key, _)| key);
        if after.is_none() {
            return out.flush().map_err(|error| cannot_write(&error));
        }
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

fn cannot_start(error: &io::Error) -> Exit {
    error!(%error, "can't start the async runtime");
    Exit::Internal
}

fn failed(error: &LedgerError) -> Exit {
    error!("{error}");
    Exit::CannotCreate
}
