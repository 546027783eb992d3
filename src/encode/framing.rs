//! Framing: delimits the messages of a stream.

use super::json;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// No framing: a datagram, or an element of an array that the sink writes.
    Bare,
    /// Terminated by LF (RFC 6587 section 3.4.2). No frame contains one.
    Line,
    /// Octet counting: `LEN SP frame` (RFC 6587 section 3.4.1).
    Counted,
}

impl Frame {
    pub(super) fn write(self, frame: &[u8], out: &mut Vec<u8>) {
        if self == Frame::Counted {
            json::integer(frame.len() as i64, out);
            out.push(b' ');
        }
        out.extend(frame);
        if self == Frame::Line {
            out.push(b'\n');
        }
    }
}
