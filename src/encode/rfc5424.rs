//! RFC 5424 frames: `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG`, the MSG without a BOM.

use std::io::Write as _;

use super::{
    fields::Selection,
    json,
    syslog::{Host, header_field, priority, time},
};
use crate::{
    config::sink::{EventTime, Syslog},
    event::{Event, EventType, Field, Value, schema},
    invisible::is_invisible,
};

/// Keys in the structured data, for event types that have them: short values that receivers filter and join by.
const PARAMS: &[&str] = &[
    "event_id",
    "org",
    "report_id",
    "domain",
    "source_ip",
    "count",
    "disposition",
    "dkim",
    "spf",
    "header_from",
    "policy_type",
    "result_type",
    "auth_failure",
];

/// Maximum length of a value in the structured data; a domain name has at most 253 bytes. Longer values are only cut here,
/// not in the message.
const MAX_PARAM_BYTES: usize = 255;

#[derive(Debug)]
pub(super) struct Envelope {
    facility: u8,
    event_time: EventTime,
    /// ` HOSTNAME APP-NAME PROCID `, with the lengths of section 6.
    origin: String,
    /// `[dmarc@PEN`; `None` if structured data is turned off.
    opening: Option<String>,
    /// True if `event_id` is among the fields that the sink writes.
    shows_id: bool,
    /// By event type: indexes of the fields of the structured data among those of the event.
    params: Vec<Vec<usize>>,
}

impl Envelope {
    pub(super) fn new(syslog: &Syslog, host: &Host, selection: &Selection) -> Self {
        let hostname = header_field(syslog.hostname.as_deref().unwrap_or(&host.name), 255, &[]);
        let app_name = header_field(&syslog.app_name, 48, &[]);
        Self {
            facility: syslog.facility,
            event_time: syslog.event_time,
            origin: format!(" {hostname} {app_name} {} ", host.pid),
            shows_id: selection.permits("event_id"),
            opening: syslog.structured_data.then(|| format!("[dmarc@{}", syslog.enterprise_number)),
            params: EventType::ALL.iter().map(|event_type| params(*event_type, selection)).collect(),
        }
    }

    /// Writes the header up to the structured data. Six fraction digits: without any, Fluent Bit uses its own clock, and
    /// nine make rsyslog write an invalid time.
    pub(super) fn header(&self, event: &Event, out: &mut Vec<u8>) {
        let priority = priority(self.facility, event.event_type());
        let time = time(event, self.event_time);
        // MSGID may have 32 characters; event types are shorter.
        let message_id = event.event_type().as_str();
        write!(out, "<{priority}>1 {time:.6}{}{message_id} ", self.origin).expect("a vector takes all that is written");
    }

    /// Writes the structured data and the space after it. `fields` are all fields of an event of this type.
    pub(super) fn structured_data(&self, event_type: EventType, fields: &[Field<'_>], out: &mut Vec<u8>) {
        let params = self.params.get(event_type as usize).map_or(&[][..], Vec::as_slice);
        self.written(params.iter().filter_map(|at| fields.get(*at)), out);
    }

    fn written<'f>(&self, fields: impl Iterator<Item = &'f Field<'f>>, out: &mut Vec<u8>) {
        let start = out.len();
        for (key, value) in fields {
            match value {
                Value::Text(text) => self.param(key, out, start, |out| escaped(text, out)),
                Value::Int(number) => self.param(key, out, start, |out| json::integer(*number, out)),
                _ => {}
            }
        }
        if out.len() == start {
            no_structured_data(out);
        } else {
            out.extend(b"] ");
        }
    }

    /// Writes structured data with `event_id` only, which is enough to recognise duplicates.
    pub(super) fn event_id_alone(&self, event: &Event, out: &mut Vec<u8>) {
        let id = event.event_id();
        self.written([("event_id", Value::Text((&*id).into()))].iter().filter(|_| self.shows_id), out);
    }

    fn param(&self, key: &str, out: &mut Vec<u8>, start: usize, value: impl FnOnce(&mut Vec<u8>)) {
        let Some(opening) = &self.opening else { return };
        if out.len() == start {
            out.extend(opening.as_bytes());
        }
        out.push(b' ');
        out.extend(key.as_bytes());
        out.extend(b"=\"");
        value(out);
        out.push(b'"');
    }
}

fn params(event_type: EventType, selection: &Selection) -> Vec<usize> {
    let permitted = PARAMS.iter().filter(|key| selection.permits(key));
    permitted.filter_map(|name| schema::keys(event_type).iter().position(|key| key.name == *name)).collect()
}

pub(super) fn no_structured_data(out: &mut Vec<u8>) {
    out.extend(b"- ");
}

/// Writes a PARAM-VALUE (RFC 5424 section 6.3.3). Control and invisible characters become `?`, and a space after `]` becomes
/// `_`, since Fluent Bit would take it for the end of the structured data.
fn escaped(text: &str, out: &mut Vec<u8>) {
    let mut before = ' ';
    for c in text.get(..text.floor_char_boundary(MAX_PARAM_BYTES)).unwrap_or_default().chars() {
        match c {
            '"' | '\\' | ']' => out.extend([b'\\', c as u8]),
            ' ' if before == ']' => out.push(b'_'),
            _ if c.is_control() || is_invisible(c) => out.push(b'?'),
            _ => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        before = c;
    }
}
