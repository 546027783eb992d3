//! What breaks around the program, and the program itself: nothing is lost, and what is told twice has the same id.

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    ca::Ca,
    disk::Disk,
    dovecot::Dovecot,
    peer::{Manner, Peer},
    process::{Running, ndjson},
    received::Received,
    reports::{Batch, essences},
    rsyslog::Rsyslog,
    wait::{LONG, eventually},
    workplace::{Workplace, imaps, stdout, syslog_tcp, with},
};

/// How often the program is killed; `make soak` says more.
const KILLS: usize = 20;

#[test]
fn killed_at_any_moment_and_started_again_it_loses_nothing() {
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
fn a_receiver_that_is_killed_in_the_middle_is_sent_the_rest_when_it_is_back() {
    let (ca, batch) = (Ca::new(), Batch::generate(52, 60, 5..=10, 0));
    let (dovecot, mut rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    let slow = with(syslog_tcp(rsyslog.tcp_port), json!({"rate_limit_num": 100}));
    let running = workplace.once(&to_both(&workplace, imaps(&dovecot, &ca), slow)).start();
    rsyslog.wait_for(100);
    rsyslog.kill();
    eventually(LONG, "the failure is said", || running.stderr().contains("failing").then_some(()));
    rsyslog.resume();
    let finished = running.finish().exited(0);
    assert_eq!(finished.stderr.matches("works again").count(), 1, "{}", finished.stderr);
    assert_rows(&batch, &ndjson(&workplace.read("kept.ndjson")));
    // What rsyslog had in its memory when it was killed is lost, as docs/delivery.md says; it writes at once, so that was
    // little: less than what comes in a quarter of a second.
    let told = times_told(&events(&rsyslog.wait_for(batch.row_count())));
    assert!(told.len() + 25 >= batch.row_count(), "{} of {} rows", told.len(), batch.row_count());
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn a_receiver_that_never_reads_holds_mails_back_and_ends_a_single_pass() {
    let (ca, batch) = (Ca::new(), Batch::generate(53, 100, 30..=40, 0));
    let (dovecot, peer, workplace) = (mailbox(&ca, &batch), Peer::start(Manner::Deaf), Workplace::new());
    let sink = with(syslog_tcp(peer.port), json!({"send_timeout": "1s", "buffer": {"max_size": "256KiB"}}));
    let config = with(workplace.config(imaps(&dovecot, &ca), sink), json!({"give_up_after": "3s"}));
    workplace.once(&config).exits(75).says(&["send_timeout", "give_up_after"]);
    assert_eq!(peer.connections(), 1, "what the buffers of another connection take would count as delivered");
    assert!(dovecot.mailbox().count("INBOX") > 50, "{} are left", dovecot.mailbox().count("INBOX"));
}

#[test]
fn a_receiver_that_resets_connections_gets_everything_in_the_end() {
    let (ca, batch) = (Ca::new(), Batch::generate(54, 40, 5..=10, 0));
    let manner = Manner::Resetting { after_bytes: 20_000, times: 3 };
    let (dovecot, peer, workplace) = (mailbox(&ca, &batch), Peer::start(manner), Workplace::new());
    let sink = with(syslog_tcp(peer.port), json!({"framing": {"method": "newline_delimited"}}));
    workplace.once(&workplace.config(imaps(&dovecot, &ca), sink)).exits(0).says(&["failing", "works again"]);
    assert_eq!(peer.connections(), 4);
    assert_rows(&batch, &peer.events());
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn a_full_disk_holds_mails_back_until_there_is_room() {
    let Some(disk) = Disk::mount(64) else { return };
    let (ca, batch) = (Ca::new(), Batch::generate(55, 40, 5..=10, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let sink = json!({"type": "file", "path": disk.path("kept.ndjson")});
    let running = workplace.once(&workplace.config(imaps(&dovecot, &ca), sink)).start();
    eventually(LONG, "the full disk is said", || running.stderr().contains("No space left").then_some(()));
    let settled = batch.mails.len() - dovecot.mailbox().count("INBOX");
    assert!(settled < batch.mails.len());
    disk.enlarge(10_240);
    running.finish().exited(0).says(&["works again"]);
    let events = ndjson(&std::fs::read_to_string(disk.path("kept.ndjson")).unwrap());
    assert_rows(&batch, &events);
    assert!(times_told(&events).values().all(|times| *times == 1), "a write that failed is taken back");
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn a_mail_server_that_is_killed_in_the_middle_is_gone_on_with_when_it_is_back() {
    let (ca, batch) = (Ca::new(), Batch::generate(56, 60, 5..=10, 4));
    let (mut dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let slow = json!({"type": "file", "path": workplace.path("kept.ndjson"), "rate_limit_num": 100});
    let running = workplace.once(&workplace.config(imaps(&dovecot, &ca), slow)).start();
    eventually(LONG, "some mails are archived", || (dovecot.mailbox().count("Processed") > 0).then_some(()));
    dovecot.kill();
    eventually(LONG, "the failure is said", || running.stderr().contains("trying again").then_some(()));
    dovecot.resume();
    running.finish().exited(0).says(&["can be worked with again"]);
    let events = ndjson(&workplace.read("kept.ndjson"));
    assert_rows(&batch, &events);
    assert!(times_told(&events).values().all(|times| *times == 1), "no mail was read anew");
    // Dovecot copies, then removes: killed in between, it leaves mails in both folders, and they are moved again.
    let mut archived = dovecot.mailbox().mails("Processed");
    assert!(archived.len() >= batch.mails.len(), "the archive holds {} mails", archived.len());
    assert_eq!(dovecot.mailbox().names("INBOX"), Vec::<String>::new(), "left in INBOX");
    let mut mailed = batch.mails.clone();
    for mails in [&mut archived, &mut mailed] {
        mails.sort();
        mails.dedup();
    }
    assert!(archived == mailed, "the archive holds other mails than were sent");
}

#[test]
fn a_program_that_was_suspended_goes_on_as_if_nothing_had_been() {
    let (ca, batch) = (Ca::new(), Batch::generate(57, 40, 5..=10, 0));
    let (dovecot, rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    let slow = with(syslog_tcp(rsyslog.tcp_port), json!({"rate_limit_num": 100}));
    // What counts is time in which it could have done something.
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
fn a_second_instance_leaves_the_first_alone() {
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
fn a_stop_is_not_held_up_by_a_reader_of_stdout_that_does_not_read() {
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
    // The last line may be torn.
    let whole = finished.stdout.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let told = ndjson(whole).iter().filter(|event| event["event_type"] == "report").count();
    assert!(told >= archived, "{archived} mails were archived, the events of {told} are there");
}

#[test]
fn mails_that_could_not_be_moved_are_moved_by_the_next_run_and_not_shipped_again() {
    let (ca, batch) = (Ca::new(), Batch::generate(60, 10, 5..=10, 4));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let sink = json!({"type": "file", "path": workplace.path("kept.ndjson")});
    let config = workplace.config(imaps(&dovecot, &ca), sink);
    dovecot.mailbox().create_folder("Processed");
    dovecot.mailbox().write_protect("Processed", true);
    workplace.once(&config).exits(75).says(&["can't be moved", "shipped but not moved"]);
    assert_rows(&batch, &ndjson(&workplace.read("kept.ndjson")));
    assert_eq!(dovecot.mailbox().count("INBOX"), batch.mails.len());

    dovecot.mailbox().write_protect("Processed", false);
    workplace.once(&config).exits(0);
    let events = ndjson(&workplace.read("kept.ndjson"));
    assert!(times_told(&events).values().all(|times| *times == 1), "shipped again");
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn a_slow_sink_keeps_memory_flat_and_the_rest_in_the_mailbox() {
    let (ca, batch) = (Ca::new(), Batch::generate(61, 1_000, 20..=20, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let sink = json!({"type": "file", "path": workplace.path("kept.ndjson"), "rate_limit_num": 100,
                      "buffer": {"max_size": "256KiB"}});
    let config = with(workplace.config(imaps(&dovecot, &ca), sink), json!({"intake": {"max_size": "1MiB"}}));
    let running = workplace.shipper(&["run", "--config"], &config).start();
    eventually(LONG, "it is at work", || (told_in(&workplace) >= 150).then_some(()));
    let before = running.peak_memory();
    eventually(LONG, "it has gone on for a while", || (told_in(&workplace) >= 700).then_some(()));
    let after = running.peak_memory();
    assert!(after < before + 2_048, "from {before} to {after} KiB");
    stop(running);
}

fn stop(running: Running) {
    running.signal(Signal::TERM);
    running.finish();
}

fn told_in(workplace: &Workplace) -> usize {
    std::fs::read_to_string(workplace.path("kept.ndjson")).unwrap_or_default().lines().count()
}

/// A file and a syslog receiver, both required.
fn to_both(workplace: &Workplace, source: Value, syslog: Value) -> Value {
    let file = json!({"type": "file", "path": workplace.path("kept.ndjson")});
    with(workplace.config(source, Value::Null), json!({"sinks": {"file": file, "siem": syslog}}))
}

fn mailbox(ca: &Ca, batch: &Batch) -> Dovecot {
    let dovecot = Dovecot::start(&ca.server());
    deliver(&dovecot, &batch.mails);
    dovecot
}

fn deliver(dovecot: &Dovecot, mails: &[Vec<u8>]) {
    for mail in mails {
        dovecot.mailbox().deliver("INBOX", mail);
    }
}

fn events(received: &[Received]) -> Vec<Value> {
    received.iter().map(Received::event).collect()
}

fn rows(events: &[Value]) -> impl Iterator<Item = &Value> {
    events.iter().filter(|event| event["event_type"] == "dmarc_aggregate")
}

/// How often each row was told, by its `event_id`.
fn times_told(events: &[Value]) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for event in rows(events) {
        *told.entry(event["event_id"].to_string()).or_default() += 1;
    }
    told
}

/// Every row of the batch is there, those told again under their own id, and no other.
#[track_caller]
fn assert_rows(batch: &Batch, events: &[Value]) {
    let once: BTreeMap<String, &Value> = rows(events).map(|event| (event["event_id"].to_string(), event)).collect();
    assert!(essences(once.into_values()) == batch.essences(), "rows are missing, or there are others");
}

#[track_caller]
fn assert_all_archived(dovecot: &Dovecot, batch: &Batch) {
    assert_eq!(dovecot.mailbox().names("INBOX"), Vec::<String>::new(), "left in INBOX");
    let (mut archived, mut mailed) = (dovecot.mailbox().mails("Processed"), batch.mails.clone());
    archived.sort();
    mailed.sort();
    assert!(archived == mailed, "the archive holds {} mails of {}", archived.len(), mailed.len());
}

/// Moments to kill at: splitmix64, so that a failure can be looked at again, as far as time can.
struct Moments(u64);

impl Moments {
    fn next(&mut self, least: Duration, most: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        least + (most - least).mul_f64(f64::from(u32::try_from(mixed >> 32).unwrap()) / f64::from(u32::MAX))
    }
}
