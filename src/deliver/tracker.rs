//! Tracks confirmations: the mails that still wait for a sink, and the progress of long documents at each sink.
//!
//! A mail may be settled once it has been read to its end and every required sink has confirmed every event of it, and of
//! the documents that it shares with other mails in flight. An event that a sink rejects, because it will never take it, is
//! confirmed like any other, and is remembered for its mail: the mail is then not archived, and the delivery of its document
//! to that sink is incomplete.

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
    /// Number of its events that the sink has rejected.
    rejected: u64,
}

/// Number of a mail's events that one sink has rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected<D> {
    pub sink: usize,
    /// The document whose delivery to the sink is incomplete. `None`: events of the mail itself.
    pub document: Option<D>,
    pub events: u64,
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
    /// Rejected events, of its own and of the deliveries that it waits for; one entry for each sink and document.
    rejected: Vec<Rejected<D>>,
    /// True once they were reported.
    is_reported: bool,
}

/// A mail that no longer waits for confirmations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled<M> {
    /// All its events have arrived, except those rejections that were reported. Its deliveries stay claimed until
    /// [`Tracker::forget`].
    Arrived(M),
    /// All its events have arrived or were rejected: the rejections are to be reported, then [`Tracker::reported`] called.
    Rejected(M),
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
        let state = Mail {
            mark: None,
            owns: Vec::new(),
            waits_for: Vec::new(),
            doomed: false,
            rejected: Vec::new(),
            is_reported: false,
        };
        self.mails.insert(mail, state);
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
        in_flight.push(InFlight { sink, owner: mail, arrived, rows: VecDeque::new(), last: None, rejected: 0 });
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

    /// Returns the deliveries of which more rows have arrived since the last call, except to sinks that are not required. A
    /// delivery with a rejected event makes no more progress: the next process has to send that event again.
    pub fn progress(&mut self) -> Vec<Progress<M, D>> {
        let mut progress = Vec::new();
        let deliveries =
            self.in_flight.iter_mut().flat_map(|(document, all)| all.iter_mut().map(move |one| (document, one)));
        for (document, delivery) in deliveries {
            let confirmed = self.confirmed[delivery.sink];
            let arrived = delivery.rows.partition_point(|(_, number)| *number <= confirmed);
            if let Some((rows, _)) = delivery.rows.drain(..arrived).next_back()
                && confirmed < u64::MAX
                && delivery.rejected == 0
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

    /// Records that `sink` has rejected some events of `mail`, and of its `document` if they are about one. To be called
    /// before the numbers of these events are confirmed. False if no mail waits for them: the sink is not required, the mail
    /// was abandoned, or they are the events that report an earlier rejection.
    pub fn reject(&mut self, sink: usize, mail: M, document: Option<&D>, events: u64) -> bool {
        let is_required = self.waits_for(sink);
        let Some(state) = self.mails.get_mut(&mail).filter(|state| is_required && !state.is_reported) else {
            return false;
        };
        let deliveries = document.and_then(|document| self.in_flight.get_mut(document)).into_iter().flatten();
        let owned = deliveries.filter(|delivery| delivery.owner == mail).find(|delivery| delivery.sink == sink);
        let document = document.filter(|_| owned.is_some()).cloned();
        if let Some(delivery) = owned {
            delivery.rejected += events;
        }
        match state.rejected.iter_mut().find(|known| known.sink == sink && known.document == document) {
            Some(known) => known.events += events,
            None => state.rejected.push(Rejected { sink, document, events }),
        }
        true
    }

    /// Returns the rejected events of a mail, by sink and document.
    pub fn rejected(&self, mail: M) -> &[Rejected<D>] {
        self.mails.get(&mail).map_or(&[], |state| &state.rejected)
    }

    /// Records that the rejections of `mail` were reported by events with the numbers of `mark`, for which it now waits.
    pub fn reported(&mut self, mail: M, mark: Mark) {
        if let Some(state) = self.mails.get_mut(&mail) {
            state.is_reported = true;
            state.mark = Some(mark);
        }
    }

    /// Returns the mails that no longer wait for confirmations, each once, oldest first; those of [`Settled::Rejected`] once
    /// more as [`Settled::Arrived`].
    pub fn settled(&mut self) -> Vec<Settled<M>> {
        let mut settled = Vec::new();
        for (&mail, state) in &self.mails {
            let Some(mark) = &state.mark else { continue };
            if state.doomed {
                settled.push(Settled::Abandoned(mail));
            } else if has_arrived(mark, &self.confirmed)
                && state.waits_for.iter().all(|delivery| self.delivery_has_arrived(delivery))
            {
                let is_rejected = !state.rejected.is_empty()
                    || state.waits_for.iter().filter_map(|delivery| self.get(delivery)).any(|state| state.rejected > 0);
                settled.push(match is_rejected && !state.is_reported {
                    true => Settled::Rejected(mail),
                    false => Settled::Arrived(mail),
                });
            }
        }
        for told in &settled {
            match *told {
                Settled::Abandoned(mail) => self.abandon(mail),
                // Returned once, but its deliveries stay claimed until the ledger has recorded them.
                Settled::Arrived(mail) | Settled::Rejected(mail) => {
                    let Some(state) = self.mails.get_mut(&mail) else { continue };
                    state.mark = None;
                    for delivery in state.waits_for.clone() {
                        self.share_rejections(&delivery);
                    }
                }
            }
        }
        settled
    }

    /// Copies the rejections of a delivery to the mails that wait for it, unless they have them already.
    fn share_rejections(&mut self, delivery: &Delivery<D>) {
        let Some(&InFlight { owner, rejected: events @ 1.., .. }) = self.get(delivery) else { return };
        let Delivery { document, sink } = delivery.clone();
        let is_known = |known: &Rejected<D>| known.sink == sink && known.document.as_ref() == Some(&document);
        for (_, waiting) in self.mails.iter_mut().filter(|(mail, _)| **mail != owner) {
            if waiting.waits_for.contains(delivery) && !waiting.rejected.iter().any(is_known) {
                waiting.rejected.push(Rejected { sink, document: Some(document.clone()), events });
            }
        }
    }

    /// Removes `mail`, after the ledger has recorded its deliveries.
    pub fn forget(&mut self, mail: M) {
        let Some(state) = self.mails.remove(&mail) else { return };
        for delivery in state.owns {
            self.share_rejections(&delivery);
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
