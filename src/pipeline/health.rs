//! What is said of a sink while it runs: that it fails, that it works again, what it missed. In one place for all kinds.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::interval};
use tracing::{debug, info, warn};

use super::{lane::Lane, meters};
use crate::{ops::condition::Condition, sink::Health};

/// How often events that an optional sink misses are told, as a number.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Logs how a sink is doing, each change once, until the sink has ended.
pub fn tell(
    lane: &Arc<Lane>,
    health: watch::Receiver<Health>,
    condition: Arc<Condition>,
) -> impl Future<Output = ()> + Send + use<> {
    // Not held: the sink ends when nobody holds its queue any more.
    tell_of(lane.name.clone(), lane.missed(), Arc::downgrade(lane), health, condition)
}

async fn tell_of(
    sink: Arc<str>,
    missed: Arc<AtomicU64>,
    lane: Weak<Lane>,
    mut health: watch::Receiver<Health>,
    condition: Arc<Condition>,
) {
    let mut failing = false;
    let mut told = 0;
    let mut tick = interval(TELL_EVERY);
    loop {
        tokio::select! {
            changed = health.changed() => {
                if changed.is_err() {
                    return;
                }
                let health = health.borrow_and_update().clone();
                let began = !failing && matches!(health, Health::Failing { .. });
                failing = say(&sink, &health, failing);
                if began && let Some(lane) = lane.upgrade() {
                    meters::sink_failed(&lane);
                }
                condition.sink_is(&sink, match health {
                    Health::Failing { error } => Some(error),
                    Health::Starting | Health::Up => None,
                });
            }
            _ = tick.tick() => {
                let missed = missed.load(Ordering::Relaxed);
                if missed > told {
                    warn!(sink = &*sink, missed = missed - told, "a sink that is not required misses events");
                    told = missed;
                }
            }
        }
    }
}

/// Whether the sink is failing now.
fn say(sink: &str, health: &Health, failing: bool) -> bool {
    match health {
        Health::Starting => failing,
        Health::Up => {
            if failing {
                info!(sink, "works again");
            } else {
                debug!(sink, "works");
            }
            false
        }
        Health::Failing { error } if failing => {
            debug!(sink, %error, "still failing");
            true
        }
        Health::Failing { error } => {
            warn!(sink, %error, "failing, will be tried until it works");
            true
        }
    }
}
