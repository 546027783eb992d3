//! Metrics of sources and sinks. Sinks are polled, so that metrics cost nothing per event.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use prometheus::{Gauge, IntCounter};
use tokio::{sync::watch, time::Instant};

use super::sink_queue::{Counts, SinkQueue};
use crate::{
    config::{Config, source::SourceConfig},
    event::Event,
    ops::metrics,
    sink::{Level, Rejections},
    source::Verdict,
};

/// Metrics of one source's reader.
pub struct SourceMeter {
    labels: Labels,
    bytes: IntCounter,
    events: IntCounter,
    rows: IntCounter,
}

impl SourceMeter {
    pub fn new(name: &str, config: &Config) -> Self {
        let kind = config.sources.get(name).map_or("", SourceConfig::type_name);
        let labels = Labels { id: name.into(), kind: "source", component_type: kind };
        Self {
            bytes: metrics::RECEIVED_BYTES.with_label_values(&labels.all()),
            events: metrics::RECEIVED_EVENTS.with_label_values(&labels.all()),
            rows: metrics::ROWS.with_label_values(&[name]),
            labels,
        }
    }

    pub fn mail(&self, bytes: u64) {
        self.bytes.inc_by(bytes);
    }

    pub fn event(&self, event: &Event) {
        self.events.inc();
        let id: &str = &self.labels.id;
        match event {
            Event::Report(report) => {
                let (kind, outcome) = (report.report_type().unwrap_or("unknown"), report.outcome().as_str());
                metrics::DOCUMENTS.with_label_values(&[id, kind, outcome, metrics::reporter(report.org())]).inc();
            }
            Event::IngestError(error) => {
                metrics::INGEST_ERRORS.with_label_values(&[id, error.reason().code()]).inc();
                self.labels.error(error.reason().code(), "processing");
            }
            Event::Aggregate(_) | Event::TlsRpt(_) | Event::Failure(_) => self.rows.inc(),
            Event::Probe(_) => {}
        }
    }

    /// Counts that the source could not work with its server.
    pub fn troubled(&self) {
        self.labels.error("unavailable", "receiving");
    }
}

/// Counts a settled mail by its verdict.
pub fn mail_settled(source: &str, verdict: &Verdict) {
    let outcome = match verdict {
        Verdict::Archive => "archived",
        Verdict::Quarantine(_) => "quarantined",
        Verdict::WithoutReport => "without_report",
        Verdict::Defer(_) => "deferred",
        Verdict::Leave => "left",
    };
    metrics::MAILS.with_label_values(&[source, outcome]).inc();
}

/// Records the time at which a new report arrived.
pub fn report_arrived(source: &str, at: Timestamp) {
    metrics::LAST_REPORT.with_label_values(&[source]).set(at.as_second() as f64);
}

/// Records the time at which a source has completed a pass over all that is there.
pub fn looked_through(source: &str, at: Timestamp) {
    metrics::LAST_PASS.with_label_values(&[source]).set(at.as_second() as f64);
}

/// Records the number of mails in flight of each source, and the age of the oldest.
pub fn in_flight<'a>(sources: impl Iterator<Item = &'a str>, mails: &BTreeMap<Arc<str>, (usize, Instant)>) {
    let now = Instant::now();
    for source in sources {
        let (count, age) = mails
            .get(source)
            .map_or((0, 0.0), |(count, since)| (*count, now.saturating_duration_since(*since).as_secs_f64()));
        metrics::MAILS_IN_FLIGHT.with_label_values(&[source]).set(count as f64);
        metrics::OLDEST_MAIL.with_label_values(&[source]).set(age);
    }
}

/// Metrics of one sink, polled.
pub struct SinkMeter {
    counts: Arc<Counts>,
    level: Level,
    confirmed: watch::Receiver<u64>,
    rejections: Rejections,
    seen: Seen,
    received_events: IntCounter,
    received_bytes: IntCounter,
    sent_events: IntCounter,
    sent_bytes: IntCounter,
    filtered: IntCounter,
    missed: IntCounter,
    buffer_bytes: Gauge,
    buffer_events: Gauge,
    utilization: Gauge,
}

/// Values at the last poll, to add the differences: counters outlive the sink, which a reload replaces.
#[derive(Default)]
struct Seen {
    received: u64,
    received_bytes: u64,
    sent: u64,
    sent_bytes: u64,
    filtered: u64,
    missed: u64,
    busy: f64,
}

/// Weight of one poll, of four per second, in the utilization, which averages over a minute.
const LOOK_WEIGHT: f64 = 1.0 / 240.0;

impl SinkMeter {
    pub fn new(queue: &SinkQueue, confirmed: watch::Receiver<u64>, rejections: Rejections) -> Self {
        let labels = SinkLabels::of(queue).0;
        let all = labels.all();
        let discarded = |intentional| {
            let [id, kind, component_type] = all;
            metrics::DISCARDED_EVENTS.with_label_values(&[id, kind, component_type, intentional])
        };
        metrics::BUFFER_MAX_BYTES.with_label_values(&all).set(f64::from(queue.config().buffer_max_size));
        Self {
            confirmed,
            rejections,
            seen: Seen::default(),
            received_events: metrics::RECEIVED_EVENTS.with_label_values(&all),
            received_bytes: metrics::RECEIVED_BYTES.with_label_values(&all),
            sent_events: metrics::SENT_EVENTS.with_label_values(&all),
            sent_bytes: metrics::SENT_BYTES.with_label_values(&all),
            filtered: discarded("true"),
            missed: discarded("false"),
            buffer_bytes: metrics::BUFFER_BYTES.with_label_values(&all),
            buffer_events: metrics::BUFFER_EVENTS.with_label_values(&all),
            utilization: metrics::UTILIZATION.with_label_values(&all),
            counts: queue.counts(),
            level: queue.level(),
        }
    }

    pub fn look(&mut self) {
        // Read in this order, so that the events sent never exceed those received.
        let confirmed = *self.confirmed.borrow();
        let rejected = self.rejections.total();
        let sent = confirmed.saturating_sub(rejected).max(self.seen.sent);
        let waiting = self.level.bytes();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (received, received_bytes) = (count(&self.counts.queued), count(&self.counts.queued_bytes));
        let (filtered, missed) = (count(&self.counts.filtered), count(&self.counts.missed) + rejected);
        let sent_bytes = received_bytes.saturating_sub(waiting).max(self.seen.sent_bytes);
        let busy = self.seen.busy + (f64::from(u8::from(waiting > 0)) - self.seen.busy) * LOOK_WEIGHT;
        let now = Seen { received, received_bytes, sent, sent_bytes, filtered, missed, busy };
        let seen = std::mem::replace(&mut self.seen, now);
        self.received_events.inc_by(received.saturating_sub(seen.received));
        self.received_bytes.inc_by(received_bytes - seen.received_bytes);
        self.sent_events.inc_by(sent - seen.sent);
        self.sent_bytes.inc_by(sent_bytes - seen.sent_bytes);
        self.filtered.inc_by(filtered - seen.filtered);
        self.missed.inc_by(missed - seen.missed);
        self.buffer_bytes.set(waiting as f64);
        self.buffer_events.set(received.saturating_sub(confirmed) as f64);
        self.utilization.set(busy);
    }
}

/// Labels that identify a source or sink.
struct Labels {
    id: Arc<str>,
    kind: &'static str,
    component_type: &'static str,
}

impl Labels {
    fn all(&self) -> [&str; 3] {
        [&self.id, self.kind, self.component_type]
    }

    fn error(&self, error_type: &str, stage: &str) {
        let [id, kind, component_type] = self.all();
        metrics::ERRORS.with_label_values(&[id, kind, component_type, error_type, stage]).inc();
    }
}

/// Labels of a sink, without its queue.
pub struct SinkLabels(Labels);

impl SinkLabels {
    pub fn of(queue: &SinkQueue) -> Self {
        let component_type = queue.config().kind.type_name();
        Self(Labels { id: queue.name.clone(), kind: "sink", component_type })
    }

    /// Counts that the sink began to fail.
    pub fn failed(&self) {
        self.0.error("delivery_failed", "sending");
    }
}
