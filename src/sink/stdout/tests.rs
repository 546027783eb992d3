use std::{io::Read, os::fd::OwnedFd};

use tokio::sync::watch;

use super::*;
use crate::{
    config,
    sink::{Metadata, Outlet, queue},
};

struct Running {
    outlet: Outlet,
    confirmed: watch::Receiver<u64>,
    health: watch::Receiver<Health>,
    stop: CancellationToken,
    run: tokio::task::JoinHandle<Result<(), SinkError>>,
}

fn start(output: File) -> Running {
    let (outlet, inlet) = queue(4 << 20);
    let (status, confirmed, health) = Status::new();
    let stop = CancellationToken::new();
    let sink = Box::new(StdoutSink::onto(output, RateLimit::new(&config::sink::Rate::default())));
    let run = tokio::spawn(sink.run(inlet, status, stop.clone()));
    Running { outlet, confirmed, health, stop, run }
}

fn pipe() -> (File, File) {
    let (reader, writer) = std::io::pipe().unwrap();
    (File::from(OwnedFd::from(reader)), File::from(OwnedFd::from(writer)))
}

fn line(number: usize) -> Bytes {
    format!("{{\"n\":{number},\"fill\":\"{}\"}}\n", "x".repeat(number % 700)).into()
}

#[tokio::test]
async fn every_line_arrives_whole_and_in_order_and_is_confirmed() {
    let (mut reader, writer) = pipe();
    let read = std::thread::spawn(move || {
        let mut all = String::new();
        reader.read_to_string(&mut all).map(|_| all)
    });
    let mut sink = start(writer);
    let expected: String = (0..3000).map(|n| String::from_utf8(line(n).to_vec()).unwrap()).collect();
    for n in 0..3000 {
        sink.outlet.send(line(n), Metadata::at(0)).await.unwrap();
    }
    sink.confirmed.wait_for(|n| *n == 3000).await.unwrap();
    drop(sink.outlet);
    sink.run.await.unwrap().unwrap();
    assert_eq!(read.join().unwrap().unwrap(), expected);
}

#[tokio::test]
async fn a_non_blocking_pipe_is_waited_for() {
    let (mut reader, writer) = pipe();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let mut sink = start(writer);
    let big = Bytes::from(vec![b'a'; 300 << 10]);
    sink.outlet.send(big.clone(), Metadata::at(0)).await.unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut all = vec![0; 300 << 10];
        reader.read_exact(&mut all).map(|()| all)
    });
    assert_eq!(read.await.unwrap().unwrap(), big);
    sink.confirmed.wait_for(|n| *n == 1).await.unwrap();
}

#[tokio::test]
async fn a_reader_that_has_gone_ends_the_sink_and_nothing_more_is_confirmed() {
    let (mut reader, writer) = pipe();
    let mut sink = start(writer);
    sink.outlet.send(line(1), Metadata::at(0)).await.unwrap();
    sink.confirmed.wait_for(|n| *n == 1).await.unwrap();
    reader.read_exact(&mut vec![0; line(1).len()]).unwrap();
    drop(reader);
    sink.outlet.send(line(2), Metadata::at(0)).await.unwrap();
    assert!(matches!(sink.run.await.unwrap(), Err(SinkError::BrokenPipe)));
    assert_eq!(*sink.confirmed.borrow(), 1);
}

#[tokio::test]
async fn stop_ends_the_sink_while_a_write_is_blocked() {
    let (mut reader, writer) = pipe();
    let sink = start(writer);
    let fills_the_pipe = Bytes::from(vec![b'a'; 1 << 20]);
    sink.outlet.send(fills_the_pipe, Metadata::at(0)).await.unwrap();
    // The first byte has arrived: the write has begun, and can't end.
    let reader = tokio::task::spawn_blocking(move || reader.read_exact(&mut [0]).map(|()| reader)).await.unwrap();
    sink.stop.cancel();
    sink.run.await.unwrap().unwrap();
    assert_eq!(*sink.confirmed.borrow(), 0);
    drop(reader);
}

#[tokio::test]
async fn a_descriptor_that_can_t_be_written_to_ends_the_sink_with_advice() {
    let read_only = File::open("/dev/null").unwrap();
    let sink = start(read_only);
    sink.outlet.send(line(1), Metadata::at(0)).await.unwrap();
    let error = sink.run.await.unwrap().unwrap_err();
    assert!(matches!(&error, SinkError::CannotWrite(why, _) if why.contains("stdout")), "{error}");
}

#[tokio::test]
async fn a_full_disk_behind_stdout_is_reported_and_waited_for() {
    let mut sink = start(File::options().write(true).open("/dev/full").unwrap());
    sink.outlet.send(line(1), Metadata::at(0)).await.unwrap();
    let health = sink.health.wait_for(|health| matches!(health, Health::Failing { .. })).await.unwrap().clone();
    assert!(format!("{health:?}").contains("stdout"));
    assert_eq!(*sink.confirmed.borrow(), 0);
    sink.stop.cancel();
    sink.run.await.unwrap().unwrap();
}
