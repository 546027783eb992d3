//! Floods of mails: excess mails are deferred or quarantined, each is accounted for in events, and legitimate mails are
//! still shipped.

use std::{fs, thread, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    ca::Ca,
    delivery::rows,
    dovecot::Dovecot,
    process::{Finished, ndjson},
    reports::{Batch, Container, damaged, essences, mail},
    wait::{LONG, eventually},
    workplace::{Workplace, imaps, stdout, with},
};

/// Returns the error events, and their number including those that were suppressed.
fn errors(finished: &Finished) -> (Vec<Value>, i64) {
    let errors: Vec<Value> =
        finished.events().into_iter().filter(|event| event["event_type"] == "ingest_error").collect();
    let held_back: i64 = errors.iter().map(|event| event["suppressed"].as_i64().unwrap()).sum();
    let all = held_back + i64::try_from(errors.len()).unwrap();
    (errors, all)
}

#[test]
fn errors_per_hour_suppresses_events_but_quarantines_all_mails() {
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
fn a_sender_over_its_quota_and_unwanted_domains_block_no_other() {
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
    let finished = workplace.once(&config).exits(0).says(&["greedy.example", "deferred to another day"]);
    let (told, all) = errors(&finished);
    let reasons: Vec<&str> = told.iter().filter_map(|event| event["reason"].as_str()).collect();
    let count = |folder| dovecot.mailbox().count(folder);
    let rows = finished.events().iter().filter(|event| event["event_type"] == "dmarc_aggregate").count();
    // A day may end while the test runs: then the flooding sender gets a new share.
    if finished.stderr.matches("over its share").count() == 1 {
        assert_eq!((all, rows), (4, 3));
        assert_eq!(reasons, ["sender_over_limit", "unwanted_domain"]);
        assert_eq!((count("INBOX"), count("Processed"), count("Unreadable")), (3, 3, 1));
    }
    // Mails over the share are neither remembered nor moved: the next run continues with them.
    workplace.once(&config).exits(0);
    workplace.once(&config).exits(0);
    assert_eq!((count("INBOX"), count("Processed"), count("Unreadable")), (0, 6, 1));
}

#[test]
fn polls_do_not_fetch_a_deferred_mail_again_on_the_same_day() {
    let ca = Ca::new();
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    let deliver = |host: &str, number: usize| {
        let record = "<record><row><source_ip>192.0.2.1</source_ip><count>1</count></row></record>";
        let document =
            format!("<feedback><report_metadata><report_id>{number}</report_id></report_metadata>{record}</feedback>");
        dovecot.mailbox().deliver("INBOX", &mail(host, "Report", number, "r", Container::Gzip, document.as_bytes()));
    };
    (0..4).for_each(|number| deliver("greedy.example", number));
    let source = with(imaps(&dovecot, &ca), json!({"poll_interval": "1s"}));
    let config = with(workplace.config(source, stdout()), json!({"limits": {"sender_mails_per_day": 1}}));
    let running = workplace.shipper(&["run", "--config"], &config).start();
    for number in 4..7 {
        deliver(&format!("other{number}.example"), number);
        eventually(LONG, "it is archived", || (dovecot.mailbox().count("Processed") == number - 2).then_some(()));
        thread::sleep(Duration::from_secs(2));
    }
    running.signal(Signal::TERM);
    let finished = running.finish().exited(0);
    if finished.stderr.matches("over its share").count() == 1 {
        assert_eq!(dovecot.mailbox().count("INBOX"), 3);
        assert!(finished.stderr.contains("\"deferred\":3"), "{}", finished.stderr);
        assert_eq!(errors(&finished), (errors(&finished).0, 3));
    }
}

/// Number of forged mails, and of legitimate ones: few by default, 1,000 in `make flood`.
fn flood_mails() -> usize {
    std::env::var("FLOOD_MAILS").map_or(24, |mails| mails.parse().unwrap())
}

/// Returns a mail that claims to be from `domain`, of one of several kinds that are each expensive in another way.
fn forged(domain: &str, number: usize) -> Vec<u8> {
    let row = "<record><row><source_ip>10.0.0.66</source_ip><count>1</count></row></record>";
    let head = format!("<feedback><report_metadata><org_name>x</org_name><report_id>forged{number}</report_id>");
    let of = |head: &str, records: &str| {
        format!("{head}</report_metadata><policy_published><domain>d</domain></policy_published>{records}</feedback>")
    };
    let gzip = |host: &str, document: String| mail(host, "Report", number, "r", Container::Gzip, document.as_bytes());
    match number % 8 {
        0 => gzip(domain, of(&head, &"<record/>".repeat(30_000))),
        // As many rows as an ordinary mail; and many more.
        1 => gzip(domain, of(&head, &row.repeat(ORDINARY_ROWS))),
        2 => gzip(domain, of(&head, &row.repeat(40 * ORDINARY_ROWS))),
        // A long head and short rows.
        3 => {
            let long = "A".repeat(4_000);
            let head = format!("{head}<email>{long}</email><extra_contact_info>{long}</extra_contact_info>");
            gzip(domain, of(&head, &row.repeat(1_000)))
        }
        // White space, which compresses well.
        4 => gzip(domain, of(&head, &format!("{row}{}", " ".repeat(60_000)).repeat(10))),
        // An uncompressed document.
        5 => mail(domain, "Report", number, "r", Container::Plain, of(&head, &row.repeat(4_000)).as_bytes()),
        6 => gzip(&format!("s{number}.{domain}"), of(&head, &row.repeat(ORDINARY_ROWS))),
        _ => {
            let mail = String::from_utf8(gzip(domain, of(&head, &row.repeat(ORDINARY_ROWS)))).unwrap();
            mail.lines()
                .filter(|line| !line.starts_with("From:"))
                .map(|line| format!("{line}\r\n"))
                .collect::<String>()
                .into()
        }
    }
}

/// Number of rows in the largest ordinary mail.
const ORDINARY_ROWS: usize = 5;
/// Limit for the bytes of events; an event of a forged row takes about 1,600 bytes.
const EVENT_SHARE: u64 = 20 << 20;

/// Regression: 240 KB of mail from `x@google.com` used up the share of google.com, and the legitimate mails behind it were
/// remembered as over the limit and never read.
#[test]
fn a_flood_of_forged_mails_blocks_no_honest_one_and_stays_within_the_quota() {
    let ca = Ca::new();
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    let mails = flood_mails();
    // A hundredth or less of the default limits, so that the test is fast.
    let share = json!({
        "sender_bytes_per_day": 200 << 20,
        "sender_inflated_bytes_per_day": 200 << 20,
        "sender_rows_per_day": ORDINARY_ROWS * 2_000,
        "sender_event_bytes_per_day": EVENT_SHARE,
    });
    let sink = json!({"type": "file", "path": workplace.path("out.ndjson")});
    let config =
        with(workplace.config(imaps(&dovecot, &ca), sink), json!({"limits": share, "intake": {"max_size": "16MiB"}}));
    let honest = |run: u64| Batch::generate(81 + 2 * run, mails, 1..=4, 0);
    let (first, second) = (honest(0), honest(1));
    for (run, batch) in [&first, &second].into_iter().enumerate() {
        for (number, report) in batch.reports.iter().enumerate() {
            let (number, document) = (run * mails + number, report.xml());
            dovecot.mailbox().deliver("INBOX", &forged("google.example", number));
            let honest = mail("google.example", "Report", number, "r", Container::Gzip, document.as_bytes());
            dovecot.mailbox().deliver("INBOX", &honest);
        }
        let running = workplace.shipper(&["run", "--once", "--config"], &config).start();
        let mut memory = 0;
        // A process that has ended, and was not waited for, has no peak memory in /proc.
        while let Some(peak) = running.peak_memory_yet() {
            memory = peak.max(memory);
            thread::sleep(Duration::from_millis(20));
        }
        let finished = running.finish().exited(0);
        assert!(memory < 128 << 10, "{memory} KiB");
        let events = ndjson(&workplace.read("out.ndjson"));
        let shipped = rows(&events).filter(|event| event["source_ip"] != "10.0.0.66");
        let expected = if run == 0 { first.essences() } else { sorted([&first, &second]) };
        assert_eq!(essences(shipped), expected, "{}", finished.stderr);
        // One sender and mails without one, with two pools each; and the events about each mail.
        let runs = run as u64 + 1;
        let limit = runs * (4 * EVENT_SHARE + 4_000 * 2 * mails as u64);
        let size = fs::metadata(workplace.path("out.ndjson")).unwrap().len();
        let deferred = errors_of(&events, "sender_over_limit") as u64;
        println!(
            "{mails} forged and as many honest mails: {memory} KiB of memory, {size} bytes of events in {runs} runs"
        );
        assert!(size < limit, "{size} of {limit}");
        assert!((1..=2 * runs + 1).contains(&deferred), "once for a sender and day: {deferred}");
    }
    // The remaining forged mails are read by later runs: nothing is lost, and no manual action is needed.
    assert!(dovecot.mailbox().count("INBOX") > 0);
}

fn sorted(batches: [&Batch; 2]) -> Vec<crate::support::reports::Essence> {
    let mut essences = batches.map(Batch::essences).concat();
    essences.sort();
    essences
}

fn errors_of(events: &[Value], reason: &str) -> usize {
    events.iter().filter(|event| event["reason"] == reason).count()
}
