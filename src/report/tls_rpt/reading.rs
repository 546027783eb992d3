//! State of the parser of a TLS report: the values held, the rows passed on, and the limits.

use std::ops::ControlFlow;

use super::keys::{Held, Place};
use super::report::{PolicyName, TlsFailure, TlsPolicy, TlsRow, TlsRpt};
use crate::limits::Limits;
use crate::report::warnings::{Repair, Warnings};
use crate::report::weight::Weight;
use crate::trouble::{Reason, Trouble};

/// Maximum number of policies of one report that are kept. A report is about one domain, which has a policy or two at a
/// time.
const POLICIES: usize = 256;

/// Maximum bytes kept of the texts of a policy or of a failure. A real policy has some 300, one of 64 MX hosts some 10,000.
const ROOM: usize = 32 << 10;
/// Maximum bytes kept of the texts of the report itself, which the event of every row repeats; real ones have some 200.
const HEAD: usize = 4 << 10;

/// Parser state.
pub(super) struct Reading<'r> {
    limits: &'r Limits,
    each: &'r mut dyn FnMut(TlsRow) -> ControlFlow<()>,
    pub held: Held,
    /// Number of reports so far: an array may have several.
    pub reports: u64,
    /// Number of failures of the current policy so far.
    failures: u64,
    rows: u64,
    /// Number of rows without data, which are not passed on.
    pub skipped: u64,
    /// Remaining bytes to keep of the texts of the report, of the current policy, and of its current failure.
    head_room: usize,
    policy_room: usize,
    failure_room: usize,
    pub weight: Weight<'r>,
    pub warnings: Warnings,
    /// Set if reading ends before the document does: `Ok` if the caller stopped it, else the limit that was hit.
    pub stopped: Option<Result<(), Trouble>>,
}

impl<'r> Reading<'r> {
    pub fn new(limits: &'r Limits, each: &'r mut dyn FnMut(TlsRow) -> ControlFlow<()>) -> Self {
        Self {
            limits,
            each,
            held: Held::default(),
            reports: 0,
            failures: 0,
            rows: 0,
            skipped: 0,
            head_room: HEAD,
            policy_room: ROOM,
            failure_room: ROOM,
            weight: Weight::new(limits),
            warnings: Warnings::default(),
            stopped: None,
        }
    }
}

impl Reading<'_> {
    /// True once something of the report was read.
    pub fn has_begun(&self) -> bool {
        self.rows > 0 || self.held.report != TlsRpt::default()
    }

    /// Begins an object. Returns false to stop reading.
    pub fn begin(&mut self, place: Place) -> bool {
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
            Place::Report => self.reports += 1,
            Place::Range | Place::Described | Place::Summary => {}
        }
        self.stopped.is_none()
    }

    /// Ends an object. Returns false to stop reading.
    pub fn end(&mut self, place: Place) -> bool {
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

    /// Returns as much of a text as may be kept, `most` bytes.
    pub fn fitting(&mut self, place: Place, mut told: String, most: usize) -> String {
        let is_of_report = matches!(place, Place::Report | Place::Range);
        let room = match place {
            Place::Report | Place::Range => &mut self.head_room,
            Place::Policy | Place::Described | Place::Summary => &mut self.policy_room,
            Place::Failure => &mut self.failure_room,
        };
        let end = told.floor_char_boundary(most.min(*room));
        if end < told.len() {
            self.warnings.note(Repair::TextShortened, "");
            told.truncate(end);
        }
        *room -= told.len();
        if is_of_report {
            self.weight.head(&told);
        }
        told
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
