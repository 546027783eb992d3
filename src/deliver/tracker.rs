//! Which mails wait for which confirmations, and how far the long documents among them have come.
//!
//! A mail may be settled once it has been read to its end and every required sink has confirmed every event in it, and
//! in the documents that it shares with other mails in flight.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
};

/// The last number that each required sink has given to an event of a mail or document, in the sinks' order.
pub type Mark = Vec<u64>;

/// What a reader is to do with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is this mail's: ship it.
    Mine,
    /// It is under way already, from this mail or another: the mail waits for the same confirmation.
    InFlight,
}

/// Mails between the first read byte and the verdict. `M` names mails, `D` documents.
#[derive(Debug)]
pub struct Tracker<M, D> {
    /// By required sink: everything up to this number has arrived.
    confirmed: Vec<u64>,
    mails: BTreeMap<M, Mail<D>>,
    /// Documents in flight; the mark is set when the document has been read to its end.
    documents: HashMap<D, Option<Mark>>,
    /// Of these, the ones that [`Tracker::rows_read`] told of.
    long: HashMap<D, Long<M>>,
}

/// A document that is long enough for its progress to be worth remembering.
#[derive(Debug)]
struct Long<M> {
    owner: M,
    /// Rows read, and the mark behind them, oldest first; as many as the sinks' queues have room for.
    read: VecDeque<(u64, Mark)>,
}

/// How many rows of a document have arrived while the rest is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<M, D> {
    /// The mail that it is read from.
    pub mail: M,
    pub document: D,
    pub rows: u64,
}

#[derive(Debug)]
struct Mail<D> {
    /// Set when the mail has been read to its end.
    mark: Option<Mark>,
    owns: Vec<D>,
    waits_for: Vec<D>,
    /// A document that it waited for was abandoned: it must be read again, by a later run.
    doomed: bool,
}

/// A mail that needs to wait no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled<M> {
    /// Everything in it has arrived. Its documents stay claimed until [`Tracker::forget`].
    Arrived(M),
    /// It shares a document with a mail that was abandoned: leave it for later.
    Abandoned(M),
}

impl<M: Copy + Ord, D: Clone + Eq + Hash> Tracker<M, D> {
    /// Tracks confirmations of `required` sinks; with none, what is read has arrived.
    pub fn new(required: usize) -> Self {
        Self { confirmed: vec![0; required], mails: BTreeMap::new(), documents: HashMap::new(), long: HashMap::new() }
    }

    /// Reading of `mail` begins.
    pub fn open(&mut self, mail: M) {
        self.mails.insert(mail, Mail { mark: None, owns: Vec::new(), waits_for: Vec::new(), doomed: false });
    }

    /// Claims `document` for `mail`. The caller has made sure, since the tracker was locked, that the ledger does not
    /// know it.
    pub fn claim(&mut self, mail: M, document: &D) -> Claim {
        let state = self.mails.get_mut(&mail).expect("a reader opens its mail before it claims");
        if self.documents.contains_key(document) {
            state.waits_for.push(document.clone());
            return Claim::InFlight;
        }
        self.documents.insert(document.clone(), None);
        state.owns.push(document.clone());
        Claim::Mine
    }

    /// Whether some mail in flight has claimed `document`.
    pub fn is_claimed(&self, document: &D) -> bool {
        self.documents.contains_key(document)
    }

    /// The first `rows` rows of `document`, which is `mail`'s, have been given their numbers, and more follow.
    pub fn rows_read(&mut self, mail: M, document: &D, rows: u64, mark: Mark) {
        let long = self.long.entry(document.clone());
        long.or_insert_with(|| Long { owner: mail, read: VecDeque::new() }).read.push_back((rows, mark));
    }

    /// The documents of which more rows have arrived than at the last call.
    pub fn progress(&mut self) -> Vec<Progress<M, D>> {
        let mut progress = Vec::new();
        for (document, long) in &mut self.long {
            let arrived = long.read.partition_point(|(_, mark)| has_arrived(mark, &self.confirmed));
            if let Some((rows, _)) = long.read.drain(..arrived).next_back() {
                progress.push(Progress { mail: long.owner, document: document.clone(), rows });
            }
        }
        progress
    }

    /// All rows of `document` have been given their numbers.
    pub fn document_read(&mut self, document: &D, mark: Mark) {
        if let Some(state) = self.documents.get_mut(document) {
            *state = Some(mark);
        }
    }

    /// `mail` has been read to its end. A document of its own that was left half-way (its reader failed) is free again,
    /// and who waits for it is doomed: nobody has shipped the whole of it. Whether some mail may need to wait no longer.
    pub fn mail_read(&mut self, mail: M, mark: Mark) -> bool {
        let Some(state) = self.mails.get_mut(&mail) else { return false };
        let waits = !has_arrived(&mark, &self.confirmed);
        state.mark = Some(mark);
        let documents = &self.documents;
        let is_whole = |document: &D| documents.get(document).is_none_or(Option::is_some);
        let (whole, half): (Vec<D>, Vec<D>) = std::mem::take(&mut state.owns).into_iter().partition(is_whole);
        state.owns = whole;
        state.waits_for.retain(|document| !half.contains(document));
        let frees = !half.is_empty();
        self.free(half);
        frees || !waits
    }

    /// Reading `mail` was given up: its documents may be claimed anew, and who waits for one of them is doomed.
    pub fn abandon(&mut self, mail: M) {
        let Some(state) = self.mails.remove(&mail) else { return };
        self.free(state.owns);
    }

    fn free(&mut self, documents: Vec<D>) {
        for document in documents {
            self.drop_document(&document);
            for other in self.mails.values_mut().filter(|other| other.waits_for.contains(&document)) {
                other.doomed = true;
            }
        }
    }

    /// Required sink number `sink` has confirmed everything up to `number`. Whether that is news.
    pub fn confirm(&mut self, sink: usize, number: u64) -> bool {
        let confirmed = &mut self.confirmed[sink];
        let news = number > *confirmed;
        *confirmed = number.max(*confirmed);
        news
    }

    /// The mails that need to wait no longer, each told once, oldest first.
    pub fn settled(&mut self) -> Vec<Settled<M>> {
        let mut settled = Vec::new();
        for (&mail, state) in &self.mails {
            let Some(mark) = &state.mark else { continue };
            if state.doomed {
                settled.push(Settled::Abandoned(mail));
            } else if has_arrived(mark, &self.confirmed)
                && state.waits_for.iter().all(|document| self.document_has_arrived(document))
            {
                settled.push(Settled::Arrived(mail));
            }
        }
        for told in &settled {
            match *told {
                Settled::Abandoned(mail) => self.abandon(mail),
                // Told, but its documents stay claimed until the ledger knows them.
                Settled::Arrived(mail) => {
                    if let Some(state) = self.mails.get_mut(&mail) {
                        state.mark = None;
                    }
                }
            }
        }
        settled
    }

    /// The ledger knows the documents of `mail` now: forget it.
    pub fn forget(&mut self, mail: M) {
        let Some(state) = self.mails.remove(&mail) else { return };
        for document in state.owns {
            self.drop_document(&document);
        }
    }

    fn drop_document(&mut self, document: &D) {
        self.documents.remove(document);
        self.long.remove(document);
    }

    /// The mails in flight, told or not.
    pub fn in_flight(&self) -> usize {
        self.mails.len()
    }

    /// A document that is claimed no longer is in the ledger, or its waiters are doomed.
    fn document_has_arrived(&self, document: &D) -> bool {
        match self.documents.get(document) {
            Some(mark) => mark.as_ref().is_some_and(|mark| has_arrived(mark, &self.confirmed)),
            None => true,
        }
    }
}

fn has_arrived(mark: &Mark, confirmed: &[u64]) -> bool {
    mark.iter().zip(confirmed).all(|(last, confirmed)| last <= confirmed)
}

#[cfg(test)]
mod tests;
