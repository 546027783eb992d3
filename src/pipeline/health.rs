//! Logs the health of each sink while it runs: it fails, works again, missed events. In one place for all kinds of sinks.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::watch, time::interval};
use tracing::{debug, info, warn};

use super::{component_metrics::SinkLabels, sink_queue::Counts};
use crate::{
    ops::condition::Condition,
    sink::{Health, Rejections},
};

/// Interval at which the number of events that an optional sink missed or rejected is logged.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Logs each change of a sink's health once, until the sink has ended.
pub async fn tell(
    sink: Arc<str>,
    required: bool,
    labels: SinkLabels,
    counts: Arc<Counts>,
    rejections: Rejections,
    mut health: watch::Receiver<Health>,
    condition: Arc<Condition>,
) {
    let mut failing = false;
    let mut told = (0, 0);
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
                if began {
                    labels.failed();
                }
                condition.sink_is(&sink, match health {
                    Health::Failing { error } => Some(error),
                    Health::Starting | Health::Up => None,
                });
            }
            _ = tick.tick() => {
                let (missed, rejected) = (counts.missed.load(Ordering::Relaxed), rejections.total());
                if !required && (missed, rejected) != told {
                    let (missed, rejected, reason) = (missed - told.0, rejected - told.1, rejections.latest());
                    let reason = reason.as_deref();
                    warn!(sink = &*sink, missed, rejected, reason, "an optional sink misses or rejects events");
                }
                told = (missed, rejected);
            }
        }
    }
}

/// Logs the health; returns true if the sink is failing now.
fn say(sink: &str, health: &Health, failing: bool) -> bool {
    match health {
        Health::Starting => failing,
        Health::Up => {
            if failing {
                info!(sink, "sink recovered");
            } else {
                debug!(sink, "sink is up");
            }
            false
        }
        Health::Failing { error } if failing => {
            debug!(sink, %error, "sink is still failing");
            true
        }
        Health::Failing { error } => {
            warn!(sink, %error, "sink is failing; retrying until it recovers");
            true
        }
    }
}
