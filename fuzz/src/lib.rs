//! Properties that hold for any input: nothing panics, limits hold, both readings of a document agree, and the output is
//! lines of JSON without a raw control character.

use std::{
    io::{BufRead, Read},
    ops::ControlFlow,
    sync::Arc,
};

use dmarc_shipper::{
    encode::Encoder,
    event::{
        Event, Provenance,
        aggregate::{AggregateEvent, Shared},
        failure::{Addresses, FailureEvent},
        ingest_error::IngestErrorEvent,
        report::{Outcome, ReportEvent, Tally},
        tls_rpt::{self, TlsRptEvent},
    },
    extract::{self, Format, Found, Origin, Room, Unshared},
    limits::{AUTH_RESULTS, Limits},
    report::{self, Report, Scan},
    trouble::{Reason, Trouble},
};

/// Small enough that each is reached by an input of some kilobytes.
pub fn limits() -> Limits {
    Limits {
        mail_bytes: 1 << 20,
        mail_parts: 16,
        nesting: 4,
        archive_entries: 16,
        document_bytes: 256 << 10,
        mail_inflated_bytes: 1 << 20,
        inflation_ratio: 100,
        xml_depth: 12,
        xml_token_bytes: 1 << 10,
        rows: 64,
        ..Limits::default()
    }
}

/// From the door to the log lines.
pub fn through(bytes: &[u8], origin: Origin<'_>) {
    let limits = limits();
    let opened = extract::open(bytes, origin, &limits);
    let envelope = opened.envelope();
    let mail_auth = opened.mail_auth(&["mx.example.com".to_owned(), String::new()]).map(Arc::new);
    let mut found_before = 0;
    opened.walk(&Room::new(&Unshared), &mut |found| {
        found_before += 1;
        // A trouble for every part and member, and for each container around them.
        assert!(found_before <= 2 * (limits.mail_parts + limits.archive_entries) + 2 * limits.nesting + 2);
        let provenance = |attachment| {
            Arc::new(Provenance {
                mail_message_id: envelope.message_id.clone(),
                mail_from: envelope.from.clone(),
                mail_date: envelope.date.map(|date| date.to_string()),
                mail_auth: mail_auth.clone(),
                attachment,
                ..somewhere()
            })
        };
        match found {
            Found::Document(document) => {
                assert!(document.attachment.as_ref().is_none_or(|name| name.chars().count() <= 255));
                let length = length(document.open());
                assert!(length <= limits.document_bytes);
                assert_eq!(self::length(document.open()), length, "the second reading differs");
                let provenance = provenance(document.attachment.clone());
                match document.format {
                    Format::Xml => Document::read(|| document.open(), &limits).tell(provenance),
                    Format::Json => tls_report(|| document.open(), &limits, provenance),
                    Format::Feedback => failure_report(|| document.open(), &limits, provenance),
                }
            }
            Found::Returned => {}
            Found::Unreadable(unreadable) => {
                let provenance = provenance(unreadable.attachment);
                line(Event::Report(Box::new(ReportEvent::unreadable(
                    &unreadable.sha256,
                    provenance.clone(),
                    envelope.warnings.clone(),
                ))));
                error(unreadable.trouble, unreadable.sha256, provenance);
            }
        }
    });
}

/// An aggregate report as both readings give it.
#[derive(Debug, PartialEq)]
pub struct Document {
    report: Option<(report::Aggregate, [u8; 32])>,
    rows: Vec<report::Row<'static>>,
    damage: Option<Trouble>,
}

impl Document {
    /// Reads it twice, and sees that the readings agree, that limits hold, and that it can be told.
    pub fn read<R: BufRead>(open: impl Fn() -> R, limits: &Limits) -> Self {
        let rows = |is_clean| {
            let mut rows = Vec::new();
            let end = report::rows(open(), is_clean, limits, &mut |row| {
                rows.push(row.into_owned());
                ControlFlow::Continue(())
            });
            (rows, end)
        };
        let ((rows, end), clean) = (rows(false), rows);
        assert!(rows.iter().map(|row| row.index).eq(0..rows.len() as u64));
        assert!(rows.len() as u64 <= limits.rows);
        let most = AUTH_RESULTS;
        assert!(rows.iter().all(|row| row.dkim_auth.len().max(row.spf_auth.len()).max(row.reasons.len()) <= most));
        let document = match report::scan(Format::Xml, &open, limits) {
            Ok(scan) => {
                if scan.is_clean {
                    assert_eq!(clean(true), (rows.clone(), Ok(())), "the fast reader differs");
                    let tolerant = report::scan_tolerant(open(), limits).unwrap();
                    let comparable = |scan: &Scan| format!("{:?}", Scan { is_clean: true, held: None, ..scan.clone() });
                    assert_eq!(comparable(&scan), comparable(&tolerant), "the fast reader differs");
                }
                assert_eq!((scan.rows, &scan.damage), (rows.len() as u64, &end.err()));
                assert!(scan.held.is_none_or(|held| held == rows));
                let Report::Aggregate(report) = scan.report else { panic!("XML is an aggregate report") };
                Self { report: Some((*report, scan.sha256)), rows, damage: scan.damage }
            }
            Err(trouble) => {
                assert_eq!((rows.len(), end.as_ref()), (0, Err(&trouble)));
                Self { report: None, rows, damage: Some(trouble) }
            }
        };
        document.tell(Arc::new(somewhere()));
        document
    }

    /// Without the repairs of what stands outside its rows.
    pub fn without_warnings(mut self) -> Self {
        if let Some((report, _)) = &mut self.report {
            report.warnings.clear();
        }
        self
    }

    /// Every event of it, as a line.
    fn tell(&self, provenance: Arc<Provenance>) {
        let sha256 = self.report.as_ref().map_or([0; 32], |(_, sha256)| *sha256);
        if let Some((report, sha256)) = &self.report {
            let shared = Shared::new(report, *sha256, provenance.clone());
            let mut tally = Tally::default();
            for row in &self.rows {
                let event = AggregateEvent::new(shared.clone(), row.clone());
                tally.add(event.count());
                line(Event::Aggregate(Box::new(event)));
            }
            line(Event::Report(Box::new(ReportEvent::of(shared.head().clone(), Outcome::Shipped, tally))));
        }
        if let Some(trouble) = &self.damage {
            error(trouble.clone(), sha256, provenance);
        }
    }
}

/// Reads an SMTP TLS report twice, as an aggregate report is read, and tells it.
pub fn tls_report<R: BufRead>(open: impl Fn() -> R, limits: &Limits, provenance: Arc<Provenance>) {
    let mut rows = Vec::new();
    let end = report::tls_rows(open(), limits, &mut |row| {
        rows.push(row);
        ControlFlow::Continue(())
    });
    assert!(rows.len() as u64 <= limits.rows);
    match report::scan(Format::Json, &open, limits) {
        Ok(scan) => {
            assert_eq!((scan.rows, &scan.damage), (rows.len() as u64, &end.err()));
            let Report::TlsRpt(report) = scan.report else { panic!("JSON is a TLS report") };
            let shared = tls_rpt::Shared::new(*report, scan.sha256, provenance.clone());
            let mut tally = Tally::default();
            for row in rows {
                let event = TlsRptEvent::new(shared.clone(), row);
                tally.add(event.sessions());
                line(Event::TlsRpt(Box::new(event)));
            }
            line(Event::Report(Box::new(ReportEvent::of(shared.head().clone(), Outcome::Shipped, tally))));
        }
        Err(trouble) => {
            assert_eq!((rows.len(), end.as_ref()), (0, Err(&trouble)));
            error(trouble, [0; 32], provenance);
        }
    }
}

/// Reads the fields of a failure report, and tells it with its addresses and without.
pub fn failure_report<R: BufRead>(open: impl Fn() -> R, limits: &Limits, provenance: Arc<Provenance>) {
    match report::scan(Format::Feedback, open, limits) {
        Ok(scan) => {
            let Report::Failure(report) = scan.report else { panic!("feedback is a failure report") };
            for addresses in [Addresses::Masked, Addresses::Full] {
                let event = FailureEvent::new(&report, scan.sha256, provenance.clone(), addresses);
                line(Event::Failure(Box::new(event)));
            }
        }
        Err(trouble) => error(trouble, [0; 32], provenance),
    }
}

fn error(trouble: Trouble, sha256: [u8; 32], provenance: Arc<Provenance>) {
    assert!(trouble.reason != Reason::ReaderPanic && !trouble.detail.is_empty());
    line(Event::IngestError(Box::new(IngestErrorEvent::new(trouble, Some(sha256), 0, provenance))));
}

/// Encodes the event, and sees that it is one line of JSON with the event's own values.
fn line(event: Event) {
    let mut bytes = Vec::new();
    Encoder::json_lines().encode(&event, &mut bytes);
    let text = std::str::from_utf8(&bytes).expect("UTF-8");
    let json = text.strip_suffix('\n').expect("a line");
    assert!(!json.chars().any(char::is_control), "a raw control character in {json:?}");
    let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(value["event_id"], *event.event_id());
    assert_eq!(value["event_type"], event.event_type().as_str());
}

fn length(mut document: impl Read) -> u64 {
    let (mut length, mut chunk) = (0, [0; 4096]);
    while let Ok(read @ 1..) = document.read(&mut chunk) {
        length += read as u64;
    }
    length
}

/// Where a document without a mail came from.
pub fn somewhere() -> Provenance {
    Provenance::of("fuzz", jiff::Timestamp::UNIX_EPOCH)
}
