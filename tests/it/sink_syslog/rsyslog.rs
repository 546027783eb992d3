//! A real rsyslog: compares what it wrote with what was confirmed.

use dmarc_shipper::config::{
    sink::{Acknowledgements, Syslog, SyslogMode},
    tls::Tls,
};

use super::running::{Running, config};
use crate::support::{
    ca::{Ca, Identity},
    rsyslog::{Options, Peers, Rsyslog, Writes},
    wait::{LONG, eventually},
};

/// Starts an rsyslog that accepts any client and writes down MSG.
fn open_to_all() -> Rsyslog {
    Rsyslog::with(&Ca::new(), &Options { writes: Writes::Msg, ..Options::default() })
}

/// A receiver that can be killed, and writes MSG of each message on a line.
pub trait Receiver {
    fn kill(&mut self);
    /// Starts it again on the same port.
    fn resume(&mut self);
    fn lines(&self) -> Vec<String>;
}

impl Receiver for Rsyslog {
    fn kill(&mut self) {
        self.kill();
    }

    fn resume(&mut self) {
        self.resume();
    }

    fn lines(&self) -> Vec<String> {
        self.lines()
    }
}

/// Returns the numbers at the start of each written line.
pub fn numbers(receiver: &impl Receiver) -> Vec<u64> {
    let lines = receiver.lines();
    lines.iter().filter_map(|line| line.split(' ').next()?.parse().ok()).collect()
}

fn tls_config(port: u16, ca: &Ca) -> Syslog {
    let Identity { certificate, key } = ca.client("client.test");
    let tls = Tls { ca_file: Some(ca.file()), crt_file: Some(certificate), key_file: Some(key), ..Tls::default() };
    Syslog { tls, ..config(SyslogMode::Tls, port) }
}

/// Sends `last` frames; fails unless rsyslog writes all of them in order.
async fn everything_arrives(settings: Syslog, rsyslog: &Rsyslog, last: u64) {
    let sink = Running::start(settings);
    sink.send(1..=last, 500).await;
    sink.end().await.unwrap();
    eventually(LONG, "the last line is written", || (numbers(rsyslog).last() == Some(&last)).then_some(()));
    assert_eq!(numbers(rsyslog), (1..=last).collect::<Vec<_>>());
}

#[tokio::test]
async fn rsyslog_writes_every_frame_sent_over_tcp() {
    let rsyslog = open_to_all();
    everything_arrives(config(SyslogMode::Tcp, rsyslog.tcp_port), &rsyslog, 20_000).await;
}

#[tokio::test]
async fn rsyslog_writes_every_frame_sent_over_tls() {
    let ca = Ca::new();
    for driver in ["gtls", "ossl"] {
        for peers in [Peers::Anyone, Peers::Named("client.test")] {
            let options = Options { driver, peers, writes: Writes::Msg, ..Options::default() };
            let rsyslog = Rsyslog::with(&ca, &options);
            everything_arrives(tls_config(rsyslog.tls_port, &ca), &rsyslog, 3000).await;
        }
    }
}

#[tokio::test]
async fn a_client_refused_by_certificate_name_gets_nothing_confirmed() {
    let ca = Ca::new();
    // With the driver ossl, rsyslog 8.2302 refuses such a client only sometimes, and otherwise writes what it sends.
    let options = Options { peers: Peers::Named("another.test"), writes: Writes::Msg, ..Options::default() };
    let rsyslog = Rsyslog::with(&ca, &options);
    let mut sink = Running::start(tls_config(rsyslog.tls_port, &ca));
    sink.send(1..=1000, 500).await;
    let error = sink.until_failing().await;
    assert!(error.contains("client certificate"), "{error}");
    assert_eq!(sink.confirmed(), 0);
    assert!(rsyslog.lines().is_empty());
}

/// Kills the receiver in the middle of the stream and starts it again. All frames that were not confirmed at that moment
/// must be written afterwards, in order; returns those that were confirmed and are not written.
pub async fn killed_midway(settings: Syslog, receiver: &mut impl Receiver, last: u64) -> Vec<u64> {
    let mut sink = Running::start(settings);
    let feeding = sink.send_all(1..=last, 500);
    sink.until_confirmed(5000).await;
    receiver.kill();
    let at_kill = receiver.lines().len();
    sink.until_failing().await;
    let confirmed = sink.confirmed();
    receiver.resume();
    feeding.await.unwrap();
    sink.end().await.unwrap();
    eventually(LONG, "the last line is written", || (numbers(receiver).last() == Some(&last)).then_some(()));
    let written = numbers(receiver);
    let again: Vec<u64> = written.iter().copied().skip_while(|number| *number <= confirmed).collect();
    let replayed = written.iter().rposition(|number| *number == confirmed + 1).expect("the first unconfirmed frame");
    assert_eq!(written[replayed..], (confirmed + 1..=last).collect::<Vec<_>>(), "killed at line {at_kill}");
    assert!(again.len() as u64 >= last - confirmed);
    (1..=confirmed).filter(|number| !written.contains(number)).collect()
}

#[tokio::test]
async fn unconfirmed_frames_are_sent_again_after_rsyslog_was_killed() {
    let mut rsyslog = open_to_all();
    // Loss here is the documented gap of `acknowledgements: kernel`: the kernel had the data, and rsyslog had not read it.
    killed_midway(config(SyslogMode::Tcp, rsyslog.tcp_port), &mut rsyslog, 60_000).await;
}

#[tokio::test]
async fn strict_acknowledgements_lose_nothing_when_rsyslog_is_killed() {
    let mut rsyslog = open_to_all();
    let settings = Syslog { acknowledgements: Acknowledgements::Strict, ..config(SyslogMode::Tcp, rsyslog.tcp_port) };
    let lost = killed_midway(settings, &mut rsyslog, 60_000).await;
    assert_eq!(lost, Vec::<u64>::new());
}
