//! Readiness and liveness: records which sources and sinks have stalled, and for how long; the basis of `/readyz`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Health of sources and required sinks. Written by the pipeline, read by the health checks.
#[derive(Debug, Default)]
pub struct Condition {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stage: Stage,
    /// Sources and sinks by kind and name, such as `source rua`.
    components: BTreeMap<String, Component>,
    /// Since when mails have been waiting for events that do not arrive, and what they wait for, in words.
    stuck: Option<(Instant, String)>,
    stuck_after: Duration,
    /// Time of the supervisor's last look.
    looked: Option<Instant>,
}

/// Time without a look of the supervisor after which the process counts as stalled. It looks four times a second; a disk
/// that hangs may hold that up for some seconds.
const MOTIONLESS_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Starting,
    Running,
    Draining,
}

#[derive(Debug)]
struct Component {
    /// When it last made progress.
    moved: Instant,
    /// Time that it may go without progress.
    patience: Duration,
    trouble: Option<Arc<str>>,
    /// True if it counts as stalled only while it has a trouble.
    may_rest: bool,
}

impl Condition {
    /// Starts the record of a pipeline. A source counts as stalled when it has made no progress for its interval plus
    /// `stuck_after`; a required sink when it has failed for `stuck_after`.
    pub fn begin(&self, stuck_after: Duration, sources: &[(&str, Duration)], required_sinks: &[Arc<str>]) {
        let moved = Instant::now();
        let component = |patience, may_rest| Component { moved, patience, trouble: None, may_rest };
        let mut state = self.lock();
        *state = State { stage: Stage::Running, stuck_after, looked: Some(moved), ..State::default() };
        for (name, interval) in sources {
            state.components.insert(source(name), component(stuck_after.saturating_add(*interval), false));
        }
        for name in required_sinks {
            state.components.insert(sink(name), component(stuck_after, true));
        }
    }

    /// Records that the pipeline drains: it finishes what runs, and takes nothing more.
    pub fn drain(&self) {
        self.lock().stage = Stage::Draining;
    }

    pub fn is_draining(&self) -> bool {
        self.lock().stage == Stage::Draining
    }

    /// Records that a source has completed a pass, or that one of its mails has been read.
    pub fn source_moved(&self, name: &str) {
        self.note(&source(name), None);
    }

    /// Records that a source can't do its work for now.
    pub fn source_troubled(&self, name: &str, why: &str) {
        self.note(&source(name), Some(why.into()));
    }

    /// Records that a sink works, or that it can't for now.
    pub fn sink_is(&self, name: &str, trouble: Option<Arc<str>>) {
        self.note(&sink(name), trouble);
    }

    /// Records a look of the supervisor: since when mails have been waiting for events that do not arrive, and what they
    /// wait for.
    pub fn stuck_since(&self, stuck: Option<(Instant, String)>) {
        let mut state = self.lock();
        (state.stuck, state.looked) = (stuck, Some(Instant::now()));
    }

    /// True if the process itself makes progress; the state of remote servers does not matter. Its start and its end have
    /// limits of their own.
    pub fn moves(&self, now: Instant) -> bool {
        let state = self.lock();
        state.stage != Stage::Running
            || state.looked.is_some_and(|looked| now.saturating_duration_since(looked) < MOTIONLESS_AFTER)
    }

    /// Returns the reasons why the process is not ready; empty if it is.
    pub fn reasons(&self, now: Instant) -> Vec<String> {
        let state = self.lock();
        match state.stage {
            Stage::Starting => return vec!["starting".into()],
            Stage::Draining => return vec!["draining: mails in flight are finished, no new ones are read".into()],
            Stage::Running => {}
        }
        let mut reasons: Vec<String> =
            state.components.iter().filter_map(|(name, component)| component.reason(name, now)).collect();
        let stuck = state.stuck.as_ref().map(|(since, who)| (now.saturating_duration_since(*since), who));
        if let Some((time, who)) = stuck.filter(|(time, _)| *time >= state.stuck_after) {
            reasons.push(format!("{who} for {} s, while mails wait for it", time.as_secs()));
        }
        reasons
    }

    fn note(&self, name: &str, trouble: Option<Arc<str>>) {
        if let Some(component) = self.lock().components.get_mut(name) {
            // A trouble that continues keeps its start time.
            if trouble.is_none() || (component.may_rest && component.trouble.is_none()) {
                component.moved = Instant::now();
            }
            component.trouble = trouble;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Component {
    fn reason(&self, name: &str, now: Instant) -> Option<String> {
        let still = now.saturating_duration_since(self.moved);
        if still < self.patience || (self.may_rest && self.trouble.is_none()) {
            return None;
        }
        let why = self.trouble.as_deref().unwrap_or("no error is reported");
        Some(format!("{name} has made no progress for {} s: {why}", still.as_secs()))
    }
}

fn source(name: &str) -> String {
    format!("source {name}")
}

fn sink(name: &str) -> String {
    format!("sink {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(900);

    fn running() -> Condition {
        let condition = Condition::default();
        condition.begin(LIMIT, &[("rua", Duration::from_secs(300))], &["siem".into()]);
        condition
    }

    #[tokio::test(start_paused = true)]
    async fn ready_only_while_running_not_while_starting_or_draining() {
        assert_eq!(Condition::default().reasons(Instant::now()), ["starting"]);
        let condition = running();
        assert!(condition.reasons(Instant::now()).is_empty());
        condition.drain();
        assert!(condition.reasons(Instant::now())[0].starts_with("draining"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_is_stuck_only_while_it_fails() {
        let condition = running();
        tokio::time::advance(LIMIT).await;
        assert!(condition.reasons(Instant::now()).is_empty(), "it may have had nothing to send");
        condition.sink_is("siem", Some("can't connect".into()));
        tokio::time::advance(LIMIT / 2).await;
        condition.sink_is("siem", Some("still can't connect".into()));
        condition.source_moved("rua");
        assert!(condition.reasons(Instant::now()).is_empty());
        tokio::time::advance(LIMIT / 2).await;
        assert_eq!(
            condition.reasons(Instant::now()),
            ["sink siem has made no progress for 900 s: still can't connect"]
        );
        condition.sink_is("siem", None);
        assert!(condition.reasons(Instant::now()).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_is_stuck_after_poll_interval_plus_stuck_after() {
        let condition = running();
        tokio::time::advance(LIMIT + Duration::from_secs(200)).await;
        condition.source_troubled("rua", "the server is gone");
        assert!(condition.reasons(Instant::now()).is_empty());
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(
            condition.reasons(Instant::now()),
            ["source rua has made no progress for 1200 s: the server is gone"]
        );
        condition.source_moved("rua");
        assert!(condition.reasons(Instant::now()).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn unconfirmed_mails_make_it_unready_after_stuck_after() {
        let condition = running();
        condition.stuck_since(Some((Instant::now(), "the sink out has confirmed nothing".into())));
        condition.source_moved("rua");
        tokio::time::advance(LIMIT).await;
        let reason = "the sink out has confirmed nothing for 900 s, while mails wait for it";
        assert_eq!(condition.reasons(Instant::now()), [reason]);
    }

    #[tokio::test(start_paused = true)]
    async fn liveness_depends_on_the_supervisor_and_not_on_servers() {
        assert!(Condition::default().moves(Instant::now()), "it may be starting");
        let condition = running();
        for _ in 0..100 {
            tokio::time::advance(MOTIONLESS_AFTER / 2).await;
            condition.stuck_since(Some((Instant::now(), "the sink out has confirmed nothing".into())));
            assert!(condition.moves(Instant::now()));
        }
        tokio::time::advance(MOTIONLESS_AFTER).await;
        assert!(!condition.moves(Instant::now()));
        condition.drain();
        assert!(condition.moves(Instant::now()), "an end takes the time that it is given");
    }

    #[test]
    fn sinks_that_are_not_required_do_not_affect_readiness() {
        let condition = running();
        condition.sink_is("dashboard", Some("gone".into()));
        assert_eq!(condition.lock().components.len(), 2);
    }
}
