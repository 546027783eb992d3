//! Parses an SMTP TLS report (RFC 8460 section 4): its rows one at a time, and the data outside them.
//!
//! Streaming: only two short texts per policy are held, since a failure may precede the policy that it belongs to. Reporters
//! write single objects instead of lists and lists instead of texts, so each key accepts both.

mod keys;

use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;

use serde::de::DeserializeSeed;

use self::keys::{Objects, Place};
use crate::limits::Limits;
use crate::report::hashed::Hashed;
use crate::report::json_sanitizer::{Sanitizer, trouble_of};
use crate::report::warnings::{Repair, Warnings};
use crate::report::weight::Weight;
use crate::report::{Report, Scan, damaged_after_end};
use crate::trouble::{Reason, Trouble};

/// Maximum number of policies of one report that are kept. A report is about one domain, which has a policy or two at a
/// time.
const POLICIES: usize = 256;

/// Maximum bytes kept of the texts of a policy or of a failure. A real policy has some 300, one of 64 MX hosts some 10,000.
const ROOM: usize = 32 << 10;
/// Maximum bytes kept of the texts of the report itself, which the event of every row repeats; real ones have some 200.
const HEAD: usize = 4 << 10;

/// A report without its rows. Texts are trimmed, and `None` if the key is missing, null or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsRpt {
    pub organization_name: Option<String>,
    pub contact_info: Option<String>,
    pub report_id: Option<String>,
    pub begin: Option<String>,
    pub end: Option<String>,
    /// In the order of the report; rows refer to their indexes.
    pub policies: Vec<PolicyName>,
    /// Repairs, each as `code: explanation: detail`.
    pub warnings: Vec<String>,
}

/// Type and domain of a policy, which distinguish it from the report's others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyName {
    pub policy_type: Option<String>,
    pub domain: Option<String>,
}

/// A row: a policy, or one kind of failure under it. Failures precede their policy, which ends after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsRow {
    Policy(TlsPolicy),
    Failure(TlsFailure),
}

/// One of `policies`: the policy, and the numbers of sessions under it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsPolicy {
    /// Index among the report's policies, from 0.
    pub index: usize,
    pub strings: Vec<String>,
    pub mx_hosts: Vec<String>,
    pub successful: Option<String>,
    pub failed: Option<String>,
}

/// One of `failure-details`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFailure {
    /// Index of its policy, from 0.
    pub policy: usize,
    /// Index among the failures of its policy, from 0.
    pub index: u64,
    pub result_type: Option<String>,
    pub sending_mta_ip: Option<String>,
    pub receiving_mx_hostname: Option<String>,
    pub receiving_mx_helo: Option<String>,
    pub receiving_ip: Option<String>,
    pub failed: Option<String>,
    pub additional_information: Option<String>,
    pub reason_code: Option<String>,
}

pub(in crate::report) fn scan(open: impl BufRead, limits: &Limits) -> Result<Scan, Trouble> {
    let mut source = Hashed::new(open);
    let mut rows = 0;
    let mut each = |_| {
        rows += 1;
        ControlFlow::Continue(())
    };
    let Read { mut report, skipped, event_bytes, end } = read(&mut source, limits, &mut each);
    let damage = match end {
        Ok(()) => None,
        Err(trouble) if rows == 0 => return Err(trouble),
        Err(trouble) => Some(trouble),
    };
    let (sha256, failure) = source.finish();
    if damage.is_none() {
        report.warnings.extend(damaged_after_end(failure));
    }
    let report = Report::TlsRpt(Box::new(report));
    Ok(Scan { sha256, report, rows, skipped, event_bytes, held: None, damage })
}

/// Result of reading a report, without the rows.
pub(in crate::report) struct Read {
    report: TlsRpt,
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
    let mut reading = Reading {
        limits,
        each,
        held: Held::default(),
        failures: 0,
        rows: 0,
        skipped: 0,
        head_room: HEAD,
        policy_room: ROOM,
        failure_room: ROOM,
        weight: Weight::new(limits),
        warnings: Warnings::default(),
        stopped: None,
    };
    let mut json = serde_json::Deserializer::from_reader(&mut sanitizer);
    let parsed = Objects::new(&mut reading, Place::Report).deserialize(&mut json);
    if parsed.is_ok() && json.end().is_err_and(|error| !error.is_io()) {
        reading.warnings.note(Repair::TrailingJunk, "");
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
    let Reading { held, mut weight, skipped, warnings: own, .. } = reading;
    warnings.add(own);
    let report = TlsRpt { warnings: warnings.texts(), ..held.report };
    report.warnings.iter().for_each(|warning| weight.head(warning));
    Read { report, skipped, event_bytes: weight.total(), end }
}

/// Parser state.
struct Reading<'r> {
    limits: &'r Limits,
    each: &'r mut dyn FnMut(TlsRow) -> ControlFlow<()>,
    held: Held,
    /// Number of failures of the current policy so far.
    failures: u64,
    rows: u64,
    /// Number of rows without data, which are not passed on.
    skipped: u64,
    /// Remaining bytes to keep of the texts of the report, of the current policy, and of its current failure.
    head_room: usize,
    policy_room: usize,
    failure_room: usize,
    weight: Weight<'r>,
    warnings: Warnings,
    /// Set if reading ends before the document does: `Ok` if the caller stopped it, else the limit that was hit.
    stopped: Option<Result<(), Trouble>>,
}

/// Destination of the values.
#[derive(Default)]
struct Held {
    report: TlsRpt,
    name: PolicyName,
    policy: TlsPolicy,
    failure: TlsFailure,
}

impl Reading<'_> {
    /// Begins an object. Returns false to stop reading.
    fn begin(&mut self, place: Place) -> bool {
        match place {
            Place::Policy if self.held.report.policies.len() == POLICIES => {
                let detail = format!("the report has more than the maximum of {POLICIES} policies");
                self.stopped = Some(Err(Trouble::new(Reason::TooManyRows, detail)));
            }
            Place::Policy => {
                self.failures = 0;
                self.held.policy.index = self.held.report.policies.len();
                self.held.report.policies.push(PolicyName::default());
            }
            Place::Failure => {
                self.held.failure.policy = self.held.policy.index;
                self.held.failure.index = self.failures;
                self.failures += 1;
            }
            Place::Report | Place::Range | Place::Described | Place::Summary => {}
        }
        self.stopped.is_none()
    }

    /// Ends an object. Returns false to stop reading.
    fn end(&mut self, place: Place) -> bool {
        match place {
            Place::Policy => {
                let policy = std::mem::take(&mut self.held.policy);
                self.row(TlsRow::Policy(policy));
                self.policy_room = ROOM;
            }
            Place::Failure => {
                let failure = std::mem::take(&mut self.held.failure);
                self.row(TlsRow::Failure(failure));
                self.failure_room = ROOM;
            }
            Place::Described => {
                if let Some(name) = self.held.report.policies.last_mut() {
                    *name = std::mem::take(&mut self.held.name);
                }
            }
            Place::Report | Place::Range | Place::Summary => {}
        }
        self.stopped.is_none()
    }

    fn row(&mut self, row: TlsRow) {
        let unnamed = PolicyName::default();
        let name = self.held.report.policies.last().unwrap_or(&unnamed);
        if says_nothing(name, &row) {
            self.skipped += 1;
            return self.warnings.note(Repair::EmptyRecord, "");
        }
        let limit = self.limits.rows;
        if self.rows == limit {
            let trouble = Trouble::over(Reason::TooManyRows, "the report's number of rows", "limits.rows", limit);
            self.stopped = Some(Err(trouble));
            return;
        }
        if let Err(trouble) = self.weight.row(&(name, &row)) {
            self.stopped = Some(Err(trouble));
            return;
        }
        self.rows += 1;
        if (self.each)(row).is_break() {
            self.stopped = Some(Ok(()));
        }
    }
}

/// True if a policy or a failure has no data.
fn says_nothing(name: &PolicyName, row: &TlsRow) -> bool {
    match row {
        TlsRow::Policy(policy) => {
            *name == PolicyName::default() && *policy == TlsPolicy { index: policy.index, ..TlsPolicy::default() }
        }
        TlsRow::Failure(failure) => {
            let TlsFailure { policy, index, .. } = *failure;
            *failure == TlsFailure { policy, index, ..TlsFailure::default() }
        }
    }
}
