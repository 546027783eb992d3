//! Rejections: frames that a sink's receiver will never take, on their way to the pipeline.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::metadata::Metadata;
use crate::deliver::MailId;

/// The rejected frames of one sink: their number, and those that the pipeline has not taken yet.
#[derive(Debug, Clone, Default)]
pub struct Rejections(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    total: u64,
    latest: Option<Arc<str>>,
    /// By mail and document, so that they are bounded by the mails in flight, whatever the number of frames.
    waiting: HashMap<(Option<MailId>, Option<[u8; 32]>), Rejection>,
}

/// Rejected frames of one mail and document.
#[derive(Debug, Clone)]
pub struct Rejection {
    pub frames: u64,
    /// Metadata of the first of them, and why it was rejected.
    pub metadata: Metadata,
    pub reason: Arc<str>,
}

impl Rejections {
    pub(super) fn add(&self, metadata: &Metadata, reason: Arc<str>) {
        let mut state = self.lock();
        state.total += 1;
        state.latest = Some(reason.clone());
        let waiting = state.waiting.entry((metadata.mail, metadata.document));
        waiting.or_insert_with(|| Rejection { frames: 0, metadata: metadata.clone(), reason }).frames += 1;
    }

    /// Returns the rejections that were reported since the last call.
    pub fn take(&self) -> Vec<Rejection> {
        self.lock().waiting.drain().map(|(_, rejection)| rejection).collect()
    }

    /// Returns the number of frames rejected so far.
    pub fn total(&self) -> u64 {
        self.lock().total
    }

    /// Returns the reason of the latest rejection.
    pub fn latest(&self) -> Option<Arc<str>> {
        self.lock().latest.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
