//! Send queue: first the frames that a lost connection left unconfirmed, then those from the sink's queue, as fast as the
//! rate limit allows.

use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    deliver::{
        busy::Busy,
        window::{Numbered, Window},
    },
    sink::{Block, Frame, Inlet, rate::RateLimit},
};

/// Size in bytes from which a write takes no more pieces; more would save few system calls, and a write is confirmed as a
/// whole.
const WRITE_BYTES: usize = 64 << 10;

/// Unit that is written, confirmed and sent again as a whole: a block, or one frame if there is a rate limit.
#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    frames: u64,
    /// Number of its last frame.
    last: u64,
    _permit: OwnedSemaphorePermit,
}

/// The receiving end of the queue, the replay window and the rate limit. All bytes in it are within the queue's budget.
pub struct SendQueue {
    inlet: Inlet,
    ended: bool,
    window: Window<Piece>,
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

    /// Adds the pieces to send next to an empty `load`: waits for the first, then takes those that are queued and admitted.
    /// The load stays empty only at the end of the queue. Cancel-safe.
    pub async fn fill(&mut self, load: &mut Vec<Bytes>) {
        let mut bytes = 0;
        while bytes < WRITE_BYTES {
            if self.window.next_to_send().is_none() {
                match self.receive().now_or_never() {
                    Some(true) => {}
                    None if load.is_empty() && self.receive().await => {}
                    _ => return,
                }
            }
            let Some(len) = self.window.next_to_send().map(|piece| piece.bytes.len()) else { return };
            if !self.may_go(len) {
                if !load.is_empty() {
                    return;
                }
                let _held = (!self.is_in_flight()).then(|| self.held.begin());
                self.wait_turn(len).await;
            }
            if let Some(piece) = self.window.hand_out() {
                bytes += len;
                load.push(piece.bytes.clone());
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

    /// Takes the next piece of the queue into the window; false at the end of the queue. Cancel-safe.
    async fn receive(&mut self) -> bool {
        if !self.ended {
            let next = match self.rate.is_unlimited() {
                true => self.inlet.next_block().await.map(Piece::from),
                false => self.inlet.next().await.map(Piece::from),
            };
            match next {
                Some(piece) => self.window.push(piece),
                None => self.ended = true,
            }
        }
        !self.ended
    }

    /// Records that the pieces handed out lie before this offset of the connection's stream.
    pub fn written(&mut self, offset: u64) {
        self.window.written(offset);
    }

    /// Confirms the frames before this offset, which the peer has; returns the number of the last one.
    pub fn confirm(&mut self, offset: u64) -> Option<u64> {
        self.window.confirm_up_to(offset)
    }

    /// Restarts from the oldest piece, for a new connection; returns the number of frames that are sent again.
    pub fn rewind(&mut self) -> u64 {
        let frames = self.window.handed_out().map(|piece| piece.frames).sum();
        self.window.rewind();
        frames
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

impl Numbered for Piece {
    fn number(&self) -> u64 {
        self.last
    }
}

impl From<Block> for Piece {
    fn from(block: Block) -> Self {
        let (last, frames) = (block.last(), block.frames() as u64);
        let (bytes, permit) = block.into_parts();
        Self { bytes, frames, last, _permit: permit }
    }
}

impl From<Frame> for Piece {
    fn from(Frame { number, bytes, permit, .. }: Frame) -> Self {
        Self { bytes, frames: 1, last: number, _permit: permit }
    }
}
