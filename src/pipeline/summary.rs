//! Summary of a run: counts for the closing log messages and the exit code.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tracing::{debug, info, warn};

use super::{
    options::Options,
    reading::{RETURNED, Reading},
};
use crate::{
    exit::Exit,
    ops::{metrics, progress::Seen},
    source::{Place, Verdict},
};

/// Counts of one run.
#[derive(Debug, Default)]
pub struct Summary {
    /// Mails that sources have found so far.
    expected: AtomicU64,
    mails: AtomicU64,
    reports: AtomicU64,
    rows: AtomicU64,
    duplicates: AtomicU64,
    left: AtomicU64,
    /// Mails that sources could not fetch or move.
    unsettled: AtomicU64,
    deferred: AtomicU64,
    without_report: AtomicU64,
    /// Reports in mails that bounces and receipts return.
    returned: AtomicU64,
    /// Mails of which sinks have rejected events.
    rejected: AtomicU64,
    /// Mails that were read in full, and quarantined since sinks rejected events.
    quarantined: AtomicU64,
    /// Those of them that are files the user pointed at.
    quarantined_files: AtomicU64,
    unreadable: AtomicU64,
    /// Those of the unreadable mails that are files the user pointed at.
    unreadable_files: AtomicU64,
}

impl Summary {
    pub fn expect(&self, mails: u64) {
        self.expected.fetch_add(mails, Ordering::Relaxed);
    }

    /// Returns the progress of the run; it reads metrics of the process, which must run no other pipeline.
    pub fn seen(&self) -> Seen {
        let (of, rows) = (self.expected.load(Ordering::Relaxed), self.rows.load(Ordering::Relaxed));
        Seen { done: metrics::total(&metrics::MAILS), of, rows }
    }

    /// Counts one mail, and logs what could not be read in it.
    pub fn add(&self, place: &Place, reading: &Reading, verdict: &Verdict) {
        let add = |counter: &AtomicU64, by: u64| counter.fetch_add(by, Ordering::Relaxed);
        add(&self.mails, 1);
        add(&self.reports, (reading.documents.len() + reading.seen_again.len()) as u64 - reading.duplicates);
        add(&self.duplicates, reading.duplicates);
        add(&self.left, reading.left);
        add(&self.returned, reading.returned);
        add(&self.rows, reading.rows);
        match verdict {
            Verdict::WithoutReport => add(&self.without_report, 1),
            Verdict::Quarantine(trouble) => {
                // Errors that are not sent to the sinks one by one are not logged one by one either.
                if reading.held_back > 0 && reading.held_back == reading.troubles.len() {
                    debug!(mail = %place, %trouble, "could not be read in full");
                } else {
                    warn!(mail = %place, %trouble, "could not be read in full");
                }
                if place.is_local() {
                    add(&self.unreadable_files, 1);
                }
                add(&self.unreadable, 1)
            }
            Verdict::Defer(trouble) => {
                // Reported once for each sender and day.
                if reading.is_news {
                    warn!(mail = %place, %trouble, "deferred to another day");
                } else {
                    debug!(mail = %place, %trouble, "deferred to another day");
                }
                add(&self.deferred, 1)
            }
            Verdict::Archive | Verdict::Leave => 0,
        };
    }

    /// Counts a mail of which sinks have rejected events, with the verdicts before and now.
    pub fn reject(&self, place: &Place, before: &Verdict, now: &Verdict) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        if before != now {
            self.quarantined.fetch_add(1, Ordering::Relaxed);
            self.quarantined_files.fetch_add(u64::from(place.is_local()), Ordering::Relaxed);
        }
    }

    /// Counts mails that a source could not fetch, or could not move once they were shipped: they stay for the next run.
    pub fn leave(&self, mails: u64) {
        self.unsettled.fetch_add(mails, Ordering::Relaxed);
    }

    /// Returns the exit code for the input that was read: [`Exit::Data`] if some of it could not be, or was not taken by a
    /// sink.
    pub fn exit(&self, options: Options) -> Exit {
        let counted = match options.strict {
            true => [&self.unreadable, &self.quarantined],
            false => [&self.unreadable_files, &self.quarantined_files],
        };
        if counted.iter().any(|count| count.load(Ordering::Relaxed) > 0) { Exit::Data } else { Exit::Done }
    }

    /// Logs the result of the run, with the mails `left` as they were, and hints on what a user might miss: a CronJob's pod is gone before anyone can query it.
    pub fn say(&self, options: Options, left: u64, took: Duration, exit: Exit) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let summary = if options.dry_run { "dry run: nothing was sent, moved or written" } else { "run ended" };
        info!(
            mails = get(&self.mails),
            reports = get(&self.reports),
            rows = get(&self.rows),
            duplicates = get(&self.duplicates),
            without_report = get(&self.without_report),
            unreadable = get(&self.unreadable),
            rejected = get(&self.rejected),
            deferred = get(&self.deferred),
            left = left + get(&self.unsettled),
            duration_seconds = took.as_secs_f64(),
            exit_code = exit as u8,
            "{summary}"
        );
        if get(&self.duplicates) > 0 {
            info!(
                duplicates = get(&self.duplicates),
                "skipped reports that were shipped before; run --once --reship ships them again"
            );
        }
        if get(&self.rejected) > 0 {
            info!(
                mails = get(&self.rejected),
                "quarantined mails of which sinks rejected events; the warnings above say why, and what to do"
            );
        }
        if get(&self.left) > 0 {
            info!(
                reports = get(&self.left),
                "left reports in place that were never shipped; a run with all sinks ships them"
            );
        }
        if get(&self.deferred) > 0 {
            info!(
                mails = get(&self.deferred),
                "deferred mails, whose senders exceeded their daily share; the next run, or the next day's first pass, reads \
                 them"
            );
        }
        if get(&self.returned) > 0 {
            info!(reports = get(&self.returned), "{RETURNED}");
        }
        if get(&self.without_report) > 0 {
            info!(
                mails = get(&self.without_report),
                "found mails without a report; they stay in place unless without_report says otherwise"
            );
        }
    }
}
