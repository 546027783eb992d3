use super::*;
use crate::event::{
    Event,
    sample::{self, some},
};

fn value<'a>(event: &'a Event, key: &str) -> Value<'a> {
    let mut fields = Vec::new();
    event.fields(&mut fields);
    fields.into_iter().find(|(name, _)| *name == key).unwrap().1
}

fn event(report: &Failure) -> Event<'static> {
    sample::failure_event(report, Addresses::Masked)
}

fn quiet() -> Failure {
    Failure { warnings: vec![], ..sample::failure() }
}

#[test]
fn local_parts_are_masked_in_every_field_of_the_report() {
    let report = Failure {
        source_ip: some("carol@example.org"),
        user_agent: some("Failures of carol@example.org"),
        original_envelope_id: some("carol@example.org"),
        spf_dns: vec!["txt : carol@example.org".into()],
        warnings: vec!["x: carol@example.org".into()],
        ..sample::failure()
    };
    let event = event(&report);
    let mut fields = Vec::new();
    event.fields(&mut fields);
    fields.retain(|(name, _)| !name.starts_with("mail_") && *name != "attachment");
    let text = format!("{fields:?}");
    for person in ["ann", "carol", "orders", "b+"] {
        assert!(!text.contains(&format!("{person}@")) && !text.contains(&format!("{person}=")), "{text}");
    }
    assert!(text.contains("***@mail.example.net") && text.contains("***@receiver.example"), "{text}");
}

#[test]
fn failure_reports_full_keeps_local_parts() {
    let event = sample::failure_event(&quiet(), Addresses::Full);
    assert_eq!(value(&event, "original_mail_from"), known("b+ann=x@mail.example.net"));
    assert_eq!(value(&event, "original_rcpt_to"), texts(&["ann@receiver.example".to_owned()]));
    assert_eq!(value(&event, "dkim_identity"), known("orders@example.com"));
    assert_eq!(value(&event, "header_from"), known("example.com"));
}

#[test]
fn an_invalid_address_is_kept_or_masked_completely() {
    let report = Failure { original_mail_from: some("<>"), original_rcpt_to: vec!["ann".into()], ..quiet() };
    let event = event(&report);
    assert_eq!(value(&event, "original_mail_from"), known("<>"));
    assert_eq!(value(&event, "original_rcpt_to"), texts(&["***".to_owned()]));
    assert_eq!(value(&event, "envelope_from"), Value::Null);
}

#[test]
fn the_reporter_of_a_failure_report_falls_back_to_other_fields() {
    let report = Failure { reporting_mta: some("dns; MX.receiver.example"), ..quiet() };
    assert_eq!(value(&event(&report), "org"), known("mx.receiver.example"));
    let report = Failure { reporting_mta: None, ..quiet() };
    assert_eq!(value(&event(&report), "org"), known("mx.receiver.example"));
    let report = Failure { authentication_results: vec!["dmarc=fail header.from=example.com".into()], ..report };
    let event = event(&report);
    assert_eq!(value(&event, "org"), known("receiver.example"));
    let warning = "org: missing, taken from the e-mail address";
    assert_eq!(value(&event, "parse_warnings"), texts(&[warning.to_owned()]));
}

#[test]
fn missing_incidents_count_as_one() {
    assert_eq!(value(&event(&quiet()), "count"), Value::Int(2));
    assert_eq!(value(&event(&Failure { incidents: None, ..quiet() }), "count"), Value::Int(1));
}

#[test]
fn comments_in_keyword_lists_are_removed_and_unknown_words_named() {
    let report = Failure {
        auth_failure: some("DMARC (p=none), spf, spf"),
        identity_alignment: some("dkim (a, (b)) ; arc"),
        delivery_result: some("smg-policy-action"),
        ..quiet()
    };
    let event = event(&report);
    assert_eq!(value(&event, "auth_failure"), known("dmarc,spf"));
    assert_eq!(value(&event, "identity_alignment"), known("dkim,arc"));
    let Value::Texts(warnings) = value(&event, "parse_warnings") else { panic!("a list") };
    assert_eq!(
        *warnings,
        ["identity_alignment: unknown value \"arc\"", "delivery_result: unknown value \"smg-policy-action\""]
    );
}

#[test]
fn arrival_dates_with_comments_and_obsolete_zones_are_parsed() {
    for told in [
        "Fri, 30 Oct 2026 22:13:20 +0000",
        "Fri, 30 Oct 2026 22:13:20 GMT",
        "30 Oct 2026 17:13:20 EST (really Friday)",
        "2026-10-30T22:13:20Z",
    ] {
        let event = event(&Failure { arrival_date: some(told), ..quiet() });
        assert_eq!(value(&event, "begin"), known("2026-10-30T22:13:20Z"), "{told}");
        assert_eq!(value(&event, "end"), value(&event, "begin"));
        assert_eq!(value(&event, "parse_warnings"), texts(&[]), "{told}");
    }
    let event = event(&Failure { arrival_date: some("soon"), ..quiet() });
    assert_eq!(value(&event, "begin"), Value::Null);
    assert_eq!(
        value(&event, "parse_warnings"),
        texts(&["begin: \"soon\" is not a valid time", "end: null, as begin is"].map(str::to_owned))
    );
    let event = self::event(&Failure { arrival_date: some("Mon, 30 Oct 2026 22:13:20 -0000"), ..quiet() });
    let warning =
        "begin: \"Mon, 30 Oct 2026 22:13:20 -0000\" has another weekday than its day, is read as 2026-10-30T22:13:20Z";
    assert_eq!(value(&event, "parse_warnings"), texts(&[warning.to_owned()]));
}

#[test]
fn the_domain_of_from_is_found_in_any_address_form() {
    for from in [
        "a@example.com",
        "\"A, B@c\" <a@EXAMPLE.com.>",
        "<a@example.com> (shop)",
        "a@example.com, b@example.net",
        "A <a@example.com>, B <b@example.net>",
        "A, Ann <a@example.com>; b@example.net",
        "b@example.net <a@example.com>",
        "(b@example.net) a@example.com (b@example.net)",
        "Shops: a@example.com, b@example.net;",
        "\"a \\\"b@c\\\" d\" <a@example.com>",
        "<@example.net,@example.org:a@example.com>",
        "\"a@example.com\"",
        "\"Shop <a@example.com>",
    ] {
        assert_eq!(domain_of(from).as_deref(), Some("example.com"), "{from}");
    }
    assert_eq!((domain_of("shop"), domain_of("<a@>")), (None, None));
}
