//! Mails through the reader as `run` uses it, with a admission; all emitted events are collected.

mod claims;
mod limits;
mod panics;
mod partial;
mod resumed;
mod senders;
mod turned_away;

use std::{collections::HashSet, io::Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use zip::{ZipWriter, write::SimpleFileOptions};

use jiff::Timestamp;

use super::{
    admission::Admission,
    reading::{Attempts, Incoming, Output, Reading, read},
    *,
};
use crate::{
    config::{self, Config},
    encode::Encoder,
    event::{Event, failure::Addresses},
    extract::{Room, Unshared},
    ledger::{DocumentKey, ReportName},
    source::{Place, Verdict},
    trouble::Trouble,
};

const NOON: i64 = 1_793_534_400; // 2026-11-01T12:00:00Z

/// Collects the emitted events, as JSON, and remembers the documents that were claimed.
#[derive(Default)]
struct Collected {
    events: Vec<Value>,
    known: HashSet<DocumentKey>,
    /// Called before each event is kept; may panic.
    before: Option<Before>,
    /// Number of rows that arrived before, for each document that is claimed.
    arrived: u64,
    reuses_name: bool,
    /// Reported progress of documents, in rows.
    progress: Vec<u64>,
}

type Before = Box<dyn FnMut(&Event)>;

impl Output for Collected {
    fn emit(&mut self, event: Event, recipients: Recipients<'_>, _: &dyn Fn()) -> Result<(), Stopped> {
        if !recipients.include(0) {
            return Ok(());
        }
        if let Some(before) = &mut self.before {
            before(&event);
        }
        let mut line = Vec::new();
        Encoder::json_lines().encode(&event, &mut line);
        self.events.push(serde_json::from_slice(&line).unwrap());
        Ok(())
    }

    fn claim(&mut self, document: &DocumentKey, _: Option<&ReportName>) -> Result<Claimed, Stopped> {
        let mine = Claimed::Mine { missing: Missing::from_row(self.arrived), reuses_name: self.reuses_name };
        Ok(if self.known.insert(document.clone()) { mine } else { Claimed::InFlight })
    }

    fn rows_read(&mut self, _: &DocumentKey, rows: u64) {
        self.progress.push(rows);
    }

    fn document_read(&mut self, _: &DocumentKey) {}
}

impl Collected {
    fn of(&self, event_type: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["event_type"] == event_type).collect()
    }

    fn rows(&self) -> usize {
        self.of("dmarc_aggregate").len()
    }

    /// Returns the reason and `suppressed` of each error.
    fn errors(&self) -> Vec<(&str, i64)> {
        let errors = self.of("ingest_error").into_iter();
        errors.map(|event| (event["reason"].as_str().unwrap(), event["suppressed"].as_i64().unwrap())).collect()
    }
}

/// One source: its configuration, its admission, and the collected output.
struct Source {
    config: Config,
    admission: Admission,
    out: Collected,
    mails: u32,
    second: i64,
    attempts: Attempts,
}

impl Source {
    /// With these lines at the top level of the configuration.
    fn with(lines: &str) -> Self {
        Self::configured(lines, "")
    }

    /// With these options, between commas.
    fn of(options: &str) -> Self {
        Self::configured("", options)
    }

    fn configured(lines: &str, options: &str) -> Self {
        let text = format!(
            "{lines}\nsources: {{rua: {{type: file, path: /nowhere, {options}}}}}\nsinks: {{out: {{type: stdout}}}}\n"
        );
        let config = config::parse(&text, config::Format::Yaml, "test.yaml").unwrap().config;
        let admission = Admission::new("rua".into(), &config);
        Self { config, admission, out: Collected::default(), mails: 0, second: NOON, attempts: Attempts::FIRST }
    }

    fn mail(&mut self, mail: &[u8]) -> Reading {
        self.content(Ok(Bytes::copy_from_slice(mail)))
    }

    fn content(&mut self, content: Result<Bytes, Trouble>) -> Reading {
        self.mails += 1;
        let place = Place::Imap {
            source: "rua".into(),
            account: "a@b:1".into(),
            folder: "INBOX".into(),
            uid_validity: 1,
            uid: self.mails,
        };
        let now = Timestamp::from_second(self.second).unwrap();
        let incoming = Incoming {
            content: &content,
            place: &place,
            tenant: None,
            addresses: Addresses::default(),
            attempts: self.attempts,
            now,
        };
        read(incoming, &self.config.limits, &mut self.admission, &Room::new(&Unshared), &mut self.out).unwrap()
    }
}

#[track_caller]
fn quarantined(reading: &Reading) -> Trouble {
    match reading.verdict() {
        Verdict::Quarantine(trouble) => trouble,
        verdict => panic!("expected a quarantine, not {verdict:?}"),
    }
}

const ROW: &str = "<record><row><source_ip>192.0.2.1</source_ip><count>1</count></row></record>";

/// A report on this domain with `rows` rows; `id` distinguishes it from others.
fn report(domain: &str, id: usize, rows: usize) -> Vec<u8> {
    report_of(domain, id, &ROW.repeat(rows))
}

fn report_of(domain: &str, id: usize, records: &str) -> Vec<u8> {
    format!(
        "<feedback><report_metadata><org_name>Receiver</org_name><report_id>{id}</report_id></report_metadata>\
         <policy_published><domain>{domain}</domain></policy_published>{records}</feedback>"
    )
    .into_bytes()
}

/// A mail from this address with these attachments.
fn mail(from: &str, attachments: &[&[u8]]) -> Vec<u8> {
    let mut mail = format!(
        "From: {from}\r\nSubject: Report Domain: example.com Submitter: receiver.example Report-ID: 1\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    );
    for attachment in attachments {
        let body = STANDARD.encode(attachment);
        mail.push_str(&format!(
            "--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n{body}\r\n"
        ));
    }
    mail.push_str("--b--\r\n");
    mail.into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip(members: &[&[u8]]) -> Vec<u8> {
    let mut archive = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (number, bytes) in members.iter().enumerate() {
        archive.start_file(format!("{number}.xml"), SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}
