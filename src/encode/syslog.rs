//! Priority, time and header fields, shared by both syslog formats.

use jiff::Timestamp;

use crate::{
    config::sink::EventTime,
    event::{Event, EventType},
};

/// Host name and process id, for syslog headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    pub pid: u32,
}

const INFO: u8 = 6;
const WARNING: u8 = 4;
/// Facility local7, the last one (RFC 5424 section 6.2.1).
const MAX_FACILITY: u8 = 23;

pub(super) fn priority(facility: u8, event_type: EventType) -> u8 {
    let severity = match event_type {
        EventType::DmarcAggregate
        | EventType::TlsRpt
        | EventType::DmarcFailure
        | EventType::Report
        | EventType::Probe => INFO,
        EventType::IngestError => WARNING,
    };
    facility.min(MAX_FACILITY) * 8 + severity
}

/// Timestamp of the syslog header; the time of ingest if the report lacks the configured one.
pub(super) fn time(event: &Event, which: EventTime) -> Timestamp {
    let (begin, end) = event.period();
    let told = match which {
        EventTime::Ingest => None,
        EventTime::Begin => begin,
        EventTime::End => end,
    };
    told.unwrap_or(event.provenance().ingest)
}

/// Formats a header field: at most `max` printable US-ASCII characters, `_` for all others and those in `unwanted`; `-` if
/// empty.
pub(super) fn header_field(text: &str, max: usize, unwanted: &[char]) -> String {
    if text.is_empty() {
        return "-".into();
    }
    let printable = |c: char| if c.is_ascii_graphic() && !unwanted.contains(&c) { c } else { '_' };
    text.chars().take(max).map(printable).collect()
}
