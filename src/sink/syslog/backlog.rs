//! What is to be sent: first what a lost connection left unconfirmed, then what comes from the queue, as fast as the
//! rate limit lets it.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};

use crate::{
    deliver::{busy::Busy, window::Window},
    sink::{Frame, Inlet, rate::RateLimit},
};

/// Bytes collected for one write; more saves no system calls worth counting, and a batch is confirmed as one.
const BATCH_BYTES: usize = 64 << 10;

/// The queue's end, the replay window and the rate limit before the wire. All bytes in it are within the queue's budget.
pub struct Backlog {
    inlet: Inlet,
    ended: bool,
    window: Window<Frame>,
    rate: Arc<RateLimit>,
    held: Busy,
    /// The wait for the next frame's turn, kept so that a cancelled wait goes on where it was.
    turn: Option<BoxFuture<'static, ()>>,
}

impl Backlog {
    /// `held`: tells that only the rate limit keeps the next frame from being sent.
    pub fn new(inlet: Inlet, rate: RateLimit, held: Busy) -> Self {
        Self { inlet, ended: false, window: Window::default(), rate: Arc::new(rate), held, turn: None }
    }

    /// Adds the frames to send next to an empty `batch`: waits for the first, then takes what is there and may go.
    /// The batch stays empty only at the queue's end. Cancel-safe.
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

    /// Waits until there is something to send or to send again; false at the queue's end with nothing left.
    pub async fn wait(&mut self) -> bool {
        !self.window.is_empty() || self.receive().await
    }

    /// Ends when the queue has ended and nothing is left to be confirmed, and not before.
    pub async fn exhausted(&mut self) {
        if self.wait().await {
            std::future::pending().await
        }
    }

    /// Takes the next frame of the queue into the window; false at the queue's end.
    async fn receive(&mut self) -> bool {
        if !self.ended {
            match self.inlet.next().await {
                Some(frame) => self.window.push(frame),
                None => self.ended = true,
            }
        }
        !self.ended
    }

    /// What was handed out lies before this offset of the connection's stream.
    pub fn written(&mut self, offset: u64) {
        self.window.written(offset);
    }

    /// The peer has everything before this offset: the last number that is confirmed by it.
    pub fn confirm(&mut self, offset: u64) -> Option<u64> {
        self.window.confirm_up_to(offset)
    }

    /// A new connection: starts from the oldest frame; returns how many are sent again.
    pub fn rewind(&mut self) -> usize {
        self.window.rewind()
    }

    /// Whether frames were handed out that are not confirmed.
    pub fn is_in_flight(&self) -> bool {
        self.window.in_flight() > 0
    }

    /// The queue has ended and every frame was handed out.
    pub fn is_drained(&self) -> bool {
        self.ended && self.window.next_to_send().is_none()
    }

    /// The queue has ended and every frame is confirmed.
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
