//! An HTTP/2 receiver over TLS (ALPN `h2`) that answers, resets streams and ends connections as a test's script says.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use hyper::{Request, Response};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use super::ca::Identity;

/// Fate of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    Status(u16),
    /// RST_STREAM. The events are taken first, if `taken`.
    Reset {
        taken: bool,
    },
    /// GOAWAY that leaves the streams in flight unanswered, and the end of the connection.
    GoAway,
    /// GOAWAY after which streams in flight are still answered with 200.
    LastOnes,
    /// The connection stays open, and nothing is read from it or written to it any more.
    Deaf,
}

type Script = dyn Fn(usize) -> Reaction + Send + Sync;

pub struct Http2Receiver {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub struct State {
    pub connections: usize,
    pub requests: usize,
    /// Events of all requests that were taken, whether the response arrived or not.
    pub taken: Vec<Value>,
    /// Most requests that were in flight on one connection.
    pub most_in_flight: usize,
}

impl Http2Receiver {
    /// Starts a receiver that holds its answers back until `together` requests are in flight on the connection, or none has
    /// come for a while; `script` gets the number of the request, from 1.
    pub fn start(
        identity: &Identity,
        together: usize,
        script: impl Fn(usize) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        let mut tls = ServerConfig::clone(&identity.tls(None));
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let (acceptor, script): (_, Arc<Script>) = (TlsAcceptor::from(Arc::new(tls)), Arc::new(script));
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        let (sender, port) = std::sync::mpsc::channel();
        // Ends with the test process.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                sender.send(listener.local_addr().unwrap().port()).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(converse(acceptor.clone(), stream, together, script.clone(), shared.clone()));
                }
            });
        });
        Self { port: port.recv().unwrap(), state }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}/", self.port)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// Serves one connection. A client that ends it early is not an error of the test.
async fn converse(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    together: usize,
    script: Arc<Script>,
    state: Arc<Mutex<State>>,
) -> Option<()> {
    let stream = acceptor.accept(stream).await.ok()?;
    let mut connection = h2::server::Builder::new().handshake::<_, Bytes>(stream).await.ok()?;
    state.lock().unwrap().connections += 1;
    let mut held = Vec::new();
    loop {
        let wait = if held.is_empty() { Duration::from_secs(3600) } else { Duration::from_millis(300) };
        match tokio::time::timeout(wait, connection.accept()).await {
            Ok(Some(request)) => {
                held.push(request.ok()?);
                if held.len() < together {
                    continue;
                }
            }
            Ok(None) => return None,
            Err(_) => {}
        }
        {
            let mut state = state.lock().unwrap();
            state.most_in_flight = state.most_in_flight.max(held.len());
        }
        for (request, response) in std::mem::take(&mut held) {
            let number = {
                let mut state = state.lock().unwrap();
                state.requests += 1;
                state.requests
            };
            match script(number) {
                Reaction::GoAway => connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM),
                Reaction::LastOnes => {
                    connection.graceful_shutdown();
                    tokio::spawn(answer(request, response, Reaction::Status(200), state.clone()));
                }
                Reaction::Deaf => return std::future::pending().await,
                reaction => drop(tokio::spawn(answer(request, response, reaction, state.clone()))),
            }
        }
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut response: SendResponse<Bytes>,
    reaction: Reaction,
    state: Arc<Mutex<State>>,
) -> Option<()> {
    let mut stream = request.into_body();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data.ok()?;
        stream.flow_control().release_capacity(data.len()).ok()?;
        body.extend_from_slice(&data);
    }
    let take = || {
        let events = serde_json::Deserializer::from_slice(&body).into_iter::<Value>().map(Result::unwrap);
        state.lock().unwrap().taken.extend(events);
    };
    match reaction {
        Reaction::Status(status) => {
            if status < 300 {
                take();
            }
            response.send_response(Response::builder().status(status).body(()).unwrap(), true).ok()?;
        }
        Reaction::Reset { taken } => {
            if taken {
                take();
            }
            response.send_reset(Reason::INTERNAL_ERROR);
        }
        Reaction::GoAway | Reaction::LastOnes | Reaction::Deaf => {}
    }
    Some(())
}
