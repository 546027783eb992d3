//! Floods and unknown senders: what is turned away, and that all of it is reported.

use super::*;

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

fn deferred(reading: &Reading) -> bool {
    matches!(reading.verdict(), Verdict::Defer(_))
}

fn from(domain: &str, id: usize) -> Vec<u8> {
    mail(&format!("reports@{domain}"), &[&gzip(&report("example.com", id, 2))])
}

/// The setting and the report may write an internationalised name differently, and the report an address for a domain.
#[test]
fn wanted_domains_are_compared_as_a_labels() {
    let mut source = Source::with("domains: [bücher.example, xn--mnchen-3ya.example]");
    let wanted = [
        "bücher.example",
        "xn--bcher-kva.example",
        "news.BÜCHER.example",
        "münchen.example",
        "reports@bücher.example",
        "https://xn--mnchen-3ya.example/",
    ];
    for (id, domain) in wanted.iter().enumerate() {
        let reading = source.mail(&mail("r@x.example", &[&report(domain, id, 1)]));
        assert_eq!(reading.verdict(), Verdict::Archive, "{domain}");
    }
    for (id, domain) in ["bucher.example", "xn--bcher-kva.example.org"].iter().enumerate() {
        let reading = source.mail(&mail("r@x.example", &[&report(domain, 10 + id, 1)]));
        assert_eq!(quarantined(&reading).reason.code(), "unwanted_domain", "{domain}");
    }
}

#[test]
fn a_report_for_another_domain_is_quarantined_with_one_event() {
    let mut source = Source::with("domains: [example.com, Example.NET.]");
    for (id, domain) in ["example.com", "EXAMPLE.com.", "a.b.example.com", "news.example.net"].iter().enumerate() {
        let reading = source.mail(&mail("r@x.example", &[&report(domain, id, 1)]));
        assert_eq!(reading.verdict(), Verdict::Archive, "{domain}");
    }
    let shipped = source.out.events.len();
    for (id, domain) in ["notexample.com", "com", "example.com.evil.example", "", "example.org"].iter().enumerate() {
        let reading = source.mail(&mail("r@x.example", &[&report(domain, 10 + id, 1)]));
        assert_eq!(quarantined(&reading).reason.code(), "unwanted_domain", "{domain}");
        assert!(reading.documents.is_empty(), "it is not remembered as shipped");
    }
    assert_eq!((source.out.rows(), source.out.events.len()), (4, shipped + 5));
    assert_eq!(source.out.errors(), [("unwanted_domain", 0); 5]);
    let last = source.out.events.last().unwrap();
    assert_eq!(
        last["detail"],
        "the report is for example.org; expected one of domains, or a subdomain: add it there to ship it"
    );
    assert_eq!(last["document_sha256"].as_str().map(str::len), Some(64));
}

#[test]
fn an_unwanted_report_does_not_hold_up_the_wanted_one_beside_it() {
    let mut source = Source::with("domains: example.com");
    let reading = source.mail(&mail(
        "r@x.example",
        &[&report("example.org", 1, 3), &gzip(&report("example.com", 2, 2)), &report("example.org", 3, 1)],
    ));
    quarantined(&reading);
    assert_eq!((source.out.rows(), reading.documents.len()), (2, 1));
    assert_eq!(source.out.of("report").len(), 1);
}

#[test]
fn a_report_that_became_wanted_is_shipped() {
    let mut source = Source::with("domains: example.com");
    let stranger = mail("r@x.example", &[&report("example.org", 1, 3)]);
    quarantined(&source.mail(&stranger));
    source.admission = Admission::open();
    assert_eq!(source.mail(&stranger).verdict(), Verdict::Archive);
    assert_eq!(source.out.rows(), 3);
}

#[test]
fn a_mail_over_its_sender_s_share_is_deferred_and_told_once_a_day() {
    for (lines, setting) in [
        ("sender_mails_per_day: 3", "limits.sender_mails_per_day"),
        ("sender_bytes_per_day: 1600", "limits.sender_bytes_per_day"),
        ("sender_rows_per_day: 6", "limits.sender_rows_per_day"),
        ("sender_inflated_bytes_per_day: 1024", "limits.sender_inflated_bytes_per_day"),
    ] {
        let mut source = Source::with(&format!("limits: {{{lines}}}"));
        let (first, length) = (from("greedy.example", 0), from("greedy.example", 0).len() as u64);
        assert!((1600 / 4 + 5..1600 / 3 - 5).contains(&length), "three fit: {length}");
        assert_eq!(source.mail(&first).verdict(), Verdict::Archive);
        for id in 1..10 {
            let reading = source.mail(&from("a.greedy.example", id));
            assert_eq!(deferred(&reading), id >= 3, "{setting}");
            assert!(reading.troubles.is_empty() && (id < 3 || reading.documents.is_empty()), "{setting}");
        }
        assert_eq!(source.mail(&from("other.example", 10)).verdict(), Verdict::Archive);
        assert_eq!((source.out.rows(), source.out.errors()), (8, vec![("sender_over_limit", 0)]), "{setting}");
        let error = source.out.of("ingest_error")[0];
        assert_eq!((error["limit_setting"].as_str(), error["mail_uid"].as_i64()), (Some(setting), Some(4)));

        source.second += DAY;
        assert_eq!(source.mail(&from("greedy.example", 11)).verdict(), Verdict::Archive);
        assert_eq!(source.out.rows(), 10);
    }
}

#[test]
fn the_next_error_tells_how_many_were_held_back_and_the_last_one_of_all_the_rest() {
    let mut source = Source::with("limits: {errors_per_hour: 2}");
    let broken = |id: usize| mail("r@x.example", &[format!("<feedback><a{id}").as_bytes()]);
    for id in 0..7 {
        let reading = source.mail(&broken(id));
        quarantined(&reading);
        assert_eq!(reading.held_back, usize::from(id >= 2));
    }
    source.second += HOUR;
    for id in 7..12 {
        quarantined(&source.mail(&broken(id)));
    }
    let suppressed: Vec<i64> = source.out.errors().iter().map(|(_, suppressed)| *suppressed).collect();
    assert_eq!(suppressed, [0, 0, 5, 0]);
    let last = source.admission.close().unwrap();
    source.out.emit(Event::IngestError(Box::new(last)), Recipients::All, &|| {}).unwrap();
    let last = source.out.events.last().unwrap();
    assert_eq!((last["suppressed"].as_i64(), last["mail_uid"].as_i64()), (Some(2), Some(12)));
    assert!(source.admission.close().is_none(), "said once");
    // Reported, and reported as held back: twelve in all.
    let errors = source.out.errors();
    assert_eq!(errors.len() as i64 + errors.iter().map(|(_, suppressed)| suppressed).sum::<i64>(), 12);
}

#[test]
fn a_report_that_came_before_takes_no_rows_from_its_sender() {
    let mut source = Source::with("limits: {sender_rows_per_day: 4}");
    for _ in 0..5 {
        assert_eq!(source.mail(&from("x.example", 1)).verdict(), Verdict::Archive);
    }
    assert_eq!(source.mail(&from("x.example", 2)).verdict(), Verdict::Archive);
    assert!(deferred(&source.mail(&from("x.example", 3))));
    assert_eq!(source.out.rows(), 4);
}

#[test]
fn mails_without_a_sender_have_one_share_together() {
    let mut source = Source::with("limits: {sender_mails_per_day: 2}");
    for (id, from) in ["", "nobody", "<>"].iter().enumerate() {
        let reading = source.mail(&mail(from, &[&report("example.com", id, 1)]));
        assert_eq!(deferred(&reading), id == 2, "{from:?}");
    }
}

#[test]
fn an_open_gate_lets_everything_in_and_tells_every_error() {
    let mut source = Source::with("domains: example.org\nlimits: {errors_per_hour: 1, sender_mails_per_day: 1}");
    source.admission = Admission::open();
    for id in 0..3 {
        source.mail(&from("x.example", id));
        source.mail(&mail("r@x.example", &[b"<feedback><a"]));
    }
    assert_eq!((source.out.rows(), source.out.errors().len()), (6, 3));
    assert!(source.admission.close().is_none());
}
