//! The order in which an event that is too large is shrunk, and the parts that are kept.

use serde_json::{Value as Json, json};

use super::*;
use crate::report::{Aggregate, Override, Row};

fn line(limit: u32, encoding: Encoding, event: &Event) -> Json {
    let line = encode(stdout(limit), encoding, event);
    assert!(line.len() <= limit.max(SMALLEST_LIMIT) as usize, "{} of {limit}", line.len());
    serde_json::from_str(&line).unwrap()
}

fn whole(event: &Event) -> Json {
    serde_json::from_str(&encode(stdout(LARGEST), Encoding::default(), event)).unwrap()
}

fn with(change: impl FnOnce(&mut Aggregate, &mut Row)) -> Event<'static> {
    let (mut report, mut row) = (sample::report(), sample::row());
    change(&mut report, &mut row);
    sample::aggregate_of(&report, row, sample::provenance())
}

fn reasons(number: usize, comment: &str) -> Vec<Override<'static>> {
    vec![Override { kind: sample::some("other"), comment: Some(comment.to_owned().into()) }; number]
}

#[test]
fn an_event_of_exactly_the_limit_is_left_alone() {
    let event = sample::aggregate();
    let whole = encode(stdout(LARGEST), Encoding::default(), &event);
    let size = u32::try_from(whole.len()).unwrap();
    assert_eq!(encode(stdout(size), Encoding::default(), &event), whole);
    assert_eq!(line(size - 1, Encoding::default(), &event)["truncated"], json!(true));
}

#[test]
fn one_long_string_costs_nothing_else() {
    let long = "ü".repeat(50_000);
    let event = with(|report, _| report.extra_contact_info = Some(long.clone().into()));
    let told = line(4000, Encoding::default(), &event);
    let mut all = whole(&event);
    let shortened = told["org_contact"].as_str().unwrap();
    assert!(long.starts_with(shortened) && shortened.len() > 1000);
    (all["org_contact"], all["truncated"]) = (shortened.into(), true.into());
    // The other strings and keys are unchanged, but arrays are trimmed first.
    for (key, value) in all.as_object().unwrap() {
        assert!(told[key] == *value || value.is_array(), "{key}");
    }
}

#[test]
fn arrays_are_truncated_before_strings() {
    let event = with(|_, row| row.reasons = reasons(300, "because"));
    let told = line(4000, Encoding::default(), &event);
    let left = told["reasons"].as_array().unwrap();
    assert!((2..300).contains(&left.len()) && left[0] == json!({"type": "other", "comment": "because"}));
    assert_eq!(told["org_contact"], "https://receiver.example/dmarc");
    assert_eq!(told["dkim_auth"].as_array().unwrap().len(), 2, "short arrays stay whole");
}

#[test]
fn long_strings_of_arrays_become_excerpts() {
    let event = with(|_, row| row.reasons = reasons(2, &"x".repeat(9000)));
    let told = line(4000, Encoding::default(), &event);
    assert_eq!(told["reasons"][1]["comment"], "x".repeat(254));
}

#[test]
fn numbers_names_and_verdicts_fit_into_a_datagram() {
    let event = with(|_, row| row.reasons = reasons(9, "because"));
    let told = line(1400, Encoding::default(), &event);
    let all = whole(&event);
    for (key, value) in all.as_object().unwrap() {
        let seed = SEED.contains(&format!("\"{key}\":"));
        if seed || value.is_number() || key.starts_with("event_") {
            assert_eq!(told[key], *value, "{key}");
        }
    }
}

#[test]
fn the_smallest_limit_still_names_and_counts_the_event() {
    let told = line(1, Encoding::default(), &with(|report, _| report.org_name = Some("o".repeat(999).into())));
    for key in ["event_id", "event_type", "count", "mail_uid", "record_index"] {
        assert!(!told[key].is_null(), "{key}");
    }
    assert_eq!(told["truncated"], true);
}

#[test]
fn structured_data_is_dropped_before_the_message_is_shortened() {
    let long = with(|report, _| report.report_id = Some("r".repeat(200).into()));
    let message = encode(stdout(LARGEST), seed(), &long);
    let limit = u32::try_from(HEADER.len() + 70 + message.len()).unwrap();
    let frame = encode(SinkKind::Syslog(Syslog { max_message_bytes: limit, ..syslog() }), seed(), &long);
    let id = frame.split('"').nth(1).unwrap();
    assert_eq!(frame, format!("{HEADER}[dmarc@32473 event_id=\"{id}\"] {message}"));
    let config = Syslog { max_message_bytes: 480, ..syslog() };
    let frame = encode(SinkKind::Syslog(config), Encoding::default(), &sample::aggregate());
    assert!(frame.starts_with(HEADER) && frame.ends_with("\"truncated\":true}\n") && frame.len() <= 481, "{frame}");
}

#[test]
fn text_lines_are_shortened_to_the_limit() {
    let event = with(|report, row| {
        report.org_name = Some("long name ".repeat(2000).into());
        row.reasons = reasons(100, "because");
    });
    let codec = Encoding { codec: Codec::Text, ..Encoding::default() };
    let line = encode(stdout(3000), codec, &event);
    assert!(line.len() <= 3000 && line.len() > 2900, "{}", line.len());
    assert!(line.starts_with("org=\"long name long name ") && line.ends_with(" truncated=true\n"), "{line}");
}

#[test]
fn truncated_is_set_even_if_the_field_list_excludes_it() {
    let event = with(|report, _| report.org_name = Some("o".repeat(9000).into()));
    assert_eq!(line(2000, seed(), &event)["truncated"], true);
}
