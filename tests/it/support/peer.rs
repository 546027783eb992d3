//! A misbehaving syslog receiver, as real ones are only when they are ill: it does not read, resets connections, or sends
//! data.

use std::{
    io::{Read, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::Value;
use socket2::{Domain, SockRef, Socket, Type};

/// Behaviour on a connection.
#[derive(Clone, Copy)]
pub enum Manner {
    /// Accepts the connection, keeps it open, and never reads.
    Deaf,
    /// Reads up to `after_bytes` bytes, then resets; behaves well after `times` connections.
    Resetting { after_bytes: usize, times: usize },
    /// Reads until one of these texts arrives, and then resets, each time.
    Choking { on: &'static [&'static str] },
    /// Reads, and sends `bytes` bytes repeatedly with a pause in between.
    Talking { bytes: usize, pause: Duration },
}

/// Listens for newline-framed syslog.
pub struct Peer {
    pub port: u16,
    /// Data received on each connection.
    came: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Peer {
    pub fn start(manner: Manner) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // Small, so that little fits into the buffers in between; connections inherit it.
        socket.set_recv_buffer_size(4096).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        socket.listen(16).unwrap();
        let listener: std::net::TcpListener = socket.into();
        let port = listener.local_addr().unwrap().port();
        let came: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let connections = came.clone();
        // Ends with the test process.
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                connections.lock().unwrap().push(Vec::new());
                let (stream, connections) = (stream.unwrap(), connections.clone());
                thread::spawn(move || serve(stream, number, manner, &connections));
            }
        });
        Self { port, came }
    }

    pub fn connections(&self) -> usize {
        self.came.lock().unwrap().len()
    }

    /// Returns the number of bytes received, over all connections.
    pub fn bytes(&self) -> usize {
        self.came.lock().unwrap().iter().map(Vec::len).sum()
    }

    /// Returns the completely received events, over all connections.
    pub fn events(&self) -> Vec<Value> {
        let came = self.came.lock().unwrap();
        let lines = came.iter().flat_map(|bytes| bytes.split_inclusive(|byte| *byte == b'\n'));
        lines
            .filter(|line| line.ends_with(b"\n"))
            .map(|line| {
                let begin = line.iter().position(|byte| *byte == b'{').expect("a frame carries an event");
                serde_json::from_slice(&line[begin..]).unwrap()
            })
            .collect()
    }
}

fn serve(mut stream: TcpStream, number: usize, manner: Manner, came: &Mutex<Vec<Vec<u8>>>) {
    let limit = match manner {
        Manner::Deaf => {
            // Until the sender closes the connection, which peeking at the unread data would not reveal.
            while stream.write(&[]).is_ok() {
                thread::sleep(Duration::from_secs(1));
            }
            return;
        }
        Manner::Resetting { after_bytes, times } if number < times => after_bytes,
        Manner::Resetting { .. } => usize::MAX,
        Manner::Choking { .. } => usize::MAX,
        Manner::Talking { bytes, pause } => {
            let mut stream = stream.try_clone().unwrap();
            thread::spawn(move || {
                while stream.write_all(&vec![b'x'; bytes]).is_ok() {
                    thread::sleep(pause);
                }
            });
            usize::MAX
        }
    };
    let mut piece = [0; 4096];
    let mut total = 0;
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        came.lock().unwrap()[number].extend_from_slice(&piece[..length]);
        total += length;
        let is_choked = |on: &[&str]| {
            let came = String::from_utf8_lossy(&came.lock().unwrap()[number]).into_owned();
            on.iter().any(|on| came.contains(on))
        };
        if total >= limit || matches!(manner, Manner::Choking { on } if is_choked(on)) {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            return;
        }
    }
}
