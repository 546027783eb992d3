//! Mails in flight: which of them may be read beside others, and which one is at fault when a pass ends at a standstill.
//! No I/O.
//!
//! A sink sends and confirms in order. A mail whose events it never takes holds up what is queued behind it, and what was
//! queued right before it as well: a syslog receiver that hangs up has confirmed nothing of the last quarter of a second. So
//! all mails in flight at a standstill are *suspects*. In later passes they are read after all others (their sources see to
//! that), the oldest of them last, and apart: first one, then two, four, eight, so that many that were only in bad company cost
//! little. Those of a group at the next standstill are read after the rest of the suspects, so that groups shrink to the one
//! mail that is at fault: it was read with nothing else in flight, and did not arrive at sinks that had taken others before.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use tokio::time::Instant;

use super::settling::MailId;
use crate::{ledger::Unfinished, source::Place};

/// All mails that were opened and not settled.
#[derive(Debug, Default)]
pub struct Flights {
    flying: HashMap<MailId, Flight>,
    /// How many of them are suspects.
    suspects: usize,
    /// By the sinks of a route: its latest group.
    groups: HashMap<Arc<[usize]>, Group>,
}

#[derive(Debug)]
struct Flight {
    place: Place,
    since: Instant,
    sinks: Arc<[usize]>,
    /// Of a suspect: by sink, whether it had confirmed events of other mails when this one was opened.
    others_arrived: Option<Vec<bool>>,
    /// Rows of it have arrived that the ledger knows of: the next pass begins behind them.
    has_advanced: bool,
}

/// Suspects of one standstill, for the same sinks, that are in flight together.
#[derive(Debug, Default)]
struct Group {
    since: Option<Timestamp>,
    most: usize,
    opened: usize,
}

impl Flights {
    /// Whether a mail for `sinks` may be read now. `suspected`: at which standstill it was in flight.
    pub fn may_open(&mut self, sinks: &Arc<[usize]>, suspected: Option<Timestamp>) -> bool {
        if suspected.is_none() && self.suspects == 0 {
            return true;
        }
        let mut beside = self.flying.values().filter(|flight| flight.shares(sinks)).peekable();
        if suspected.is_none() {
            return beside.all(|flight| flight.others_arrived.is_none());
        }
        let group = self.groups.entry(sinks.clone()).or_default();
        if beside.peek().is_none() {
            let most = if group.since == suspected { group.most.saturating_mul(2) } else { 1 };
            *group = Group { since: suspected, most, opened: 0 };
            return true;
        }
        group.since == suspected
            && group.opened < group.most
            && beside.all(|flight| flight.others_arrived.is_some() && flight.sinks == *sinks)
    }

    /// `others_arrived`: of a suspect, by sink, whether it has confirmed anything so far.
    pub fn open(&mut self, mail: MailId, place: Place, sinks: Arc<[usize]>, others_arrived: Option<Vec<bool>>) {
        if others_arrived.is_some() {
            self.suspects += 1;
            self.groups.entry(sinks.clone()).or_default().opened += 1;
        }
        self.flying.insert(mail, Flight { place, since: Instant::now(), sinks, others_arrived, has_advanced: false });
    }

    pub fn remove(&mut self, mail: MailId) {
        if self.flying.remove(&mail).is_some_and(|flight| flight.others_arrived.is_some()) {
            self.suspects -= 1;
        }
    }

    /// The ledger is told that rows of `mail` have arrived. Returns where it lies.
    pub fn advance(&mut self, mail: MailId) -> Option<&Place> {
        let flight = self.flying.get_mut(&mail)?;
        flight.has_advanced = true;
        Some(&flight.place)
    }

    /// Where they come from, and since when they are in flight.
    pub fn iter(&self) -> impl Iterator<Item = (&Place, Instant)> {
        self.flying.values().map(|flight| (&flight.place, flight.since))
    }

    /// The mails that wait for `owing`, sinks that have stood still, and which of them is at fault.
    pub fn unfinished(&self, owing: &[usize]) -> Vec<Unfinished> {
        let waiting = self.flying.iter().filter(|(_, flight)| flight.shares(owing));
        let oldest = waiting.clone().map(|(mail, _)| *mail).min();
        let unfinished = |(mail, flight): (&MailId, &Flight)| Unfinished {
            place: flight.place.clone(),
            is_oldest: Some(*mail) == oldest,
            is_at_fault: self.is_at_fault(flight, owing),
        };
        waiting.map(unfinished).collect()
    }

    /// Sinks that took nothing in this pass may be away, and who shares them may be what they do not take.
    fn is_at_fault(&self, flight: &Flight, owing: &[usize]) -> bool {
        let Some(others_arrived) = &flight.others_arrived else { return false };
        let mut waits_for = owing.iter().filter(|sink| flight.sinks.contains(sink));
        !flight.has_advanced
            && waits_for.all(|&sink| others_arrived[sink])
            && self.flying.values().filter(|other| other.shares(&flight.sinks)).count() == 1
    }
}

impl Flight {
    fn shares(&self, sinks: &[usize]) -> bool {
        self.sinks.iter().any(|sink| sinks.contains(sink))
    }
}

#[cfg(test)]
mod tests;
