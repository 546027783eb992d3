//! Tests of the request engine with receivers that follow a script; the clock is the test's.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use proptest::prelude::*;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::*;
use crate::sink::{Frame, Health, Metadata, Outlet, Rejections, queue};

/// Answers a request with these events, after a delay.
type Script = dyn Fn(&[u64]) -> (Duration, Outcome) + Send + Sync;

/// A receiver, and what it has seen: each request with the time since the start, and the events that it has taken.
struct Scripted {
    script: Box<Script>,
    began: Instant,
    requests: Mutex<Vec<(Duration, Vec<u64>)>>,
    taken: Mutex<BTreeSet<u64>>,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

impl Receiver for Arc<Scripted> {
    fn send<'a>(&'a self, batch: &'a [Frame]) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let events: Vec<u64> = batch.iter().map(|frame| number_in(&frame.bytes)).collect();
            self.requests.lock().unwrap().push((self.began.elapsed(), events.clone()));
            self.most_open.fetch_max(self.open.fetch_add(1, Relaxed) + 1, Relaxed);
            let (delay, outcome) = (self.script)(&events);
            sleep(delay).await;
            self.open.fetch_sub(1, Relaxed);
            if matches!(outcome, Outcome::Delivered) {
                self.taken.lock().unwrap().extend(events);
            }
            outcome
        })
    }
}

struct Running {
    outlet: Outlet,
    receiver: Arc<Scripted>,
    confirmed: watch::Receiver<u64>,
    health: watch::Receiver<Health>,
    rejections: Rejections,
    run: JoinHandle<Result<(), SinkError>>,
}

impl Running {
    fn start(requests: Requests, script: impl Fn(&[u64]) -> (Duration, Outcome) + Send + Sync + 'static) -> Self {
        let receiver = Arc::new(Scripted {
            script: Box::new(script),
            began: Instant::now(),
            requests: Mutex::default(),
            taken: Mutex::default(),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
        });
        let (outlet, inlet) = queue(1 << 20);
        let (status, confirmed, health) = Status::new();
        let rejections = status.rejections();
        let sink = Box::new(RequestSink::new(receiver.clone(), requests, &Rate::default()));
        let run = tokio::spawn(sink.run(inlet, status, CancellationToken::new()));
        Self { outlet, receiver, confirmed, health, rejections, run }
    }

    async fn send(&self, events: std::ops::RangeInclusive<u64>) {
        for event in events {
            let number = self.outlet.send(event_with(event), Metadata::at(0)).await.unwrap();
            assert_eq!(number, event);
        }
    }

    async fn confirmed(&mut self, number: u64) {
        self.confirmed.wait_for(|confirmed| *confirmed == number).await.unwrap();
    }

    async fn failing(&mut self) -> String {
        let health = self.health.wait_for(|health| matches!(health, Health::Failing { .. })).await.unwrap();
        let Health::Failing { error } = &*health else { unreachable!() };
        error.to_string()
    }

    fn requests(&self) -> Vec<Vec<u64>> {
        self.receiver.requests.lock().unwrap().iter().map(|(_, events)| events.clone()).collect()
    }

    fn taken(&self) -> Vec<u64> {
        self.receiver.taken.lock().unwrap().iter().copied().collect()
    }

    /// Ends the queue, and waits until the sink has delivered everything.
    async fn end(self) -> Arc<Scripted> {
        drop(self.outlet);
        self.run.await.unwrap().unwrap();
        self.receiver
    }
}

fn event_with(number: u64) -> Bytes {
    format!("{{\"n\":{number}}}\n").into()
}

fn number_in(event: &[u8]) -> u64 {
    std::str::from_utf8(event).unwrap().trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

fn requests() -> Requests {
    Requests {
        max_bytes: 1 << 20,
        max_events: 8,
        batch_timeout: Duration::from_secs(1),
        concurrency: 4,
        timeout: Duration::from_secs(60),
    }
}

const SOON: Duration = Duration::from_millis(1);

fn delivered() -> (Duration, Outcome) {
    (SOON, Outcome::Delivered)
}

fn failed(after: Option<Duration>) -> (Duration, Outcome) {
    (SOON, Outcome::Failed { reason: "503 busy".into(), after })
}

fn refused() -> (Duration, Outcome) {
    (SOON, Outcome::Refused { reason: "400 bad event".into() })
}

#[tokio::test(start_paused = true)]
async fn a_batch_ends_at_its_number_of_events_its_bytes_or_its_timeout() {
    let mut sink = Running::start(Requests { max_bytes: 40, ..requests() }, |_| delivered());
    sink.send(1..=6).await;
    sink.confirmed(6).await;
    assert_eq!(sink.requests(), [vec![1, 2, 3, 4, 5], vec![6]], "five of eight bytes fit into 40");
    assert!(sink.receiver.began.elapsed() >= Duration::from_secs(1), "the last waited for others");
    sink.end().await;

    let mut sink = Running::start(requests(), |_| delivered());
    sink.send(1..=17).await;
    sink.confirmed(17).await;
    assert_eq!(sink.requests().iter().map(Vec::len).collect::<Vec<_>>(), [8, 8, 1]);
    sink.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_event_at_fault_is_found_by_halves_and_all_others_are_delivered() {
    let mut sink = Running::start(requests(), |events| if events.contains(&13) { refused() } else { delivered() });
    sink.send(1..=24).await;
    sink.confirmed(24).await;
    assert_eq!(sink.taken(), (1..=24).filter(|&event| event != 13).collect::<Vec<_>>());
    let rejected = sink.rejections.take();
    assert_eq!((rejected.len(), rejected[0].frames, &*rejected[0].reason), (1, 1, "400 bad event"));
    let split: Vec<_> = sink.requests().into_iter().filter(|events| events.contains(&13)).collect();
    assert_eq!(split, [(9..=16).collect(), (13..=16).collect(), vec![13, 14], vec![13]]);
    sink.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_rejects_nothing_before_the_receiver_has_taken_an_event() {
    let taken = Arc::new(AtomicUsize::new(0));
    let answers = taken.clone();
    let mut sink = Running::start(requests(), move |events| match answers.load(Relaxed) {
        0 => refused(),
        _ if events.contains(&2) => refused(),
        _ => delivered(),
    });
    sink.send(1..=3).await;
    let error = sink.failing().await;
    assert!(error.starts_with("400 bad event; no event has been accepted yet"), "{error}");
    sleep(Duration::from_secs(300)).await;
    assert_eq!((sink.rejections.total(), *sink.confirmed.borrow()), (0, 0));
    taken.store(1, Relaxed);
    sink.confirmed(3).await;
    assert_eq!((sink.taken(), sink.rejections.total()), (vec![1, 3], 1));
    sink.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_request_is_sent_again_no_sooner_than_the_receiver_asks() {
    let calls = AtomicUsize::new(0);
    let mut sink = Running::start(requests(), move |_| match calls.fetch_add(1, Relaxed) {
        0 => failed(Some(Duration::from_secs(90))),
        1 => failed(Some(Duration::from_secs(86_400))),
        _ => delivered(),
    });
    sink.send(1..=8).await;
    assert_eq!(sink.failing().await, "503 busy");
    sink.confirmed(8).await;
    assert_eq!(*sink.health.borrow(), Health::Up);
    let times: Vec<_> = sink.receiver.requests.lock().unwrap().iter().map(|(time, _)| time.as_secs()).collect();
    assert_eq!(times, [0, 90, 690], "a day would hold up all mails");
    sink.end().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_one_request_at_a_time_is_sent_until_one_succeeds() {
    let is_down = Arc::new(AtomicUsize::new(1));
    let down = is_down.clone();
    let mut sink = Running::start(requests(), move |_| match down.load(Relaxed) {
        0 => (Duration::from_secs(1), Outcome::Delivered),
        _ => (Duration::from_secs(1), Outcome::Failed { reason: "connection refused".into(), after: None }),
    });
    sink.send(1..=64).await;
    sink.failing().await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(sink.receiver.most_open.swap(0, Relaxed), 4);
    sleep(Duration::from_secs(120)).await;
    assert_eq!(sink.receiver.most_open.swap(0, Relaxed), 1);
    is_down.store(0, Relaxed);
    sink.confirmed(64).await;
    let receiver = sink.end().await;
    assert_eq!(receiver.most_open.load(Relaxed), 4);
    assert_eq!(receiver.taken.lock().unwrap().len(), 64);
}

#[tokio::test(start_paused = true)]
async fn events_are_confirmed_up_to_the_first_request_that_has_not_ended() {
    let mut sink = Running::start(requests(), |events| match events[0] {
        1 => (Duration::from_secs(30), Outcome::Delivered),
        _ => delivered(),
    });
    sink.send(1..=24).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!((sink.taken(), *sink.confirmed.borrow()), ((9..=24).collect::<Vec<_>>(), 0));
    sink.confirmed(24).await;
    sink.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_response_is_sent_again_after_its_timeout() {
    let calls = AtomicUsize::new(0);
    let mut sink = Running::start(requests(), move |_| match calls.fetch_add(1, Relaxed) {
        0 => (Duration::from_secs(1_000_000), Outcome::Delivered),
        _ => delivered(),
    });
    sink.send(1..=1).await;
    assert_eq!(sink.failing().await, "no response within 60s (request.timeout_secs)");
    sink.confirmed(1).await;
    assert_eq!(sink.requests(), [[1], [1]]);
    sink.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_unusable_configuration_ends_the_sink_only_before_its_first_delivery() {
    let unusable = || (SOON, Outcome::Unusable(SinkError::Configuration("can't read ca.pem".into(), None)));
    let sink = Running::start(requests(), move |_| unusable());
    sink.send(1..=8).await;
    assert!(matches!(sink.run.await.unwrap(), Err(SinkError::Configuration(..))));

    let calls = AtomicUsize::new(0);
    let mut sink = Running::start(requests(), move |_| match calls.fetch_add(1, Relaxed) {
        1 => unusable(),
        _ => delivered(),
    });
    sink.send(1..=16).await;
    assert_eq!(sink.failing().await, "can't read ca.pem");
    sink.confirmed(16).await;
    sink.end().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Each request fails, takes long, or is answered by what is in it, as the script says.
    #[test]
    fn every_event_is_delivered_or_rejected_and_none_is_confirmed_before(
        total in 1..60u64,
        poison in prop::collection::btree_set(2..60u64, 0..6),
        script in prop::collection::vec((0..4u8, 0..2_000u64), 1..40),
        max_events in 1..10u32,
        concurrency in 1..6u32,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let (calls, bad) = (AtomicUsize::new(0), poison.clone());
            let answer = move |events: &[u64]| {
                // Behind the script, everything succeeds.
                let (kind, delay) = script.get(calls.fetch_add(1, Relaxed)).copied().unwrap_or((3, 1));
                let outcome = match kind {
                    0 => Outcome::Failed { reason: "503".into(), after: None },
                    _ if events.iter().any(|event| bad.contains(event)) => Outcome::Refused { reason: "400".into() },
                    _ => Outcome::Delivered,
                };
                (Duration::from_millis(delay), outcome)
            };
            let mut sink = Running::start(Requests { max_events, concurrency, ..requests() }, answer);
            sink.send(1..=total).await;
            let poison: BTreeSet<u64> = poison.into_iter().filter(|&event| event <= total).collect();
            loop {
                let confirmed = *sink.confirmed.borrow_and_update();
                let taken = sink.receiver.taken.lock().unwrap().clone();
                let unsettled = (1..=confirmed).find(|event| !taken.contains(event) && !poison.contains(event));
                assert_eq!(unsettled, None, "confirmed up to {confirmed}");
                if confirmed == total {
                    break;
                }
                sink.confirmed.changed().await.unwrap();
            }
            assert_eq!(sink.rejections.total(), poison.len() as u64);
            let receiver = sink.end().await;
            let taken = receiver.taken.lock().unwrap();
            assert_eq!(*taken, (1..=total).filter(|event| !poison.contains(event)).collect());
        });
    }
}
