//! A real rsyslog: what it writes against what was confirmed.

use dmarc_shipper::config::{
    sink::{Acknowledgements, Syslog, SyslogMode},
    tls::Tls,
};

use super::{
    receivers::{Certificates, Rsyslog, wait_for},
    running::{Running, config},
};

/// Numbers at the start of each line written.
fn numbers(rsyslog: &Rsyslog) -> Vec<u64> {
    let lines = rsyslog.received();
    lines.iter().filter_map(|line| line.split(' ').next()?.parse().ok()).collect()
}

fn tls_config(port: u16, certificates: &Certificates) -> Syslog {
    let tls = Tls {
        ca_file: Some(certificates.path("ca.pem")),
        crt_file: Some(certificates.path("client.pem")),
        key_file: Some(certificates.path("client.key")),
        ..Tls::default()
    };
    Syslog { tls, ..config(SyslogMode::Tls, port) }
}

/// Sends this many, and what rsyslog wrote must be the same in the same order.
async fn everything_arrives(settings: Syslog, rsyslog: &Rsyslog, last: u64) {
    let sink = Running::start(settings);
    sink.send(1..=last, 500).await;
    sink.end().await.unwrap();
    wait_for("last line", || (numbers(rsyslog).last() == Some(&last)).then_some(()));
    assert_eq!(numbers(rsyslog), (1..=last).collect::<Vec<_>>());
}

#[tokio::test]
async fn rsyslog_writes_what_it_is_sent_over_tcp() {
    let rsyslog = Rsyslog::tcp();
    everything_arrives(config(SyslogMode::Tcp, rsyslog.port()), &rsyslog, 20_000).await;
}

#[tokio::test]
async fn rsyslog_writes_what_it_is_sent_over_tls() {
    let certificates = Certificates::make();
    for driver in ["gtls", "ossl"] {
        for auth in
            ["StreamDriver.AuthMode=\"anon\"", "StreamDriver.AuthMode=\"x509/name\" PermittedPeer=[\"client.test\"]"]
        {
            let rsyslog = Rsyslog::tls(driver, &certificates, auth);
            everything_arrives(tls_config(rsyslog.port(), &certificates), &rsyslog, 3000).await;
        }
    }
}

#[tokio::test]
async fn a_client_that_rsyslog_refuses_by_name_has_nothing_confirmed() {
    let certificates = Certificates::make();
    // With ossl, rsyslog 8.2302 refuses only some of the time, and otherwise writes what such a client sends.
    let auth = "StreamDriver.AuthMode=\"x509/name\" PermittedPeer=[\"another.test\"]";
    let rsyslog = Rsyslog::tls("gtls", &certificates, auth);
    let mut sink = Running::start(tls_config(rsyslog.port(), &certificates));
    sink.send(1..=1000, 500).await;
    let error = sink.until_failing().await;
    assert!(error.contains("client certificate"), "{error}");
    assert_eq!(sink.confirmed(), 0);
    assert!(rsyslog.received().is_empty());
}

/// Kills rsyslog in mid-stream and starts it again. All that was not confirmed at that moment must be written after
/// it, in order; returns what was confirmed and is not written.
async fn killed_midway(settings: Syslog, rsyslog: &mut Rsyslog) -> Vec<u64> {
    let last = 60_000;
    let mut sink = Running::start(settings);
    let feeding = sink.send_all(1..=last, 500);
    sink.until_confirmed(5000).await;
    rsyslog.kill();
    let at_kill = rsyslog.received().len();
    sink.until_failing().await;
    let confirmed = sink.confirmed();
    rsyslog.start();
    feeding.await.unwrap();
    sink.end().await.unwrap();
    wait_for("last line", || (numbers(rsyslog).last() == Some(&last)).then_some(()));
    let written = numbers(rsyslog);
    let again: Vec<u64> = written.iter().copied().skip_while(|number| *number <= confirmed).collect();
    let replayed = written.iter().rposition(|number| *number == confirmed + 1).expect("the first unconfirmed frame");
    assert_eq!(written[replayed..], (confirmed + 1..=last).collect::<Vec<_>>(), "killed at line {at_kill}");
    assert!(again.len() as u64 >= last - confirmed);
    (1..=confirmed).filter(|number| !written.contains(number)).collect()
}

#[tokio::test]
async fn what_was_not_confirmed_when_rsyslog_was_killed_is_sent_again() {
    let mut rsyslog = Rsyslog::tcp();
    let lost = killed_midway(config(SyslogMode::Tcp, rsyslog.port()), &mut rsyslog).await;
    // The documented gap of `acknowledgements: kernel`: what its kernel had and it had not read.
    println!("{} frames were acknowledged by the kernel of a receiver that never read them", lost.len());
}

#[tokio::test]
async fn strict_loses_nothing_when_rsyslog_is_killed() {
    let mut rsyslog = Rsyslog::tcp();
    let settings = Syslog { acknowledgements: Acknowledgements::Strict, ..config(SyslogMode::Tcp, rsyslog.port()) };
    let lost = killed_midway(settings, &mut rsyslog).await;
    assert_eq!(lost, Vec::<u64>::new());
}
