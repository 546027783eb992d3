//! Every form of a date by itself, and properties: each form reads back, and none reads as another instant than it says.

use jiff::{Timestamp, fmt::rfc2822::DateTimeParser, tz::Offset};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{Fault, Form, LAST_SECOND, SMALLEST, read};

/// Forms with an offset, as patterns of strftime.
const WITH_OFFSET: &[&str] = &[
    "%a, %d %b %Y %H:%M:%S %z",
    "%a, %-d %b %Y %-H:%M:%S %z (CET)",
    "%d %b %Y %H:%M:%S %z",
    "(a) %a (b (c) \\) d) ,%d(e)%b %Y %H : %M : %S %z",
    "%A, %d %B %Y %H:%M:%S %z",
    "%A, %d-%b-%Y %H:%M:%S UTC%:z",
    "%d-%b-%Y %H:%M:%S %z",
    "%d/%b/%Y:%H:%M:%S %z",
    "%-d. %B %Y, %-I:%M:%S %p %z",
    "%a %b %e %H:%M:%S %Y %z",
    "%a %b %e %H:%M:%S %z %Y",
    "%a %b %d %Y %H:%M:%S GMT%z (Mitteleuropaische Normalzeit)",
    "%B %-d, %Y at %-I:%M:%S\u{202f}%p GMT%:z",
    "%b. %-d, %Y, %-I:%M:%S %p, %z",
    "%Y-%m-%dT%H:%M:%S%:z",
    "%Y-%m-%d %H:%M:%S %z",
    "%Y-%m-%d %H:%M:%S.123456789 %z CEST",
    "%Y-%m-%dT%H:%M:%S,5%z",
    "%Y-%m-%dT%H:%M:%S%:z[Europe/Berlin]",
    "%Y/%m/%d %H:%M:%S %z",
    "%Y.%m.%d %I:%M:%S%p %z",
    "%Y-%b-%d %H:%M:%S %z",
    "%Y%m%dT%H%M%S%z",
    "%Y%m%d %H:%M:%S UTC %z",
    "%Y%m%d%H%M%S%z",
];

/// Forms in UTC: those that say so, and those without a zone, which have to be named.
const IN_UTC: &[&str] = &[
    "%a, %d %b %Y %H:%M:%S GMT",
    "%A, %d-%b-%Y %H:%M:%S UTC",
    "%a, %d %b %Y %H:%M:%S UT",
    "%a %b %e %H:%M:%S UTC %Y",
    "%a %b %e %H:%M:%S Z %Y",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%d %H:%M:%S UTC",
    "%Y-%m-%d %H:%M:%S +0000 UTC",
    "%Y%m%dT%H%M%SZ",
    "%s",
];
const WITHOUT_ZONE: &[&str] = &[
    "%a, %d %b %Y %H:%M:%S",
    "%a, %d %b %Y %H:%M:%S (CEST)",
    "%a %b %e %H:%M:%S %Y",
    "%Y-%m-%dT%H:%M:%S",
    "%Y/%m/%d %I:%M:%S %p",
    "%Y%m%dT%H%M%S",
    "%Y%m%d%H%M%S",
    "%a, %d %b %Y %H:%M:%S N",
];

fn seconds(text: &str) -> Result<i64, Fault> {
    read(text).map(|date| date.time.as_second())
}

fn is_named(text: &str) -> bool {
    read(text).is_ok_and(|date| date.note().is_some())
}

#[test]
fn each_form_of_one_date_reads_as_the_same_instant() {
    for text in [
        "Fri, 2 Jan 2026 03:04:05 +0100",
        "fri,2 jan 2026 3:4:5 +0100",
        "FRIDAY, 2 JANUARY 26 03:04:05 +0100",
        "2 Jan 126 03:04:05 +01",
        "Fri,\r\n\t2 Jan 2026\r\n 03:04:05 +0100",
        "Fri, 2 Jan 2026 03:04:05 +0100 (Central European Time)",
        "Fri, 2 Jan 2026 03:04:05 GMT+01:00",
        "Fri, 2 Jan 2026 03:04:05 UTC+1",
        "Fri, 2 Jan 2026 03:04:05 GMT +0100.",
        "Thu, 1 Jan 2026 21:04:05 EST",
        "Thu, 1 Jan 2026 6:04:05 PM PST",
        "Fri, 2 Jan 2026 02:04:05 -0000",
        "Fri Jan 2 03:04:05 +0100 2026",
        "2026-01-02T03:04:05+01:00",
        "2026-01-02t02:04:05z",
        "2026-1-2 3:04:05 a.m. +01:00",
        "2026-01-02 07:34:05.999+05:30",
        "2026-01-01 23:04:05 \u{2212}03:00",
        "1767319445",
        "1767319445.0",
        "1767319445.9",
        "1767319445123",
        "1767319445123456",
        "1767319445123456789",
        "1.767319445E9",
        "1.767319445123e12",
        "\u{feff} 2026-01-02T02:04:05Z\u{a0}",
    ] {
        assert_eq!(seconds(text), Ok(1_767_319_445), "{text}");
        assert_eq!(read(text).ok().and_then(|date| date.note()), None, "{text}");
    }
}

#[test]
fn what_was_assumed_is_named() {
    for (text, second, note) in [
        ("Fri Jan  2 03:04:05 2026", 1_767_323_045, "has no time zone"),
        ("2026-01-02 03:04:05", 1_767_323_045, "has no time zone"),
        ("20260102030405", 1_767_323_045, "has no time zone"),
        ("202601020304", 1_767_323_040, "has no time zone"),
        ("Fri, 2 Jan 2026 03:04", 1_767_323_040, "has no time zone"),
        ("2026-01-02", 1_767_312_000, "has no time of day"),
        ("2 Jan 2026", 1_767_312_000, "has no time of day"),
        ("20260102", 1_767_312_000, "has no time of day"),
        ("2026-01-02 UTC", 1_767_312_000, "has no time of day"),
        ("Fri, 2 Jan 2026 24:00:00 +0000", 1_767_398_400, "has hour 24"),
        ("Fri, 2 Jan 2026 03:04:05 A", 1_767_323_045, "has a time zone that is read as UTC"),
        ("Fri Jan 2 03:04:05 CST 2026", 1_767_344_645, "has a time zone that is read as in North America"),
        ("Mon, 2 Jan 2026 03:04:05 Z", 1_767_323_045, "has another weekday than its day"),
        ("Sat, 2 Jan 2026 24:00", 1_767_398_400, "has hour 24, has no time zone, has another weekday than its day"),
    ] {
        assert_eq!(seconds(text), Ok(second), "{text}");
        assert_eq!(read(text).unwrap().note().as_deref(), Some(note), "{text}");
    }
}

#[test]
fn ambiguous_dates_are_refused() {
    for text in [
        "Thu, 1 Jan 2026 11:00:00 CEST",
        "Thu, 1 Jan 2026 15:30:00 IST",
        "Thu, 1 Jan 2026 15:30:00 BST",
        "Thu Jan 1 15:30:00 CET 2026",
        "Thu, 1 Jan 2026 15:30:00 J",
        "Thu, 1 Jan 2026 15:30:00 CET-1",
        "Thu, 1 Jan 2026 15:30:00 Etc/GMT+1",
        "Thu, 1 Jan 2026 15:30:00 GMT Standard Time",
        "2026-01-01T15:30:00[Europe/Berlin]",
        "2026-01-01T15:30:00Z+0100",
        "Thu, 1 Jan 2026 15:30:00 +0100 GMT",
        "Thu, 1 Jan 2026 15:30:00 EST -0400",
        "Thu, 1 Jan 2026 15:30:00 +100",
        "Thu, 1 Jan 2026 15:30:00 +2400",
        "Thu, 1 Jan 2026 15:30:00 +0060",
    ] {
        assert_eq!(seconds(text), Err(Fault::Zone), "{text}");
    }
    for text in ["01/02/2026 03:04:05", "1.2.2026", "14/11/2023", "02-01-2026 03:04", "01/02/26", "1 2 2026"] {
        assert_eq!(seconds(text), Err(Fault::Order), "{text}");
    }
}

#[test]
fn dates_outside_of_the_years_of_mail_are_refused() {
    for text in [
        "1960-01-01",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+01:00",
        "Fri, 2 Jan 50 03:04:05 +0000",
        "0026-01-02",
        "2200-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "99999999999",
        "7258118400",
        "99999999999999999999",
        "1.7e300",
    ] {
        assert_eq!(seconds(text), Err(Fault::Range), "{text}");
    }
    assert_eq!((seconds("0"), seconds("7258118399")), (Ok(0), Ok(LAST_SECOND)));
    assert_eq!(seconds("2199-12-31T23:59:60Z"), Err(Fault::Range));
}

#[test]
fn what_is_no_date_is_refused() {
    for text in [
        "",
        "-1",
        "+1",
        "126",
        "99999999",
        "yesterday",
        "Fri",
        "Jan",
        "Jan 2",
        "2 Jan",
        "2026",
        "2026-01",
        "2026-W01-5",
        "2026-002",
        "2026-13-01",
        "2026-02-29",
        "2026-1-2-3",
        "2026-01/02",
        "2026-01-02T",
        "2026-01-02T25:00:00Z",
        "2026-01-02T24:00:01Z",
        "2026-01-02T03:60:00Z",
        "2026-01-02T03:04:61Z",
        "2026-01-02 13:04 PM Z",
        "2026-01-02 0:04 AM Z",
        "2026-01-02 03:04:05 +01:00 +02:00",
        "2026-01-02 03:04:05 2026",
        "20260102T",
        "Fri, 2 Foo 2026 03:04:05 +0000",
        "Fri, 2 Ja 2026 03:04:05 +0000",
        "Fri, 2 Jan 20260 03:04:05 +0000",
        "Fri, 32 Jan 2026 03:04:05 +0000",
        "Fri, 2 Jan 2026 03 +0000",
        "1700000000.x",
        "1700000000 1",
        "1e",
        "(2026-01-02)",
        "٢٠٢٦-٠١-٠٢",
    ] {
        assert_eq!(seconds(text), Err(Fault::NotATime), "{text}");
    }
}

#[test]
fn the_form_of_a_date_is_told() {
    let form = |text| read(text).map(|date| date.form);
    assert_eq!(form("1767319445"), Ok(Form::Seconds));
    assert_eq!(form("2026-01-02T02:04:05Z"), Ok(Form::Rfc3339));
    assert_eq!(form("2 Jan 26 02:04 GMT"), Ok(Form::Rfc5322));
    for text in ["1767319445123", "1767319445.0", "2026/01/02 02:04:05Z", "Fri Jan 2 02:04:05 2026", "20260102"] {
        assert_eq!(form(text), Ok(Form::Other), "{text}");
    }
}

/// Formats an instant in a zone `minutes` from UTC.
fn formatted(pattern: &str, second: i64, minutes: i32) -> String {
    let offset = Offset::from_seconds(minutes * 60).unwrap();
    let zoned = Timestamp::from_second(second).unwrap().to_zoned_datetime(offset.to_time_zone());
    zoned.strftime(pattern).to_string()
}

/// Instants that are read in each form and zone.
fn instants() -> impl Strategy<Value = i64> {
    SMALLEST..=LAST_SECOND - 86_400
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_form_of_every_instant_reads_back(
        second in instants(), minutes in -14 * 60..=14 * 60, pattern in select(WITH_OFFSET), case in 0..3,
    ) {
        let text = formatted(pattern, second, minutes);
        let text = match case {
            0 => text,
            1 => text.to_uppercase(),
            _ => text.to_lowercase().replace(' ', "\r\n\t"),
        };
        let date = read(&text);
        prop_assert_eq!(date.as_ref().map(|date| date.time.as_second()), Ok(second), "{}", text);
        prop_assert_eq!(date.unwrap().note(), None, "{}", text);
    }

    #[test]
    fn dates_in_utc_read_back_and_a_missing_zone_is_named(second in instants(), told in select(IN_UTC), untold in select(WITHOUT_ZONE)) {
        let text = formatted(told, second, 0);
        prop_assert_eq!((seconds(&text), is_named(&text)), (Ok(second), false), "{}", text);
        let text = formatted(untold, second, 0);
        prop_assert_eq!((seconds(&text), is_named(&text)), (Ok(second), true), "{}", text);
    }

    #[test]
    fn years_of_two_digits_read_back(second in 86_400i64..2_524_608_000 - 86_400, minutes in -14 * 60..=14 * 60) {
        prop_assert_eq!(seconds(&formatted("%a, %d %b %y %H:%M:%S %z", second, minutes)), Ok(second));
    }

    #[test]
    fn fractions_of_seconds_since_1970_read_back(second in 1_000_000_000..=LAST_SECOND, rest in 0..1_000_000_000i64) {
        for parts in [1_000, 1_000_000, 1_000_000_000] {
            prop_assert_eq!(seconds(&(second * parts + rest % parts).to_string()), Ok(second));
        }
        prop_assert_eq!(seconds(&format!("{second}.{rest}")), Ok(second));
        prop_assert_eq!(seconds(&format!("{:e}", second as f64)), Ok(second));
    }

    #[test]
    fn no_date_reads_as_another_instant_than_it_says(
        second in instants(), minutes in -14 * 60..=14 * 60, pattern in select(WITH_OFFSET),
        at in any::<Index>(), with in "[ -~]{0,2}", gone in 0..3usize,
    ) {
        const PARSER: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);
        let mut text: Vec<char> = formatted(pattern, second, minutes).chars().collect();
        let at = at.index(text.len());
        text.splice(at..(at + gone).min(text.len()), with.chars());
        let text: String = text.into_iter().collect();
        // Another parser takes leap seconds for the second before.
        if let Ok(date) = read(&text) && date.note().is_none() && !text.contains(":60") {
            for other in [PARSER.parse_timestamp(&text).ok(), text.parse::<Timestamp>().ok()].into_iter().flatten() {
                prop_assert_eq!(date.time.as_second(), other.as_second(), "{}", text);
            }
        }
    }

    #[test]
    fn garbage_never_panics(text in "\\PC{0,40}", dense in "[0-9:+\\-/., TZAPMGUTCJan\\[\\]()\\\\]{0,40}") {
        let _ = (read(&text), read(&dense));
    }
}
