//! Floods through the whole program: what is turned away, where its mails go, and that none of it goes unsaid.

use serde_json::{Value, json};

use crate::support::{
    ca::Ca,
    dovecot::Dovecot,
    process::Finished,
    reports::{Batch, Container, damaged, mail},
    workplace::{Workplace, imaps, stdout, with},
};

/// Error events, and with them all that they say was held back.
fn errors(finished: &Finished) -> (Vec<Value>, i64) {
    let errors: Vec<Value> =
        finished.events().into_iter().filter(|event| event["event_type"] == "ingest_error").collect();
    let held_back: i64 = errors.iter().map(|event| event["suppressed"].as_i64().unwrap()).sum();
    let all = held_back + i64::try_from(errors.len()).unwrap();
    (errors, all)
}

#[test]
fn errors_over_their_limit_are_told_as_a_number_when_the_run_ends_and_all_mails_quarantined() {
    let ca = Ca::new();
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    for number in 0..7 {
        dovecot.mailbox().deliver("INBOX", &damaged(Container::Gzip, number));
    }
    let batch = Batch::generate(51, 1, 3..=3, 0);
    dovecot.mailbox().deliver("INBOX", &batch.mails[0]);
    let config = with(workplace.config(imaps(&dovecot, &ca), stdout()), json!({"limits": {"errors_per_hour": 2}}));
    let finished = workplace.once(&config).exits(0);
    let (told, all) = errors(&finished);
    // An hour may end while the test runs.
    assert!(told.len() < 7, "{told:#?}");
    assert_eq!((all, told.last().unwrap()["reason"].as_str()), (7, Some("corrupt_gzip")));
    assert!(told.last().unwrap()["suppressed"].as_i64() > Some(0));
    let said = finished.stderr.matches("limits.errors_per_hour (2)").count();
    assert!((1..=2).contains(&said), "{}", finished.stderr);
    assert!(finished.stderr.matches("could not be read in full").count() < 7, "{}", finished.stderr);
    let count = |folder| dovecot.mailbox().count(folder);
    assert_eq!((count("INBOX"), count("Processed"), count("Unreadable")), (0, 1, 7));
}

#[test]
fn a_sender_over_its_share_and_a_stranger_s_report_hold_up_nobody_else() {
    let ca = Ca::new();
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    let report = |domain: &str, number: usize| {
        format!(
            "<feedback><report_metadata><org_name>x</org_name><report_id>{number}</report_id></report_metadata>\
             <policy_published><domain>{domain}</domain></policy_published>\
             <record><row><source_ip>192.0.2.1</source_ip><count>1</count></row></record></feedback>"
        )
    };
    let mut deliver = {
        let mut number = 0;
        let dovecot = &dovecot;
        move |host: &str, domain: &str| {
            number += 1;
            let document = report(domain, number);
            dovecot
                .mailbox()
                .deliver("INBOX", &mail(host, "Report", number, "r", Container::Gzip, document.as_bytes()));
        }
    };
    for _ in 0..5 {
        deliver("greedy.example", "example.com");
    }
    deliver("other.example", "example.org");
    deliver("other.example", "mail.example.com");

    let settings = json!({"domains": ["example.com"], "limits": {"sender_mails_per_day": 2}});
    let config = with(workplace.config(imaps(&dovecot, &ca), stdout()), settings);
    let finished = workplace.once(&config).exits(0).says(&["greedy.example", "over its share"]);
    let (told, all) = errors(&finished);
    let reasons: Vec<&str> = told.iter().filter_map(|event| event["reason"].as_str()).collect();
    let count = |folder| dovecot.mailbox().count(folder);
    let rows = finished.events().iter().filter(|event| event["event_type"] == "dmarc_aggregate").count();
    // A day may end while the test runs: then the greedy one has another share.
    if finished.stderr.matches("over its share").count() == 1 {
        assert_eq!((all, rows), (4, 3));
        assert_eq!(reasons, ["sender_over_limit", "unwanted_domain"]);
        assert_eq!((count("INBOX"), count("Processed"), count("Unreadable")), (0, 3, 4));
    }
    assert_eq!((count("INBOX"), count("Processed"), count("Unreadable")), (0, rows, usize::try_from(all).unwrap()));
}
