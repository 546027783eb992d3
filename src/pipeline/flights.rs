//! Mails in flight: decides which of them may be read beside others, and which one is at fault when a pass ends in a stall.
//! No I/O.
//!
//! A sink sends and confirms in order. A mail whose events it never takes blocks what is queued behind it, and what was
//! queued right before it as well: a syslog receiver that hangs up has confirmed nothing of the last quarter of a second.
//! So all mails in flight at a stall are *suspects*. Later passes read them after all other mails (their sources see to
//! that), the oldest of them last, and in groups of their own: first one mail, then two, four, eight, so that many mails
//! that were only in flight beside the one at fault cost little. The mails of a group at the next stall are read after the
//! rest of the suspects, so that groups shrink to the one mail that is at fault: it was read with nothing else in flight,
//! and did not arrive at sinks that had taken others before.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{deliver::MailId, ledger::Unfinished, source::Place};

/// All mails that were opened and not settled.
#[derive(Debug, Default)]
pub struct Flights {
    flying: HashMap<MailId, Flight>,
    /// Number of suspects among them.
    suspects: usize,
    /// Latest group of suspects of each route, by the route's sinks.
    groups: HashMap<Arc<[usize]>, Group>,
}

#[derive(Debug)]
struct Flight {
    place: Place,
    since: Instant,
    sinks: Arc<[usize]>,
    /// For a suspect: for each sink, true if it had confirmed events of other mails when this one was opened.
    others_arrived: Option<Vec<bool>>,
    /// True if rows of it have arrived and are in the ledger: the next pass begins after them.
    has_advanced: bool,
}

/// Suspects of one stall, for the same sinks, that are in flight together.
#[derive(Debug, Default)]
struct Group {
    since: Option<Timestamp>,
    most: usize,
    opened: usize,
}

impl Flights {
    /// True if a mail for `sinks` may be read now. `suspected` is the time of the stall at which it was in flight, if any.
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

    /// Adds a mail. `others_arrived` is set for a suspect: for each sink, true if it has confirmed anything so far.
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

    /// Records that arrived rows of `mail` are noted in the ledger. Returns the mail's place.
    pub fn advance(&mut self, mail: MailId) -> Option<&Place> {
        let flight = self.flying.get_mut(&mail)?;
        flight.has_advanced = true;
        Some(&flight.place)
    }

    /// Returns the place of each mail, and since when it is in flight.
    pub fn iter(&self) -> impl Iterator<Item = (&Place, Instant)> {
        self.flying.values().map(|flight| (&flight.place, flight.since))
    }

    /// Returns the mails that wait for `owing`, sinks that have stalled, and marks the one that is at fault.
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

    /// True if the mail is proved to be at fault: sinks that took nothing in this pass may be down, and any other mail in
    /// flight to the same sinks may be the one that they do not take.
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
