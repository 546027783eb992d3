//! Mails whose events a sink rejects again and again: the other mails are shipped, and the mail that never arrives is set
//! aside.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::to_both;
use crate::support::{
    ca::Ca,
    delivery::{assert_all_archived, assert_rows, deliver, mailbox, rows},
    disk::Disk,
    dovecot::Dovecot,
    peer::{Manner, Peer},
    process::ndjson,
    reports::{Batch, Container, Report, essences},
    wait::{LONG, eventually},
    workplace::{Workplace, imaps, syslog_tcp, with},
};

/// Text in the events of one mail, at which the receiver closes the connection.
const POISON: &str = "no-receiver-takes-this";

/// A mailbox with small mails around the mail with `report`, which is the third, and small mails that are delivered later.
struct Mailbox {
    dovecot: Dovecot,
    honest: Batch,
    later: Vec<Vec<u8>>,
}

impl Mailbox {
    fn around(ca: &Ca, report: &Report) -> Self {
        let honest = Batch::generate(301, 20, 3..=6, 0);
        let dovecot = Dovecot::start(&ca.server());
        let (now, later) = honest.mails.split_at(9);
        deliver(&dovecot, &now[..2]);
        dovecot.mailbox().deliver("INBOX", &report.mail_in(Container::Gzip, 1_000));
        deliver(&dovecot, &now[2..]);
        let later = later.to_vec();
        Self { dovecot, honest, later }
    }

    /// Delivers another small mail.
    fn grow(&mut self) {
        self.dovecot.mailbox().deliver("INBOX", &self.later.pop().expect("there are more"));
    }

    /// Returns the number of mails in INBOX, the quarantine and the archive.
    fn counts(&self) -> [usize; 3] {
        ["INBOX", "Unreadable", "Processed"].map(|folder| self.dovecot.mailbox().count(folder))
    }

    /// Fails unless the rows of all small mails delivered so far are among `events`.
    #[track_caller]
    fn assert_honest_rows(&self, events: &[Value]) {
        let came = self.honest.reports.len() - self.later.len();
        let left: Vec<_> =
            self.honest.reports[9..9 + self.later.len()].iter().map(|report| &report.report_id).collect();
        let expected: Vec<_> =
            self.honest.essences().into_iter().filter(|essence| !left.contains(&&essence.1)).collect();
        let mut told = essences(rows(events));
        told.dedup();
        assert_eq!(told, expected, "{came} small mails came");
    }
}

fn report_of(rows: u64) -> Report {
    let mut report = Batch::generate(302, 1, rows..=rows, 0).reports.remove(0);
    POISON.clone_into(&mut report.report_id);
    report
}

fn reasons(events: &[Value]) -> Vec<&Value> {
    events.iter().filter(|event| event["event_type"] == "ingest_error").map(|event| &event["reason"]).collect()
}

/// The receiver closes the connection before anything sent together with that mail is confirmed, so at first all mails are
/// delayed.
#[test]
fn a_mail_that_the_receiver_disconnects_on_is_quarantined_and_others_arrive() {
    let ca = Ca::new();
    let (mut mailbox, workplace) = (Mailbox::around(&ca, &report_of(2)), Workplace::new());
    let peer = Peer::start(Manner::Choking { on: &[POISON] });
    let sink = with(syslog_tcp(peer.port), json!({"framing": {"method": "newline_delimited"}}));
    let config = with(workplace.config(imaps(&mailbox.dovecot, &ca), sink), json!({"give_up_after": "1s"}));
    let mut passes = 0;
    while mailbox.counts()[1] == 0 {
        passes += 1;
        assert!(passes <= 9, "the mail is never set aside: {:?}", mailbox.counts());
        let ended = workplace.once(&config).run();
        let is_set_aside = mailbox.counts()[1] == 1;
        ended.exited(if is_set_aside { 0 } else { 75 }).says(if is_set_aside {
            &["attempts_exhausted", "in 3 passes the events of other mails arrived at out", "max_attempts (3)"]
        } else {
            &["give_up_after"]
        });
        if !is_set_aside {
            mailbox.grow();
        }
    }
    assert_eq!(mailbox.counts(), [0, 1, 8 + passes]);
    let quarantined = mailbox.dovecot.mailbox().mails("Unreadable");
    assert_eq!(quarantined, [report_of(2).mail_in(Container::Gzip, 1_000)]);
    let events: Vec<_> = peer.events().into_iter().filter(|event| event["report_id"] != POISON).collect();
    mailbox.assert_honest_rows(&events);
    assert_eq!(reasons(&events), ["attempts_exhausted"]);
}

#[test]
fn a_mail_is_quarantined_even_if_its_ingest_error_is_not_accepted() {
    let ca = Ca::new();
    let (mut mailbox, workplace) = (Mailbox::around(&ca, &report_of(2)), Workplace::new());
    let peer = Peer::start(Manner::Choking { on: &[POISON, "ingest_error"] });
    let sink = with(syslog_tcp(peer.port), json!({"framing": {"method": "newline_delimited"}}));
    let changes = json!({"give_up_after": "1s", "max_attempts": 1});
    let config = with(workplace.config(imaps(&mailbox.dovecot, &ca), sink), changes);
    let mut passes = 0;
    while mailbox.counts()[1] == 0 {
        passes += 1;
        assert!(passes <= 9, "the mail is never set aside: {:?}", mailbox.counts());
        let ended = workplace.once(&config).run();
        if mailbox.counts()[1] == 1 {
            ended.exited(0).says(&["quarantined without an ingest_error event", "INBOX uid 3"]);
        } else {
            ended.exited(75);
            mailbox.grow();
        }
    }
    assert_eq!(mailbox.counts(), [0, 1, 8 + passes]);
}

/// The source of that mail hands it over at once, long before the other source has listed a folder.
#[test]
fn an_undeliverable_mail_of_another_source_blocks_nobody_and_is_quarantined() {
    let (ca, report) = (Ca::new(), report_of(2));
    let (mut mailbox, workplace) =
        (Mailbox::around(&ca, &Batch::generate(305, 1, 2..=2, 0).reports[0]), Workplace::new());
    fs::create_dir(workplace.path("reports")).unwrap();
    workplace.write("reports/poison.xml", report.xml());
    let peer = Peer::start(Manner::Choking { on: &[POISON] });
    let sink = with(syslog_tcp(peer.port), json!({"framing": {"method": "newline_delimited"}}));
    let sources =
        json!({"files": {"type": "file", "path": workplace.path("reports")}, "rua": imaps(&mailbox.dovecot, &ca)});
    let changes = json!({"give_up_after": "1s", "max_attempts": 2, "sources": sources});
    let config = with(workplace.config(Value::Null, sink), changes);
    let mut passes = 0;
    loop {
        passes += 1;
        let ended = workplace.once(&config).run();
        if ended.stderr.contains("attempts_exhausted") {
            ended.exited(65).says(&["poison.xml", "in 2 passes the events of other mails arrived at out"]);
            break;
        }
        ended.exited(75);
        assert!(passes <= 9, "the file is never set aside: {:?}", mailbox.counts());
        mailbox.grow();
    }
    assert_eq!(mailbox.counts(), [0, 0, 9 + passes]);
    workplace.once(&config).exits(0);
}

/// The mail comes before most of the others, and needs more room than the disk has.
#[test]
fn a_mail_too_large_for_the_disk_is_quarantined_and_others_arrive() {
    let Some(disk) = Disk::mount(128) else { return };
    let ca = Ca::new();
    let (mut mailbox, workplace) = (Mailbox::around(&ca, &report_of(300)), Workplace::new());
    let sink = json!({"type": "file", "path": disk.path("kept.ndjson")});
    let changes = json!({"give_up_after": "1s", "max_attempts": 2});
    let config = with(workplace.config(imaps(&mailbox.dovecot, &ca), sink), changes);
    let mut kept = String::new();
    for (pass, code) in [75, 75, 75, 0].into_iter().enumerate() {
        let ended = workplace.once(&config).exits(code);
        kept.push_str(&fs::read_to_string(disk.path("kept.ndjson")).unwrap());
        fs::remove_file(disk.path("kept.ndjson")).unwrap();
        match pass {
            0 => assert_eq!(mailbox.counts(), [8, 0, 2], "{}", ended.stderr),
            1 | 2 => assert_eq!(mailbox.counts(), [1, 0, 9 + pass], "{}", ended.stderr),
            _ => drop(ended.says(&["attempts_exhausted", "in 2 passes the events of other mails arrived at out"])),
        }
        if code != 0 {
            mailbox.grow();
        }
    }
    assert_eq!(mailbox.counts(), [0, 1, 12]);
    let events: Vec<_> = ndjson(&kept).into_iter().filter(|event| event["report_id"] != POISON).collect();
    mailbox.assert_honest_rows(&events);
    assert_eq!(reasons(&events), ["attempts_exhausted"]);
}

#[test]
fn repeatedly_stopped_runs_quarantine_an_undeliverable_mail() {
    let Some(disk) = Disk::mount(128) else { return };
    let ca = Ca::new();
    let (mut mailbox, workplace) = (Mailbox::around(&ca, &report_of(300)), Workplace::new());
    let sink = json!({"type": "file", "path": disk.path("kept.ndjson")});
    let changes = json!({"give_up_after": "1s", "shutdown_timeout": "2s", "max_attempts": 2});
    let config = with(workplace.config(imaps(&mailbox.dovecot, &ca), sink), changes);
    for pass in 0..4 {
        let running = workplace.shipper(&["run", "--config"], &config).start();
        let is_last = pass == 3;
        eventually(LONG, "it stands still, or is through", || {
            match is_last {
                true => mailbox.counts()[0] == 0,
                false => running.stderr().contains("No space left"),
            }
            .then_some(())
        });
        running.signal(Signal::TERM);
        running.finish().exited(if is_last { 0 } else { 75 });
        fs::remove_file(disk.path("kept.ndjson")).unwrap();
        if !is_last {
            mailbox.grow();
        }
    }
    assert_eq!(mailbox.counts(), [0, 1, 12]);
}

#[test]
fn a_long_report_that_progresses_in_each_pass_is_never_quarantined() {
    let Some(disk) = Disk::mount(2_048) else { return };
    let ca = Ca::new();
    let (mut mailbox, workplace) = (Mailbox::around(&ca, &report_of(5_500)), Workplace::new());
    let sink = json!({"type": "file", "path": disk.path("kept.ndjson")});
    let changes = json!({"give_up_after": "1s", "max_attempts": 1});
    let config = with(workplace.config(imaps(&mailbox.dovecot, &ca), sink), changes);
    let mut passes = 0;
    while mailbox.counts()[0] > 0 {
        passes += 1;
        assert!(passes <= 9, "{:?}", mailbox.counts());
        workplace.once(&config).run();
        fs::remove_file(disk.path("kept.ndjson")).unwrap();
        if mailbox.counts()[0] > 0 {
            mailbox.grow();
        }
    }
    assert!(passes > 3, "it was to take several");
    assert_eq!(mailbox.counts(), [0, 0, 9 + passes]);
}

/// The other sink of the route accepts all events, in each pass again.
#[test]
fn outages_do_not_count_as_attempts() {
    let (ca, batch) = (Ca::new(), Batch::generate(303, 8, 3..=6, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let changes = json!({"give_up_after": "1s", "max_attempts": 1});
    let to_nobody = with(to_both(&workplace, imaps(&dovecot, &ca), syslog_tcp(port)), changes.clone());
    for _ in 0..10 {
        workplace.once(&to_nobody).exits(75);
    }
    let sink = json!({"type": "file", "path": workplace.path("there.ndjson")});
    workplace.once(&with(workplace.config(imaps(&dovecot, &ca), sink), changes)).exits(0);
    assert_all_archived(&dovecot, &batch);
    assert_rows(&batch, &ndjson(&workplace.read("there.ndjson")));
}
