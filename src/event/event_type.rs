//! Types of events.

/// `event_type`, also the syslog MSGID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    DmarcAggregate,
    TlsRpt,
    DmarcFailure,
    Report,
    IngestError,
    Probe,
}

impl EventType {
    pub const ALL: &'static [EventType] = &[
        EventType::DmarcAggregate,
        EventType::TlsRpt,
        EventType::DmarcFailure,
        EventType::Report,
        EventType::IngestError,
        EventType::Probe,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            EventType::DmarcAggregate => "dmarc_aggregate",
            EventType::TlsRpt => "tls_rpt",
            EventType::DmarcFailure => "dmarc_failure",
            EventType::Report => "report",
            EventType::IngestError => "ingest_error",
            EventType::Probe => "probe",
        }
    }
}
