//! TCP peers that behave, stall, reset the connection, disappear and return.

use std::time::Duration;

use dmarc_shipper::{config::sink::SyslogMode, sink::Health};
use tokio::io::{AsyncWriteExt, copy, split};

use super::running::{Reader, Running, accept, config, listen, reset};

#[tokio::test]
async fn acknowledged_frames_are_confirmed_and_shutdown_is_orderly() {
    let (listener, port) = listen().await;
    let sink = Running::start(config(SyslogMode::Tcp, port));
    sink.send(1..=5000, 500).await;
    let mut peer = Reader::new(accept(&listener).await);
    peer.until(5000).await;
    let rest = tokio::spawn(async move { peer.rest().await });
    sink.end().await.unwrap();
    assert_eq!(rest.await.unwrap(), Vec::<u64>::new());
}

#[tokio::test]
async fn a_peer_that_stops_reading_keeps_its_connection() {
    let (listener, port) = listen().await;
    // With TCP_USER_TIMEOUT alone, the connection would end after this second.
    let settings =
        dmarc_shipper::config::sink::Syslog { send_timeout: Duration::from_secs(1), ..config(SyslogMode::Tcp, port) };
    let last = 40_000;
    let mut sink = Running::with_queue(settings, 1 << 20);
    let feeding = sink.send_all(1..=last, 1000);
    let peer = accept(&listener).await;
    let error = sink.until_failing().await;
    assert!(error.contains("send_timeout"), "{error}");
    // Longer than the timeout plus the kernel's next probes of the closed window.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(sink.confirmed() < last, "the kernels took everything: send more");
    assert!(!feeding.is_finished(), "the full queue holds up who fills it");
    let mut peer = Reader::new(peer);
    assert_eq!(peer.until(last).await.len() as u64, last);
    sink.until_confirmed(last).await;
    assert_eq!(sink.health(), Health::Up);
}

/// Runs a peer that reads some frames and breaks the connection; all but the confirmed frames must arrive on the next one.
async fn broken_midway(orderly: bool) {
    let (listener, port) = listen().await;
    let mut sink = Running::start(config(SyslogMode::Tcp, port));
    let last = 20_000;
    sink.send(1..=last, 1000).await;
    let mut first = Reader::new(accept(&listener).await);
    first.until(7000).await;
    sink.until_confirmed(1).await;
    if orderly {
        // Half-close: the peer sends nothing more, but still reads. What its kernel acknowledges from here on must not
        // confirm frames.
        first.stream.shutdown().await.unwrap();
        tokio::spawn(async move { first.rest().await });
    } else {
        reset(first.stream);
    }
    let second = accept(&listener).await;
    let confirmed = sink.confirmed();
    assert!(confirmed < last, "the kernels took everything: send more");
    let mut second = Reader::new(second);
    assert_eq!(second.until(last).await[0], confirmed + 1);
    sink.until_confirmed(last).await;
}

#[tokio::test]
async fn after_a_reset_everything_unconfirmed_is_sent_again_in_order() {
    broken_midway(false).await;
}

#[tokio::test]
async fn after_eof_everything_unconfirmed_is_sent_again_in_order() {
    broken_midway(true).await;
}

#[tokio::test]
async fn a_peer_that_closes_right_after_accepting_confirms_nothing() {
    let (listener, port) = listen().await;
    let mut sink = Running::start(config(SyslogMode::Tcp, port));
    sink.send(1..=10, 100).await;
    for _ in 0..2 {
        let peer = accept(&listener).await;
        // The peer's kernel has received the frames by now.
        peer.readable().await.unwrap();
        drop(peer);
        sink.until_failing().await;
        assert_eq!(sink.confirmed(), 0);
    }
    let mut peer = Reader::new(accept(&listener).await);
    assert_eq!(peer.until(10).await[0], 1);
    sink.until_confirmed(10).await;
}

#[tokio::test]
async fn eof_on_an_idle_connection_is_detected_and_is_not_an_error() {
    let (listener, port) = listen().await;
    let mut sink = Running::start(config(SyslogMode::Tcp, port));
    for number in 1..=3 {
        sink.send(number..=number, 100).await;
        let mut peer = Reader::new(accept(&listener).await);
        assert_eq!(peer.until(number).await, [number]);
        sink.until_confirmed(number).await;
        assert_eq!(sink.health(), Health::Up);
    }
    assert_eq!(sink.health(), Health::Up);
}

#[tokio::test]
async fn data_from_the_peer_blocks_nothing() {
    let (listener, port) = listen().await;
    let mut sink = Running::start(config(SyslogMode::Tcp, port));
    let last = 20_000;
    let feeding = sink.send_all(1..=last, 1000);
    let (mut from, mut to) = split(accept(&listener).await);
    let echo = tokio::spawn(async move { copy(&mut from, &mut to).await });
    sink.until_confirmed(last).await;
    feeding.await.unwrap();
    sink.end().await.unwrap();
    assert!(echo.await.unwrap().unwrap() > last * 1000);
}

#[tokio::test]
async fn connecting_is_retried_until_the_receiver_is_up() {
    let (listener, port) = listen().await;
    drop(listener);
    let mut sink = Running::start(config(SyslogMode::Tcp, port));
    sink.send(1..=3, 100).await;
    let error = sink.until_failing().await;
    assert!(error.contains(&port.to_string()), "{error}");
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let mut peer = Reader::new(accept(&listener).await);
    peer.until(3).await;
    sink.until_confirmed(3).await;
    assert_eq!(sink.health(), Health::Up);
}

#[tokio::test]
async fn an_idle_sink_stops_although_its_receiver_is_down() {
    let (listener, port) = listen().await;
    drop(listener);
    let mut sink = Running::start(config(SyslogMode::Tcp, port));
    sink.until_failing().await;
    sink.end().await.unwrap();
}

#[tokio::test]
async fn a_stopped_sink_leaves_unconfirmed_frames_unconfirmed() {
    let (listener, port) = listen().await;
    let sink = Running::with_queue(config(SyslogMode::Tcp, port), 1 << 20);
    let feeding = sink.send_all(1..=100_000, 1000);
    let _peer = accept(&listener).await;
    sink.stop.cancel();
    let confirmed = sink.confirmed();
    sink.ended().await.unwrap();
    feeding.await.unwrap();
    assert!(confirmed < 100_000);
}
