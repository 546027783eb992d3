//! Panics on the reading thread. No input is known that makes a reader panic, and the program has no hook to make it: these
//! tests panic in the output, which the readers call from where a panic of theirs would unwind.

use super::*;

const FROM: &str = "r@x.example";

#[test]
fn a_panic_while_a_mail_is_read_is_told_and_costs_that_mail_a_quarantine() {
    let mut source = Source::with("");
    let mut rows = 0;
    source.out.before = Some(Box::new(move |event| {
        if event.event_type().as_str() == "dmarc_aggregate" {
            rows += 1;
            assert!(rows != 2, "a reader's fault");
        }
    }));
    let reading = source.mail(&mail(FROM, &[&report("example.com", 1, 3)]));
    let trouble = quarantined(&reading);
    assert_eq!(trouble.reason.code(), "reader_panic");
    assert!(reading.documents.is_empty(), "a report that was left half-way is not remembered as shipped");
    assert_eq!((source.out.rows(), source.out.errors()), (1, vec![("reader_panic", 0)]));
    let error = source.out.of("ingest_error")[0];
    assert_eq!((error["mail_uid"].as_i64(), error["mail_from"].as_str()), (Some(1), Some(FROM)));
    assert_eq!(error["document_sha256"].as_str().map(str::len), Some(64));
}

#[test]
fn the_mails_after_one_that_panicked_are_read() {
    let mut source = Source::with("");
    let mut events = 0;
    source.out.before = Some(Box::new(move |_| {
        events += 1;
        assert!(events != 1, "a reader's fault");
    }));
    quarantined(&source.mail(&mail(FROM, &[&report("example.com", 1, 3)])));
    assert_eq!(source.mail(&mail(FROM, &[&report("example.com", 2, 3)])).verdict(), Verdict::Archive);
    assert_eq!((source.out.rows(), source.out.errors()), (3, vec![("reader_panic", 0)]));
}
