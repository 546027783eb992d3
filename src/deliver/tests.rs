//! Delivery as a whole, against a model: mails that share documents, two sinks with a replay window each, a ledger, and
//! processes that are killed. Nothing leaves the mailbox before all of it has arrived, nothing is lost, and what a sink
//! had confirmed and the ledger knows is not told again.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{
    tracker::{Claim, Progress, Settled, Tracker},
    window::{Numbered, Window},
};

const SINKS: usize = 2;
const ROWS: u64 = 7;
/// Rows between two marks of a document's progress.
const MARKED: u64 = 2;

/// A document's row.
type Row = (u8, u64);

#[derive(Debug, Clone)]
struct Frame {
    number: u64,
    row: Row,
}

impl Numbered for Frame {
    fn number(&self) -> u64 {
        self.number
    }
}

/// One sink and the peer behind it. The stream's offsets count frames.
#[derive(Default)]
struct Lane {
    window: Window<Frame>,
    /// On this connection: rows handed out, how many of them were written, and how many the peer has.
    stream: Vec<Row>,
    written: usize,
    taken: usize,
    /// The last number of the process.
    last: u64,
    confirmed: u64,
}

/// What outlives the process: at the peers, in the ledger, and in the mailbox.
#[derive(Default)]
struct World {
    received: [Vec<Row>; SINKS],
    shipped: BTreeSet<u8>,
    progress: BTreeMap<u8, u64>,
    /// Each mail with its documents.
    mailbox: BTreeMap<usize, Vec<u8>>,
    /// Rows that every sink had confirmed, and the ledger was told of.
    safe: BTreeSet<Row>,
}

#[derive(Default)]
struct Process {
    tracker: Option<Tracker<usize, u8>>,
    lanes: [Lane; SINKS],
    /// The mail that is being read: what is left of its documents, and the next row of the first of them, if it is its own.
    reading: Option<(usize, Vec<u8>, Option<u64>)>,
    /// The last numbers of each mail's events.
    marks: BTreeMap<usize, Vec<u64>>,
    begun: BTreeSet<usize>,
}

impl Process {
    fn start() -> Self {
        Self { tracker: Some(Tracker::new(SINKS)), ..Self::default() }
    }

    fn tracker(&mut self) -> &mut Tracker<usize, u8> {
        self.tracker.as_mut().expect("a process has one")
    }

    /// One step of the reader: a mail is opened, a document claimed, a row emitted, or the mail ended.
    fn read(&mut self, world: &World) -> Result<(), TestCaseError> {
        let Some((mail, mut documents, row)) = self.reading.take() else {
            let next = world.mailbox.iter().find(|(mail, _)| !self.begun.contains(mail));
            let Some((&mail, documents)) = next else { return Ok(()) };
            self.begun.insert(mail);
            self.tracker().open(mail);
            self.marks.insert(mail, vec![0; SINKS]);
            self.reading = Some((mail, documents.clone(), None));
            return Ok(());
        };
        let Some(&document) = documents.first() else {
            let mark = self.marks[&mail].clone();
            self.tracker().mail_read(mail, mark);
            return Ok(());
        };
        let row = match row {
            Some(row) => row,
            None if world.shipped.contains(&document) => ROWS + 1,
            None => match self.tracker().claim(mail, &document) {
                Claim::Mine => world.progress.get(&document).copied().unwrap_or_default(),
                Claim::InFlight => ROWS + 1,
            },
        };
        if row < ROWS {
            prop_assert!(!world.safe.contains(&(document, row)), "told again though everybody had it");
            for (sink, lane) in self.lanes.iter_mut().enumerate() {
                lane.last += 1;
                lane.window.push(Frame { number: lane.last, row: (document, row) });
                self.marks.get_mut(&mail).expect("it was opened")[sink] = lane.last;
            }
            if (row + 1).is_multiple_of(MARKED) {
                let mark = self.marks[&mail].clone();
                self.tracker().rows_read(mail, &document, row + 1, mark);
            }
            self.reading = Some((mail, documents, Some(row + 1)));
            return Ok(());
        }
        if row == ROWS {
            let mark = self.marks[&mail].clone();
            self.tracker().document_read(&document, mark);
        }
        documents.remove(0);
        self.reading = Some((mail, documents, None));
        Ok(())
    }

    fn confirm(&mut self, sink: usize, thousandths: usize, world: &mut World) {
        let lane = &mut self.lanes[sink];
        let taken = lane.taken.max(lane.written * thousandths / 1000);
        world.received[sink].extend(&lane.stream[lane.taken..taken]);
        lane.taken = taken;
        if let Some(number) = lane.window.confirm_up_to(taken as u64) {
            lane.confirmed = number;
            self.tracker().confirm(sink, number);
        }
    }

    /// The ledger is written, and then mails leave the mailbox.
    fn settle(&mut self, world: &mut World) -> Result<(), TestCaseError> {
        for Progress { document, rows, .. } in self.tracker().progress() {
            world.progress.insert(document, rows);
            world.safe.extend((0..rows).map(|row| (document, row)));
        }
        for settled in self.tracker().settled() {
            let Settled::Arrived(mail) = settled else { continue };
            let documents = world.mailbox.remove(&mail).expect("a mail is settled once");
            for document in documents {
                for row in 0..ROWS {
                    for received in &world.received {
                        prop_assert!(
                            received.contains(&(document, row)),
                            "settled before {document}/{row} had arrived"
                        );
                    }
                    world.safe.insert((document, row));
                }
                world.shipped.insert(document);
                world.progress.remove(&document);
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
                lane.stream.push(frame.row);
            }
        }
        Step::Flush(sink) => {
            let lane = &mut process.lanes[sink];
            // One write at a time, as frames get the offset behind the write that they are in.
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
        // What the peers have they keep; the process's own is gone.
        Step::Kill => *process = Process::start(),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn whatever_fails_nothing_is_lost_or_settled_early_or_told_again_once_it_is_safe(
        mails in prop::collection::vec(prop::collection::vec(0..6u8, 0..3), 1..8),
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let all: BTreeSet<u8> = mails.iter().flatten().copied().collect();
        let mut world = World { mailbox: mails.into_iter().enumerate().collect(), ..World::default() };
        let mut process = Process::start();
        for step in &steps {
            take(step, &mut process, &mut world)?;
        }
        // Nothing is stuck: once all goes well, all arrives and the mailbox is empty.
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
        for received in &world.received {
            let rows: BTreeSet<Row> = received.iter().copied().collect();
            let expected: BTreeSet<Row> = all.iter().flat_map(|document| (0..ROWS).map(|row| (*document, row))).collect();
            prop_assert_eq!(rows, expected);
        }
    }
}
