//! The command `parse`: reads reports and mails from disk, prints JSON lines on stdout. No ledger, no network, and of a
//! configuration only the limits.

use std::{
    collections::HashSet,
    io::{self, BufWriter, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use jiff::Timestamp;
use tracing::{error, info, warn};

use crate::{
    encode::Encoder,
    event::{Event, failure::Addresses},
    exit::Exit,
    extract::{Room, Unshared},
    ledger::{DocumentKey, ReportName},
    limits::Limits,
    ops::progress::{self, Seen},
    pipeline::{
        Claimed, Missing, Recipients, Stopped,
        admission::Admission,
        reading::{Attempts, Incoming, Output, RETURNED, read},
    },
    source::{
        Place, Verdict,
        files::{self, Step, Unreadable},
    },
    stdio,
    trouble::Trouble,
};

/// Reads every path and prints its events. Exit 65: some input could not be read in full; 66: a path can't be read.
pub fn run(paths: &[PathBuf], limits: &Limits) -> Exit {
    let done = Arc::new(Done::default());
    let shown = done.clone();
    let _progress = progress::show("files", true, move || shown.seen());
    let mut lines = match stdio::output() {
        Ok(out) => Lines::new(out, done),
        Err(error) => {
            error!("can't write to stdout: {error}");
            return Exit::Io;
        }
    };
    let (mut exit, mut skipped) = (Exit::Done, Skipped::default());
    for path in paths {
        lines.printed.clear();
        for step in files::walk("parse".into(), path, limits) {
            exit = exit.or_worse(match step {
                Step::Found(found) => {
                    found.read().map_or_else(not_there, |file| one(&file, limits, &mut lines, &mut skipped))
                }
                Step::Deleted => {
                    skipped.deleted += 1;
                    Exit::Done
                }
                Step::Unreadable(unreadable) => not_there(unreadable),
            });
            lines.done.files.fetch_add(1, Ordering::Relaxed);
            if lines.failed.is_some() {
                return exit.or_worse(lines.finish());
            }
        }
    }
    if skipped.duplicates > 0 {
        info!(reports = skipped.duplicates, "skipped reports that had come before in this input");
    }
    if skipped.deleted > 0 {
        info!(mails = skipped.deleted, "skipped mails that are marked as deleted");
    }
    if skipped.returned > 0 {
        info!(reports = skipped.returned, "{RETURNED}");
    }
    if skipped.mails > 0 {
        info!(mails = skipped.mails, "skipped mails without a report");
    }
    exit.or_worse(lines.finish())
}

/// Counts of what gave no rows, and is no error.
#[derive(Default)]
struct Skipped {
    /// Mails without a report.
    mails: u64,
    /// Reports that had come before.
    duplicates: u64,
    /// Reports in mails that bounces and receipts return.
    returned: u64,
    /// Mails in Maildirs that are marked as deleted.
    deleted: u64,
}

fn not_there(Unreadable { path, error }: Unreadable) -> Exit {
    error!("can't read {}: {error}", path.display());
    Exit::NoInput
}

fn one(
    (place, content): &(Place, Result<Bytes, Trouble>),
    limits: &Limits,
    lines: &mut Lines<impl Write>,
    skipped: &mut Skipped,
) -> Exit {
    let incoming = Incoming {
        content,
        place,
        tenant: None,
        addresses: Addresses::default(),
        attempts: Attempts::FIRST,
        now: Timestamp::now(),
    };
    let room = Room::new(&Unshared);
    let Ok(reading) = read(incoming, limits, &mut Admission::open(), &room, lines) else { return Exit::Io };
    skipped.duplicates += reading.duplicates;
    skipped.returned += reading.returned;
    match reading.verdict() {
        Verdict::Quarantine(trouble) => {
            warn!(file = %place, %trouble, "could not be read in full");
            return Exit::Data;
        }
        Verdict::WithoutReport => skipped.mails += 1,
        Verdict::Archive | Verdict::Defer(_) | Verdict::Leave => {}
    }
    Exit::Done
}

/// [`Output`] that prints events as lines. No document counts as shipped before, unless it has come in the same file or
/// folder: 32 bytes are remembered of each.
struct Lines<W: Write> {
    out: BufWriter<W>,
    encoder: Encoder,
    line: Vec<u8>,
    failed: Option<io::Error>,
    /// Documents of the current path.
    printed: HashSet<[u8; 32]>,
    done: Arc<Done>,
}

/// Progress of the reading.
#[derive(Default)]
struct Done {
    files: AtomicU64,
    rows: AtomicU64,
}

impl Done {
    fn seen(&self) -> Seen {
        Seen { done: self.files.load(Ordering::Relaxed), of: 0, rows: self.rows.load(Ordering::Relaxed) }
    }
}

impl<W: Write> Lines<W> {
    fn new(out: W, done: Arc<Done>) -> Self {
        let encoder = Encoder::json_lines();
        let out = BufWriter::with_capacity(64 << 10, out);
        Self { out, encoder, line: Vec::new(), failed: None, printed: HashSet::new(), done }
    }

    fn finish(mut self) -> Exit {
        match self.failed.take().map_or_else(|| self.out.flush(), Err) {
            Ok(()) => Exit::Done,
            // `parse … | head` has closed the pipe on purpose.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Io,
            Err(error) => {
                error!("can't write to stdout: {error}");
                Exit::Io
            }
        }
    }
}

impl<W: Write> Output for Lines<W> {
    fn emit(&mut self, event: Event, _: Recipients<'_>, _: &dyn Fn()) -> Result<(), Stopped> {
        if !matches!(event, Event::Report(_) | Event::IngestError(_)) {
            self.done.rows.fetch_add(1, Ordering::Relaxed);
        }
        self.line.clear();
        self.encoder.encode(&event, &mut self.line);
        self.out.write_all(&self.line).map_err(|error| {
            self.failed = Some(error);
            Stopped
        })
    }

    fn claim(&mut self, document: &DocumentKey, _: Option<&ReportName>) -> Result<Claimed, Stopped> {
        Ok(match self.printed.insert(document.sha256) {
            true => Claimed::Mine { missing: Missing::from_row(0), reuses_name: false },
            false => Claimed::Known,
        })
    }

    fn document_read(&mut self, _: &DocumentKey) {}
}
