use super::*;
use crate::event::{Event, sample, sample::some};

fn value<'a>(event: &'a Event<'_>, key: &str) -> Value<'a> {
    let mut fields = Vec::new();
    event.fields(&mut fields);
    fields.into_iter().find(|(name, _)| *name == key).unwrap().1
}

fn warnings(event: &Event) -> Vec<String> {
    match value(event, "parse_warnings") {
        Value::Texts(warnings) => warnings.into_owned(),
        other => panic!("{other:?}"),
    }
}

fn told(row: report::Row<'_>) -> Event<'_> {
    let report = report::Aggregate { warnings: Vec::new(), ..sample::report() };
    sample::aggregate_of(&report, row, sample::provenance())
}

fn row() -> report::Row<'static> {
    report::Row { warnings: Vec::new(), ..sample::row() }
}

#[test]
fn enumerations_are_trimmed_and_lower_case_and_unknown_ones_are_named() {
    let event = told(report::Row { disposition: some(" Quarantine "), dkim: some("Hardfail"), ..row() });
    assert_eq!(value(&event, "disposition"), known("quarantine"));
    assert_eq!(value(&event, "dkim"), known("hardfail"));
    assert_eq!(warnings(&event), ["dkim: unknown value \"hardfail\""]);
}

#[test]
fn invalid_addresses_and_counts_are_null_with_a_warning() {
    let event = told(report::Row { source_ip: some("abc"), count: some("many"), ..row() });
    assert_eq!((value(&event, "source_ip"), value(&event, "count")), (Value::Null, Value::Null));
    assert_eq!(
        warnings(&event),
        ["source_ip: \"abc\" is not a valid IP address", "count: \"many\" is not a valid count"]
    );
}

#[test]
fn addresses_are_canonical() {
    let event = told(report::Row { source_ip: some("2001:DB8:0:0::0001"), ..row() });
    assert_eq!(value(&event, "source_ip"), known("2001:db8::1"));
}

#[test]
fn warnings_of_the_document_come_before_those_of_the_row() {
    let report = report::Aggregate { begin: some("soon"), ..sample::report() };
    let row = report::Row { count: some("x"), ..sample::row() };
    let event = sample::aggregate_of(&report, row, sample::provenance());
    assert_eq!(
        warnings(&event),
        [
            "trailing_junk: data after the end of the report was skipped",
            "begin: \"soon\" is not a valid time",
            "several_rows: a record has several rows, each was read as a separate record",
            "count: \"x\" is not a valid count"
        ]
    );
    let event = sample::aggregate_of(&report, self::row(), sample::provenance());
    assert_eq!(
        warnings(&event),
        ["trailing_junk: data after the end of the report was skipped", "begin: \"soon\" is not a valid time"]
    );
}

#[test]
fn missing_org_name_falls_back_to_the_email_domain() {
    let report = report::Aggregate { org_name: None, warnings: Vec::new(), ..sample::report() };
    let event = sample::aggregate_of(&report, row(), sample::provenance());
    assert_eq!(value(&event, "org"), known("receiver.example"));
    assert_eq!(warnings(&event), ["org: missing, taken from the e-mail address"]);
    let report = report::Aggregate { email: some("nobody"), ..report };
    let event = sample::aggregate_of(&report, row(), sample::provenance());
    assert_eq!(value(&event, "org"), Value::Null);
}

#[test]
fn times_are_rfc_3339_in_utc() {
    let event = sample::aggregate();
    assert_eq!(value(&event, "begin"), known("2026-10-30T00:00:00Z"));
    assert_eq!(value(&event, "end"), known("2026-10-30T23:59:59Z"));
    assert_eq!(value(&event, "ingest_timestamp"), known("2026-11-01T12:00:00Z"), "cut, not rounded");
    let report = report::Aggregate { begin: Some("9".repeat(30).into()), ..sample::report() };
    let event = sample::aggregate_of(&report, row(), sample::provenance());
    assert_eq!(value(&event, "begin"), Value::Null);
}

#[test]
fn the_explaining_results_set_dkim_domain_and_spf_domain() {
    let event = sample::aggregate();
    for (key, expected) in [
        ("dkim_domain", "example.com"),
        ("dkim_selector", "s1"),
        ("dkim_result", "pass"),
        ("spf_domain", "bounce.example.net"),
        ("spf_scope", "mfrom"),
        ("org_domain", "example.com"),
        ("policy_effective", "quarantine"),
        ("override_reason", "local_policy"),
        ("failure_class", "pass"),
    ] {
        assert_eq!(value(&event, key), known(expected), "{key}");
    }
    assert_eq!(value(&event, "dkim_aligned"), Value::Bool(true));
    assert_eq!(value(&event, "spf_aligned"), Value::Bool(false));
}

#[test]
fn an_empty_row_has_null_keys_and_names_those_that_it_must_have() {
    let event = sample::silent();
    for key in ["org", "count", "dmarc_pass", "dkim_aligned", "spf_aligned", "policy_effective", "failure_class"] {
        assert_eq!(value(&event, key), Value::Null, "{key}");
    }
    let named: Vec<_> = warnings(&event).iter().map(|warning| warning.replace(": missing", "")).collect();
    assert_eq!(
        named.join(" "),
        "org_email org report_id domain begin end policy source_ip count disposition dkim spf header_from"
    );
}

#[test]
fn a_begin_after_the_end_is_kept_and_named() {
    let period = |begin, end| {
        let report = report::Aggregate { begin: some(begin), end: some(end), warnings: Vec::new(), ..sample::report() };
        sample::aggregate_of(&report, row(), sample::provenance())
    };
    let event = period("1793404799", "1793318400");
    assert_eq!(value(&event, "begin"), known("2026-10-30T23:59:59Z"));
    assert_eq!(warnings(&event), ["begin: 2026-10-30T23:59:59Z is after the end, 2026-10-30T00:00:00Z"]);
    assert_eq!(warnings(&period("1793318400", "1793318400")), [""; 0]);
}

#[test]
fn all_keys_but_those_of_the_row_are_the_same_in_all_rows_of_a_report() {
    let shared = Shared::new(&sample::report(), sample::SHA256, Arc::new(sample::provenance()));
    let event = |row| Event::Aggregate(Box::new(AggregateEvent::new(shared.clone(), row)));
    let (one, other) = (event(sample::row()), event(report::Row::default()));
    let (mut fields, mut others) = (Vec::new(), Vec::new());
    one.fields(&mut fields);
    other.fields(&mut others);
    for (field, other) in fields.iter().zip(&others) {
        assert_eq!(field != other, ROW_KEYS.contains(&field.0), "{field:?} {other:?}");
    }
    assert_eq!(fields.iter().filter(|(key, _)| ROW_KEYS.contains(key)).count(), ROW_KEYS.len());
}
