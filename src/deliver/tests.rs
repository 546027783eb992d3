//! Model test of delivery: mails of several routes that share documents, sinks with a replay window each, a ledger, and
//! processes that are killed. No mail leaves the mailbox before all of it has arrived at every sink of its route, each sink
//! gets each row of its sources that it does not reject, and rows that a sink has confirmed and the ledger has recorded are
//! not sent again. A mail is quarantined, not archived, if and only if a sink of its route rejects a row of it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{
    tracker::{Claim, Progress, Settled, Tracker},
    window::{Numbered, Window},
};

const SINKS: usize = 3;
const ROWS: u64 = 7;
/// Rows between two records of a document's progress.
const MARKED: u64 = 2;

/// A row: document and index.
type Row = (u8, u64);

/// Instead of a document, in the event that reports a mail's rejections; the index is the mail.
const REPORT: u8 = u8::MAX;

/// By sink, the number of rows that it has of a document; `None` if it does not need the document from the current mail.
type Needs = [Option<u64>; SINKS];

#[derive(Debug, Clone)]
struct Frame {
    number: u64,
    mail: usize,
    row: Row,
}

impl Numbered for Frame {
    fn number(&self) -> u64 {
        self.number
    }
}

/// One sink and its peer. Offsets of the stream count frames.
#[derive(Default)]
struct Lane {
    window: Window<Frame>,
    /// On this connection: rows handed out, the number of them written, and the number that the peer has.
    stream: Vec<(usize, Row)>,
    written: usize,
    taken: usize,
    /// The last number given by the process.
    last: u64,
    confirmed: u64,
}

/// State that outlives the process: at the peers, in the ledger, and in the mailbox.
#[derive(Default)]
struct World {
    received: [Vec<Row>; SINKS],
    shipped: BTreeSet<(u8, usize)>,
    progress: BTreeMap<(u8, usize), u64>,
    /// Each mail, with the sinks of its route and its documents.
    mailbox: BTreeMap<usize, (Vec<usize>, Vec<u8>)>,
    /// By sink: rows that it has confirmed and the ledger has recorded.
    safe: [BTreeSet<Row>; SINKS],
    /// Rows that a sink never takes.
    rejects: BTreeSet<(usize, Row)>,
    archived: BTreeSet<usize>,
    quarantined: BTreeSet<usize>,
}

/// The mail that is being read: its route, its remaining documents, and the next row of the first of them.
struct Reading {
    mail: usize,
    route: Vec<usize>,
    documents: Vec<u8>,
    row: Option<(u64, Needs)>,
}

#[derive(Default)]
struct Process {
    tracker: Option<Tracker<usize, u8>>,
    lanes: [Lane; SINKS],
    reading: Option<Reading>,
    /// The last numbers of each mail's events, by sink.
    marks: BTreeMap<usize, Vec<u64>>,
    begun: BTreeSet<usize>,
    /// Mails whose rejections were reported, with the sinks that rejected.
    reported: BTreeMap<usize, BTreeSet<usize>>,
}

impl Process {
    fn start() -> Self {
        Self { tracker: Some(Tracker::new(&[true; SINKS])), ..Self::default() }
    }

    fn tracker(&mut self) -> &mut Tracker<usize, u8> {
        self.tracker.as_mut().expect("a process has one")
    }

    /// One step of the reader: opens a mail, claims a document, emits a row, or ends the mail.
    fn read(&mut self, world: &World) -> Result<(), TestCaseError> {
        let Some(Reading { mail, route, mut documents, row }) = self.reading.take() else {
            let next = world.mailbox.iter().find(|(mail, _)| !self.begun.contains(mail));
            let Some((&mail, (route, documents))) = next else { return Ok(()) };
            self.begun.insert(mail);
            self.tracker().open(mail);
            self.marks.insert(mail, vec![0; SINKS]);
            self.reading = Some(Reading { mail, route: route.clone(), documents: documents.clone(), row: None });
            return Ok(());
        };
        let Some(&document) = documents.first() else {
            let mark = self.marks[&mail].clone();
            self.tracker().mail_read(mail, mark);
            return Ok(());
        };
        let (row, needs) = row.unwrap_or_else(|| self.claim(world, mail, &route, document));
        if row < ROWS {
            for sink in (0..SINKS).filter(|&sink| needs[sink].is_some_and(|arrived| row >= arrived)) {
                prop_assert!(!world.safe[sink].contains(&(document, row)), "told again though the sink had it");
                let lane = &mut self.lanes[sink];
                lane.last += 1;
                lane.window.push(Frame { number: lane.last, mail, row: (document, row) });
                self.marks.get_mut(&mail).expect("it was opened")[sink] = lane.last;
            }
            if (row + 1).is_multiple_of(MARKED) {
                let mark = self.marks[&mail].clone();
                self.tracker().rows_read(mail, &document, row + 1, &mark);
            }
            self.reading = Some(Reading { mail, route, documents, row: Some((row + 1, needs)) });
            return Ok(());
        }
        if row == ROWS {
            let mark = self.marks[&mail].clone();
            self.tracker().document_read(mail, &document, &mark);
        }
        documents.remove(0);
        self.reading = Some(Reading { mail, route, documents, row: None });
        Ok(())
    }

    /// Returns the first row that some sink needs of a document, and the number of rows that each has; a row after the last
    /// if none needs any.
    fn claim(&mut self, world: &World, mail: usize, route: &[usize], document: u8) -> (u64, Needs) {
        let mut needs = [None; SINKS];
        for &sink in route.iter().filter(|&&sink| !world.shipped.contains(&(document, sink))) {
            let arrived = world.progress.get(&(document, sink)).copied().unwrap_or_default();
            if self.tracker().claim(mail, &document, sink, arrived) == Claim::Mine {
                needs[sink] = Some(arrived);
            }
        }
        (needs.iter().flatten().min().copied().unwrap_or(ROWS + 1), needs)
    }

    /// Reports the rejections of a mail to those sinks of its route that did not reject.
    fn report(&mut self, mail: usize, route: &[usize]) {
        let by: BTreeSet<_> = self.tracker().rejected(mail).iter().map(|rejected| rejected.sink).collect();
        let mut mark = vec![0; SINKS];
        for &sink in route.iter().filter(|sink| !by.contains(sink)) {
            let lane = &mut self.lanes[sink];
            lane.last += 1;
            mark[sink] = lane.last;
            lane.window.push(Frame { number: lane.last, mail, row: (REPORT, mail as u64) });
        }
        self.tracker().reported(mail, mark);
        self.reported.insert(mail, by);
    }

    fn confirm(&mut self, sink: usize, thousandths: usize, world: &mut World) {
        let lane = &mut self.lanes[sink];
        let taken = lane.taken.max(lane.written * thousandths / 1000);
        let (rejected, received): (Vec<_>, Vec<_>) =
            lane.stream[lane.taken..taken].iter().partition(|(_, row)| world.rejects.contains(&(sink, *row)));
        world.received[sink].extend(received.into_iter().map(|(_, row)| row));
        lane.taken = taken;
        for (mail, (document, _)) in rejected {
            self.tracker().reject(sink, mail, Some(&document), 1);
        }
        let lane = &mut self.lanes[sink];
        if let Some(number) = lane.window.confirm_up_to(taken as u64) {
            lane.confirmed = number;
            self.tracker().confirm(sink, number);
        }
    }

    /// Writes the ledger, and then removes settled mails from the mailbox.
    fn settle(&mut self, world: &mut World) -> Result<(), TestCaseError> {
        for Progress { document, sink, rows, .. } in self.tracker().progress() {
            let before = world.progress.insert((document, sink), rows);
            prop_assert!(before < Some(rows), "progress went back");
            world.safe[sink].extend((0..rows).map(|row| (document, row)));
        }
        for settled in self.tracker().settled() {
            let mail = match settled {
                Settled::Arrived(mail) => mail,
                Settled::Rejected(mail) => {
                    self.report(mail, &world.mailbox[&mail].0);
                    continue;
                }
                Settled::Abandoned(_) => continue,
            };
            let (route, documents) = world.mailbox.remove(&mail).expect("a mail is settled once");
            let verdicts = if self.reported.contains_key(&mail) { &mut world.quarantined } else { &mut world.archived };
            verdicts.insert(mail);
            for sink in route.iter().filter(|sink| self.reported.get(&mail).is_some_and(|by| !by.contains(sink))) {
                let has_arrived = world.received[*sink].contains(&(REPORT, mail as u64));
                prop_assert!(has_arrived, "quarantined before sink {sink} got the report");
            }
            let rejected: Vec<_> = self.tracker().rejected(mail).to_vec();
            for (document, sink) in
                documents.iter().flat_map(|&document| route.iter().map(move |&sink| (document, sink)))
            {
                if rejected.iter().any(|one| one.sink == sink && one.document == Some(document)) {
                    continue;
                }
                for row in 0..ROWS {
                    let has_arrived = world.received[sink].contains(&(document, row));
                    prop_assert!(has_arrived, "settled before {document}/{row} had arrived at {sink}");
                    world.safe[sink].insert((document, row));
                }
                world.shipped.insert((document, sink));
                world.progress.remove(&(document, sink));
            }
            self.tracker().forget(mail);
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Step {
    Read,
    Send(usize, usize),
    Flush(usize),
    Confirm(usize, usize),
    Reconnect(usize),
    Settle,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => Just(Step::Read),
        6 => (0..SINKS, 1..6usize).prop_map(|(sink, frames)| Step::Send(sink, frames)),
        6 => (0..SINKS).prop_map(Step::Flush),
        6 => (0..SINKS, 0..=1000usize).prop_map(|(sink, part)| Step::Confirm(sink, part)),
        2 => (0..SINKS).prop_map(Step::Reconnect),
        4 => Just(Step::Settle),
        1 => Just(Step::Kill),
    ]
}

fn take(step: &Step, process: &mut Process, world: &mut World) -> Result<(), TestCaseError> {
    match *step {
        Step::Read => process.read(world)?,
        Step::Send(sink, frames) => {
            let lane = &mut process.lanes[sink];
            for _ in 0..frames {
                let Some(frame) = lane.window.hand_out() else { break };
                prop_assert!(frame.number > lane.confirmed, "sent again though it was confirmed");
                lane.stream.push((frame.mail, frame.row));
            }
        }
        Step::Flush(sink) => {
            let lane = &mut process.lanes[sink];
            // One write at a time, since frames get the offset after the write that they are in.
            lane.written = lane.stream.len();
            lane.window.written(lane.written as u64);
        }
        Step::Confirm(sink, part) => process.confirm(sink, part, world),
        Step::Reconnect(sink) => {
            let lane = &mut process.lanes[sink];
            lane.window.rewind();
            (lane.stream, lane.written, lane.taken) = (Vec::new(), 0, 0);
        }
        Step::Settle => process.settle(world)?,
        // The peers keep their data; the process's own is lost.
        Step::Kill => *process = Process::start(),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn whatever_fails_nothing_is_lost_or_settled_early_or_sent_again_and_only_mails_with_rejected_rows_are_quarantined(
        mails in prop::collection::vec((prop::sample::subsequence(vec![0, 1, 2], 1..=SINKS), prop::collection::vec(0..6u8, 0..3)), 1..8),
        rejects in prop::collection::btree_set((0..SINKS, (0..6u8, 0..ROWS)), 0..4),
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let is_rejected = |(route, documents): &(Vec<usize>, Vec<u8>)| {
            rejects.iter().any(|(sink, (document, _))| route.contains(sink) && documents.contains(document))
        };
        let (bad, good): (BTreeSet<_>, BTreeSet<_>) = (0..mails.len()).partition(|mail| is_rejected(&mails[*mail]));
        let expected: [BTreeSet<Row>; SINKS] = std::array::from_fn(|sink| {
            let of_sink = mails.iter().filter(|(route, _)| route.contains(&sink)).flat_map(|(_, documents)| documents);
            let rows = of_sink.flat_map(|document| (0..ROWS).map(|row| (*document, row)));
            rows.filter(|row| !rejects.contains(&(sink, *row))).collect()
        });
        let mailbox = mails.into_iter().enumerate().collect();
        let mut world = World { mailbox, rejects: rejects.clone(), ..World::default() };
        let mut process = Process::start();
        for step in &steps {
            take(step, &mut process, &mut world)?;
        }
        // No deadlock: if no more errors occur, all events arrive and the mailbox becomes empty.
        for _ in 0..1000 {
            if world.mailbox.is_empty() {
                break;
            }
            take(&Step::Read, &mut process, &mut world)?;
            for sink in 0..SINKS {
                for step in [Step::Send(sink, 50), Step::Flush(sink), Step::Confirm(sink, 1000)] {
                    take(&step, &mut process, &mut world)?;
                }
            }
            take(&Step::Settle, &mut process, &mut world)?;
        }
        prop_assert!(world.mailbox.is_empty(), "left: {:?}", world.mailbox);
        prop_assert_eq!((world.archived, world.quarantined), (good, bad));
        let claimed = rejects.iter().find(|(sink, (document, _))| world.shipped.contains(&(*document, *sink)));
        prop_assert_eq!(claimed, None, "recorded as shipped though a row was rejected");
        let received = world.received.map(|rows| rows.into_iter().filter(|row| row.0 != REPORT).collect::<BTreeSet<Row>>());
        prop_assert_eq!(received, expected);
    }
}
