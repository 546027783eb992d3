//! Parses a document into a report without interpreting it: texts are only trimmed, rows are streamed.
//!
//! A document is read twice. `scan` reads it to its end: identity (SHA-256), the parts outside the rows in whatever order
//! they occur, and every repair and loss. `rows` reads it again and returns one row at a time, so that only one row is held.
//! Most reports are small: for these the scan keeps the rows and saves the second reading.

mod aggregate;
mod encoding;
mod failure;
mod hashed;
mod json_sanitizer;
mod scanned;
mod tls_rpt;
pub mod values;
mod warnings;
mod weight;
mod xml;

#[cfg(test)]
mod tests;

use std::io::BufRead;
use std::ops::ControlFlow;

use aggregate::{Clean, Document, Finished, Unclean};
use hashed::Hashed;
use scanned::late;

pub use aggregate::{Aggregate, DkimAuth, Extension, Override, Policy, Row, SpfAuth, Text};
pub use failure::Failure;
pub use scanned::{Report, Scan};
pub use tls_rpt::{PolicyName, TlsFailure, TlsPolicy, TlsRow, TlsRpt};
pub use weight::of_mail;

use crate::extract::{Format, SMALL_BYTES};
use crate::limits::Limits;
use crate::trouble::{Reason, Trouble};

/// The rows of a small report are kept while the estimated size of their events is below this, in bytes: 32 KiB of a usual
/// report are 60 rows, or 120 KiB. Rows of a few bytes would be a thousand, and several rows of one record repeat the data
/// that they share.
const HELD_EVENT_BYTES: u64 = 256 << 10;

/// Reads the whole document once: identity, everything but the rows, repairs and damage.
///
/// # Errors
///
/// If nothing of it can be shipped: not a report, a DOCTYPE, damaged before its first row is complete, or feedback on
/// something else than DMARC.
pub fn scan<R: BufRead>(format: Format, open: impl Fn() -> R, limits: &Limits) -> Result<Scan, Trouble> {
    match format {
        Format::Xml => scan_clean(open(), limits).or_else(|Unclean| scan_tolerant(open(), limits)),
        Format::Json => tls_rpt::scan(open(), limits),
        Format::Feedback => failure::scan(open()),
    }
}

fn scan_clean(open: impl BufRead, limits: &Limits) -> Result<Scan, Unclean> {
    let mut source = Hashed::new(open);
    let mut clean = Clean::new(&mut source, limits, true);
    let mut rows = 0;
    while clean.next_row()?.is_some() {
        rows += 1;
    }
    let (report, event_bytes) = clean.finish()?;
    let (sha256, failure) = source.finish();
    if failure.is_some() {
        return Err(Unclean);
    }
    Ok(Scan {
        sha256,
        report: Report::Aggregate(Box::new(report)),
        rows,
        skipped: 0,
        event_bytes,
        is_clean: true,
        held: None,
        has_more: false,
        damage: None,
        left_out: None,
    })
}

/// Like [`scan`], by the tolerant reader alone. The fast reader gives the same for every report that it takes.
pub fn scan_tolerant(open: impl BufRead, limits: &Limits) -> Result<Scan, Trouble> {
    let mut source = Hashed::new(open);
    let read = source.count();
    let mut document = Document::new(&mut source, limits);
    let (mut rows, mut held) = (0, Some(Vec::new()));
    let damage = loop {
        match document.next_row() {
            Ok(Some(row)) => {
                rows += 1;
                held = held.filter(|_| read.get() <= SMALL_BYTES as u64 && document.event_bytes() <= HELD_EVENT_BYTES);
                if let Some(held) = &mut held {
                    held.push(row);
                }
            }
            Ok(None) => {
                document.read_rest();
                break None;
            }
            Err(trouble) if rows == 0 => return Err(trouble),
            Err(trouble) => break Some(trouble),
        }
    };
    let Finished { mut report, mut repairs, has_more, skipped, event_bytes } = document.finish();
    let (sha256, failure) = source.finish();
    if damage.is_none() {
        let late = late(failure);
        report.warnings.extend(late.texts());
        repairs.add(late);
    }
    let held = held.filter(|_| damage.is_none());
    let report = Report::Aggregate(Box::new(report));
    Ok(Scan {
        sha256,
        report,
        rows,
        skipped,
        event_bytes,
        is_clean: false,
        held,
        has_more,
        damage,
        left_out: repairs.left_out(),
    })
}

/// Reads an aggregate report again and passes each complete row to `each`, in order; stops early if `each` breaks.
///
/// These are the rows that [`scan`] counted, with the same indexes, whatever the document and however its input is
/// chunked. `is_clean` is what that said.
///
/// # Errors
///
/// The scan's damage, after the rows before it.
pub fn rows(
    open: impl BufRead,
    is_clean: bool,
    limits: &Limits,
    each: &mut dyn FnMut(Row<'_>) -> ControlFlow<()>,
) -> Result<(), Trouble> {
    if is_clean {
        let mut clean = Clean::new(open, limits, false);
        loop {
            match clean.next_row() {
                Ok(Some(row)) => {
                    if each(row).is_break() {
                        return Ok(());
                    }
                }
                Ok(None) => return Ok(()),
                Err(Unclean) => {
                    return Err(Trouble::new(Reason::XmlMalformed, "the document has changed since it was scanned"));
                }
            }
        }
    }
    let mut document = Document::new(open, limits);
    while let Some(row) = document.next_row()? {
        if each(row).is_break() {
            break;
        }
    }
    Ok(())
}

/// Like [`rows`], for an SMTP TLS report. A failure report has one row, which is in its scan.
///
/// # Errors
///
/// The scan's damage, after the rows before it.
pub fn tls_rows(
    open: impl BufRead,
    limits: &Limits,
    each: &mut dyn FnMut(TlsRow) -> ControlFlow<()>,
) -> Result<(), Trouble> {
    tls_rpt::read(open, limits, each).end
}
