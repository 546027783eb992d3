//! Tracks confirmations: the mails that still wait for a sink, and the progress of long documents at each sink.
//!
//! A mail may be settled once it has been read to its end and every required sink has confirmed every event of it, and of
//! the documents that it shares with other mails in flight.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
};

/// The last number that each sink has given to an event of a mail, in the sinks' order; 0 if the sink got none.
pub type Mark = Vec<u64>;

/// The result of [`Tracker::claim`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The mail owns the delivery: it ships the document to this sink.
    Mine,
    /// Another mail, or this one, is already shipping it: the mail waits for the same confirmation.
    InFlight,
}

/// Mails between the first byte read and the verdict. `M` identifies mails, `D` documents.
#[derive(Debug)]
pub struct Tracker<M, D> {
    /// By sink: all events up to this number have arrived. `u64::MAX` for a sink that is not required.
    confirmed: Vec<u64>,
    mails: BTreeMap<M, Mail<D>>,
    /// The claimed deliveries of each document, at most one per sink.
    in_flight: HashMap<D, Vec<InFlight<M>>>,
}

/// The delivery of one document to one sink, which a mail claims, ships, or waits for. Two mails can deliver the same
/// document to different sinks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Delivery<D> {
    document: D,
    sink: usize,
}

/// State of a claimed delivery.
#[derive(Debug)]
struct InFlight<M> {
    sink: usize,
    owner: M,
    /// Number of rows, from the first, that had arrived before and are not sent.
    arrived: u64,
    /// Number of rows read, and the event number after them, oldest first; bounded by the capacity of the sink's queue.
    rows: VecDeque<(u64, u64)>,
    /// The number of the document's last event; set when it has been read to its end.
    last: Option<u64>,
}

/// Number of rows of a document that have arrived at a sink while the others are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<M, D> {
    /// The mail that the document is read from.
    pub mail: M,
    pub document: D,
    pub sink: usize,
    pub rows: u64,
}

#[derive(Debug)]
struct Mail<D> {
    /// Set when the mail has been read to its end.
    mark: Option<Mark>,
    owns: Vec<Delivery<D>>,
    waits_for: Vec<Delivery<D>>,
    /// True once a delivery that it waits for was abandoned: the mail must be read again, by a later run.
    doomed: bool,
}

/// A mail that no longer waits for confirmations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled<M> {
    /// All its events have arrived. Its deliveries stay claimed until [`Tracker::forget`].
    Arrived(M),
    /// It shares a document with a mail that was abandoned: leave it for later.
    Abandoned(M),
}

impl<M: Copy + Ord, D: Clone + Eq + Hash> Tracker<M, D> {
    /// Tracks the confirmations of sinks; `required` is true for each required sink. Events sent to a sink that is not
    /// required count as arrived.
    pub fn new(required: &[bool]) -> Self {
        let confirmed = required.iter().map(|&required| if required { 0 } else { u64::MAX }).collect();
        Self { confirmed, mails: BTreeMap::new(), in_flight: HashMap::new() }
    }

    /// Starts tracking `mail`, whose reading begins.
    pub fn open(&mut self, mail: M) {
        self.mails.insert(mail, Mail { mark: None, owns: Vec::new(), waits_for: Vec::new(), doomed: false });
    }

    /// Claims the delivery of `document` to `sink` for `mail`; `arrived` of its rows have arrived already. After
    /// locking the tracker, the caller must have checked that the ledger does not contain the delivery.
    pub fn claim(&mut self, mail: M, document: &D, sink: usize, arrived: u64) -> Claim {
        let state = self.mails.get_mut(&mail).expect("a reader opens its mail before it claims");
        let delivery = Delivery { document: document.clone(), sink };
        let in_flight = self.in_flight.entry(document.clone()).or_default();
        if in_flight.iter().any(|other| other.sink == sink) {
            state.waits_for.push(delivery);
            return Claim::InFlight;
        }
        state.owns.push(delivery);
        in_flight.push(InFlight { sink, owner: mail, arrived, rows: VecDeque::new(), last: None });
        Claim::Mine
    }

    /// True if a mail in flight has claimed the delivery of `document` to `sink`.
    pub fn is_claimed(&self, document: &D, sink: usize) -> bool {
        self.in_flight.get(document).is_some_and(|deliveries| deliveries.iter().any(|delivery| delivery.sink == sink))
    }

    /// True if a mail in flight has claimed a delivery of `document`, to any sink.
    pub fn is_in_flight(&self, document: &D) -> bool {
        self.in_flight.contains_key(document)
    }

    /// Records that the sinks for which `mail` owns `document` have given numbers to its first `rows` rows, and that more
    /// follow.
    pub fn rows_read(&mut self, mail: M, document: &D, rows: u64, mark: &Mark) {
        for delivery in self.owned(mail, document).filter(|delivery| rows > delivery.arrived) {
            delivery.rows.push_back((rows, mark[delivery.sink]));
        }
    }

    /// Returns the deliveries of which more rows have arrived since the last call, except to sinks that are not required.
    pub fn progress(&mut self) -> Vec<Progress<M, D>> {
        let mut progress = Vec::new();
        let deliveries =
            self.in_flight.iter_mut().flat_map(|(document, all)| all.iter_mut().map(move |one| (document, one)));
        for (document, delivery) in deliveries {
            let confirmed = self.confirmed[delivery.sink];
            let arrived = delivery.rows.partition_point(|(_, number)| *number <= confirmed);
            if let Some((rows, _)) = delivery.rows.drain(..arrived).next_back()
                && confirmed < u64::MAX
            {
                let InFlight { owner: mail, sink, .. } = *delivery;
                progress.push(Progress { mail, document: document.clone(), sink, rows });
            }
        }
        progress
    }

    /// Records that the sinks for which `mail` owns `document` have given numbers to all of its rows.
    pub fn document_read(&mut self, mail: M, document: &D, mark: &Mark) {
        for delivery in self.owned(mail, document) {
            delivery.last = Some(mark[delivery.sink]);
        }
    }

    /// The deliveries of `document` that `mail` has claimed.
    fn owned(&mut self, mail: M, document: &D) -> impl Iterator<Item = &mut InFlight<M>> {
        self.in_flight.get_mut(document).into_iter().flatten().filter(move |delivery| delivery.owner == mail)
    }

    fn get(&self, Delivery { document, sink }: &Delivery<D>) -> Option<&InFlight<M>> {
        self.in_flight.get(document)?.iter().find(|delivery| delivery.sink == *sink)
    }

    fn remove(&mut self, Delivery { document, sink }: &Delivery<D>) {
        let Some(deliveries) = self.in_flight.get_mut(document) else { return };
        deliveries.retain(|delivery| delivery.sink != *sink);
        if deliveries.is_empty() {
            self.in_flight.remove(document);
        }
    }

    /// Records that `mail` has been read to its end. If one of its own deliveries is incomplete (its reader failed), it may
    /// be claimed anew, and mails that wait for it are doomed, since no mail has shipped all of it. True if some mail may
    /// now be settled.
    pub fn mail_read(&mut self, mail: M, mark: Mark) -> bool {
        let Some(state) = self.mails.get_mut(&mail) else { return false };
        let owns = std::mem::take(&mut state.owns);
        let is_whole = |owned: &Delivery<D>| self.get(owned).is_none_or(|delivery| delivery.last.is_some());
        let (whole, half): (Vec<_>, Vec<_>) = owns.into_iter().partition(is_whole);
        let waits = !has_arrived(&mark, &self.confirmed);
        let Some(state) = self.mails.get_mut(&mail) else { return false };
        state.mark = Some(mark);
        state.owns = whole;
        state.waits_for.retain(|delivery| !half.contains(delivery));
        let frees = !half.is_empty();
        self.free(half);
        frees || !waits
    }

    /// Records that reading `mail` was given up: its deliveries may be claimed anew, and mails that wait for one of them are
    /// doomed.
    pub fn abandon(&mut self, mail: M) {
        let Some(state) = self.mails.remove(&mail) else { return };
        self.free(state.owns);
    }

    fn free(&mut self, deliveries: Vec<Delivery<D>>) {
        for delivery in deliveries {
            self.remove(&delivery);
            for other in self.mails.values_mut().filter(|other| other.waits_for.contains(&delivery)) {
                other.doomed = true;
            }
        }
    }

    /// Records that the sink with index `sink` has confirmed everything up to `number`. True if that is new.
    pub fn confirm(&mut self, sink: usize, number: u64) -> bool {
        let confirmed = &mut self.confirmed[sink];
        let news = number > *confirmed;
        *confirmed = number.max(*confirmed);
        news
    }

    /// Returns the mails that no longer wait for confirmations, each once, oldest first.
    pub fn settled(&mut self) -> Vec<Settled<M>> {
        let mut settled = Vec::new();
        for (&mail, state) in &self.mails {
            let Some(mark) = &state.mark else { continue };
            if state.doomed {
                settled.push(Settled::Abandoned(mail));
            } else if has_arrived(mark, &self.confirmed)
                && state.waits_for.iter().all(|delivery| self.delivery_has_arrived(delivery))
            {
                settled.push(Settled::Arrived(mail));
            }
        }
        for told in &settled {
            match *told {
                Settled::Abandoned(mail) => self.abandon(mail),
                // Returned once, but its deliveries stay claimed until the ledger has recorded them.
                Settled::Arrived(mail) => {
                    if let Some(state) = self.mails.get_mut(&mail) {
                        state.mark = None;
                    }
                }
            }
        }
        settled
    }

    /// Removes `mail`, after the ledger has recorded its deliveries.
    pub fn forget(&mut self, mail: M) {
        let Some(state) = self.mails.remove(&mail) else { return };
        for delivery in state.owns {
            self.remove(&delivery);
        }
    }

    /// True for a required sink.
    pub fn waits_for(&self, sink: usize) -> bool {
        self.confirmed[sink] < u64::MAX
    }

    /// True if `sink` is required and has confirmed anything.
    pub fn has_confirmed(&self, sink: usize) -> bool {
        (1..u64::MAX).contains(&self.confirmed[sink])
    }

    /// Number of mails in flight, including those returned by [`Tracker::settled`] but not yet forgotten.
    pub fn mails(&self) -> usize {
        self.mails.len()
    }

    /// True if `sink` has confirmed the delivery. One that is no longer claimed is in the ledger, or the mails that wait for
    /// it are doomed.
    fn delivery_has_arrived(&self, delivery: &Delivery<D>) -> bool {
        let confirmed = self.confirmed[delivery.sink];
        self.get(delivery).is_none_or(|state| state.last.is_some_and(|last| last <= confirmed))
    }
}

fn has_arrived(mark: &Mark, confirmed: &[u64]) -> bool {
    mark.iter().zip(confirmed).all(|(last, confirmed)| last <= confirmed)
}

#[cfg(test)]
mod tests;
