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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::{collection::vec, prelude::*};

    use crate::sink::{BlockBuilder, Metadata, queue};

    #[derive(Debug, Clone)]
    enum Step {
        /// Appends frames of these sizes to a block, and queues it if it fits.
        Send(Vec<usize>),
        TakeFrame,
        TakeBlock,
        /// Drops what was taken first.
        Drop,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => vec(1..400usize, 1..6).prop_map(Step::Send),
            4 => Just(Step::TakeFrame),
            1 => Just(Step::TakeBlock),
            3 => Just(Step::Drop),
        ]
    }

    const BUDGET: u32 = 1000;

    fn frame(number: u64, size: usize) -> Vec<u8> {
        vec![number as u8; size]
    }

    proptest! {
        /// Frames arrive in order, each once, however they are queued and taken, and the budget is what is queued or taken, to
        /// the byte.
        #[test]
        fn frames_arrive_in_order_each_once_and_hold_their_bytes_of_the_budget(steps in vec(step(), 0..80)) {
            let (outlet, mut inlet) = queue(BUDGET);
            let level = outlet.level();
            let mut block = BlockBuilder::default();
            // Sizes of the frames in the queue, each with whether it ends a block; what was taken, with its bytes of the budget.
            let (mut queued, mut sent, mut arrived) = (VecDeque::<(usize, bool)>::new(), 0u64, 0u64);
            let mut taken: VecDeque<(Box<dyn std::any::Any>, u64)> = VecDeque::new();
            let mut held = 0u64;
            for step in steps {
                match step {
                    Step::Send(sizes) => {
                        let total: usize = sizes.iter().sum();
                        for (number, size) in (sent + 1..).zip(&sizes) {
                            block.push(Metadata::at(0), |bytes| bytes.extend(frame(number, *size)));
                        }
                        let fits = held + (total as u64).min(BUDGET.into()) <= BUDGET.into();
                        let last = outlet.try_send_block(&mut block).unwrap();
                        prop_assert_eq!(last, fits.then_some(sent + sizes.len() as u64));
                        prop_assert_eq!(block.is_empty(), fits, "it is queued, or kept");
                        block.clear();
                        // One that is larger than the queue takes all of it; its frames share that in the order taken.
                        if fits && total <= BUDGET as usize {
                            sent += sizes.len() as u64;
                            held += total as u64;
                            let end = sizes.len() - 1;
                            queued.extend(sizes.iter().enumerate().map(|(index, size)| (*size, index == end)));
                        } else if fits {
                            sent += sizes.len() as u64;
                            for number in arrived + 1..=sent {
                                let frame = inlet.try_next().expect("it is in the queue");
                                prop_assert_eq!(frame.number, number);
                                prop_assert!(number < sent || level.bytes() <= BUDGET.into());
                            }
                            arrived = sent;
                        }
                    }
                    Step::TakeFrame => match (inlet.try_next(), queued.pop_front()) {
                        (Some(taken_frame), Some((size, _))) => {
                            arrived += 1;
                            prop_assert_eq!(taken_frame.number, arrived);
                            prop_assert_eq!(&taken_frame.bytes[..], &frame(arrived, size)[..]);
                            taken.push_back((Box::new(taken_frame), size as u64));
                        }
                        (None, None) => {}
                        (frame, expected) => prop_assert!(false, "{frame:?} instead of {expected:?}"),
                    },
                    Step::TakeBlock => {
                        // Only at the start of a block: a sink takes either frames or blocks.
                        while inlet.rest.as_ref().is_some_and(|rest| rest.frames() > 0) {
                            drop(inlet.try_next());
                            arrived += 1;
                            held -= queued.pop_front().unwrap().0 as u64;
                        }
                        if let Some(taken_block) = futures::FutureExt::now_or_never(inlet.next_block()).flatten() {
                            let (mut bytes, mut size) = (Vec::new(), 0);
                            loop {
                                let (len, ends) = queued.pop_front().unwrap();
                                arrived += 1;
                                size += len as u64;
                                bytes.extend(frame(arrived, len));
                                if ends {
                                    break;
                                }
                            }
                            prop_assert_eq!(taken_block.last(), arrived);
                            let (found, permit) = taken_block.into_parts();
                            prop_assert_eq!(&found[..], &bytes[..]);
                            taken.push_back((Box::new(permit), size));
                        } else {
                            prop_assert!(queued.is_empty());
                        }
                    }
                    Step::Drop => {
                        if let Some((dropped, bytes)) = taken.pop_front() {
                            drop(dropped);
                            held -= bytes;
                        }
                    }
                }
                prop_assert_eq!(level.bytes(), held);
                prop_assert_eq!(outlet.last(), sent);
            }
        }
    }

    #[test]
    fn a_frame_whose_encoder_panics_leaves_nothing_in_the_block() {
        let mut block = BlockBuilder::default();
        block.push(Metadata::at(0), |bytes| bytes.extend(b"whole"));
        let push = std::panic::AssertUnwindSafe(|| {
            block.push(Metadata::at(0), |bytes| {
                bytes.extend(b"torn");
                panic!("in the encoder")
            });
        });
        std::panic::catch_unwind(push).unwrap_err();
        let (outlet, mut inlet) = queue(100);
        block.push(Metadata::at(0), |bytes| bytes.extend(b"next"));
        assert_eq!(outlet.try_send_block(&mut block).unwrap(), Some(2));
        assert_eq!([inlet.try_next(), inlet.try_next()].map(|frame| frame.unwrap().bytes), ["whole", "next"]);
        assert!(inlet.try_next().is_none());
    }
}
