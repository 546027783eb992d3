//! Routes: several sources and sinks. Shipped reports are recorded separately for each sink.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    ca::Ca,
    delivery::{assert_rows, deliver, rows, times_told},
    dovecot::{Dovecot, Options, PASSWORD, USER},
    moments::Moments,
    process::ndjson,
    reports::{Batch, Container, damaged},
    wait::eventually,
    workplace::{Workplace, imaps, with},
};

const SECOND: &str = "second@example.com";

/// Starts a server with two mailboxes.
fn two_mailboxes(ca: &Ca) -> Dovecot {
    let options = Options { users: vec![(USER, PASSWORD), (SECOND, PASSWORD)], ..Options::default() };
    Dovecot::with(&ca.server(), &options)
}

/// Delivers the batch to both mailboxes, as happens with `rua=mailto:a,mailto:b`.
fn deliver_to_both(dovecot: &Dovecot, mails: &[Vec<u8>]) {
    deliver(dovecot, mails);
    for mail in mails {
        dovecot.mailbox_of(SECOND).deliver("INBOX", mail);
    }
}

fn file(workplace: &Workplace, name: &str, inputs: &[&str]) -> Value {
    json!({"type": "file", "path": workplace.path(name), "inputs": inputs})
}

/// Returns a configuration with a sink for each mailbox, and one for both.
fn two_routes(workplace: &Workplace, dovecot: &Dovecot, ca: &Ca) -> Value {
    let second = with(imaps(dovecot, ca), json!({"user": SECOND}));
    json!({
        "data_dir": workplace.path("data"),
        "sources": {"company": imaps(dovecot, ca), "subsidiary": second},
        "sinks": {
            "company": file(workplace, "company.ndjson", &["company"]),
            "subsidiary": file(workplace, "subsidiary.ndjson", &["subsidiary"]),
            "everything": file(workplace, "everything.ndjson", &[]),
        },
    })
}

fn told(workplace: &Workplace, name: &str) -> Vec<Value> {
    ndjson(&workplace.read(name))
}

#[track_caller]
fn assert_told_once(batch: &Batch, events: &[Value]) {
    assert_rows(batch, events);
    assert_eq!(rows(events).count(), batch.row_count(), "told once");
}

/// Regression: the sink of the mailbox that was read second got `outcome: duplicate` and no rows, and its mails were
/// archived.
#[test]
fn a_report_in_two_mailboxes_reaches_the_sinks_of_both() {
    let (ca, batch, workplace) = (Ca::new(), Batch::generate(81, 12, 1..=20, 0), Workplace::new());
    let dovecot = two_mailboxes(&ca);
    deliver_to_both(&dovecot, &batch.mails);
    workplace.once(&two_routes(&workplace, &dovecot, &ca)).exits(0);
    for name in ["company.ndjson", "subsidiary.ndjson", "everything.ndjson"] {
        assert_told_once(&batch, &told(&workplace, name));
    }
    for mailbox in [dovecot.mailbox(), dovecot.mailbox_of(SECOND)] {
        assert_eq!((mailbox.count("INBOX"), mailbox.count("Processed")), (0, batch.mails.len()));
    }
}

#[test]
fn a_duplicate_is_reported_to_one_sink_while_another_gets_the_rows() {
    let (ca, batch, workplace) = (Ca::new(), Batch::generate(82, 3, 2..=5, 0), Workplace::new());
    let dovecot = two_mailboxes(&ca);
    let config = two_routes(&workplace, &dovecot, &ca);
    deliver(&dovecot, &batch.mails);
    workplace.once(&config).exits(0);
    for mail in &batch.mails {
        dovecot.mailbox_of(SECOND).deliver("INBOX", mail);
    }
    workplace.once(&config).exits(0);
    let outcomes = |name: &str| {
        let reports = told(&workplace, name).into_iter().filter(|event| event["event_type"] == "report");
        let mut outcomes: Vec<String> = reports.map(|event| event["outcome"].as_str().unwrap().to_owned()).collect();
        outcomes.sort();
        outcomes
    };
    assert_eq!(outcomes("everything.ndjson"), [["duplicate"; 3], ["shipped"; 3]].concat());
    assert_eq!(outcomes("subsidiary.ndjson"), ["shipped"; 3]);
    assert_told_once(&batch, &told(&workplace, "everything.ndjson"));
    assert_told_once(&batch, &told(&workplace, "subsidiary.ndjson"));
}

#[test]
fn an_added_sink_gets_a_repeated_report_and_the_others_do_not() {
    let (ca, batch, workplace) = (Ca::new(), Batch::generate(83, 4, 1..=5, 0), Workplace::new());
    let dovecot = Dovecot::start(&ca.server());
    deliver(&dovecot, &batch.mails);
    let config = workplace.config(imaps(&dovecot, &ca), file(&workplace, "first.ndjson", &[]));
    workplace.once(&config).exits(0);
    deliver(&dovecot, &batch.mails);
    let sinks = json!({"out": file(&workplace, "first.ndjson", &[]), "added": file(&workplace, "added.ndjson", &[])});
    workplace.once(&with(config, json!({"sinks": sinks}))).exits(0);
    assert_told_once(&batch, &told(&workplace, "first.ndjson"));
    assert_told_once(&batch, &told(&workplace, "added.ndjson"));
}

/// Regression: the mail of the second mailbox was archived by a run that did not include its route.
#[test]
fn reship_to_one_sink_leaves_mails_for_sinks_that_lack_them() {
    let (ca, batch, workplace) = (Ca::new(), Batch::generate(84, 3, 1..=5, 0), Workplace::new());
    let dovecot = two_mailboxes(&ca);
    let config = two_routes(&workplace, &dovecot, &ca);
    deliver(&dovecot, &batch.mails);
    workplace.once(&config).exits(0);
    for mail in &batch.mails {
        dovecot.mailbox_of(SECOND).deliver("INBOX", mail);
    }
    let again = ["run", "--once", "--reship", "--to", "everything", "--config"];
    workplace.shipper(&again, &config).exits(0);
    assert_eq!(rows(&told(&workplace, "everything.ndjson")).count(), 2 * batch.row_count());
    assert_eq!(dovecot.mailbox_of(SECOND).count("INBOX"), batch.mails.len(), "subsidiary never had them");
    workplace.once(&config).exits(0);
    assert_told_once(&batch, &told(&workplace, "subsidiary.ndjson"));
    assert_eq!(dovecot.mailbox_of(SECOND).count("Processed"), batch.mails.len());
}

/// Regression: the run archived mails that the other sinks had not received, and they never received them.
#[test]
fn run_to_one_sink_leaves_mails_for_the_others() {
    let (ca, batch, workplace) = (Ca::new(), Batch::generate(86, 4, 1..=5, 0), Workplace::new());
    let dovecot = two_mailboxes(&ca);
    let config = two_routes(&workplace, &dovecot, &ca);
    deliver_to_both(&dovecot, &batch.mails);
    let for_one = ["run", "--once", "--to", "everything", "--config"];
    workplace.shipper(&for_one, &config).exits(0).says(&["leaves out required sinks", r#""sinks":"subsidiary""#]);
    assert_told_once(&batch, &told(&workplace, "everything.ndjson"));
    let all_are_left = || [USER, SECOND].map(|user| dovecot.mailbox_of(user).count("INBOX")) == [4, 4];
    assert!(all_are_left());

    let before = workplace.read("everything.ndjson");
    workplace.shipper(&for_one, &config).exits(0);
    assert_eq!(workplace.read("everything.ndjson"), before, "it has them");
    assert!(all_are_left());

    workplace.once(&config).exits(0);
    for name in ["company.ndjson", "subsidiary.ndjson", "everything.ndjson"] {
        assert_told_once(&batch, &told(&workplace, name));
    }
    for user in [USER, SECOND] {
        assert_eq!(dovecot.mailbox_of(user).count("Processed"), batch.mails.len());
    }
}

#[test]
fn run_to_all_sinks_of_one_mailbox_archives_only_its_mails() {
    let (ca, batch, workplace) = (Ca::new(), Batch::generate(87, 3, 1..=3, 0), Workplace::new());
    let dovecot = two_mailboxes(&ca);
    let config = two_routes(&workplace, &dovecot, &ca);
    deliver_to_both(&dovecot, &batch.mails);
    let both = ["run", "--once", "--to", "company", "--to", "everything", "--config"];
    workplace.shipper(&both, &config).exits(0);
    assert_eq!(dovecot.mailbox().count("Processed"), batch.mails.len());
    assert_eq!(dovecot.mailbox_of(SECOND).count("INBOX"), batch.mails.len());
    workplace.once(&config).exits(0);
    assert_told_once(&batch, &told(&workplace, "subsidiary.ndjson"));
}

/// A service for one sink reads mails that it leaves in place only once, not at each poll.
#[test]
fn a_service_for_one_sink_reports_an_unreadable_mail_once_and_leaves_it() {
    let (ca, workplace) = (Ca::new(), Workplace::new());
    let dovecot = two_mailboxes(&ca);
    let often = with(imaps(&dovecot, &ca), json!({"poll_interval": "1s"}));
    let sinks = json!({"out": file(&workplace, "out.ndjson", &[]), "other": file(&workplace, "other.ndjson", &[])});
    let config = with(workplace.config(often, json!({})), json!({"sinks": sinks}));
    let told_of = || -> Vec<u64> {
        let told = std::fs::read_to_string(workplace.path("out.ndjson")).unwrap_or_default();
        let whole = told.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let errors = ndjson(whole).into_iter().filter(|event| event["event_type"] == "ingest_error");
        errors.map(|event| event["mail_uid"].as_u64().unwrap()).collect()
    };
    dovecot.mailbox().deliver("INBOX", &damaged(Container::Gzip, 1));
    let running = workplace.shipper(&["run", "--to", "out", "--config"], &config).start();
    eventually(Duration::from_secs(60), "the first mail is told of", || told_of().contains(&1).then_some(()));
    dovecot.mailbox().deliver("INBOX", &damaged(Container::Gzip, 2));
    eventually(Duration::from_secs(60), "a later poll finds the second", || told_of().contains(&2).then_some(()));
    running.signal(Signal::TERM);
    running.finish().exited(0);
    assert_eq!((told_of(), dovecot.mailbox().count("INBOX")), (vec![1, 2], 2));
}

/// Regression: UIDs that were known in the old mailbox were considered known in the new one, and its mails were never
/// read.
#[test]
fn another_account_under_the_same_source_name_is_read_though_its_uidvalidity_is_the_same() {
    let (ca, batch, workplace) = (Ca::new(), Batch::generate(85, 4, 1..=5, 0), Workplace::new());
    let dovecot = two_mailboxes(&ca);
    let (old, new) = batch.mails.split_at(2);
    deliver(&dovecot, old);
    for mail in new {
        dovecot.mailbox_of(SECOND).deliver("INBOX", mail);
    }
    for mailbox in [dovecot.mailbox(), dovecot.mailbox_of(SECOND)] {
        mailbox.set_uid_validity("INBOX", 7);
    }
    let kept = with(imaps(&dovecot, &ca), json!({"archive_folder": null}));
    let config = workplace.config(kept.clone(), file(&workplace, "out.ndjson", &[]));
    workplace.once(&config).exits(0);
    let moved = with(config, json!({"sources": {"rua": with(kept, json!({"user": SECOND}))}}));
    workplace.once(&moved).exits(0);
    assert_told_once(&batch, &told(&workplace, "out.ndjson"));
}

/// Number of kills; `make soak` sets a higher one.
const KILLS: usize = 8;

#[test]
fn kills_at_any_moment_with_two_routes_lose_no_row_at_any_sink() {
    let kills = std::env::var("SOAK_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let (ca, workplace, begin) = (Ca::new(), Workplace::new(), Instant::now());
    let dovecot = two_mailboxes(&ca);
    let config = two_routes(&workplace, &dovecot, &ca);
    let batch = Batch::generate(86, kills * 8, 1..=10, 0);
    let mut moments = Moments(86);
    for mails in batch.mails.chunks(8) {
        deliver_to_both(&dovecot, mails);
        let running = workplace.shipper(&["run", "--config"], &config).start();
        std::thread::sleep(moments.next(Duration::from_millis(50), Duration::from_millis(1500)));
        running.signal(Signal::KILL);
        running.finish();
    }
    workplace.once(&config).exits(0);
    for mailbox in [dovecot.mailbox(), dovecot.mailbox_of(SECOND)] {
        assert_eq!((mailbox.count("INBOX"), mailbox.count("Processed")), (0, batch.mails.len()));
    }
    let again = ["company.ndjson", "subsidiary.ndjson", "everything.ndjson"].map(|name| {
        let events = told(&workplace, name);
        assert_rows(&batch, &events);
        times_told(&events).values().map(|times| times - 1).sum::<usize>()
    });
    eprintln!(
        "{kills} kills in {:.0?}, {} mails in two mailboxes, {} rows, lost 0, told again {again:?}",
        begin.elapsed(),
        batch.mails.len(),
        batch.row_count()
    );
}
