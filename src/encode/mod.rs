//! Encodes events to bytes: field selection, codec, envelope and framing of one sink. Pure.
//!
//! ```text
//! event ─▶ fields ─▶ json | text ─▶ rfc5424 | rfc3164 ─▶ framing
//!          choose      message          envelope          frame
//!             ▲           │ too large
//!             └─ shrink ◀─┘
//! ```

mod fields;
mod framing;
mod json;
mod message;
mod msgpack;
mod rfc3164;
mod rfc5424;
mod rows;
mod shrink;
mod syslog;
mod text;

#[cfg(test)]
mod tests;

use crate::{
    config::sink::{Codec, Encoding, Frames, Framing, SinkConfig, Syslog, SyslogFormat, SyslogMode},
    event::{Event, EventType, Field},
};
use fields::Selection;
use framing::Frame;
use json::Charset;
use message::Message;
use rows::Rows;

pub use syslog::Host;

/// The smallest limit, in bytes, that every event can be shrunk to: the size that each syslog receiver must accept (RFC 5424
/// section 6.1). Smaller limits are raised to this.
pub const SMALLEST_LIMIT: u32 = 480;

/// Maximum size of an event, in bytes, if the sink sets no smaller limit (`file`, `parse`). Real events have some 2,000
/// bytes; Vector's `file` source, which may read them, drops lines of more than 100 KiB by default.
pub const LARGEST: u32 = 64 << 10;

/// Encodes events for one sink: fields, codec, envelope and framing as configured.
#[derive(Debug)]
pub struct Encoder {
    selection: Selection,
    message: Message,
    envelope: Envelope,
    framing: Frame,
    rows: Rows,
    /// Maximum size of a frame, in bytes, without octet count.
    limit: usize,
    /// Buffers, empty between events; kept to reuse their memory.
    fields: Vec<Field<'static>>,
    frame: Vec<u8>,
}

#[derive(Debug)]
enum Envelope {
    None,
    Rfc5424(rfc5424::Envelope),
    Rfc3164(rfc3164::Envelope),
    /// Array of the time and the record, as in the entries of Fluent Forward.
    Entry,
}

impl Encoder {
    /// Creates an encoder for `sink`.
    pub fn new(sink: &SinkConfig, host: &Host) -> Self {
        let selection = Selection::new(&sink.encoding);
        let (charset, envelope, framing, limit) = match sink.kind.frames() {
            // The sink itself adds the brackets and commas of the array.
            Frames::Lines { .. } if sink.encoding.codec == Codec::Array => {
                (Charset::Visible, Envelope::None, Frame::Bare, LARGEST)
            }
            Frames::Lines { max_bytes: None } => (Charset::Visible, Envelope::None, Frame::Line, LARGEST),
            Frames::Lines { max_bytes: Some(most) } => {
                (Charset::Visible, Envelope::None, Frame::Line, most.max(SMALLEST_LIMIT) - 1)
            }
            Frames::Entries => (Charset::Visible, Envelope::Entry, Frame::Bare, LARGEST),
            Frames::Syslog(syslog) => {
                let envelope = Envelope::new(syslog, host, &selection);
                (Charset::Ascii, envelope, frame_of(syslog), syslog.max_message_bytes.max(SMALLEST_LIMIT))
            }
        };
        Self {
            rows: Rows::new(&selection),
            selection,
            message: match sink.encoding.codec {
                _ if matches!(sink.kind.frames(), Frames::Entries) => Message::Packed,
                Codec::Text => Message::Text(charset),
                Codec::Json | Codec::Array => Message::Json(charset),
            },
            envelope,
            framing,
            limit: limit as usize,
            fields: Vec::new(),
            frame: Vec::new(),
        }
    }

    /// Creates an encoder that writes all fields as JSON lines.
    pub fn json_lines() -> Self {
        let selection = Selection::new(&Encoding::default());
        Self {
            rows: Rows::new(&selection),
            selection,
            message: Message::Json(Charset::Visible),
            envelope: Envelope::None,
            framing: Frame::Line,
            limit: LARGEST as usize,
            fields: Vec::new(),
            frame: Vec::new(),
        }
    }

    /// Appends one complete frame (JSON line, syslog frame with its framing, text line) to `out`.
    pub fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        let mut fields: Vec<Field<'_>> = std::mem::take(&mut self.fields);
        self.frame.clear();
        event.fields(&mut fields);
        self.envelope.header(event, &mut self.frame);
        let header = self.frame.len();
        self.envelope.structured_data(event.event_type(), &fields, &mut self.frame);
        let opened = self.frame.len();
        let row = match (event, self.message) {
            (Event::Aggregate(row), Message::Json(charset)) => Some((row, charset)),
            _ => None,
        };
        match row {
            Some((row, charset)) => {
                self.rows.write(row.head(), &fields, &self.selection, charset, &mut self.frame);
            }
            None => {
                self.selection.apply(event.event_type(), &mut fields);
                self.message.write(&fields, &mut self.frame);
            }
        }
        let limit = self.limit;
        if self.frame.len() > limit {
            if row.is_some() {
                self.selection.apply(event.event_type(), &mut fields);
            }
            self.frame.truncate(opened);
            self.envelope.shorten(event, header, limit, &mut self.frame);
            shrink::fit(&mut fields, self.message, limit.saturating_sub(self.frame.len()));
            self.message.write(&fields, &mut self.frame);
        }
        self.framing.write(&self.frame, out);
        self.fields = emptied(fields);
    }
}

/// Empties a vector but keeps its allocation: collecting in place changes the lifetime of its elements.
fn emptied(mut fields: Vec<Field<'_>>) -> Vec<Field<'static>> {
    fields.clear();
    fields.into_iter().map_while(|_| None).collect()
}

fn frame_of(syslog: &Syslog) -> Frame {
    match (syslog.mode, syslog.framing) {
        // One frame per datagram (RFC 5426 section 3.1).
        (SyslogMode::Udp, _) => Frame::Bare,
        (_, Framing::OctetCounting) => Frame::Counted,
        (_, Framing::NewlineDelimited) => Frame::Line,
    }
}

impl Envelope {
    fn new(syslog: &Syslog, host: &Host, selection: &Selection) -> Self {
        match syslog.format {
            SyslogFormat::Rfc5424 => Envelope::Rfc5424(rfc5424::Envelope::new(syslog, host, selection)),
            SyslogFormat::Rfc3164 => Envelope::Rfc3164(rfc3164::Envelope::new(syslog, host)),
        }
    }

    fn header(&self, event: &Event, out: &mut Vec<u8>) {
        match self {
            Envelope::None => {}
            Envelope::Rfc5424(envelope) => envelope.header(event, out),
            Envelope::Rfc3164(envelope) => envelope.header(event, out),
            Envelope::Entry => msgpack::entry(event.provenance().ingest, out),
        }
    }

    fn structured_data(&self, event_type: EventType, fields: &[Field<'_>], out: &mut Vec<u8>) {
        if let Envelope::Rfc5424(envelope) = self {
            envelope.structured_data(event_type, fields, out);
        }
    }

    /// Shortens the structured data of a message that is too large. It repeats fields of the message, so it may take at most
    /// a quarter of the room: all of it, or only `event_id`, or none. `frame` consists of `header` bytes of header and the
    /// structured data.
    fn shorten(&self, event: &Event, header: usize, limit: usize, frame: &mut Vec<u8>) {
        let Envelope::Rfc5424(envelope) = self else { return };
        let most = header + limit.saturating_sub(header) / 4;
        if frame.len() > most {
            frame.truncate(header);
            envelope.event_id_alone(event, frame);
        }
        if frame.len() > most {
            frame.truncate(header);
            rfc5424::no_structured_data(frame);
        }
    }
}
