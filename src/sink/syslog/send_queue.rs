//! Send queue: first the frames that a lost connection left unconfirmed, then those from the sink's queue, as fast as the
//! rate limit allows.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};

use crate::{
    deliver::{busy::Busy, window::Window},
    sink::{Frame, Inlet, rate::RateLimit},
};

/// Maximum number of bytes in one write; more would save few system calls, and a write is confirmed as a whole.
const BATCH_BYTES: usize = 64 << 10;

/// The receiving end of the queue, the replay window and the rate limit. All bytes in it are within the queue's budget.
pub struct SendQueue {
    inlet: Inlet,
    ended: bool,
    window: Window<Frame>,
    rate: Arc<RateLimit>,
    held: Busy,
    /// The wait for the rate limit to admit the next frame, kept so that a cancelled wait is resumed.
    turn: Option<BoxFuture<'static, ()>>,
}

impl SendQueue {
    /// `held` is set while only the rate limit keeps the next frame from being sent.
    pub fn new(inlet: Inlet, rate: RateLimit, held: Busy) -> Self {
        Self { inlet, ended: false, window: Window::default(), rate: Arc::new(rate), held, turn: None }
    }

    /// Adds the frames to send next to an empty `batch`: waits for the first, then takes those that are queued and
    /// admitted. The batch stays empty only at the end of the queue. Cancel-safe.
    pub async fn fill(&mut self, batch: &mut Vec<u8>) {
        while batch.len() < BATCH_BYTES {
            if self.window.next_to_send().is_none() {
                match self.inlet.try_next() {
                    Some(frame) => self.window.push(frame),
                    None if batch.is_empty() && self.receive().await => {}
                    None => return,
                }
            }
            let Some(len) = self.window.next_to_send().map(|frame| frame.bytes.len()) else { return };
            if !self.may_go(len) {
                if !batch.is_empty() {
                    return;
                }
                let _held = (!self.is_in_flight()).then(|| self.held.begin());
                self.wait_turn(len).await;
            }
            if let Some(frame) = self.window.hand_out() {
                batch.extend_from_slice(&frame.bytes);
            }
        }
    }

    /// Waits until there is something to send or to send again; false at the end of the queue with nothing left.
    pub async fn wait(&mut self) -> bool {
        !self.window.is_empty() || self.receive().await
    }

    /// Completes only when the queue has ended and nothing is left to be confirmed.
    pub async fn exhausted(&mut self) {
        if self.wait().await {
            std::future::pending().await
        }
    }

    /// Takes the next frame of the queue into the window; false at the end of the queue.
    async fn receive(&mut self) -> bool {
        if !self.ended {
            match self.inlet.next().await {
                Some(frame) => self.window.push(frame),
                None => self.ended = true,
            }
        }
        !self.ended
    }

    /// Records that the frames handed out lie before this offset of the connection's stream.
    pub fn written(&mut self, offset: u64) {
        self.window.written(offset);
    }

    /// Confirms the frames before this offset, which the peer has; returns the number of the last one.
    pub fn confirm(&mut self, offset: u64) -> Option<u64> {
        self.window.confirm_up_to(offset)
    }

    /// Restarts from the oldest frame, for a new connection; returns the number of frames that are sent again.
    pub fn rewind(&mut self) -> usize {
        self.window.rewind()
    }

    /// True if frames were handed out that are not confirmed.
    pub fn is_in_flight(&self) -> bool {
        self.window.in_flight() > 0
    }

    /// True if the queue has ended and every frame was handed out.
    pub fn is_drained(&self) -> bool {
        self.ended && self.window.next_to_send().is_none()
    }

    /// True if the queue has ended and every frame is confirmed.
    pub fn is_done(&self) -> bool {
        self.ended && self.window.is_empty()
    }

    fn may_go(&mut self, len: usize) -> bool {
        self.rate.is_unlimited() || self.wait_turn(len).now_or_never().is_some()
    }

    async fn wait_turn(&mut self, len: usize) {
        let rate = &self.rate;
        let turn = self.turn.get_or_insert_with(|| {
            let rate = rate.clone();
            Box::pin(async move { rate.admit(len).await })
        });
        turn.await;
        self.turn = None;
    }
}
