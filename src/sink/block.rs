//! Blocks: encoded events that go from a reader to a sink together, so that room in the queue, the wake-up of the sink and the
//! confirmation are paid for once for all of them.

use std::vec;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::metadata::Metadata;

/// One encoded event, framed for its sink; dropping it returns its bytes to the queue's budget.
#[derive(Debug)]
pub struct Frame {
    /// Counts from 1 without gaps, in the order of the queue.
    pub number: u64,
    pub bytes: Bytes,
    pub metadata: Metadata,
    pub permit: OwnedSemaphorePermit,
}

/// Frames of one reader for one sink that are not in the sink's queue yet. Never waits for another frame: see
/// `pipeline::sink_queue`.
#[derive(Debug, Default)]
pub struct BlockBuilder {
    bytes: Vec<u8>,
    /// End in `bytes` and metadata of each frame.
    frames: Vec<(usize, Metadata)>,
}

impl BlockBuilder {
    /// Appends a frame, which `encode` adds to the bytes. If it panics, nothing was appended.
    pub fn push(&mut self, metadata: Metadata, encode: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.truncate(self.len());
        encode(&mut self.bytes);
        self.frames.push((self.bytes.len(), metadata));
    }

    /// Returns the size of all frames in bytes.
    pub fn len(&self) -> usize {
        self.frames.last().map_or(0, |(end, _)| *end)
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Returns the number of frames.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Removes all frames, and keeps the memory for the next ones.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
    }

    /// Empties the builder into a block whose first frame has the number `first`. Copied, so that a block in a queue takes no
    /// more memory than its permit stands for.
    pub(super) fn build(&mut self, first: u64, permit: OwnedSemaphorePermit) -> Block {
        let bytes = Bytes::copy_from_slice(&self.bytes[..self.len()]);
        let frames: Vec<_> = self.frames.drain(..).collect();
        self.bytes.clear();
        Block { first, start: 0, bytes, frames: frames.into_iter(), permit }
    }
}

/// Frames with consecutive numbers in a sink's queue. Dropping it, or the last frame split off, returns all of its bytes to the
/// queue's budget.
#[derive(Debug)]
pub struct Block {
    /// Number of the first frame that was not split off, and its offset in the block.
    first: u64,
    start: usize,
    /// The bytes of these frames.
    bytes: Bytes,
    frames: vec::IntoIter<(usize, Metadata)>,
    permit: OwnedSemaphorePermit,
}

impl Block {
    /// Returns the number of frames.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Returns the bytes of all frames, one after the other, and their share of the budget.
    pub fn into_parts(self) -> (Bytes, OwnedSemaphorePermit) {
        (self.bytes, self.permit)
    }

    /// Returns the number of the last frame.
    pub fn last(&self) -> u64 {
        self.first + self.frames.len() as u64 - 1
    }

    /// Splits off the first frame, with its share of the budget; `None` if all have been.
    pub(super) fn split_first(&mut self) -> Option<Frame> {
        let (end, metadata) = self.frames.next()?;
        let bytes = self.bytes.split_to(end - self.start);
        // A block that is larger than the whole queue has permits for a part of its bytes, and the last frame takes the rest.
        let held = self.permit.num_permits();
        let share = if self.frames.len() == 0 { held } else { bytes.len().min(held) };
        let permit = self.permit.split(share)?;
        let number = self.first;
        (self.first, self.start) = (number + 1, end);
        Some(Frame { number, bytes, metadata, permit })
    }
}
