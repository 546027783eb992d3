//! Networks that drop packets silently, and slow ones. Confirmed frames have arrived exactly once; all others arrive in
//! the end.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use dmarc_shipper::config::sink::{Acknowledgements, Syslog, SyslogMode};
use futures::FutureExt;
use tokio::net::TcpListener;

use super::{
    rsyslog::{killed_midway, numbers},
    running::{Reader, Running, accept, config, reset},
};
use crate::support::{
    ca::Ca,
    link::{Dropped, Link},
    rsyslog::{Options, Rsyslog, Writes},
    wait::{LONG, eventually},
};

/// Starts an rsyslog at the far end that writes down MSG of each message.
fn rsyslog_at(link: &Link) -> Rsyslog {
    Rsyslog::with(&Ca::new(), &Options { writes: Writes::Msg, site: link.site(), ..Options::default() })
}

fn over(link: &Link, port: u16) -> Syslog {
    Syslog {
        host: link.far().to_string(),
        connect_timeout: Duration::from_secs(1),
        send_timeout: Duration::from_secs(2),
        ..config(SyslogMode::Tcp, port)
    }
}

/// Drops packets in the middle of the stream until the connection has failed, and an attempt to reconnect too.
async fn lost_midway(dropped: Dropped, acknowledgements: Acknowledgements) {
    let link = Link::direct();
    let rsyslog = rsyslog_at(&link);
    // A small queue blocks the feeder until frames are confirmed; otherwise everything would be queued before packets are
    // dropped.
    let mut sink = Running::with_queue(Syslog { acknowledgements, ..over(&link, rsyslog.tcp_port) }, 1 << 20);
    let last = 20_000;
    let feeding = sink.send_all(1..=last, 500);
    sink.until_confirmed(2000).await;
    link.drop_packets(dropped);
    sink.until_failing_with("can't connect").await;
    let confirmed = sink.confirmed();
    assert!(confirmed < last, "everything was through before packets were dropped: send more");
    link.pass_packets();
    feeding.await.unwrap();
    sink.until_confirmed(last).await;
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    eventually(LONG, "every frame is written", || {
        times.clear();
        numbers(&rsyslog).into_iter().for_each(|number| *times.entry(number).or_default() += 1);
        times.keys().copied().eq(1..=last).then_some(())
    });
    let again: Vec<u64> = times.iter().filter(|(_, times)| **times > 1).map(|(number, _)| *number).collect();
    assert!(again.iter().all(|number| *number > confirmed), "{confirmed} were confirmed, and {again:?} came again");
}

#[tokio::test]
async fn a_blackholed_connection_times_out_and_nothing_is_lost() {
    lost_midway(Dropped::Both, Acknowledgements::Kernel).await;
}

#[tokio::test]
async fn dropped_frames_are_not_confirmed() {
    lost_midway(Dropped::Sent, Acknowledgements::Kernel).await;
}

#[tokio::test]
async fn frames_with_lost_acknowledgements_are_sent_again() {
    lost_midway(Dropped::Answered, Acknowledgements::Kernel).await;
}

#[tokio::test]
async fn strict_batches_that_lose_their_packets_are_sent_again() {
    lost_midway(Dropped::Both, Acknowledgements::Strict).await;
}

#[tokio::test]
async fn frames_written_to_a_dead_idle_connection_are_sent_on_a_new_one() {
    let link = Link::direct();
    let rsyslog = rsyslog_at(&link);
    let mut sink = Running::start(over(&link, rsyslog.tcp_port));
    sink.send(1..=100, 500).await;
    sink.until_confirmed(100).await;
    link.drop_packets(Dropped::Both);
    sink.send(101..=200, 500).await;
    sink.until_failing_with("can't connect").await;
    assert_eq!(sink.confirmed(), 100);
    link.pass_packets();
    sink.until_confirmed(200).await;
    eventually(LONG, "the last line is written", || (numbers(&rsyslog).last() == Some(&200)).then_some(()));
    assert_eq!(numbers(&rsyslog), (1..=200).collect::<Vec<_>>());
}

/// Listens at the far end; accepted connections can be used in this namespace.
fn listen_at(link: &Link) -> (TcpListener, u16) {
    let bound = thread::scope(|scope| {
        let listening = scope.spawn(|| {
            link.move_thread();
            std::net::TcpListener::bind((link.far(), 0)).unwrap()
        });
        listening.join().unwrap()
    });
    bound.set_nonblocking(true).unwrap();
    let port = bound.local_addr().unwrap().port();
    (TcpListener::from_std(bound).unwrap(), port)
}

#[tokio::test]
async fn frames_in_flight_when_the_receiver_dies_are_not_confirmed() {
    let link = Link::delayed(Duration::from_millis(50));
    let (listener, port) = listen_at(&link);
    let last = 60_000;
    let mut sink = Running::start(over(&link, port));
    let feeding = sink.send_all(1..=last, 500);
    let mut peer = Reader::new(accept(&listener).await);
    let mut read = 0;
    while sink.confirmed() < 5000 {
        read = peer.next().await.expect("it goes on");
    }
    // Data that the receiver's kernel has counts as read; data in the network does not.
    while let Some(Some(number)) = peer.next().now_or_never() {
        read = number;
    }
    reset(peer.stream);
    drop(listener);
    sink.until_failing().await;
    let confirmed = sink.confirmed();
    assert!(confirmed <= read, "{confirmed} are confirmed, {read} were read");
    assert!(read < last, "everything was through: send more");
    sink.stop.cancel();
    sink.ended().await.unwrap();
    feeding.await.unwrap();
}

/// Speed is not asserted, only printed; the assertion is that everything arrives.
#[tokio::test]
async fn a_slow_network_delays_confirmation_but_not_sending() {
    let mut seconds = Vec::new();
    for delay in [0, 50] {
        let link = Link::delayed(Duration::from_millis(delay));
        let rsyslog = rsyslog_at(&link);
        let start = Instant::now();
        let last = 40_000;
        let mut sink = Running::with_queue(over(&link, rsyslog.tcp_port), 8 << 20);
        let feeding = sink.send_all(1..=last, 500);
        sink.until_confirmed(last).await;
        feeding.await.unwrap();
        seconds.push(start.elapsed().as_secs_f64());
        eventually(LONG, "the last line is written", || (numbers(&rsyslog).last() == Some(&last)).then_some(()));
        assert_eq!(numbers(&rsyslog), (1..=last).collect::<Vec<_>>());
    }
    eprintln!("40,000 frames of 500 bytes: {:.2} s without delay, {:.2} s with 50 ms each way", seconds[0], seconds[1]);
}

#[tokio::test]
async fn frames_in_flight_to_a_killed_rsyslog_are_sent_again() {
    let link = Link::delayed(Duration::from_millis(50));
    let mut rsyslog = rsyslog_at(&link);
    for acknowledgements in [Acknowledgements::Kernel, Acknowledgements::Strict] {
        let settings = Syslog { acknowledgements, ..over(&link, rsyslog.tcp_port) };
        let lost = killed_midway(settings, &mut rsyslog, 12_000).await;
        assert!(acknowledgements == Acknowledgements::Kernel || lost.is_empty(), "strict lost {lost:?}");
        rsyslog = rsyslog_at(&link);
    }
}
