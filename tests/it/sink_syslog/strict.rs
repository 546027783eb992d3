//! `acknowledgements: strict`: only an orderly close by the peer confirms frames.

use dmarc_shipper::config::sink::{Acknowledgements, Syslog, SyslogMode};

use super::running::{Reader, Running, accept, config, listen};

fn strict(port: u16) -> Syslog {
    Syslog { acknowledgements: Acknowledgements::Strict, ..config(SyslogMode::Tcp, port) }
}

#[tokio::test]
async fn a_strict_batch_is_confirmed_when_the_peer_closes_after_reading() {
    let (listener, port) = listen().await;
    let mut sink = Running::start(strict(port));
    for round in 0..2 {
        let (first, last) = (round * 100 + 1, round * 100 + 100);
        sink.send(first..=last, 500).await;
        let mut peer = Reader::new(accept(&listener).await);
        assert_eq!(peer.rest().await, (first..=last).collect::<Vec<_>>());
        assert_eq!(sink.confirmed(), first - 1, "read, but not closed");
        drop(peer);
        sink.until_confirmed(last).await;
    }
}

#[tokio::test]
async fn a_strict_batch_dropped_unread_is_sent_again() {
    let (listener, port) = listen().await;
    let mut sink = Running::start(strict(port));
    sink.send(1..=100, 500).await;
    let peer = accept(&listener).await;
    peer.readable().await.unwrap();
    drop(peer);
    sink.until_failing().await;
    assert_eq!(sink.confirmed(), 0);
    let mut peer = Reader::new(accept(&listener).await);
    assert_eq!(peer.rest().await, (1..=100).collect::<Vec<_>>());
    drop(peer);
    sink.until_confirmed(100).await;
    sink.end().await.unwrap();
}

#[tokio::test]
async fn many_frames_are_sent_in_several_strict_batches() {
    let (listener, port) = listen().await;
    let sink = Running::start(strict(port));
    let last = 5000;
    sink.send(1..=last, 1000).await;
    let peers = tokio::spawn(async move {
        let mut numbers = Vec::new();
        let mut connections = 0;
        while numbers.last() != Some(&last) {
            numbers.extend(Reader::new(accept(&listener).await).rest().await);
            connections += 1;
        }
        (numbers, connections)
    });
    sink.end().await.unwrap();
    let (numbers, connections) = peers.await.unwrap();
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
    assert!(connections > 1);
}
