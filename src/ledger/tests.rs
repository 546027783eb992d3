//! Model test: any sequence of calls gives the same answers as maps in memory, with processes that end and are killed in
//! between.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use jiff::SignedDuration;
use proptest::{collection::vec, prelude::*};
use tokio::runtime::Runtime;

use super::*;

const DOCUMENTS: u8 = 6;
const SINKS: u8 = 3;
const NAMES: u8 = 3;
const PLACES: u8 = 6;
/// Times lie in this number of hours, which ends before yesterday.
const HOURS: u16 = 400;

#[derive(Debug, Clone)]
enum Step {
    Commit(Batch),
    Known,
    NoteUnfinished {
        /// By place: true for the mail that is at fault.
        mails: BTreeMap<u8, bool>,
        hour: u16,
    },
    Expire {
        days: u8,
        hour: u16,
    },
    Reset,
    /// The process ends.
    Reopen,
    /// The process is killed, while it reads a mail.
    Kill {
        reading: Option<u8>,
    },
}

#[derive(Debug, Clone)]
struct Batch {
    hour: u16,
    /// Document, a set of sinks as bits, and the reporter's name.
    shipped: Vec<(u8, u8, Option<u8>)>,
    seen_again: Vec<u8>,
    left: Vec<u8>,
    progress: Vec<(u8, u8, u64)>,
    read: Vec<u8>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let hour = || 0..HOURS;
    let batch = (
        hour(),
        vec((0..DOCUMENTS, 0..1_u8 << (SINKS + 1), proptest::option::of(0..NAMES)), 0..3),
        vec(0..DOCUMENTS, 0..2),
        vec(0..PLACES, 0..3),
        vec((0..DOCUMENTS, 0..SINKS, 1..5_u64), 0..3),
        vec(0..PLACES, 0..2),
    );
    let batch = batch.prop_map(|(hour, shipped, seen_again, left, progress, read)| Batch {
        hour,
        shipped,
        seen_again,
        left,
        progress,
        read,
    });
    let mails = proptest::collection::btree_map(0..PLACES, any::<bool>(), 1..3);
    let step = prop_oneof![
        8 => batch.prop_map(Step::Commit),
        3 => Just(Step::Known),
        2 => (mails, hour()).prop_map(|(mails, hour)| Step::NoteUnfinished { mails, hour }),
        3 => (1..6_u8, hour()).prop_map(|(days, hour)| Step::Expire { days, hour }),
        1 => Just(Step::Reset),
        2 => Just(Step::Reopen),
        2 => proptest::option::of(0..PLACES).prop_map(|reading| Step::Kill { reading }),
    ];
    vec(step, 1..40)
}

fn document(n: u8) -> DocumentKey {
    DocumentKey { tenant: (n % 2 == 1).then(|| "a".to_owned()), sha256: [n / 2; 32] }
}

/// The sink after the last one stands for all.
fn sink(n: u8) -> SinkKey {
    if n == SINKS { SinkKey::EVERY } else { SinkKey::new(&n.to_string()) }
}

fn sinks_of(set: u8) -> impl Iterator<Item = u8> {
    (0..=SINKS).filter(move |sink| set & (1 << sink) != 0)
}

fn name(n: u8) -> ReportName {
    ReportName::new(None, &[Some(&n.to_string())])
}

fn place(n: u8) -> Place {
    let source = "rua".into();
    match n % 2 {
        0 => {
            Place::Imap { source, account: "a@b:1".into(), folder: "INBOX".into(), uid_validity: 1, uid: u32::from(n) }
        }
        _ => Place::File { source, path: n.to_string().into(), part: 0, size: 1, mtime: 1 },
    }
}

/// The ledger as maps. Times are hours, as in the steps; [`LATER`] stands for a time of the test's own clock.
#[derive(Default)]
struct Model {
    /// Times when it was first shipped and last seen.
    documents: BTreeMap<u8, (Timestamp, Timestamp)>,
    deliveries: BTreeMap<(u8, u8), Timestamp>,
    places: BTreeMap<u8, Timestamp>,
    progress: BTreeMap<(u8, u8), (u64, Timestamp)>,
    /// Document and time when the name was last seen.
    names: BTreeMap<u8, (u8, Timestamp)>,
    attempts: BTreeMap<u8, Failures>,
    /// Places that were seen, which is not written yet.
    sighted: BTreeSet<u8>,
    clock: Option<Timestamp>,
}

impl Model {
    fn see_deliveries(&mut self, document: u8, now: Timestamp) {
        self.deliveries.iter_mut().filter(|((of, _), _)| *of == document).for_each(|(_, seen)| *seen = now);
    }

    fn write_sighted(&mut self) {
        for place in std::mem::take(&mut self.sighted) {
            self.places.entry(place).and_modify(|seen| *seen = LATER);
        }
    }

    fn commit(&mut self, batch: &Batch, now: Timestamp) {
        self.clock.get_or_insert(now);
        for &(document, set, name) in &batch.shipped {
            let before = self.documents.get(&document).copied();
            self.documents.insert(document, (before.map_or(now, |(first, _)| first), now));
            for sink in sinks_of(set) {
                self.deliveries.insert((document, sink), now);
                self.progress.remove(&(document, sink));
            }
            if before.is_some() {
                self.see_deliveries(document, now);
            }
            if let Some(name) = name {
                self.names.entry(name).or_insert((document, now)).1 = now;
            }
        }
        for &(document, sink, rows) in &batch.progress {
            self.progress.insert((document, sink), (rows, now));
        }
        for &document in &batch.seen_again {
            if let Some((_, seen)) = self.documents.get_mut(&document) {
                *seen = now;
                self.see_deliveries(document, now);
            }
        }
        self.places.extend(batch.left.iter().map(|place| (*place, now)));
        self.attempts.retain(|place, _| !batch.read.contains(place));
        self.write_sighted();
    }

    fn note_unfinished(&mut self, mails: &BTreeMap<u8, bool>, now: Timestamp) {
        for (number, (place, is_at_fault)) in mails.iter().enumerate() {
            let failures = self.attempts.entry(*place).or_default();
            failures.last = if number == 0 { now + SignedDuration::from_micros(1) } else { now };
            if *is_at_fault {
                failures.passes += 1;
                failures.sinks = "siem".to_owned();
            }
        }
    }

    fn expire(&mut self, now: Timestamp, days: u8) -> u64 {
        let is_recent = |last: Timestamp| now >= last && now.duration_since(last) < SignedDuration::from_hours(24);
        if self.sighted.is_empty() && self.clock.is_some_and(is_recent) {
            return 0;
        }
        self.write_sighted();
        let now = self.clock.map_or(now, |last| now.min(last + SignedDuration::from_hours(48)));
        self.clock = Some(now);
        let oldest = now - SignedDuration::from_hours(24 * i64::from(days));
        let before = self.documents.len() + self.places.len();
        self.documents.retain(|_, (_, seen)| *seen >= oldest);
        self.deliveries.retain(|_, seen| *seen >= oldest);
        self.places.retain(|_, seen| *seen >= oldest);
        self.progress.retain(|_, (_, seen)| *seen >= oldest);
        self.names.retain(|_, (_, seen)| *seen >= oldest);
        self.attempts.retain(|_, failures| failures.last >= oldest);
        (before - self.documents.len() - self.places.len()) as u64
    }

    fn shipped(&self, document: u8) -> Option<Shipped> {
        self.documents.get(&document).map(|&(first, seen)| shipped(document, first, seen))
    }

    fn status(&self, document: u8, name: u8) -> DocumentStatus {
        let delivery = |sink| {
            let is_done = [sink, SINKS].iter().any(|sink| self.deliveries.contains_key(&(document, *sink)));
            match self.progress.get(&(document, sink)) {
                _ if is_done && self.documents.contains_key(&document) => Delivery::Done,
                progress => Delivery::Rows(progress.map_or(0, |(rows, _)| *rows)),
            }
        };
        DocumentStatus {
            shipped: self.shipped(document),
            deliveries: (0..SINKS).map(delivery).collect(),
            named: self.names.get(&name).map(|(document, _)| self::document(*document).sha256),
        }
    }
}

/// Stands for any time of the real clock.
const LATER: Timestamp = Timestamp::MAX;

/// Returns the time at the start of a test, less some hours.
fn start() -> Timestamp {
    let second = Timestamp::now().as_second() / 3600 * 3600;
    Timestamp::from_second(second).unwrap() - SignedDuration::from_hours(i64::from(HOURS) + 48)
}

fn shipped(document: u8, first_shipped: Timestamp, last_seen: Timestamp) -> Shipped {
    Shipped { first_shipped, last_seen, org: None, report_id: None, rows: 7, mail: document.to_string() }
}

/// A ledger and its folder.
struct Process {
    data_dir: tempfile::TempDir,
    ledger: Arc<dyn Ledger>,
}

impl Process {
    fn start(data_dir: tempfile::TempDir) -> Self {
        let ledger = backend::open(data_dir.path()).unwrap();
        Self { data_dir, ledger }
    }

    fn reopen(self) -> Self {
        let Self { data_dir, ledger } = self;
        drop(ledger);
        Self::start(data_dir)
    }

    /// Goes on with the files as they are while the ledger is open, as a kill leaves them.
    fn kill(self) -> Self {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(self.data_dir.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        Self::start(copy)
    }

    fn run(mut self, runtime: &Runtime, steps: &[Step]) {
        let mut model = Model::default();
        let start = start();
        let at = |hour: &u16| start + SignedDuration::from_hours(i64::from(*hour));
        for step in steps {
            match step {
                Step::Commit(batch) => {
                    runtime.block_on(self.ledger.commit(Arc::new(commit(batch, at(&batch.hour))))).unwrap();
                    model.commit(batch, at(&batch.hour));
                }
                Step::Known => self.compare_places(runtime, &mut model),
                Step::NoteUnfinished { mails, hour } => {
                    let unfinished = |(number, (place, is_at_fault)): (usize, (&u8, &bool))| Unfinished {
                        place: self::place(*place),
                        is_oldest: number == 0,
                        is_at_fault: *is_at_fault,
                    };
                    let noted = mails.iter().enumerate().map(unfinished).collect();
                    runtime.block_on(self.ledger.note_unfinished(noted, "siem".to_owned(), at(hour))).unwrap();
                    model.note_unfinished(mails, at(hour));
                }
                Step::Expire { days, hour } => {
                    let forgotten = runtime.block_on(self.ledger.expire(at(hour), u32::from(*days))).unwrap();
                    assert_eq!(forgotten, model.expire(at(hour), *days));
                }
                Step::Reset => {
                    let forgotten = runtime.block_on(self.ledger.reset()).unwrap();
                    assert_eq!(forgotten, (model.documents.len() + model.places.len()) as u64);
                    // The clock for expiry goes on, and places that were seen are not known any more.
                    model = Model { clock: model.clock, sighted: model.sighted, ..Model::default() };
                }
                Step::Reopen => {
                    self = self.reopen();
                    model.sighted.clear();
                }
                Step::Kill { reading } => {
                    let mut bookmark = self.ledger.bookmark();
                    if let Some(place) = reading {
                        bookmark.begin(&self::place(*place));
                        let failures = model.attempts.entry(*place).or_default();
                        (failures.deaths, failures.last) = (failures.deaths + 1, LATER);
                    }
                    self = self.kill();
                    model.sighted.clear();
                }
            }
            self.compare(runtime, &model);
        }
        self.compare_places(runtime, &mut model);
    }

    fn compare(&self, runtime: &Runtime, model: &Model) {
        let sinks: Vec<_> = (0..SINKS).map(sink).collect();
        for document in 0..DOCUMENTS {
            for name in 0..NAMES {
                let status = self.ledger.claim(&self::document(document), &sinks, Some(&self::name(name))).unwrap();
                assert_eq!(status, model.status(document, name));
            }
        }
        let (mut listed, mut after) = (Vec::new(), None);
        while let page = runtime.block_on(self.ledger.documents(after, 2)).unwrap()
            && let Some((last, _)) = page.last()
        {
            after = Some(last.clone());
            listed.extend(page);
        }
        let mut wanted: Vec<_> = model.documents.keys().copied().collect();
        wanted.sort_by_key(|document| (document % 2, *document));
        let wanted = wanted.into_iter().map(|n| Some((self::document(n), model.shipped(n)?)));
        assert_eq!(listed, wanted.collect::<Option<Vec<_>>>().unwrap());
        let recently = |failures: Failures| Failures { last: rounded(failures.last), ..failures };
        for place in 0..PLACES {
            let attempts = self.ledger.attempts(&self::place(place)).map(recently);
            assert_eq!(attempts.as_ref(), model.attempts.get(&place));
        }
        let last = model.attempts.values().map(|failures| failures.last).max();
        assert_eq!(self.ledger.last_failure().map(rounded), last);
    }

    fn compare_places(&self, runtime: &Runtime, model: &mut Model) {
        let places: Vec<_> = (0..PLACES).map(place).chain([Place::Stdin { source: "rua".into() }]).collect();
        let statuses = runtime.block_on(self.ledger.known(places.into())).unwrap();
        assert_eq!(statuses.len(), usize::from(PLACES) + 1);
        assert_eq!(statuses.last(), Some(&PlaceStatus::default()));
        for (place, status) in (0..PLACES).zip(statuses) {
            let suspected = model.attempts.get(&place).map(|failures| failures.last);
            let status = PlaceStatus { suspected: status.suspected.map(rounded), ..status };
            assert_eq!(status, PlaceStatus { is_known: model.places.contains_key(&place), suspected });
            if model.places.get(&place).is_some_and(|seen| *seen < LATER) {
                model.sighted.insert(place);
            }
        }
    }
}

/// Returns [`LATER`] for a time that no step has.
fn rounded(time: Timestamp) -> Timestamp {
    if time > start() + SignedDuration::from_hours(i64::from(HOURS) + 1) { LATER } else { time }
}

fn commit(batch: &Batch, now: Timestamp) -> Commit {
    let shipped = |&(document, set, _): &(u8, u8, Option<u8>)| {
        (self::document(document), shipped(document, now, now), sinks_of(set).map(sink).collect())
    };
    let named =
        |&(document, _, name): &(u8, u8, Option<u8>)| Some((self::name(name?), self::document(document).sha256));
    Commit {
        documents: batch.shipped.iter().map(shipped).collect(),
        names: batch.shipped.iter().filter_map(named).collect(),
        seen_again: batch.seen_again.iter().copied().map(document).collect(),
        places: batch.left.iter().map(|left| (place(*left), PlaceVerdict::Shipped)).collect(),
        progress: batch.progress.iter().map(|&(d, s, rows)| (document(d), sink(s), Progress::of(rows))).collect(),
        read: batch.read.iter().copied().map(place).collect(),
        now,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_ledger_answers_as_maps_would_over_ends_and_kills_of_the_process(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Process::start(tempfile::tempdir().unwrap()).run(&runtime, &steps);
    }
}
