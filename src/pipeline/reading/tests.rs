use std::{collections::HashSet, path::Path};

use super::*;
use crate::event::{Field, Value};
use crate::extract::Unshared;

mod nested;

/// Keeps the emitted events, and the claimed documents.
#[derive(Default)]
struct Kept {
    events: Vec<Event<'static>>,
    claimed: HashSet<DocumentKey>,
    read: Vec<DocumentKey>,
}

impl Output for Kept {
    fn emit(&mut self, event: Event, _: Recipients<'_>, _: &dyn Fn()) -> Result<(), Stopped> {
        self.events.push(event.into_owned());
        Ok(())
    }

    fn claim(&mut self, document: &DocumentKey, _: Option<&ReportName>) -> Result<Claimed, Stopped> {
        Ok(if self.claimed.insert(document.clone()) {
            Claimed::Mine { missing: Missing::from_row(0), reuses_name: false }
        } else {
            Claimed::InFlight
        })
    }

    fn document_read(&mut self, document: &DocumentKey) {
        self.read.push(document.clone());
    }
}

impl Kept {
    fn read(&mut self, fixture: &str, addresses: Addresses) -> Reading {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(fixture);
        self.read_bytes(std::fs::read(&path).unwrap(), addresses, &Limits::default())
    }

    fn read_bytes(&mut self, bytes: Vec<u8>, addresses: Addresses, limits: &Limits) -> Reading {
        self.events.clear();
        let content = Ok(bytes.into());
        let place = Place::Stdin { source: "test".into() };
        let now = "2026-11-01T12:00:00Z".parse().unwrap();
        let incoming =
            Incoming { content: &content, place: &place, tenant: None, addresses, attempts: Attempts::FIRST, now };
        read(incoming, limits, &mut Admission::open(), &Room::new(&Unshared), self).map_err(|_| "stopped").unwrap()
    }

    fn types(&self) -> Vec<&str> {
        self.events.iter().map(|event| event.event_type().as_str()).collect()
    }

    /// Returns a value of the last event.
    fn last(&self, key: &str) -> String {
        let mut fields: Vec<Field<'_>> = Vec::new();
        self.events.last().unwrap().fields(&mut fields);
        match fields.into_iter().find(|(name, _)| *name == key).unwrap().1 {
            Value::Text(text) => text.into_owned(),
            other => format!("{other:?}"),
        }
    }
}

#[test]
fn a_tls_report_is_its_rows_and_a_report_and_comes_once() {
    let mut kept = Kept::default();
    let reading = kept.read("tls_rpt/001-plain.json", Addresses::Masked);
    assert_eq!(kept.types(), ["tls_rpt", "tls_rpt", "tls_rpt", "report"]);
    assert_eq!((kept.last("report_type"), kept.last("outcome")), ("tls_rpt".into(), "shipped".into()));
    assert_eq!((kept.last("rows"), kept.last("count_sum")), ("Int(3)".into(), "Int(123)".into()));
    assert_eq!(reading.verdict(), Verdict::Archive);
    assert_eq!(reading.documents[0].1.report_id.as_deref(), Some("2023-11-14-example.com"));
    assert_eq!(kept.read.len(), 1);
    let again = kept.read("tls_rpt/001-plain.json", Addresses::Masked);
    assert_eq!((kept.types(), kept.last("outcome"), again.duplicates), (vec!["report"], "duplicate".into(), 1));
}

#[test]
fn a_tls_report_that_is_cut_off_ships_what_was_whole_and_is_quarantined() {
    let mut kept = Kept::default();
    let reading = kept.read("tls_rpt/018-cut-off.json", Addresses::Masked);
    assert_eq!(kept.types(), ["tls_rpt", "tls_rpt", "tls_rpt", "tls_rpt", "report", "ingest_error"]);
    assert_eq!(kept.last("reason"), "json_truncated");
    assert!(matches!(reading.verdict(), Verdict::Quarantine(_)));
}

/// Regression: a report of which something was skipped was `shipped`, and its mail archived.
#[test]
fn a_report_of_which_something_was_left_out_is_partial_and_quarantined() {
    for (fixture, left_out) in [
        ("report/035-bare-records.xml", "empty_record: "),
        ("report/039-after-the-end.xml", "trailing_junk: "),
        ("report/044-repeated-values.xml", "repeated: "),
        ("value/025-domain-of-100-kb.xml", "text_shortened: "),
        ("tls_rpt/019-after-the-end.json", "trailing_junk: "),
        ("tls_rpt/020-other-types.json", "wrong_type: "),
        ("failure/015-folded-anyhow.eml", "folded_wrong: "),
    ] {
        let mut kept = Kept::default();
        let reading = kept.read(fixture, Addresses::Masked);
        assert_eq!(kept.last("reason"), "left_out", "{fixture}");
        assert!(kept.last("detail").contains(left_out), "{fixture}: {}", kept.last("detail"));
        assert!(matches!(reading.verdict(), Verdict::Quarantine(_)), "{fixture}");
        kept.events.pop();
        assert_eq!(kept.last("outcome"), "partial", "{fixture}");
        let again = kept.read(fixture, Addresses::Masked);
        assert!(
            matches!(again.verdict(), Verdict::Quarantine(_)),
            "{fixture}: a duplicate has the verdict of the first"
        );
    }
    for corrected in
        ["report/020-unescaped-ampersand.xml", "report/023-end-tags-misnamed.xml", "container/003-wrong-checksum.gz"]
    {
        let mut kept = Kept::default();
        let reading = kept.read(corrected, Addresses::Masked);
        assert_eq!((kept.last("outcome"), reading.verdict()), ("shipped".into(), Verdict::Archive), "{corrected}");
    }
}

#[test]
fn a_tls_report_without_policies_is_empty() {
    let mut kept = Kept::default();
    let reading = kept.read("tls_rpt/011-no-policies.json", Addresses::Masked);
    assert_eq!(
        (kept.types(), kept.last("outcome"), reading.verdict()),
        (vec!["report"], "empty".into(), Verdict::Archive)
    );
}

#[test]
fn a_failure_report_is_one_event_and_a_report() {
    let mut kept = Kept::default();
    let reading = kept.read("failure/001-plain.eml", Addresses::Masked);
    assert_eq!(kept.types(), ["dmarc_failure", "report"]);
    assert_eq!((kept.last("report_type"), kept.last("count_sum")), ("dmarc_failure".into(), "Int(2)".into()));
    assert_eq!(reading.verdict(), Verdict::Archive);
    kept.events.pop();
    assert_eq!(kept.last("original_mail_from"), "***@mail.example.net");
    let mut kept = Kept::default();
    kept.read("failure/001-plain.eml", Addresses::Full);
    kept.events.pop();
    assert_eq!(kept.last("original_mail_from"), "bounce+ann=receiver.example@mail.example.net");
}

#[test]
fn feedback_on_abuse_is_told_as_no_dmarc_report_and_quarantined() {
    let mut kept = Kept::default();
    let reading = kept.read("failure/009-abuse.eml", Addresses::Masked);
    assert_eq!((kept.types(), kept.last("reason")), (vec!["report", "ingest_error"], "not_dmarc_feedback".into()));
    assert!(matches!(reading.verdict(), Verdict::Quarantine(_)));
    assert!(reading.documents.is_empty());
}
