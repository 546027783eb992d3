//! Each limit is hit by a mail, through all readers: the error, the rows shipped, and the verdict on the mail.

use super::*;
use crate::{
    config::decode::Options as _,
    limits::{AUTH_RESULTS, Limits},
    source::files,
    trouble::Reason,
};

/// A mail that hits a limit, and the number of rows that are shipped of it all the same.
struct Case {
    setting: &'static str,
    value: u64,
    reason: &'static str,
    mail: Vec<u8>,
    rows: usize,
}

const FROM: &str = "reports@receiver.example";

fn cases() -> Vec<Case> {
    let small = report("example.com", 1, 2);
    let other = report("example.com", 2, 2);
    let case =
        |setting, value, reason, parts: &[&[u8]], rows| Case { setting, value, reason, mail: mail(FROM, parts), rows };
    let deep = report_of("example.com", 3, &[ROW, &"<a>".repeat(50)].concat());
    let tag = report_of(
        "example.com",
        3,
        &format!("{ROW}<record {}><row><count>1</count></row></record>", "a='1' ".repeat(200)),
    );
    let padded = report_of("example.com", 3, &[ROW, &" ".repeat(5000), ROW].concat());
    let large = report_of("example.com", 3, &[ROW, &" ".repeat(100_000), ROW].concat());
    let long = report("example.com", 3, 20_000);
    assert!(long.len() > 1 << 20, "ratios count from 1 MiB on");
    let mut cases = vec![
        // The multipart itself is a part.
        case("limits.mail_parts", 2, "too_many_parts", &[&small, &other], 2),
        case("limits.nesting", 2, "nested_too_deep", &[&small, &gzip(&gzip(&gzip(&other)))], 2),
        case("limits.archive_entries", 1, "too_many_entries", &[&zip(&[&small, &other])], 2),
        case("limits.document_bytes", 4096, "document_too_large", &[&small, &padded], 3),
        case("limits.mail_inflated_bytes", 50_000, "mail_inflates_too_far", &[&gzip(&small), &gzip(&large)], 3),
        case("limits.mail_bytes", 1024, "mail_inflates_too_far", &[&small, &zip(&[&zip(&[small.as_slice(); 9])])], 2),
        case("limits.xml_depth", 8, "xml_too_deep", &[&small, &deep], 3),
        case("limits.xml_token_bytes", 1024, "xml_token_too_large", &[&small, &tag], 3),
        case("limits.rows", 5, "too_many_rows", &[&small, &report("example.com", 3, 6)], 7),
        case("limits.mail_event_bytes", 65_536, "too_many_event_bytes", &[&small, &report("example.com", 3, 40)], 2),
        case(
            "limits.document_event_bytes",
            65_536,
            "too_many_event_bytes",
            &[&small, &report("example.com", 3, 60)],
            43,
        ),
    ];
    // The number of rows that are read before the ratio is checked depends on the reader; it is not 0.
    let ratio = case("limits.inflation_ratio", 10, "inflation_ratio", &[&small, &gzip(&long)], 0);
    let expansion = case("limits.event_expansion", 10, "event_expansion", &[&small, &gzip(&long)], 0);
    cases.extend([ratio, expansion]);
    cases
}

#[test]
fn a_limit_that_is_hit_is_told_once_with_its_setting_and_the_rest_is_shipped() {
    for Case { setting, value, reason, mail, rows } in cases() {
        let mut source = Source::with(&format!("{}: {{{}: {value}}}", "limits", &setting["limits.".len()..]));
        let trouble = quarantined(&source.mail(&mail));
        assert!(trouble.detail.contains(&format!("raise {setting} ")), "{trouble}");
        let errors = source.out.of("ingest_error");
        let [error] = errors[..] else { panic!("{setting}: {errors:#?}") };
        assert_eq!((error["reason"].as_str(), error["limit_setting"].as_str()), (Some(reason), Some(setting)));
        assert_eq!(error["limit_value"], value, "{setting}");
        if matches!(setting, "limits.inflation_ratio" | "limits.event_expansion") {
            assert!(source.out.rows() > 2);
        } else {
            assert_eq!(source.out.rows(), rows, "{setting}");
        }
        // With a limit of one more, it is read without an error.
        let mut raised = Source::with("");
        assert_eq!(raised.mail(&mail).troubles.len(), usize::from(setting == "limits.xml_depth"), "{setting}");
    }
}

#[test]
fn a_mail_over_its_size_is_told_by_its_setting_and_not_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("1.eml"), mail(FROM, &[&report("example.com", 1, 50)])).unwrap();
    let mut source = Source::with("limits: {mail_bytes: 1024}");
    for step in files::walk("rua".into(), folder.path(), &source.config.limits.clone()) {
        let files::Step::Found(found) = step else { panic!("the file is there") };
        let (_, content) = found.read().unwrap_or_else(|_| panic!("the file can be read"));
        quarantined(&source.content(content));
    }
    assert_eq!((source.out.rows(), source.out.errors()), (0, vec![("mail_too_large", 0)]));
    assert_eq!(source.out.events[0]["limit_setting"], "limits.mail_bytes");
    assert_eq!(source.out.events[0]["limit_value"], 1024);
}

#[test]
fn results_over_their_limit_are_a_warning_of_the_row_and_quarantine_the_mail() {
    let results = "<dkim><domain>a.example</domain><result>pass</result></dkim>".repeat(AUTH_RESULTS + 1);
    let document = report_of("example.com", 1, &format!("<record><auth_results>{results}</auth_results></record>"));
    let mut source = Source::with("");
    assert_eq!(quarantined(&source.mail(&mail(FROM, &[&document]))).reason, Reason::LeftOut);
    let row = source.out.of("dmarc_aggregate")[0];
    assert_eq!(row["dkim_auth"].as_array().map(Vec::len), Some(AUTH_RESULTS));
    let warnings = row["parse_warnings"].to_string();
    assert!(warnings.contains("too_many_results: ") && warnings.contains("dkim_aligned: "), "{row}");
}

#[test]
fn a_text_of_any_size_is_shortened_and_quarantines_the_mail() {
    let document = report(&"a.".repeat(50_000), 1, 1);
    let mut source = Source::with("");
    assert_eq!(quarantined(&source.mail(&mail(FROM, &[&document]))).reason, Reason::LeftOut);
    let row = source.out.of("dmarc_aggregate")[0];
    assert!(row["domain"].as_str().unwrap().len() <= 4096);
    assert!(row["parse_warnings"][0].as_str().unwrap().starts_with("text_shortened"), "{row}");
}

#[test]
fn no_limit_is_without_a_test() {
    let elsewhere = ["mail_bytes", "errors_per_hour"];
    let of_sender = ["mails", "bytes", "inflated_bytes", "rows", "event_bytes"];
    let mut tested: Vec<String> = elsewhere.map(str::to_owned).into();
    tested.extend(of_sender.map(|what| format!("sender_{what}_per_day")));
    tested.extend(cases().iter().map(|case| case.setting["limits.".len()..].to_owned()));
    for option in Limits::options() {
        assert!(tested.contains(&option.key), "limits.{} has no test here or in turned_away.rs", option.key);
        assert!(option.doc.len() > 60, "limits.{}: what it is, and why", option.key);
    }
}
