//! Receivers that send data, which a syslog receiver has no reason to do.

use std::time::Duration;

use dmarc_shipper::config::sink::SyslogMode;
use tokio::time::sleep;

use super::running::{Running, config};
use crate::support::peer::{Manner, Peer};

#[tokio::test]
async fn a_receiver_that_sends_a_little_data_keeps_its_connection() {
    let peer = Peer::start(Manner::Talking { bytes: 1, pause: Duration::from_millis(20) });
    let mut sink = Running::start(config(SyslogMode::Tcp, peer.port));
    for begin in [1, 101, 201] {
        sink.send(begin..=begin + 99, 500).await;
        sink.until_confirmed(begin + 99).await;
    }
    assert_eq!(peer.connections(), 1);
}

/// Regression: the data was read without end, which kept a core busy.
#[tokio::test]
async fn a_receiver_that_floods_us_is_disconnected_with_backoff() {
    let peer = Peer::start(Manner::Talking { bytes: 64 << 10, pause: Duration::ZERO });
    let mut sink = Running::start(config(SyslogMode::Tcp, peer.port));
    sink.send(1..=10, 500).await;
    sink.until_failing_with("does not stop sending").await;
    sleep(Duration::from_secs(3)).await;
    assert!(peer.connections() <= 6, "{} connections", peer.connections());
}
