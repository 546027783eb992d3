//! Relay that delays each direction like a distant network: data leaves later, but at the rate at which it arrived.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Data that becomes due within this time is forwarded together: a write for each piece would cost the two programs under
/// measurement, which share their cores with the relay, more than the relay itself.
const GRAIN: Duration = Duration::from_millis(1);

/// Forwards one session.
pub struct Relay {
    pub port: u16,
    session: JoinHandle<Duration>,
}

impl Relay {
    /// Listens on a port of its own for one client.
    pub fn delaying(to: u16, each_way: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let session = thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            let begin = Instant::now();
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).unwrap();
            let said = pass_on(client.try_clone().unwrap(), server.try_clone().unwrap(), each_way);
            pass_on(server, client, each_way);
            said.join().unwrap();
            begin.elapsed()
        });
        Self { port, session }
    }

    /// Returns the duration of the client's session, from its connection to its last byte.
    pub fn session(self) -> Duration {
        self.session.join().unwrap()
    }
}

/// Forwards data from `from` to `to`. Each piece has a time at which it is due; the queue between the two threads holds
/// the data in transit. Returns the thread that ends at end of file on `from`.
fn pass_on(mut from: TcpStream, mut to: TcpStream, each_way: Duration) -> JoinHandle<()> {
    to.set_nodelay(true).unwrap();
    let (sender, on_its_way) = mpsc::channel::<(Instant, Vec<u8>)>();
    let hearing = thread::spawn(move || {
        let mut piece = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            if sender.send((Instant::now() + each_way, piece[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        let mut early = None;
        while let Some((due, mut bytes)) = early.take().or_else(|| on_its_way.recv().ok()) {
            thread::sleep((due + GRAIN).saturating_duration_since(Instant::now()));
            let now = Instant::now();
            for (due, piece) in on_its_way.try_iter() {
                if due > now {
                    early = Some((due, piece));
                    break;
                }
                bytes.extend_from_slice(&piece);
            }
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Write).ok(); // the other end may be gone
    });
    hearing
}
