//! Parses an SMTP TLS report (RFC 8460 section 4): its rows one at a time, and the data outside them.
//!
//! Streaming: only two short texts per policy are held, since a failure may precede the policy that it belongs to. Reporters
//! write single objects instead of lists and lists instead of texts, so each key accepts both.

mod keys;
mod objects;
mod reading;
pub(in crate::report) mod report;

use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;

use serde::de::DeserializeSeed;

use self::keys::Place;
use self::objects::Objects;
use self::reading::Reading;
use crate::limits::Limits;
use crate::report::hashed::Hashed;
use crate::report::json_sanitizer::{Sanitizer, trouble_of};
use crate::report::scanned::{Report, Scan, after_end, late};
use crate::report::warnings::{Repair, Warnings};
use crate::trouble::{Reason, Trouble};

pub use report::{PolicyName, TlsFailure, TlsPolicy, TlsRow, TlsRpt};

pub(in crate::report) fn scan(open: impl BufRead, limits: &Limits) -> Result<Scan, Trouble> {
    let mut source = Hashed::new(open);
    let mut rows = 0;
    let mut each = |_| {
        rows += 1;
        ControlFlow::Continue(())
    };
    let Read { mut report, mut repairs, has_more, skipped, event_bytes, end } = read(&mut source, limits, &mut each);
    let damage = match end {
        Ok(()) => None,
        Err(trouble) if rows == 0 => return Err(trouble),
        Err(trouble) => Some(trouble),
    };
    let (sha256, failure) = source.finish();
    if damage.is_none() {
        let late = late(failure);
        report.warnings.extend(late.texts());
        repairs.add(late);
    }
    let report = Report::TlsRpt(Box::new(report));
    Ok(Scan {
        sha256,
        report,
        rows,
        skipped,
        event_bytes,
        is_clean: false,
        held: None,
        has_more,
        damage,
        left_out: repairs.left_out(),
    })
}

/// Result of reading a report, without the rows.
pub(in crate::report) struct Read {
    report: TlsRpt,
    repairs: Warnings,
    /// True if other JSON follows the report, or there are several in an array.
    has_more: bool,
    skipped: u64,
    event_bytes: u64,
    /// The trouble that ended reading before the end of the document.
    pub end: Result<(), Trouble>,
}

/// Reads a report to its end, and passes its rows to `each`. The data read before an error is returned, too.
pub(in crate::report) fn read(
    source: impl BufRead,
    limits: &Limits,
    each: &mut dyn FnMut(TlsRow) -> ControlFlow<()>,
) -> Read {
    let mut sanitizer = BufReader::new(Sanitizer::new(source));
    let mut reading = Reading::new(limits, each);
    let mut json = serde_json::Deserializer::from_reader(&mut sanitizer);
    let parsed = Objects::new(&mut reading, Place::Report).deserialize(&mut json);
    if parsed.is_ok()
        && let Err(error) = json.end()
    {
        match error.is_io() {
            false => reading.warnings.note(Repair::TrailingJunk, ""),
            true => {
                let trouble = trouble_of(error);
                reading.warnings.note(after_end(&trouble), &trouble.detail);
            }
        }
    }
    let end = match (reading.stopped.take(), parsed) {
        (Some(stopped), _) => stopped,
        (None, Err(error)) => Err(trouble_of(error)),
        (None, Ok(())) if reading.held.report == TlsRpt::default() => {
            Err(Trouble::new(Reason::NotAReport, "the JSON has none of the keys of a TLS report"))
        }
        (None, Ok(())) => Ok(()),
    };
    let mut warnings = std::mem::take(&mut sanitizer.get_mut().warnings);
    let Reading { held, mut weight, skipped, warnings: own, reports, .. } = reading;
    let has_more = reports > 1 || own.has(Repair::TrailingJunk);
    warnings.add(own);
    let report = TlsRpt { warnings: warnings.texts(), ..held.report };
    report.warnings.iter().for_each(|warning| weight.head(warning));
    Read { report, repairs: warnings, has_more, skipped, event_bytes: weight.total(), end }
}
