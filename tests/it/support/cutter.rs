//! A relay that cuts connections: each after a number of bytes from the client, or all at once.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

pub struct Cutter {
    pub port: u16,
    open: Arc<Mutex<Vec<TcpStream>>>,
    is_down: Arc<AtomicBool>,
}

impl Cutter {
    /// Forwards to the server at `port`; `plan` gets the number of the connection, from 1, and returns after how many bytes
    /// from the client it is cut. None: never.
    pub fn start(port: u16, plan: impl Fn(usize) -> Option<usize> + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let cutter =
            Self { port: listener.local_addr().unwrap().port(), open: Arc::default(), is_down: Arc::default() };
        let (open, is_down) = (cutter.open.clone(), cutter.is_down.clone());
        // Ends with the test process.
        thread::spawn(move || {
            for (index, client) in listener.incoming().enumerate() {
                let client = client.unwrap();
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
                let (Ok(server), false) = (server, is_down.load(Relaxed)) else { continue };
                let limit = plan(index + 1).unwrap_or(usize::MAX);
                open.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                let (back, forth) = ((server.try_clone().unwrap(), client.try_clone().unwrap()), (client, server));
                // A broken connection is intended by the test, or is the end of a session.
                thread::spawn(move || forward(forth.0, forth.1, limit));
                thread::spawn(move || forward(back.0, back.1, usize::MAX));
            }
        });
        cutter
    }

    /// Cuts all connections, and every new one until [`restore`](Self::restore).
    pub fn cut(&self) {
        self.is_down.store(true, Relaxed);
        for stream in self.open.lock().unwrap().drain(..) {
            stream.shutdown(Shutdown::Both).ok(); // it may have ended by itself
        }
    }

    pub fn restore(&self) {
        self.is_down.store(false, Relaxed);
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, limit: usize) -> io::Result<()> {
    let (mut piece, mut left) = ([0; 16 << 10], limit);
    let ended = loop {
        let room = piece.len().min(left);
        match from.read(&mut piece[..room]) {
            Ok(0) => break Ok(()),
            Ok(read) => {
                to.write_all(&piece[..read])?;
                left -= read;
            }
            Err(error) => break Err(error),
        }
    };
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
    ended
}
