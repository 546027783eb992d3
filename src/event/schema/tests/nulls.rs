//! Property: a null that the schema declares as named is named, in the events of any report.

use std::{ops::ControlFlow, sync::Arc};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    event::{
        aggregate::{self, AggregateEvent},
        failure::{Addresses, FailureEvent},
        head::Head,
        report::{Outcome, ReportEvent, Tally},
        tls_rpt::{self, TlsRptEvent},
    },
    extract::Format,
    limits::Limits,
    report::{self, Failure, Report},
};

/// Notes on an event's nulls that are missing, by the table of its type.
fn unnamed(event: &Event) -> Vec<String> {
    let mut fields = Vec::new();
    event.fields(&mut fields);
    let value = |name: &str| fields.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    let warnings = match value("parse_warnings") {
        Some(Value::Texts(warnings)) => warnings.to_vec(),
        _ => Vec::new(),
    };
    let is_named = |path: &str| {
        warnings.iter().any(|warning| warning.strip_prefix(path).is_some_and(|rest| rest.starts_with(": ")))
    };
    let is_null = |name: &str| value(name) == Some(&Value::Null);
    let mut unnamed = Vec::new();
    for key in keys(event.event_type()) {
        let name = key.name;
        match (key.null, value(name)) {
            (Null::Never, Some(value)) => assert_ne!(*value, Value::Null, "{name}"),
            (Null::Named, _) if is_null(name) && !is_named(name) => unnamed.push(name.to_owned()),
            (Null::NamedIf(other, values), _) if is_null(name) && !is_named(name) => {
                let applies = matches!(value(other), Some(Value::Text(other)) if values.contains(&&**other));
                unnamed.extend(applies.then(|| name.to_owned()));
            }
            (Null::Members(members), Some(Value::Objects(objects))) => {
                let paths = objects.iter().enumerate().flat_map(|(at, object)| {
                    let nulls = object.iter().filter(|(member, value)| value.is_none() && members.contains(member));
                    nulls.map(move |(member, _)| format!("{name}[{at}].{member}"))
                });
                unnamed.extend(paths.filter(|path| !is_named(path)));
            }
            _ => {}
        }
    }
    unnamed
}

/// Texts of no type, and of each.
const TEXTS: &[&str] = &[
    "",
    " ",
    "\u{200b}",
    ".",
    "@",
    "<>",
    "unknown",
    "no such thing",
    "-1",
    "1.5",
    "99999999999999999999",
    "1700000000",
    "7",
    "pass",
    "reject",
    "r",
    "192.0.2.1",
    "2026-01-01T00:00:00Z",
    "Thu, 1 Jan 2026 00:00:00 +0000",
    "example.com",
    "bücher.example",
    "user@example.com",
    "<user@example.com>",
    "https://example.com/",
    "a\u{0}b",
    "é]]>",
    ",",
    "()",
];

/// Draws texts; `None` for a missing value, one time in five.
#[derive(Debug)]
struct Draws(std::vec::IntoIter<usize>);

impl Draws {
    fn strategy() -> impl Strategy<Value = Self> {
        vec(0..usize::MAX, 120).prop_map(|draws| Self(draws.into_iter()))
    }

    fn below(&mut self, most: usize) -> usize {
        self.0.next().unwrap_or_default() % most
    }

    fn text(&mut self) -> Option<String> {
        match self.below(5) {
            0 => None,
            _ => Some(TEXTS[self.below(TEXTS.len())].to_owned()),
        }
    }

    fn element(&mut self, name: &str) -> String {
        let escaped = |text: String| text.replace('&', "&amp;").replace('<', "&lt;");
        self.text().map_or(String::new(), |text| format!("<{name}>{}</{name}>", escaped(text)))
    }

    fn group(&mut self, name: &str, inside: &[&str], more: String) -> String {
        let elements: String = inside.iter().map(|name| self.element(name)).collect();
        if self.below(6) == 0 { String::new() } else { format!("<{name}>{elements}{more}</{name}>") }
    }

    fn xml(&mut self) -> String {
        let range = self.group("date_range", &["begin", "end"], String::new());
        let metadata = self.group("report_metadata", &["org_name", "email", "report_id", "error"], range);
        let policy =
            self.group("policy_published", &["domain", "adkim", "aspf", "p", "sp", "pct", "testing"], String::new());
        let record = |draws: &mut Self| {
            let reason = draws.group("reason", &["type", "comment"], String::new());
            let evaluated = draws.group("policy_evaluated", &["disposition", "dkim", "spf"], reason);
            let row = draws.group("row", &["source_ip", "count"], evaluated);
            let names = draws.group("identifiers", &["header_from", "envelope_from", "envelope_to"], String::new());
            let results = ["domain", "selector", "scope", "result", "human_result"];
            let (dkim, spf) =
                (draws.group("dkim", &results, String::new()), draws.group("spf", &results, String::new()));
            let results = draws.group("auth_results", &[], dkim + &spf);
            format!("<record>{row}{names}{results}</record>")
        };
        let records: String = (0..self.below(3)).map(|_| record(self)).collect();
        format!("<feedback>{metadata}{policy}{records}</feedback>")
    }

    /// A JSON value of any type.
    fn json(&mut self) -> Json {
        match self.below(8) {
            0 => Json::Null,
            1 => json!(self.below(1_000)),
            2 => json!(-1.5),
            3 => json!([TEXTS[self.below(TEXTS.len())]]),
            4 => json!({"a": true}),
            5 => json!(false),
            _ => json!(TEXTS[self.below(TEXTS.len())]),
        }
    }

    fn object(&mut self, keys: &[&str]) -> Json {
        let told: Vec<&str> = keys.iter().copied().filter(|_| self.below(5) > 0).collect();
        Json::Object(told.into_iter().map(|key| (key.to_owned(), self.json())).collect())
    }

    fn tls_rpt(&mut self) -> String {
        let failure = [
            "result-type",
            "sending-mta-ip",
            "receiving-mx-hostname",
            "receiving-mx-helo",
            "receiving-ip",
            "failed-session-count",
            "additional-information",
            "failure-reason-code",
        ];
        let policies: Vec<Json> = (0..self.below(3))
            .map(|_| {
                let policy = self.object(&["policy-type", "policy-domain", "policy-string", "mx-host"]);
                let summary = self.object(&["total-successful-session-count", "total-failure-session-count"]);
                let details: Vec<Json> = (0..self.below(3)).map(|_| self.object(&failure)).collect();
                json!({"policy": policy, "summary": summary, "failure-details": details})
            })
            .collect();
        let mut report = self.object(&["organization-name", "contact-info", "report-id"]);
        report["date-range"] = self.object(&["start-datetime", "end-datetime"]);
        report["policies"] = policies.into();
        report.to_string()
    }

    fn failure(&mut self) -> Failure {
        Failure {
            feedback_type: self.text(),
            version: self.text(),
            user_agent: self.text(),
            auth_failure: self.text(),
            identity_alignment: self.text(),
            delivery_result: self.text(),
            authentication_results: self.text().into_iter().collect(),
            original_mail_from: self.text(),
            original_rcpt_to: self.text().into_iter().collect(),
            original_envelope_id: self.text(),
            source_ip: self.text(),
            reported_domain: self.text(),
            reporting_mta: self.text(),
            arrival_date: self.text(),
            incidents: self.text(),
            dkim_domain: self.text(),
            dkim_identity: self.text(),
            dkim_selector: self.text(),
            spf_dns: self.text().into_iter().collect(),
            from: self.text(),
            message_id: self.text(),
            warnings: Vec::new(),
        }
    }
}

fn provenance() -> Arc<crate::event::Provenance> {
    Arc::new(sample::provenance())
}

fn summary(head: &Arc<Head>) -> Event<'static> {
    Event::Report(Box::new(ReportEvent::of(head.clone(), Outcome::Shipped, Tally::default())))
}

/// The events of a document, as the pipeline makes them.
fn events(format: Format, document: &str) -> Vec<Event<'static>> {
    let limits = Limits::default();
    let Ok(scan) = report::scan(format, || document.as_bytes(), &limits) else { return Vec::new() };
    let mut events = Vec::new();
    match scan.report {
        Report::Aggregate(report) => {
            let shared = aggregate::Shared::new(&report, scan.sha256, provenance());
            events.push(summary(shared.head()));
            let _ = report::rows(document.as_bytes(), scan.is_clean, &limits, &mut |row| {
                events.push(Event::Aggregate(Box::new(AggregateEvent::new(shared.clone(), row))).into_owned());
                ControlFlow::Continue(())
            });
        }
        Report::TlsRpt(report) => {
            let shared = tls_rpt::Shared::new(*report, scan.sha256, provenance());
            events.push(summary(shared.head()));
            let _ = report::tls_rows(document.as_bytes(), &limits, &mut |row| {
                events.push(Event::TlsRpt(Box::new(TlsRptEvent::new(shared.clone(), row))));
                ControlFlow::Continue(())
            });
        }
        Report::Failure(_) => {}
    }
    events
}

fn failure_events(report: &Failure, addresses: Addresses) -> Vec<Event<'static>> {
    let event = FailureEvent::new(report, sample::SHA256, provenance(), addresses);
    vec![summary(event.head()), Event::Failure(Box::new(event))]
}

proptest! {
    #[test]
    fn nulls_of_aggregate_reports_are_named_as_the_schema_says(mut draws in Draws::strategy()) {
        let document = draws.xml();
        for event in events(Format::Xml, &document) {
            prop_assert_eq!(unnamed(&event), Vec::<String>::new(), "{}", document);
        }
    }

    #[test]
    fn nulls_of_tls_reports_are_named_as_the_schema_says(mut draws in Draws::strategy()) {
        let document = draws.tls_rpt();
        for event in events(Format::Json, &document) {
            prop_assert_eq!(unnamed(&event), Vec::<String>::new(), "{}", document);
        }
    }

    #[test]
    fn nulls_of_failure_reports_are_named_as_the_schema_says(mut draws in Draws::strategy()) {
        let report = draws.failure();
        for event in failure_events(&report, Addresses::Masked) {
            prop_assert_eq!(unnamed(&event), Vec::<String>::new(), "{:?}", report);
        }
    }
}

/// The properties above are worth nothing if no event has a null that must be named.
#[test]
fn every_named_null_occurs_in_a_report_without_values() {
    let tls = |key: &str| {
        format!(
            r#"{{"{key}": "x", "policies": [{{"policy": {{"mx-host": "m"}}, "failure-details": [{{"failure-reason-code": "x"}}]}}]}}"#
        )
    };
    let xml = "<feedback><record><row><count> </count></row><identifiers><envelope_from>a</envelope_from></identifiers>\
               <auth_results><dkim><selector>s</selector></dkim><spf><scope>helo</scope></spf></auth_results></record></feedback>";
    let nameless = crate::event::Provenance { mail_from: None, ..sample::provenance() };
    let failure = FailureEvent::new(&Failure::default(), sample::SHA256, Arc::new(nameless), Addresses::Full);
    let mut all = [
        events(Format::Xml, xml),
        events(Format::Json, &tls("contact-info")),
        events(Format::Json, &tls("organization-name")),
    ]
    .concat();
    all.extend([summary(failure.head()), Event::Failure(Box::new(failure))]);
    for event_type in [EventType::DmarcAggregate, EventType::TlsRpt, EventType::DmarcFailure, EventType::Report] {
        for key in keys(event_type).iter().filter(|key| matches!(key.null, Null::Named | Null::NamedIf(..))) {
            // A failure report without Incidents is about one.
            if (event_type, key.name) == (EventType::DmarcFailure, "count") {
                continue;
            }
            let is_null = |event: &&Event| {
                let mut fields = Vec::new();
                event.fields(&mut fields);
                fields.contains(&(key.name, Value::Null))
            };
            let nulls: Vec<_> = all.iter().filter(|event| event.event_type() == event_type).filter(is_null).collect();
            assert!(!nulls.is_empty(), "{event_type:?} {}", key.name);
            assert!(nulls.into_iter().all(|event| unnamed(event).is_empty()));
        }
    }
}
