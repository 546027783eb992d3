//! Claims of documents by several readers at once, while deliveries are recorded in the ledger.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, mpsc as blocking},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    deliver::MailId,
    ledger::{Bookmark, Commit, DocumentStatus, Failures, Ledger, LedgerError, Shipped, SinkKey, Unfinished, backend},
    pipeline::{
        handover::{Read, Reply},
        settlement::{Reports, Route, Settlement},
    },
    sink::Status,
    source::{MailRef, PlaceStatus},
};

/// Upper bound for what takes milliseconds.
const LONG: Duration = Duration::from_secs(60);

/// A slow ledger: its next look-up waits, after it has read the answer, until the test lets it return.
#[derive(Debug)]
struct Slow {
    ledger: Arc<dyn Ledger>,
    waits: Mutex<Option<(blocking::Sender<()>, blocking::Receiver<()>)>>,
}

impl Ledger for Slow {
    fn claim(
        &self,
        document: &DocumentKey,
        sinks: &[SinkKey],
        name: Option<&ReportName>,
    ) -> Result<DocumentStatus, LedgerError> {
        let status = self.ledger.claim(document, sinks, name);
        let waits = self.waits.lock().unwrap().take();
        if let Some((has_read, returns)) = waits {
            has_read.send(()).unwrap();
            returns.recv_timeout(LONG).unwrap();
        }
        status
    }

    fn known(&self, places: Arc<[Place]>) -> BoxFuture<'_, Result<Vec<PlaceStatus>, LedgerError>> {
        self.ledger.known(places)
    }

    fn attempts(&self, place: &Place) -> Option<Failures> {
        self.ledger.attempts(place)
    }

    fn last_failure(&self) -> Option<Timestamp> {
        self.ledger.last_failure()
    }

    fn bookmark(&self) -> Bookmark {
        self.ledger.bookmark()
    }

    fn commit(&self, commit: Arc<Commit>) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.commit(commit)
    }

    fn note_unfinished(
        &self,
        mails: Vec<Unfinished>,
        sinks: String,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.note_unfinished(mails, sinks, now)
    }

    fn expire(&self, now: Timestamp, retention_days: u32) -> BoxFuture<'_, Result<u64, LedgerError>> {
        self.ledger.expire(now, retention_days)
    }

    fn documents(
        &self,
        after: Option<DocumentKey>,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<(DocumentKey, Shipped)>, LedgerError>> {
        self.ledger.documents(after, most)
    }

    fn reset(&self) -> BoxFuture<'_, Result<u64, LedgerError>> {
        self.ledger.reset()
    }

    fn bytes(&self) -> u64 {
        self.ledger.bytes()
    }
}

/// Three sources, whose routes share sinks.
const ROUTES: &str = "sources: {a: {type: file, path: /a}, b: {type: file, path: /b}, c: {type: file, path: /c}}\n\
    sinks: {x: {type: file, path: x, inputs: [a, b, c]}, y: {type: file, path: y, inputs: [a, b]}, \
            z: {type: file, path: z, inputs: [b, c]}}\n";
const SOURCES: [&str; 3] = ["a", "b", "c"];

/// Readers, and the task that settles their mails; each event is confirmed at once.
struct Bench {
    settlement: Arc<Settlement>,
    config: Config,
    confirmations: watch::Sender<u64>,
}

impl Bench {
    /// Nothing with a number is confirmed yet.
    fn start(ledger: Arc<dyn Ledger>) -> Self {
        let config = config::parse(ROUTES, config::Format::Yaml, "test.yaml").unwrap().config;
        let settlement = Arc::new(Settlement::new(ledger, Arc::default(), &config, Options::default()));
        let (confirmations, confirmed) = watch::channel(0);
        let rejections = Status::new().0.rejections();
        let reports =
            (0..3).map(|sink| Reports { sink, confirmed: confirmed.clone(), rejections: rejections.clone() }).collect();
        tokio::spawn(settlement.clone().settle(reports, CancellationToken::new()));
        Self { settlement, config, confirmations }
    }

    fn open(&self, source: &str, number: u64) -> (MailId, Route, Place) {
        let place = Place::File { source: source.into(), path: number.to_string().into(), part: 0, size: 1, mtime: 1 };
        let route = self.settlement.route(source, &self.config);
        let mail = self.settlement.open(&place, &route, &CancellationToken::new(), || {}).unwrap();
        (mail, route, place)
    }

    /// Ends the reading of a mail that shipped these documents, with `last` as the number of its last event at each sink.
    fn read(&self, (mail, route, place): (MailId, Route, Place), documents: &[DocumentKey], last: u64) -> Verdicts {
        let (verdicts, verdict) = mpsc::unbounded_channel();
        let documents = documents.iter().map(|document| {
            self.settlement.document_read(mail, document, &vec![last; 3]);
            (document.clone(), shipped())
        });
        let read = Read {
            reply: Reply { mail: MailRef(mail), verdicts },
            place,
            verdict: Verdict::Archive,
            documents: documents.collect(),
            sinks: route.keys(),
            names: Vec::new(),
            seen_again: Vec::new(),
            stays: None,
            reader: mpsc::unbounded_channel().0,
            rejected: Vec::new(),
        };
        self.settlement.mail_read(mail, vec![last; 3], read);
        verdict
    }
}

type Verdicts = mpsc::UnboundedReceiver<(MailRef, Verdict)>;

fn shipped() -> Shipped {
    let now = Timestamp::now();
    Shipped { first_shipped: now, last_seen: now, org: None, report_id: None, rows: 1, mail: String::new() }
}

fn document(n: u8) -> DocumentKey {
    DocumentKey { tenant: None, sha256: [n; 32] }
}

/// The ledger said that the document was not shipped, and by the time this is heard, it was, and is not in flight either.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_settled_during_the_look_up_is_not_claimed_again() {
    let ledger = Arc::new(Slow { ledger: backend::in_memory(), waits: Mutex::default() });
    let bench = Arc::new(Bench::start(ledger.clone()));
    let first = bench.open("a", 1);
    let claimed = bench.settlement.claim(first.0, &first.1, &document(1), None).unwrap();
    assert!(matches!(claimed, Claimed::Mine { .. }));
    let mut settled = bench.read(first, &[document(1)], 1);

    let ((has_read, is_read), (go_on, returns)) = (blocking::channel(), blocking::channel());
    *ledger.waits.lock().unwrap() = Some((has_read, returns));
    let second = tokio::task::spawn_blocking({
        let bench = bench.clone();
        move || {
            let (mail, route, _) = bench.open("a", 2);
            bench.settlement.claim(mail, &route, &document(1), None).unwrap()
        }
    });
    tokio::task::spawn_blocking(move || is_read.recv_timeout(LONG).unwrap()).await.unwrap();
    bench.confirmations.send(1).unwrap();
    bench.settlement.wake();
    // The ledger is slow, and settling does not wait for it.
    let verdict = timeout(LONG / 4, settled.recv()).await.expect("the first mail is settled during the look-up");
    assert_eq!(verdict.unwrap().1, Verdict::Archive);
    go_on.send(()).unwrap();
    assert_eq!(second.await.unwrap(), Claimed::Known);
}

/// Another document came under the same name, and was settled during the look-up.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_settled_during_the_look_up_is_known_to_be_used() {
    let ledger = Arc::new(Slow { ledger: backend::in_memory(), waits: Mutex::default() });
    let bench = Arc::new(Bench::start(ledger.clone()));
    let name = ReportName::new(None, &[Some("name")]);
    let first = bench.open("a", 1);
    bench.settlement.claim(first.0, &first.1, &document(1), Some(&name)).unwrap();
    let mut settled = bench.read(first, &[document(1)], 1);

    let ((has_read, is_read), (go_on, returns)) = (blocking::channel(), blocking::channel());
    *ledger.waits.lock().unwrap() = Some((has_read, returns));
    let second = tokio::task::spawn_blocking({
        let bench = bench.clone();
        move || {
            let (mail, route, _) = bench.open("a", 2);
            bench.settlement.claim(mail, &route, &document(2), Some(&name)).unwrap()
        }
    });
    tokio::task::spawn_blocking(move || is_read.recv_timeout(LONG).unwrap()).await.unwrap();
    bench.confirmations.send(1).unwrap();
    bench.settlement.wake();
    timeout(LONG / 4, settled.recv()).await.expect("the first mail is settled during the look-up").unwrap();
    go_on.send(()).unwrap();
    assert!(matches!(second.await.unwrap(), Claimed::Mine { reuses_name: true, .. }));
}

/// Many mails of three routes hold the same documents, and are read and settled at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn each_delivery_is_claimed_by_one_mail_and_every_mail_is_settled() {
    const MAILS: u64 = 300;
    const READERS: u64 = 6;
    const DOCUMENTS: u8 = 100;
    let folder = tempfile::tempdir().unwrap();
    let bench = Arc::new(Bench::start(backend::open(folder.path()).unwrap()));
    let reader = |reader: u64| {
        let bench = bench.clone();
        tokio::task::spawn_blocking(move || {
            let (mut claims, mut settled) = (Vec::new(), Vec::new());
            for number in (0..MAILS).filter(|number| number % READERS == reader) {
                let (mail, route, place) = bench.open(SOURCES[(number % 3) as usize], number);
                let mut documents = Vec::new();
                for n in 0..3 {
                    // Neighbours share documents, and claim them in another order.
                    let n = (number / 3 + if reader.is_multiple_of(2) { n } else { 2 - n }) as u8 % DOCUMENTS;
                    let claimed = bench.settlement.claim(mail, &route, &document(n), None).unwrap();
                    if let Claimed::Mine { missing, .. } = &claimed {
                        claims.extend(missing.needed().map(|(sink, _)| (n, sink)));
                    }
                    if claimed != Claimed::Known {
                        documents.push(document(n));
                    }
                }
                settled.push(bench.read((mail, route, place), &documents, 0));
            }
            (claims, settled)
        })
    };
    let readers: Vec<_> = (0..READERS).map(reader).collect();
    let mut owners: BTreeMap<(u8, usize), u32> = BTreeMap::new();
    for reader in readers {
        let (claims, settled) = timeout(LONG, reader).await.expect("no reader waits for ever").unwrap();
        claims.into_iter().for_each(|claim| *owners.entry(claim).or_default() += 1);
        for mut verdict in settled {
            let verdict = timeout(LONG, verdict.recv()).await.expect("no mail waits for ever");
            assert_eq!(verdict.unwrap().1, Verdict::Archive);
        }
    }
    assert_eq!(owners.len(), usize::from(DOCUMENTS) * 3, "each document was claimed at each sink");
    assert!(owners.values().all(|&owners| owners == 1), "{owners:?}");
}
