mod docs;
mod nulls;

use std::collections::HashMap;

use super::*;
use crate::{
    event::{Event, Value, failure::Addresses, sample},
    report::{Failure, TlsPolicy, TlsRow, TlsRpt},
};

fn fits(kind: Kind, value: &Value<'_>) -> bool {
    match (kind, value) {
        (Kind::Bool, Value::Bool(_)) | (Kind::Int, Value::Int(_)) | (Kind::Text, Value::Text(_)) => true,
        (Kind::Time, Value::Text(text)) => text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok(),
        (Kind::Texts, Value::Texts(_)) => true,
        (Kind::Objects(members), Value::Objects(objects)) => {
            objects.iter().all(|object| object.iter().map(|(name, _)| *name).eq(members.iter().copied()))
        }
        _ => false,
    }
}

fn samples() -> [Event<'static>; 12] {
    let unfetched = crate::trouble::Trouble::new(crate::trouble::Reason::MailTooLarge, "too large");
    [
        sample::aggregate(),
        sample::silent(),
        sample::tls_event(sample::tls_rpt(), TlsRow::Policy(sample::tls_policy())),
        sample::tls_event(sample::tls_rpt(), TlsRow::Failure(sample::tls_failure())),
        sample::tls_event(TlsRpt::default(), TlsRow::Policy(TlsPolicy::default())),
        sample::failure_event(&sample::failure(), Addresses::Full),
        sample::failure_event(&Failure::default(), Addresses::Masked),
        sample::report_event(),
        sample::unreadable(),
        sample::ingest_error(),
        sample::ingest_error_of(unfetched, None),
        sample::probe(),
    ]
}

#[test]
fn events_have_exactly_the_keys_of_the_table_in_its_order_and_types() {
    for event in samples() {
        let mut fields = Vec::new();
        event.fields(&mut fields);
        let keys = keys(event.event_type());
        assert!(fields.iter().map(|(name, _)| *name).eq(keys.iter().map(|key| key.name)), "{fields:?}");
        for (key, (name, value)) in keys.iter().zip(&fields) {
            let fits = if *value == Value::Null { key.null.is_possible() } else { fits(key.kind, value) };
            assert!(fits, "{name}: {value:?}");
        }
    }
}

#[test]
fn sample_events_set_every_key() {
    let failure = sample::failure_event(&sample::failure(), Addresses::Masked);
    for event in [sample::aggregate(), failure, sample::report_event(), sample::ingest_error(), sample::probe()] {
        let mut fields = Vec::new();
        event.fields(&mut fields);
        for (name, value) in fields {
            assert_ne!(value, Value::Null, "{name}");
        }
    }
}

#[test]
fn sample_policy_and_failure_set_every_tls_rpt_key() {
    let policy = sample::tls_event(sample::tls_rpt(), TlsRow::Policy(sample::tls_policy()));
    let failure = sample::tls_event(sample::tls_rpt(), TlsRow::Failure(sample::tls_failure()));
    let (mut of_policy, mut of_failure) = (Vec::new(), Vec::new());
    policy.fields(&mut of_policy);
    failure.fields(&mut of_failure);
    for ((name, policy), (_, failure)) in of_policy.into_iter().zip(of_failure) {
        assert!(policy != Value::Null || failure != Value::Null, "{name}");
    }
}

#[test]
fn the_seed_schema_is_frozen() {
    let seed: Vec<_> =
        keys(EventType::DmarcAggregate).iter().take_while(|key| key.part == Part::Seed).map(|key| key.name).collect();
    let frozen = "org report_id domain policy source_ip count disposition dkim spf header_from begin end \
                  dkim_domain dkim_result spf_domain spf_result ingest_timestamp";
    assert_eq!(seed.join(" "), frozen);
}

#[test]
fn a_key_means_the_same_in_every_type() {
    let mut seen: HashMap<&str, Key> = HashMap::new();
    for key in EventType::ALL.iter().flat_map(|event_type| keys(*event_type)) {
        let first = seen.entry(key.name).or_insert(*key);
        assert_eq!((first.kind, first.part, first.doc), (key.kind, key.part, key.doc), "{}", key.name);
    }
    let names: Vec<_> = field_names().collect();
    assert_eq!(names.len(), seen.len());
}

#[test]
fn the_json_schema_requires_every_key() {
    let schema = json_schema();
    let aggregate = &schema["oneOf"][0];
    assert_eq!(aggregate["properties"]["event_type"]["const"], "dmarc_aggregate");
    assert_eq!(aggregate["properties"]["count"]["type"], json!(["integer", "null"]));
    assert_eq!(aggregate["properties"]["begin"]["format"], "date-time");
    assert_eq!(aggregate["properties"]["reasons"]["items"]["required"], json!(["type", "comment"]));
    assert_eq!(aggregate["required"].as_array().unwrap().len(), keys(EventType::DmarcAggregate).len());
    assert_eq!(schema["oneOf"].as_array().unwrap().len(), EventType::ALL.len());
}
