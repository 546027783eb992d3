//! Replay window: frames that were sent on a connection and may have to be sent again on the next one.

use std::collections::VecDeque;

/// A frame with its number in the sink's queue.
pub trait Numbered {
    fn number(&self) -> u64;
}

/// Unconfirmed frames, oldest first. It has no bound of its own: a frame holds its share of the queue's budget until the
/// window drops it.
///
/// On each connection the frames are handed out in order; when the last byte of a frame is in the connection's stream, the
/// frame gets the stream offset after it; an acknowledged offset removes the frames up to it. A new connection starts with
/// the oldest.
#[derive(Debug)]
pub struct Window<F> {
    frames: VecDeque<F>,
    /// Stream offsets after the last bytes of the first `ends.len()` frames.
    ends: VecDeque<u64>,
    /// Number of `frames` handed out on this connection; those beyond `ends` may be in the stream in part.
    handed_out: usize,
}

impl<F> Default for Window<F> {
    fn default() -> Self {
        Self { frames: VecDeque::new(), ends: VecDeque::new(), handed_out: 0 }
    }
}

impl<F: Numbered> Window<F> {
    /// Adds the newest frame, which is sent after all others.
    pub fn push(&mut self, frame: F) {
        self.frames.push_back(frame);
    }

    /// The next frame to send on this connection.
    pub fn next_to_send(&self) -> Option<&F> {
        self.frames.get(self.handed_out)
    }

    /// Hands out the next frame, whose bytes the caller is about to write to the stream.
    pub fn hand_out(&mut self) -> Option<&F> {
        let frame = self.frames.get(self.handed_out)?;
        self.handed_out += 1;
        Some(frame)
    }

    /// Records that every frame handed out is in the stream before `offset`, which never decreases.
    pub fn written(&mut self, offset: u64) {
        self.ends.resize(self.handed_out, offset);
    }

    /// Records that the peer has everything before `offset`: removes the frames that end there and returns the last one's
    /// number.
    pub fn confirm_up_to(&mut self, offset: u64) -> Option<u64> {
        let confirmed = self.ends.partition_point(|end| *end <= offset);
        self.ends.drain(..confirmed);
        self.handed_out -= confirmed;
        self.frames.drain(..confirmed).last().map(|frame| frame.number())
    }

    /// The frames handed out on this connection and not confirmed, oldest first.
    pub fn handed_out(&self) -> impl Iterator<Item = &F> {
        self.frames.iter().take(self.handed_out)
    }

    /// Restarts after a lost connection: all unconfirmed frames are sent again, unchanged and in order.
    pub fn rewind(&mut self) {
        self.ends.clear();
        self.handed_out = 0;
    }

    /// Number of frames handed out on this connection and not confirmed.
    pub fn in_flight(&self) -> usize {
        self.handed_out
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Numb(u64, usize);

    impl Numbered for Numb {
        fn number(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn a_frame_is_confirmed_only_when_its_last_byte_is() {
        let mut window = Window::default();
        for number in 1..=3 {
            window.push(Numb(number, 10));
            window.hand_out();
            window.written(number * 10);
        }
        assert_eq!(window.confirm_up_to(9), None);
        assert_eq!(window.confirm_up_to(29), Some(2));
        assert_eq!(window.confirm_up_to(30), Some(3));
        assert!(window.is_empty());
    }

    #[test]
    fn what_was_handed_out_but_is_not_in_the_stream_is_never_confirmed() {
        let mut window = Window::default();
        window.push(Numb(1, 10));
        window.hand_out();
        assert_eq!(window.confirm_up_to(u64::MAX), None);
        assert_eq!(window.handed_out().collect::<Vec<_>>(), [&Numb(1, 10)]);
        window.rewind();
        assert_eq!(window.next_to_send(), Some(&Numb(1, 10)));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(usize),
        Send,
        Flush,
        /// The peer has received this many thousandths of the stream.
        Confirm(u64),
        Reconnect,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        vec(
            prop_oneof![
                4 => (1usize..50).prop_map(Step::Push),
                4 => Just(Step::Send),
                2 => Just(Step::Flush),
                2 => (0u64..=1000).prop_map(Step::Confirm),
                1 => Just(Step::Reconnect),
            ],
            0..200,
        )
    }

    proptest! {
        /// The model: each connection carries, in order, exactly the frames after the last confirmed one, and a frame is
        /// confirmed only after the peer has received all of it from this connection's stream.
        #[test]
        fn nothing_is_lost_reordered_or_confirmed_early(steps in steps()) {
            let mut window = Window::default();
            let (mut pushed, mut confirmed) = (0u64, 0u64);
            // Of this connection: frames handed out with the offset after each, and bytes handed out, flushed, received.
            let (mut wire, mut offset, mut flushed, mut taken) = (Vec::<(u64, u64)>::new(), 0u64, 0u64, 0u64);
            for step in steps {
                match step {
                    Step::Push(len) => {
                        pushed += 1;
                        window.push(Numb(pushed, len));
                    }
                    Step::Send => {
                        let expected = wire.last().map_or(confirmed, |(number, _)| *number) + 1;
                        match window.hand_out() {
                            Some(Numb(number, len)) => {
                                prop_assert_eq!(*number, expected);
                                offset += *len as u64;
                                wire.push((*number, offset));
                            }
                            None => prop_assert_eq!(expected, pushed + 1),
                        }
                    }
                    Step::Flush => {
                        flushed = offset;
                        window.written(flushed);
                    }
                    Step::Confirm(thousandths) => {
                        taken = taken.max(flushed * thousandths / 1000);
                        if let Some(number) = window.confirm_up_to(taken) {
                            prop_assert!(number > confirmed);
                            let (_, end) = wire.iter().find(|(sent, _)| *sent == number).copied().unwrap();
                            prop_assert!(end <= taken);
                            confirmed = number;
                        }
                        // Frames received completely at the time of a flush are removed from the window.
                        if taken == flushed && flushed == offset {
                            prop_assert_eq!(window.in_flight(), 0);
                        }
                    }
                    Step::Reconnect => {
                        window.rewind();
                        (wire, offset, flushed, taken) = (Vec::new(), 0, 0, 0);
                    }
                }
                prop_assert_eq!(window.is_empty(), confirmed == pushed);
            }
        }
    }
}
