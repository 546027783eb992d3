//! Supervisor of a run: starts sources, readers and sinks, watches them, and shuts them down.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    admission::Admission,
    build::{self, Destination},
    component_metrics::{self, SinkLabels, SinkMeter, SourceMeter},
    deferred::Deferred,
    ends::{SinkEnd, SourceEnd, reader_ended, sink_ended, source_ended},
    health,
    options::Options,
    pool::Pool,
    settlement::{Reports, Settlement},
    sink_queue::{Emitter, SinkQueue},
    source_context::PipelineContext,
    source_reader::{MAILS_WAITING, SourceReader},
    stall_timer::StallTimer,
    summary::Summary,
};
use crate::{
    config::Config,
    deliver::busy::Busy,
    encode::Host,
    exit::Exit,
    ledger::Ledger,
    ops::{condition::Condition, progress, signals::Stop},
    sink::{self, Health, Rejections, Status},
    source::{Intake, Source},
};

/// Interval of the checks for a stalled sink.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Time left after everything is given up, to send sources their verdicts and to log out of servers. With
/// `shutdown_timeout` (25 s) it stays below the 30 s after which Kubernetes kills.
const FAREWELL: Duration = Duration::from_secs(4);

/// Shortest stall for which mails are blamed, also with a smaller `give_up_after`, such as 0.
const LEAST_STANDSTILL: Duration = Duration::from_secs(1);

/// Time after which a reload stops waiting for a sink that is connected and has confirmed nothing: the reload may be what
/// it needs. Healthy receivers take some milliseconds.
const HANGS_AFTER: Duration = Duration::from_secs(5);

/// Interval at which a continuous run asks the ledger to expire old entries, which it does once a day.
const ASK_TO_FORGET: Duration = Duration::from_secs(3600);

/// Runs until the sources have ended (`once`), `stop` asks for it, or nothing more can be delivered. Keeps `condition` up
/// to date.
pub async fn run(
    config: Config,
    ledger: Arc<dyn Ledger>,
    options: Options,
    stop: Stop,
    condition: Arc<Condition>,
) -> Exit {
    let destinations = if options.dry_run { Vec::new() } else { build::destinations(&config) };
    let sources = build::sources(&config);
    let prints = config.sinks.values().any(|sink| sink.kind.options().prints());
    let supervisor = Supervisor::start(destinations, sources, Arc::new(config), ledger, options, stop, condition);
    let summary = supervisor.summary.clone();
    let progress = options.once.then(|| progress::show("mails", prints, move || summary.seen()));
    let exit = supervisor.run().await;
    drop(progress);
    exit
}

/// A running sink.
struct Running {
    queue: Arc<SinkQueue>,
    confirmed: watch::Receiver<u64>,
    rejections: Rejections,
    health: watch::Receiver<Health>,
    /// Set while only its own rate limit holds the sink back.
    held: Busy,
    abort: CancellationToken,
    /// Stall timer of the sink, restarted when the number of the last confirmed event changes.
    stall_timer: StallTimer<u64>,
    hangs_for: Option<Duration>,
}

impl Running {
    /// Checks for a hanging sink: it is required, has unconfirmed events, and confirms none, whatever other sinks confirm.
    fn look(&mut self, now: Instant) {
        let confirmed = *self.confirmed.borrow();
        self.hangs_for = self.stall_timer.look(self.owes().then_some(confirmed), self.held.is_any(), now);
    }

    /// True if mails wait for events that the sink has not confirmed.
    fn owes(&self) -> bool {
        self.queue.is_required() && self.unconfirmed() > 0
    }

    /// Returns the number of events that are queued or sent but not confirmed.
    fn unconfirmed(&self) -> u64 {
        self.queue.last().saturating_sub(*self.confirmed.borrow())
    }

    /// True if a reload does not wait for the sink: it is not connected, or it hangs.
    fn is_given_up(&self) -> bool {
        *self.health.borrow() != Health::Up || self.hangs_for.is_some_and(|time| time >= HANGS_AFTER)
    }
}

/// All parts of a run.
struct Supervisor {
    config: Arc<Config>,
    options: Options,
    stop: Stop,
    settlement: Arc<Settlement>,
    context: Arc<PipelineContext>,
    summary: Arc<Summary>,
    sources: JoinSet<SourceEnd>,
    readers: JoinSet<()>,
    sinks: JoinSet<SinkEnd>,
    settling: JoinHandle<()>,
    queues: Vec<Running>,
    at_reading: Busy,
    meters: Vec<SinkMeter>,
    condition: Arc<Condition>,
    began: Instant,
    /// Cancelled when the events in flight are given up.
    abort: CancellationToken,
    /// Cancelled when no more mails are to be settled.
    settled: CancellationToken,
    /// Time by which a requested stop has to be complete.
    deadline: Option<Instant>,
    stall_timer: StallTimer<Instant>,
    exit: Exit,
}

impl Supervisor {
    fn start(
        destinations: Vec<Destination>,
        sources: Vec<Box<dyn Source>>,
        config: Arc<Config>,
        ledger: Arc<dyn Ledger>,
        options: Options,
        stop: Stop,
        condition: Arc<Condition>,
    ) -> Self {
        let (abort, settled) = (CancellationToken::new(), CancellationToken::new());
        let (mut sinks, mut queues, mut reports) = (JoinSet::new(), Vec::new(), Vec::new());
        let mut required_sinks = Vec::new();
        let deferred: Arc<Deferred> = Arc::default();
        let settlement = Arc::new(Settlement::new(ledger.clone(), deferred.clone(), &config, options));
        for (number, Destination { name, config, sink }) in destinations.into_iter().enumerate() {
            let (outlet, inlet) = sink::queue(config.buffer_max_size);
            let (status, confirmed, health) = Status::new();
            let required = config.required;
            if required {
                required_sinks.push(name.clone());
            }
            let rejections = status.rejections();
            reports.push(Reports { sink: number, confirmed: confirmed.clone(), rejections: rejections.clone() });
            let queue = Arc::new(SinkQueue::new(name.clone(), config, outlet, number));
            let abort = abort.child_token();
            let held = status.held();
            let running = sink.run(inlet, status, abort.clone());
            let (labels, counts) = (SinkLabels::of(&queue), queue.counts());
            tokio::spawn(health::tell(
                name.clone(),
                required,
                labels,
                counts,
                rejections.clone(),
                health.clone(),
                condition.clone(),
            ));
            let stall_timer = StallTimer::new(Instant::now());
            queues.push(Running { queue, confirmed, rejections, health, held, abort, stall_timer, hangs_for: None });
            sinks.spawn(async move { SinkEnd { name, required, result: running.await } });
        }
        for Reports { mut confirmed, .. } in reports.iter().cloned() {
            let settlement = settlement.clone();
            tokio::spawn(async move {
                while confirmed.changed().await.is_ok() {
                    settlement.wake();
                }
            });
        }
        let settling = tokio::spawn(settlement.clone().settle(reports, settled.clone()));
        let intervals: Vec<_> =
            config.sources.iter().map(|(name, source)| (name.as_str(), source.options().poll_interval())).collect();
        condition.begin(config.api.stuck_after, &intervals, &required_sinks);
        for source in config.sources.keys() {
            let left_out: Vec<_> = config.left_out_of(source).collect();
            if !left_out.is_empty() {
                let sinks = left_out.join(", ");
                info!(source, sinks, "mails stay in place: this run leaves out required sinks");
            }
        }
        let names = sources.iter().map(|source| source.name().to_owned()).collect();
        let summary: Arc<Summary> = Arc::default();
        let mut supervisor = Self {
            context: Arc::new(PipelineContext {
                ledger,
                ships_again: options.reship.is_some(),
                to_look_through: Mutex::new(names),
                condition: condition.clone(),
                config: config.clone(),
                summary: summary.clone(),
                deferred,
            }),
            summary,
            sources: JoinSet::new(),
            readers: JoinSet::new(),
            deadline: None,
            stall_timer: StallTimer::new(Instant::now()),
            exit: Exit::Done,
            meters: queues
                .iter()
                .map(|sink| SinkMeter::new(&sink.queue, sink.confirmed.clone(), sink.rejections.clone()))
                .collect(),
            condition,
            began: Instant::now(),
            config,
            options,
            stop,
            settlement,
            sinks,
            settling,
            queues,
            at_reading: Busy::default(),
            abort,
            settled,
        };
        let pool = Pool::new(supervisor.config.intake_max_size);
        let host = build::this_machine();
        for source in sources {
            supervisor.connect(source, &pool, &host);
        }
        supervisor
    }

    /// Starts one source and its reader.
    fn connect(&mut self, source: Box<dyn Source>, pool: &Pool, host: &Host) {
        let (mail_sender, mails) = mpsc::channel(MAILS_WAITING);
        let (verdicts, verdict_receiver) = mpsc::unbounded_channel();
        let (rejected_sender, rejected) = mpsc::unbounded_channel();
        let intake = Intake::new(
            mail_sender,
            verdict_receiver,
            pool.budget().clone(),
            self.config.intake_max_size,
            self.context.clone(),
            self.options.once,
            self.options.dry_run,
            self.stop.gently.clone(),
        );
        let name: Arc<str> = source.name().into();
        let (queues, sinks) = (self.queues.iter().map(|sink| &sink.queue), self.config.sinks.len());
        let reader = SourceReader {
            mails,
            rejected,
            reader: rejected_sender,
            verdicts,
            emitter: Emitter::new(
                &name,
                queues,
                sinks,
                host,
                Handle::current(),
                self.context.ledger.bookmark(),
                self.at_reading.clone(),
            ),
            meter: SourceMeter::new(&name, &self.config),
            admission: Admission::new(name.clone(), &self.config),
            settlement: self.settlement.clone(),
            route: self.settlement.route(&name, &self.config),
            config: self.config.clone(),
            summary: self.summary.clone(),
            deferred: self.context.deferred.clone(),
            condition: self.condition.clone(),
            pool: pool.clone(),
            stop: self.stop.gently.clone(),
            dry_run: self.options.dry_run,
        };
        self.readers.spawn(reader.run());
        self.sources.spawn(async move { (name, source.run(intake).await) });
    }

    async fn run(mut self) -> Exit {
        let ended_by_itself = self.watch().await;
        // Whatever still runs is given up: release readers that wait for a sink, send every mail a verdict, log out of servers.
        self.stop.gently.cancel();
        self.condition.drain();
        if !ended_by_itself {
            self.note_unfinished().await;
            self.abort.cancel();
            self.settled.cancel();
            if timeout(FAREWELL, self.part()).await.is_err() {
                warn!("sources or readers did not end in time; aborting them");
                self.sources.shutdown().await;
                self.readers.shutdown().await;
            }
        }
        self.drain(ended_by_itself).await;
        self.settled.cancel();
        if let Err(panic) = (&mut self.settling).await {
            error!(%panic, "settling failed; this is a bug, please report it");
            self.exit = self.exit.or_worse(Exit::Internal);
        }
        let stopped = self.deadline.is_some() && !self.options.dry_run;
        if self.options.once && (stopped || self.settlement.left() > 0) {
            warn!(
                left = self.settlement.left(),
                "not all mails were processed; the others stay in place for the next run"
            );
            self.exit = self.exit.or_worse(Exit::Undelivered);
        }
        if self.options.once && self.context.may_forget() && !self.options.dry_run {
            expire(self.context.ledger.clone(), self.config.ledger.retention_days).await;
        }
        self.measure();
        let exit = self.exit.or_worse(self.summary.exit(self.options));
        self.summary.say(self.options, self.settlement.left(), self.began.elapsed(), exit);
        exit
    }

    /// Watches until every source and reader has ended (true), or until there is a reason to give up those that run (false).
    async fn watch(&mut self) -> bool {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut expiry = interval(ASK_TO_FORGET);
        expiry.reset();
        while !(self.sources.is_empty() && self.readers.is_empty()) {
            let (exit, go_on) = tokio::select! {
                // In this order: sources that end because of a stop must not make the run look like a complete one.
                biased;
                () = self.stop.gently.cancelled(), if self.deadline.is_none() => {
                    info!(in_flight = self.settlement.in_flight(), "stopping: waiting for the mails in flight");
                    self.condition.drain();
                    self.deadline = Some(Instant::now() + self.config.shutdown_timeout);
                    (Exit::Done, true)
                }
                Some(ended) = self.sources.join_next() => (source_ended(ended, self.options, &self.summary), true),
                Some(ended) = self.readers.join_next() => (reader_ended(&ended), ended.is_ok()),
                Some(ended) = self.sinks.join_next() => match sink_ended(ended, true) {
                    Some(exit) => (exit, false),
                    None => (Exit::Done, true),
                },
                _ = look.tick() => self.look(),
                _ = expiry.tick(), if !self.options.once && !self.options.dry_run => {
                    if self.context.may_forget() {
                        tokio::spawn(expire(self.context.ledger.clone(), self.config.ledger.retention_days));
                    }
                    (Exit::Done, true)
                }
            };
            self.exit = self.exit.or_worse(exit);
            if !go_on {
                return false;
            }
        }
        true
    }

    /// Checks the run: true to continue; false, with the exit code, to give up.
    fn look(&mut self) -> (Exit, bool) {
        let in_flight = self.settlement.in_flight();
        let (waited, who) = self.measure().unzip();
        if self.settling.is_finished() {
            return (Exit::Internal, false);
        }
        if self.stop.now.is_cancelled() || self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            warn!(
                in_flight,
                "stopping before all events were confirmed; unconfirmed mails stay in place for the next run"
            );
            return (Exit::Undelivered, false);
        }
        if self.stop.reload.is_cancelled() && self.waits_for_the_given_up() {
            warn!(
                in_flight,
                "reloading without the mails that wait for an unreachable or stalled sink; the new configuration reads them again"
            );
            return (Exit::Undelivered, false);
        }
        let most = self.config.give_up_after;
        if self.options.once && waited.is_some_and(|waited| waited >= most) {
            let who = who.unwrap_or_default();
            error!(in_flight, "{who} for {most:?} (give_up_after); the mails stay in place for the next run");
            return (Exit::Undelivered, false);
        }
        (Exit::Done, true)
    }

    /// True if all events that are not confirmed yet wait for required sinks that are not connected or that hang.
    fn waits_for_the_given_up(&self) -> bool {
        let mut owing = self.queues.iter().filter(|sink| sink.owes()).peekable();
        owing.peek().is_some() && owing.all(Running::is_given_up)
    }

    /// True if the run waits for its own work: a mail is being read, or all that sinks have to send is held back by their
    /// rate limits.
    fn waits_for_us(&self) -> bool {
        let mut owing = self.queues.iter().filter(|sink| sink.owes()).peekable();
        self.at_reading.is_any() || (owing.peek().is_some() && owing.all(|sink| sink.held.is_any()))
    }

    /// Updates the metrics and the condition. Returns how long the run has waited for others without anything arriving, and
    /// who they are, in words.
    fn measure(&mut self) -> Option<(Duration, String)> {
        self.meters.iter_mut().for_each(SinkMeter::look);
        component_metrics::in_flight(self.config.sources.keys().map(String::as_str), &self.settlement.flying());
        let now = Instant::now();
        let waited = self.stall_timer.look(self.settlement.stuck_since(), self.waits_for_us(), now);
        self.queues.iter_mut().for_each(|sink| sink.look(now));
        let hanging = self.queues.iter().filter_map(|sink| Some((sink.hangs_for?, &sink.queue.name))).max();
        let stuck = match hanging {
            Some((time, sink)) => Some((time, format!("the sink {sink} has confirmed nothing"))),
            None => waited.map(|time| (time, "nothing was confirmed".to_owned())),
        };
        self.condition.stuck_since(stuck.clone().map(|(time, who)| (now - time, who)));
        stuck
    }

    /// Has the ledger note the mails in flight, if their sinks have stalled.
    async fn note_unfinished(&mut self) {
        let least = self.config.give_up_after.min(self.config.shutdown_timeout).max(LEAST_STANDSTILL);
        if self.measure().is_none_or(|(waited, _)| waited < least) {
            return;
        }
        let owing = self.queues.iter().enumerate().filter(|(_, sink)| sink.owes());
        let owing: Vec<_> = owing.map(|(number, sink)| (number, sink.queue.name.clone())).collect();
        // A disk that hangs is not waited for any longer.
        timeout(FAREWELL, self.settlement.note_unfinished(&owing)).await.ok();
    }

    /// Waits for the sources and readers to end, after they were asked to.
    async fn part(&mut self) {
        while let Some(ended) = self.sources.join_next().await {
            self.exit = self.exit.or_worse(source_ended(ended, self.options, &self.summary));
        }
        while let Some(ended) = self.readers.join_next().await {
            self.exit = self.exit.or_worse(reader_ended(&ended));
        }
    }

    /// Lets the sinks send what is left in their queues, and reports what they could not send.
    async fn drain(&mut self, ended_by_itself: bool) {
        let (mut queues, now) = (Vec::new(), Instant::now());
        for Running { queue, confirmed, rejections, health, abort, .. } in std::mem::take(&mut self.queues) {
            queues.push((queue.name.clone(), queue.is_required(), queue.last(), queue.counts(), confirmed, rejections));
            // For sinks that are not required; the required ones have nothing left to wait for.
            if self.stop.reload.is_cancelled() && *health.borrow() != Health::Up {
                abort.cancel();
            }
        }
        let end = match self.deadline {
            _ if !ended_by_itself => now + FAREWELL,
            Some(deadline) => deadline.max(now + FAREWELL),
            None => now + self.config.shutdown_timeout,
        };
        let drained = async {
            while let Some(ended) = self.sinks.join_next().await {
                self.exit = self.exit.or_worse(sink_ended(ended, false).unwrap_or(Exit::Done));
            }
        };
        let in_time = tokio::select! {
            drained = timeout_at(end, drained) => drained.is_ok(),
            () = self.stop.now.cancelled() => false,
        };
        if !in_time {
            self.abort.cancel();
            self.sinks.shutdown().await;
        }
        for (sink, required, last, counts, confirmed, rejections) in queues {
            let missed = counts.missed.load(Ordering::Relaxed);
            let unconfirmed = last.saturating_sub(*confirmed.borrow());
            if required && unconfirmed > 0 {
                self.exit = self.exit.or_worse(Exit::Undelivered);
            } else if !required && missed + unconfirmed + rejections.total() > 0 {
                let reason = rejections.latest();
                warn!(
                    %sink, missed, unconfirmed, rejected = rejections.total(), reason = reason.as_deref(),
                    "an optional sink missed, rejected, or did not confirm events"
                );
            }
        }
    }
}

/// Expires old entries of the ledger.
async fn expire(ledger: Arc<dyn Ledger>, retention_days: u32) {
    match ledger.expire(Timestamp::now(), retention_days).await {
        Ok(0) => {}
        Ok(forgotten) => debug!(forgotten, retention_days, "deleted expired ledger entries"),
        Err(error) => warn!(%error, "can't delete expired ledger entries; the ledger grows until this succeeds"),
    }
}

#[cfg(test)]
mod tests;
