//! A running sink under test, its frames, and the peer's end of a connection.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use dmarc_shipper::{
    config::{
        sink::{Acknowledgements, EventTime, Framing, Rate, Syslog, SyslogFormat, SyslogMode},
        tls::Tls,
    },
    event::{Event, probe::ProbeEvent},
    sink::{Health, Metadata, Outlet, Rejections, Sink, SinkError, Status, queue, syslog::SyslogSink},
};
use jiff::Timestamp;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Timeout that no operation reaches, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn config(mode: SyslogMode, port: u16) -> Syslog {
    Syslog {
        host: "127.0.0.1".into(),
        port,
        mode,
        tls: Tls::default(),
        format: SyslogFormat::Rfc5424,
        framing: Framing::OctetCounting,
        acknowledgements: Acknowledgements::Kernel,
        facility: 16,
        app_name: "DMARC_DATA".into(),
        hostname: None,
        enterprise_number: 32473,
        structured_data: false,
        event_time: EventTime::Ingest,
        max_message_bytes: 8000,
        connect_timeout: Duration::from_secs(10),
        send_timeout: Duration::from_secs(30),
    }
}

/// Returns a frame of about `bytes` bytes whose MSG starts with its number.
pub fn frame(number: u64, bytes: usize) -> Bytes {
    let start = format!("<134>1 2026-01-01T00:00:00.000000Z host DMARC_DATA 1 dmarc_aggregate - {number:08}");
    let message = format!("{start} {}", "x".repeat(bytes.saturating_sub(start.len() + 1)));
    format!("{} {message}", message.len()).into()
}

/// Metadata of an event that no mail waits for.
fn metadata() -> Metadata {
    Metadata::of(&Event::Probe(Box::new(ProbeEvent::new(None, "siem", Timestamp::UNIX_EPOCH))), None)
}

/// A running sink, and both ends of its queue.
pub struct Running {
    pub outlet: Option<Arc<Outlet>>,
    pub stop: CancellationToken,
    confirmed: watch::Receiver<u64>,
    pub rejections: Rejections,
    health: watch::Receiver<Health>,
    task: JoinHandle<Result<(), SinkError>>,
}

impl Running {
    pub fn start(config: Syslog) -> Self {
        Self::with_queue(config, 64 << 20)
    }

    pub fn with_queue(config: Syslog, max_bytes: u32) -> Self {
        let (outlet, inlet) = queue(max_bytes);
        let (status, confirmed, health) = Status::new();
        let (stop, rejections) = (CancellationToken::new(), status.rejections());
        let sink = Box::new(SyslogSink::new("siem".into(), config, Rate::default()));
        let task = tokio::spawn(sink.run(inlet, status, stop.clone()));
        Self { outlet: Some(Arc::new(outlet)), stop, confirmed, rejections, health, task }
    }

    /// Queues frames with these numbers, which must be the next ones.
    pub async fn send(&self, numbers: std::ops::RangeInclusive<u64>, bytes: usize) {
        for number in numbers {
            assert_eq!(self.outlet.as_ref().unwrap().send(frame(number, bytes), metadata()).await.unwrap(), number);
        }
    }

    /// Queues frames in the background, as fast as the queue takes them.
    pub fn send_all(&self, numbers: std::ops::RangeInclusive<u64>, bytes: usize) -> JoinHandle<()> {
        let outlet = self.outlet.clone().unwrap();
        tokio::spawn(async move {
            for number in numbers {
                if outlet.send(frame(number, bytes), metadata()).await.is_err() {
                    return;
                }
            }
        })
    }

    pub fn confirmed(&self) -> u64 {
        *self.confirmed.borrow()
    }

    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    pub async fn until_confirmed(&mut self, number: u64) {
        let reached = timeout(PATIENCE, self.confirmed.wait_for(|confirmed| *confirmed >= number)).await;
        reached.expect("it is confirmed in time").unwrap();
    }

    pub async fn until_up(&mut self) {
        timeout(PATIENCE, self.health.wait_for(|health| *health == Health::Up)).await.expect("up in time").unwrap();
    }

    /// Waits until the sink fails, and returns the reason.
    pub async fn until_failing(&mut self) -> String {
        self.until_failing_with("").await
    }

    /// Waits until the sink fails with a reason that contains these words, and returns it.
    pub async fn until_failing_with(&mut self, words: &str) -> String {
        let failing =
            self.health.wait_for(|health| matches!(health, Health::Failing { error } if error.contains(words)));
        match &*timeout(PATIENCE, failing).await.expect("it fails in time").unwrap() {
            Health::Failing { error } => error.to_string(),
            _ => unreachable!(),
        }
    }

    /// Closes the queue and waits for the sink to end.
    pub async fn end(mut self) -> Result<(), SinkError> {
        self.outlet = None;
        timeout(PATIENCE, self.task).await.expect("it ends in time").unwrap()
    }

    /// Waits for the sink to end, with the queue left open.
    pub async fn ended(self) -> Result<(), SinkError> {
        timeout(PATIENCE, self.task).await.expect("it ends in time").unwrap()
    }
}

pub async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

pub async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(PATIENCE, listener.accept()).await.expect("a connection in time").unwrap().0
}

/// Resets a connection, as a crash does.
pub fn reset(peer: TcpStream) {
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Reads the numbers of the frames that arrive at a peer.
pub struct Reader<R> {
    pub stream: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub fn new(stream: R) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Returns the number of the next complete frame; `None` at the end of the connection, whether it was closed or reset.
    pub async fn next(&mut self) -> Option<u64> {
        loop {
            if let Some(number) = self.parse() {
                return Some(number);
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.expect("bytes in time");
            if !read.is_ok_and(|bytes| bytes > 0) {
                return None;
            }
        }
    }

    /// Reads until this number has arrived; fails unless the numbers have no gaps.
    pub async fn until(&mut self, last: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.last() != Some(&last) {
            numbers.push(self.next().await.unwrap_or_else(|| panic!("ended after {:?}", numbers.last())));
        }
        let first = numbers[0];
        assert!(numbers.iter().copied().eq(first..=last), "a gap or a repetition from {first} to {last}");
        numbers
    }

    /// Reads to the end of the connection.
    pub async fn rest(&mut self) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let Some(number) = self.next().await {
            numbers.push(number);
        }
        numbers
    }

    fn parse(&mut self) -> Option<u64> {
        let space = self.buffer.iter().position(|byte| *byte == b' ')?;
        let len: usize = std::str::from_utf8(&self.buffer[..space]).unwrap().parse().expect("octet counting");
        let frame = self.buffer.get(space + 1..space + 1 + len)?;
        let text = std::str::from_utf8(frame).unwrap();
        let number = text.split(' ').nth(7).unwrap().parse().unwrap();
        self.buffer.drain(..space + 1 + len);
        Some(number)
    }
}
