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
    assert!(error.contains("no listener"), "{error}");
    sink.until_confirmed(10).await;
    sink.end().await.unwrap();
}

#[tokio::test]
async fn a_datagram_that_is_too_large_is_rejected_and_the_next_one_is_sent() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut sink = Running::start(config(SyslogMode::Udp, socket.local_addr().unwrap().port()));
    sink.send(1..=1, 100).await;
    sink.send(2..=2, 70_000).await;
    sink.send(3..=3, 100).await;
    let mut room = [0; 2000];
    for number in [1, 3] {
        let length = socket.recv(&mut room).await.unwrap();
        assert_eq!(&room[..length], &frame(number, 100)[..]);
    }
    sink.until_confirmed(3).await;
    let reason = sink.rejections.latest().unwrap();
    assert!(reason.contains("a datagram of 700") && reason.contains("max_message_bytes (8000)"), "{reason}");
    assert_eq!(sink.rejections.total(), 1);
    sink.until_up().await;
    sink.end().await.unwrap();
}
