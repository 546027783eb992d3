//! Documents that an earlier process had begun to ship, and mails that processes died over.

use super::*;

const FROM: &str = "r@x.example";

#[test]
fn a_document_goes_on_where_its_rows_had_arrived() {
    let mut source = Source::with("");
    source.out.arrived = 1_500;
    let reading = source.mail(&mail(FROM, &[&report("example.com", 1, 3_100)]));
    let rows = source.out.of("dmarc_aggregate");
    assert_eq!((rows.len(), rows[0]["record_index"].as_i64()), (1_600, Some(1_500)));
    assert_eq!(source.out.progress, [2_000, 3_000], "progress is that of the whole document");
    let report = source.out.of("report")[0];
    assert_eq!(
        (report["outcome"].as_str(), report["rows"].as_i64()),
        (Some("shipped"), Some(3_100)),
        "it tells all of it"
    );
    assert_eq!((reading.rows, reading.documents[0].1.rows), (1_600, 3_100));
}

#[test]
fn a_document_whose_rows_had_all_arrived_needs_only_its_end() {
    let mut source = Source::with("");
    source.out.arrived = 2_000;
    source.mail(&mail(FROM, &[&report("example.com", 1, 2_000)]));
    assert_eq!((source.out.rows(), source.out.of("report").len(), source.out.progress.len()), (0, 1, 0));
}

#[test]
fn another_document_under_a_known_name_is_shipped_and_marked_in_every_event() {
    let mut source = Source::with("");
    source.out.reuses_name = true;
    let reading = source.mail(&mail(FROM, &[&report("example.com", 1, 2)]));
    assert_eq!(reading.verdict(), Verdict::Archive);
    assert_eq!(source.out.rows(), 2);
    for event in &source.out.events {
        let warnings = event["parse_warnings"].as_array().unwrap();
        assert!(warnings.iter().any(|warning| warning.as_str().unwrap().starts_with("report_id_reused: ")), "{event}");
    }
}

#[test]
fn reports_share_a_name_only_where_the_reporter_says_the_same_of_them() {
    let mut source = Source::with("");
    let names: Vec<_> = [report("example.com", 1, 1), report("example.com", 1, 2), report("example.com", 2, 1)]
        .iter()
        .map(|report| source.mail(&mail(FROM, &[report])).names[0].0)
        .collect();
    assert_eq!(names[0], names[1]);
    assert_ne!(names[0], names[2]);
}

#[test]
fn a_mail_that_too_many_processes_died_over_is_quarantined_unread() {
    let mut source = Source::with("");
    source.attempts = Attempts { made: 3, most: 3 };
    let reading = source.mail(&mail(FROM, &[&report("example.com", 1, 2)]));
    let trouble = quarantined(&reading);
    assert_eq!(trouble.reason.code(), "attempts_exhausted");
    assert!(trouble.detail.contains("max_attempts (3)"), "{}", trouble.detail);
    assert_eq!((source.out.rows(), source.out.errors()), (0, vec![("attempts_exhausted", 0)]));
    source.attempts.made = 2;
    assert_eq!(source.mail(&mail(FROM, &[&report("example.com", 1, 2)])).verdict(), Verdict::Archive);
}
