//! Receivers that die, stall and reset connections.

use rustix::process::Signal;
use serde_json::json;

use super::to_both;
use crate::support::{
    ca::Ca,
    delivery::{assert_all_archived, assert_rows, events, mailbox, times_told},
    peer::{Manner, Peer},
    process::{Running, ndjson},
    reports::Batch,
    rsyslog::Rsyslog,
    wait::{LONG, eventually},
    workplace::{Workplace, imaps, syslog_tcp, with},
};

#[test]
fn a_killed_receiver_gets_the_rest_when_it_is_up() {
    let (ca, batch) = (Ca::new(), Batch::generate(52, 60, 5..=10, 0));
    let (dovecot, mut rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    let slow = with(syslog_tcp(rsyslog.tcp_port), json!({"rate_limit_num": 100}));
    let running = workplace.once(&to_both(&workplace, imaps(&dovecot, &ca), slow)).start();
    rsyslog.wait_for(100);
    rsyslog.kill();
    eventually(LONG, "the failure is said", || running.stderr().contains("failing").then_some(()));
    rsyslog.resume();
    let finished = running.finish().exited(0);
    assert_eq!(finished.stderr.matches("sink recovered").count(), 1, "{}", finished.stderr);
    assert_rows(&batch, &ndjson(&workplace.read("kept.ndjson")));
    // Messages that rsyslog had in memory when it was killed are lost, as docs/delivery.md says. It writes at once, so
    // they are few: fewer than arrive in a quarter of a second.
    let told = times_told(&events(&rsyslog.wait_for(batch.row_count())));
    assert!(told.len() + 25 >= batch.row_count(), "{} of {} rows", told.len(), batch.row_count());
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn a_receiver_that_never_reads_blocks_mails_and_ends_a_single_pass_after_give_up_after() {
    let (ca, batch) = (Ca::new(), Batch::generate(53, 100, 30..=40, 0));
    let (dovecot, peer, workplace) = (mailbox(&ca, &batch), Peer::start(Manner::Deaf), Workplace::new());
    let sink = with(syslog_tcp(peer.port), json!({"send_timeout": "1s", "buffer": {"max_size": "256KiB"}}));
    let config = with(workplace.config(imaps(&dovecot, &ca), sink), json!({"give_up_after": "3s"}));
    workplace.once(&config).exits(75).says(&["send_timeout", "give_up_after"]);
    assert_eq!(peer.connections(), 1, "what the buffers of another connection take would count as delivered");
    assert!(dovecot.mailbox().count("INBOX") > 50, "{} are left", dovecot.mailbox().count("INBOX"));
}

#[test]
fn a_receiver_that_resets_connections_eventually_gets_everything() {
    let (ca, batch) = (Ca::new(), Batch::generate(54, 40, 5..=10, 0));
    let manner = Manner::Resetting { after_bytes: 20_000, times: 3 };
    let (dovecot, peer, workplace) = (mailbox(&ca, &batch), Peer::start(manner), Workplace::new());
    let sink = with(syslog_tcp(peer.port), json!({"framing": {"method": "newline_delimited"}}));
    workplace.once(&workplace.config(imaps(&dovecot, &ca), sink)).exits(0).says(&["sink is failing", "sink recovered"]);
    assert_eq!(peer.connections(), 4);
    assert_rows(&batch, &peer.events());
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn a_slow_sink_applies_backpressure_with_constant_memory() {
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
