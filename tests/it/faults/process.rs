//! The program is killed, suspended, stopped, and started twice.

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;

use super::to_both;
use crate::support::{
    ca::Ca,
    delivery::{assert_all_archived, assert_rows, deliver, events, mailbox, rows, times_told},
    dovecot::Dovecot,
    moments::Moments,
    process::ndjson,
    reports::Batch,
    rsyslog::Rsyslog,
    wait::{LONG, eventually},
    workplace::{Workplace, imaps, stdout, syslog_tcp, with},
};

/// Number of kills; `make soak` sets a higher one.
const KILLS: usize = 20;

#[test]
fn kills_at_any_moment_lose_nothing() {
    let kills = std::env::var("SOAK_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let (ca, batch) = (Ca::new(), Batch::generate(51, kills * 10, 1..=10, 4));
    let (dovecot, rsyslog, workplace) = (Dovecot::start(&ca.server()), Rsyslog::start(&ca), Workplace::new());
    let config = to_both(&workplace, imaps(&dovecot, &ca), syslog_tcp(rsyslog.tcp_port));
    let (begin, mut moments) = (Instant::now(), Moments(51));
    for mails in batch.mails.chunks(10) {
        deliver(&dovecot, mails);
        let running = workplace.shipper(&["run", "--config"], &config).start();
        sleep(moments.next(Duration::from_millis(50), Duration::from_millis(2500)));
        running.signal(Signal::KILL);
        running.finish();
    }
    let left = dovecot.mailbox().count("INBOX");
    workplace.once(&config).exits(0);

    let file = times_told(&ndjson(&workplace.read("kept.ndjson")));
    let told = || times_told(&events(&rsyslog.received()));
    eventually(LONG, "rsyslog has written every row", || (told().len() >= batch.row_count()).then_some(()));
    let syslog = told();
    assert_rows(&batch, &ndjson(&workplace.read("kept.ndjson")));
    assert_rows(&batch, &events(&rsyslog.received()));
    assert_all_archived(&dovecot, &batch);
    let again = |told: &BTreeMap<String, usize>| told.values().map(|times| times - 1).sum::<usize>();
    eprintln!(
        "{kills} kills in {:.0?}, {} mails ({left} left for the last run), {} rows, lost 0, told again: {} in the file, {} to \
         rsyslog",
        begin.elapsed(),
        batch.mails.len(),
        batch.row_count(),
        again(&file),
        again(&syslog)
    );
}

#[test]
fn a_suspended_process_resumes() {
    let (ca, batch) = (Ca::new(), Batch::generate(57, 40, 5..=10, 0));
    let (dovecot, rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    let slow = with(syslog_tcp(rsyslog.tcp_port), json!({"rate_limit_num": 100}));
    // Only time in which the program could run counts.
    let config = with(workplace.config(imaps(&dovecot, &ca), slow), json!({"give_up_after": "2s"}));
    let running = workplace.once(&config).start();
    rsyslog.wait_for(110);
    running.signal(Signal::STOP);
    sleep(Duration::from_secs(4));
    running.signal(Signal::CONT);
    running.finish().exited(0);
    let received = rsyslog.wait_for(batch.event_count());
    assert_eq!(received.len(), batch.event_count());
    assert_rows(&batch, &events(&received));
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn a_second_instance_does_not_disturb_the_first() {
    let (ca, batch) = (Ca::new(), Batch::generate(58, 30, 5..=10, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let slow = json!({"type": "file", "path": workplace.path("kept.ndjson"), "rate_limit_num": 100});
    let config = workplace.config(imaps(&dovecot, &ca), slow);
    let first = workplace.once(&config).start();
    eventually(LONG, "the first has begun", || workplace.path("kept.ndjson").exists().then_some(()));
    workplace.once(&config).exits(75).says(&["is in use by process", "data_dir"]);
    first.finish().exited(0);
    let events = ndjson(&workplace.read("kept.ndjson"));
    assert_rows(&batch, &events);
    assert_eq!(times_told(&events).len(), rows(&events).count(), "told once");
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn shutdown_is_not_blocked_by_a_stalled_stdout_reader() {
    let (ca, batch) = (Ca::new(), Batch::generate(59, 100, 5..=10, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let config = with(workplace.config(imaps(&dovecot, &ca), stdout()), json!({"shutdown_timeout": "1s"}));
    let running = workplace.shipper(&["run", "--config"], &config).start_unread();
    eventually(LONG, "what fits into the pipe is archived", || {
        (dovecot.mailbox().count("Processed") > 0).then_some(())
    });
    running.signal(Signal::TERM);
    let finished = running.finish().exited(75);
    let (kept, archived) = (dovecot.mailbox().count("INBOX"), dovecot.mailbox().count("Processed"));
    assert!(kept > 0 && kept + archived == batch.mails.len());
    // The last line may be incomplete.
    let whole = finished.stdout.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let told = ndjson(whole).iter().filter(|event| event["event_type"] == "report").count();
    assert!(told >= archived, "{archived} mails were archived, the events of {told} are there");
}
