//! Loop of the request engine: what is sent next, and what follows from each outcome.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    select,
    time::{Instant, sleep_until, timeout},
};

use super::receiver::{Outcome, Receiver};
use crate::{
    config::sink::Requests,
    deliver::low_water::LowWater,
    net::backoff::{Backoff, RECEIVER},
    sink::{Frame, Health, SinkError, Status, batch::Batches},
};

/// Longest delay that a receiver may ask for (`Retry-After`): one that asks for a day would hold up all mails for a day.
const LONGEST_DELAY: Duration = Duration::from_secs(600);

/// A request in flight: resolves to its frames and its outcome.
type Request<'r> = BoxFuture<'r, (Vec<Frame>, Outcome)>;

/// The state of one sink: each frame is in a request in flight, or in a batch that has to be sent again.
pub(super) struct Engine<'r, R> {
    receiver: &'r R,
    requests: &'r Requests,
    status: Status,
    low_water: LowWater,
    in_flight: FuturesUnordered<Request<'r>>,
    /// Batches to be sent again, by the number of their first frames.
    again: BTreeMap<u64, Vec<Frame>>,
    backoff: Backoff,
    /// Set from a failure to the next success: nothing is sent before this time, and then one request at a time.
    retry_at: Option<Instant>,
    /// True once the receiver has taken an event. Before that, a refusal proves nothing about the event: the address or the
    /// format may be wrong for all.
    has_delivered: bool,
}

impl<'r, R: Receiver> Engine<'r, R> {
    pub(super) fn new(receiver: &'r R, requests: &'r Requests, status: Status) -> Self {
        Self {
            receiver,
            requests,
            status,
            low_water: LowWater::default(),
            in_flight: FuturesUnordered::new(),
            again: BTreeMap::new(),
            backoff: Backoff::new(RECEIVER),
            retry_at: None,
            has_delivered: false,
        }
    }

    /// Sends until the queue has ended and nothing is left to be delivered.
    pub(super) async fn run(mut self, mut batches: Batches) -> Result<(), SinkError> {
        let mut ended = false;
        loop {
            let is_free = self.in_flight.len() < self.most_in_flight();
            let retry_at = self.retry_at.unwrap_or_else(Instant::now);
            select! {
                biased;
                Some((frames, outcome)) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    self.completed(frames, outcome)?;
                }
                () = sleep_until(retry_at), if is_free && !self.again.is_empty() => self.send_again(),
                batch = batches.next(), if is_free && self.again.is_empty() && !ended => match batch {
                    Some(frames) => self.send_new(frames),
                    None => ended = true,
                },
                else => return Ok(()),
            }
        }
    }

    fn most_in_flight(&self) -> usize {
        if self.retry_at.is_some() { 1 } else { self.requests.concurrency as usize }
    }

    fn send_new(&mut self, frames: Vec<Frame>) {
        if let Some(last) = frames.last() {
            self.low_water.begin(last.number);
            self.send(frames);
        }
    }

    fn send_again(&mut self) {
        if let Some(frames) = self.low_water.begin_again().and_then(|range| self.again.remove(range.start())) {
            self.send(frames);
        }
    }

    fn send(&self, frames: Vec<Frame>) {
        let (receiver, limit) = (self.receiver, self.requests.timeout);
        self.in_flight.push(Box::pin(async move {
            let outcome = timeout(limit, receiver.send(&frames)).await.unwrap_or_else(|_| Outcome::Failed {
                reason: format!("no response within {limit:?} (request.timeout_secs)"),
                after: None,
            });
            (frames, outcome)
        }));
    }

    /// Acts on the outcome of a request.
    fn completed(&mut self, mut frames: Vec<Frame>, outcome: Outcome) -> Result<(), SinkError> {
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else { return Ok(()) };
        let request = first.number..=last.number;
        match outcome {
            Outcome::Delivered => {
                self.has_delivered = true;
                self.responds();
                self.end(&request, []);
            }
            Outcome::Refused { .. } if frames.len() > 1 => {
                let second = frames.split_off(frames.len() / 2);
                self.end(&request, [frames, second]);
            }
            Outcome::Refused { reason } if self.has_delivered => {
                self.responds();
                for frame in &frames {
                    self.status.reject(frame, &reason);
                }
                self.end(&request, []);
            }
            Outcome::Refused { reason } => {
                let reason =
                    format!("{reason}; no event has been accepted yet, so the fault may be the configuration's");
                self.failed(&request, frames, reason, None);
            }
            Outcome::Failed { reason, after } => self.failed(&request, frames, reason, after),
            Outcome::Unusable(error) if self.has_delivered => self.failed(&request, frames, error.to_string(), None),
            Outcome::Unusable(error) => return Err(error),
        }
        Ok(())
    }

    /// The receiver answers: requests are sent without delay.
    fn responds(&mut self) {
        self.backoff.reset();
        self.retry_at = None;
        self.status.report(Health::Up);
    }

    fn failed(&mut self, request: &RangeInclusive<u64>, frames: Vec<Frame>, reason: String, after: Option<Duration>) {
        self.status.report(Health::Failing { error: reason.into() });
        let delay = self.backoff.delay().max(after.unwrap_or_default().min(LONGEST_DELAY));
        self.retry_at = Some(Instant::now() + delay);
        self.end(request, [frames]);
    }

    /// Ends a request, of which these batches have to be sent again; all others of its frames were delivered or rejected.
    fn end<const N: usize>(&mut self, request: &RangeInclusive<u64>, again: [Vec<Frame>; N]) {
        let ranges = again.iter().filter_map(|frames| Some(frames.first()?.number..=frames.last()?.number));
        self.low_water.end(request, ranges);
        self.again.extend(again.into_iter().filter_map(|frames| Some((frames.first()?.number, frames))));
        self.status.confirm(self.low_water.confirmed());
    }
}
