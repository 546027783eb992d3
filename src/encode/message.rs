//! Writes the message (MSG), in the sink's codec.

use super::{
    json::{self, Charset},
    msgpack, text,
};
use crate::event::Field;

/// Codec of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    Json(Charset),
    Text(Charset),
    /// MessagePack.
    Packed,
}

impl Message {
    pub(super) fn write(self, fields: &[Field<'_>], out: &mut Vec<u8>) {
        match self {
            Message::Json(charset) => json::object(fields, charset, out),
            Message::Text(charset) => text::line(fields, charset, out),
            Message::Packed => msgpack::map(fields, out),
        }
    }

    /// Writes one field without its separator, which is one byte in every codec.
    pub(super) fn write_field(self, field: &Field<'_>, out: &mut Vec<u8>) {
        match self {
            Message::Json(charset) => json::member(field.0, &field.1, charset, out),
            Message::Text(charset) => text::pair(field, charset, out),
            Message::Packed => msgpack::member(field, out),
        }
    }

    pub(super) fn charset(self) -> Charset {
        match self {
            Message::Json(charset) | Message::Text(charset) => charset,
            Message::Packed => Charset::Visible,
        }
    }
}
