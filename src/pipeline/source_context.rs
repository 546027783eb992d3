//! The pipeline's side of [`SourceContext`]: mails remembered in the ledger, completed passes, and troubles of sources.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::BoxFuture;
use jiff::Timestamp;
use tracing::debug;

use super::{
    component_metrics::{self, SourceMeter},
    deferred::Deferred,
    summary::Summary,
};
use crate::{
    config::Config,
    ledger::Ledger,
    ops::condition::Condition,
    source::{Place, PlaceStatus, SourceContext},
};

/// The ledger, as queried by the sources; and the sources that have not completed a pass yet.
pub struct PipelineContext {
    pub ledger: Arc<dyn Ledger>,
    /// True if every mail that is still there is read again.
    pub ships_again: bool,
    pub to_look_through: Mutex<BTreeSet<String>>,
    pub condition: Arc<Condition>,
    pub config: Arc<Config>,
    pub summary: Arc<Summary>,
    /// Mails that this process does not read again today.
    pub deferred: Arc<Deferred>,
}

impl PipelineContext {
    /// True if the ledger knows which of the mails that it remembers are still there, so that it may forget the others.
    pub fn may_forget(&self) -> bool {
        self.to_look_through.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl SourceContext for PipelineContext {
    fn look_up(&self, places: Vec<Place>) -> BoxFuture<'static, Vec<PlaceStatus>> {
        let (ledger, deferred, ships_again) = (self.ledger.clone(), self.deferred.clone(), self.ships_again);
        let places: Arc<[Place]> = places.into();
        Box::pin(async move {
            let mut statuses = ledger.known(places.clone()).await.unwrap_or_else(|error| {
                // Their documents are looked up in their turn, which logs a lasting error.
                debug!(%error, "can't look up which mails are known; they are read again");
                vec![PlaceStatus::default(); places.len()]
            });
            for (status, place) in statuses.iter_mut().zip(&*places) {
                status.is_known = (status.is_known && !ships_again) || deferred.contains(place, Timestamp::now());
            }
            statuses
        })
    }

    fn forgets(&self) -> bool {
        self.config.data_dir.is_none()
    }

    fn ships_again(&self) -> bool {
        self.ships_again
    }

    fn looked_through(&self, source: &str) {
        self.to_look_through.lock().unwrap_or_else(PoisonError::into_inner).remove(source);
        self.condition.source_moved(source);
        component_metrics::looked_through(source, Timestamp::now());
    }

    fn expects(&self, mails: u64) {
        self.summary.expect(mails);
    }

    fn troubled(&self, source: &str, why: &str) {
        self.condition.source_troubled(source, why);
        SourceMeter::new(source, &self.config).troubled();
    }
}
