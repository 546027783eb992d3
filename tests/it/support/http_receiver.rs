//! An HTTP receiver that answers as a test's script says, over TCP or TLS. Real ones neither cut, lie nor delay on demand.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use tokio_rustls::rustls::{ServerConnection, StreamOwned};

use super::{
    ca::Identity,
    server::{Duplex, installed},
};

/// One request.
#[derive(Debug, Clone)]
pub struct Received {
    pub line: String,
    /// By names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Events in the body, which is decompressed.
    pub events: Vec<Value>,
    pub body: Vec<u8>,
    /// Number of the connection, from 1.
    pub connection: usize,
}

pub enum Answer {
    Status(u16),
    /// The whole response, byte by byte; then the connection is closed.
    Raw(String),
    /// The response comes this much later.
    Late(Duration, u16),
    /// The beginning of a response, after which more bytes come slowly, without end.
    Endless(&'static str),
    /// The connection is closed without a response, after the request was read.
    Cut,
}

type Script = dyn Fn(usize, &Received) -> Answer + Send + Sync;

pub struct HttpReceiver {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub struct State {
    pub requests: Vec<Received>,
    /// Events of all requests that were answered with 2xx, in the order of the answers.
    pub taken: Vec<Value>,
    connections: usize,
}

impl HttpReceiver {
    /// Starts a receiver; `script` gets the number of the request, from 1, and the request.
    pub fn start(script: impl Fn(usize, &Received) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve(Arc::new(script), |stream| Ok(Box::new(stream)))
    }

    /// As `start`, with TLS; asks for a client certificate of this authority, if there is one.
    pub fn with_tls(
        identity: &Identity,
        clients: Option<&std::path::Path>,
        script: impl Fn(usize, &Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let tls = identity.tls(clients);
        Self::serve(Arc::new(script), move |stream| {
            Ok(Box::new(StreamOwned::new(ServerConnection::new(tls.clone()).unwrap(), stream)))
        })
    }

    fn serve(
        script: Arc<Script>,
        accept: impl Fn(TcpStream) -> io::Result<Box<dyn Duplex>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state: Arc<Mutex<State>> = Arc::default();
        let (accept, shared) = (Arc::new(accept), state.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, script, accept, state) = (stream.unwrap(), script.clone(), accept.clone(), shared.clone());
                thread::spawn(move || {
                    let connection = {
                        let mut state = state.lock().unwrap();
                        state.connections += 1;
                        state.connections
                    };
                    // A client that closes the connection early is not an error of the test.
                    accept(stream).and_then(|stream| converse(stream, connection, &*script, &state)).ok();
                });
            }
        });
        Self { port, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port)
    }
}

fn converse(stream: Box<dyn Duplex>, connection: usize, script: &Script, state: &Mutex<State>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(received) = read(&mut stream, connection)? {
        let number = {
            let mut state = state.lock().unwrap();
            state.requests.push(received.clone());
            state.requests.len()
        };
        let answer = script(number, &received);
        if let Answer::Late(delay, _) = answer {
            thread::sleep(delay);
        }
        match answer {
            Answer::Status(status) | Answer::Late(_, status) => {
                if (200..300).contains(&status) {
                    state.lock().unwrap().taken.extend(received.events);
                }
                write!(stream.get_mut(), "HTTP/1.1 {status} Scripted\r\nContent-Length: 0\r\n\r\n")?;
                stream.get_mut().flush()?;
            }
            Answer::Raw(response) => {
                if response.starts_with("HTTP/1.1 2") {
                    state.lock().unwrap().taken.extend(received.events);
                }
                stream.get_mut().write_all(response.as_bytes())?;
                return stream.get_mut().flush();
            }
            Answer::Endless(begin) => {
                if begin.starts_with("HTTP/1.1 2") {
                    state.lock().unwrap().taken.extend(received.events);
                }
                stream.get_mut().write_all(begin.as_bytes())?;
                loop {
                    stream.get_mut().write_all(b"1\r\nx\r\n")?;
                    stream.get_mut().flush()?;
                    thread::sleep(Duration::from_millis(50));
                }
            }
            Answer::Cut => return Ok(()),
        }
    }
    Ok(())
}

/// Reads a request; `None` at the end of the connection.
fn read(stream: &mut impl BufRead, connection: usize) -> io::Result<Option<Received>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut field = String::new();
        stream.read_line(&mut field)?;
        let Some((name, value)) = field.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    match headers.get("content-encoding").map(String::as_str) {
        Some("gzip") => {
            let mut inflated = Vec::new();
            MultiGzDecoder::new(&*body).read_to_end(&mut inflated)?;
            body = inflated;
        }
        Some("zstd") => body = unzstd(&body),
        _ => {}
    }
    let events = match body.first() {
        Some(b'[') => serde_json::from_slice(&body)?,
        _ => serde_json::Deserializer::from_slice(&body).into_iter().collect::<Result<_, _>>()?,
    };
    Ok(Some(Received { line: line.trim_end().to_owned(), headers, events, body, connection }))
}

/// Decompresses a zstd frame with the program of those who made the format.
pub fn unzstd(frame: &[u8]) -> Vec<u8> {
    let mut command = Command::new(installed("zstd"));
    let mut child = command.arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // Small enough for the pipe.
    child.stdin.take().unwrap().write_all(frame).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}
