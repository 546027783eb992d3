//! RFC 3164 frames: `<PRI>Mmm dd hh:mm:ss HOSTNAME TAG[PID]: MSG`, for receivers set up for dmarc-ingest. The time is UTC.

use std::io::Write as _;

use super::syslog::{Host, header_field, priority, time};
use crate::{
    config::sink::{EventTime, Syslog},
    event::Event,
};

#[derive(Debug)]
pub(super) struct Envelope {
    facility: u8,
    event_time: EventTime,
    /// ` HOSTNAME TAG[PID]: `
    origin: String,
}

impl Envelope {
    pub(super) fn new(syslog: &Syslog, host: &Host) -> Self {
        let hostname = header_field(syslog.hostname.as_deref().unwrap_or(&host.name), 255, &[]);
        // Section 4.1.3: at most 32 characters; any character that is not allowed in a tag ends it.
        let tag = header_field(&syslog.app_name, 32, &['[', ']', ':']);
        Self {
            facility: syslog.facility,
            event_time: syslog.event_time,
            origin: format!(" {hostname} {tag}[{}]: ", host.pid),
        }
    }

    pub(super) fn header(&self, event: &Event, out: &mut Vec<u8>) {
        let priority = priority(self.facility, event.event_type());
        let time = time(event, self.event_time);
        write!(out, "<{priority}>{}{}", time.strftime("%b %e %H:%M:%S"), self.origin)
            .expect("a vector takes all that is written");
    }
}
