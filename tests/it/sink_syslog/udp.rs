//! UDP, where a successful send call is the only confirmation.

use dmarc_shipper::config::sink::SyslogMode;
use tokio::net::UdpSocket;

use super::running::{Running, config, frame};

#[tokio::test]
async fn each_frame_is_a_datagram() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut sink = Running::start(config(SyslogMode::Udp, socket.local_addr().unwrap().port()));
    sink.send(1..=20, 300).await;
    let mut room = [0; 2000];
    for number in 1..=20 {
        let length = socket.recv(&mut room).await.unwrap();
        assert_eq!(&room[..length], &frame(number, 300)[..]);
    }
    sink.until_confirmed(20).await;
    sink.until_up().await;
    sink.end().await.unwrap();
}

#[tokio::test]
async fn rejected_datagrams_are_confirmed_with_an_error() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    drop(socket);
    let mut sink = Running::start(config(SyslogMode::Udp, port));
    sink.send(1..=10, 100).await;
    let error = sink.until_failing().await;
    assert!(error.contains("nobody listens"), "{error}");
    sink.until_confirmed(10).await;
    sink.end().await.unwrap();
}

#[tokio::test]
async fn an_oversized_datagram_is_reported_and_not_dropped() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut sink = Running::start(config(SyslogMode::Udp, socket.local_addr().unwrap().port()));
    sink.send(1..=1, 70_000).await;
    let error = sink.until_failing().await;
    assert!(error.contains("max_message_bytes"), "{error}");
    assert_eq!(sink.confirmed(), 0);
    sink.stop.cancel();
    sink.ended().await.unwrap();
}
