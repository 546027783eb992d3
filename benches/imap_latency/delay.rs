//! A relay that delays each direction, as a long way does: what comes in leaves later, but as fast as it came.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Listens on a port of its own for as long as the process lives; returns the port.
pub fn delaying(to: u16, each_way: Duration) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { continue };
            for (from, to) in [(&client, &server), (&server, &client)] {
                pass_on(from.try_clone().unwrap(), to.try_clone().unwrap(), each_way);
            }
        }
    });
    port
}

/// Each piece has a time at which it is due; the queue between the two threads holds what is on its way.
fn pass_on(mut from: TcpStream, mut to: TcpStream, each_way: Duration) {
    to.set_nodelay(true).unwrap();
    let (sender, on_its_way) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut piece = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            if sender.send((Instant::now() + each_way, piece[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (due, piece) in on_its_way {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Write).ok(); // its other end may be gone
    });
}
