//! HTTP server for monitoring: `/livez`, `/readyz`, `/health` and `/metrics` on `api.address`.

use std::{collections::VecDeque, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{condition::Condition, metrics::Exposition};

/// Maximum number of open connections; Prometheus and a kubelet need one each.
const MAX_CONNECTIONS: usize = 64;

/// Share of the process's file descriptors that connections to this port may take: one in this many. The others are for
/// mailboxes, sinks and files.
const DESCRIPTOR_SHARE: u64 = 8;

/// Time for a client to send its request line and header fields. Monitoring clients send them at once.
const HEADER_TIME: Duration = Duration::from_secs(5);

/// Time limit of a connection: its header, and a client that is slow to read some hundred KiB of metrics.
const CONNECTION_TIME: Duration = Duration::from_secs(30);

/// Size of the request buffer in bytes, and so of the longest header. Prometheus sends some 300.
const BUFFER_BYTES: usize = 16 << 10;

/// Pause after a failed accept, such as for lack of descriptors: the next one would fail as fast.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves until the process ends. Liveness depends only on the process: remote outages do not fail the probe, as a restart
/// would not fix them.
///
/// # Errors
///
/// The address can't be listened on.
pub async fn serve(address: SocketAddr, condition: Arc<Condition>, exposition: Exposition) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let (alive, ready, health) = (condition.clone(), condition.clone(), condition);
    let router = Router::new()
        .route(
            "/livez",
            get(move || async move {
                let ok = alive.moves(Instant::now());
                answer(ok, &json!({"ok": ok}))
            }),
        )
        .route(
            "/readyz",
            get(move || async move {
                let reasons = ready.reasons(Instant::now());
                answer(reasons.is_empty(), &json!({"ready": reasons.is_empty(), "reasons": reasons}))
            }),
        )
        .route(
            "/health",
            get(move || async move {
                let ok = !health.is_draining();
                answer(ok, &json!({"ok": ok}))
            }),
        )
        .route(
            "/metrics",
            get(move || async move {
                ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], exposition()).into_response()
            }),
        );
    tokio::spawn(accept(listener, router));
    Ok(())
}

/// Accepts connections for ever. If [`MAX_CONNECTIONS`] are open, the oldest is closed for the next one: a client that
/// sends a request at once is answered, however many others keep theirs open.
async fn accept(listener: TcpListener, router: Router) {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / DESCRIPTOR_SHARE;
    let most = usize::try_from(descriptors).unwrap_or(usize::MAX).clamp(1, MAX_CONNECTIONS);
    let mut connections: VecDeque<JoinHandle<()>> = VecDeque::with_capacity(most);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // The client closed the connection before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(_) => {
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        connections.retain(|connection| !connection.is_finished());
        if connections.len() >= most
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
            oldest.await.ok(); // until its descriptor is closed
        }
        connections.push_back(tokio::spawn(serve_one(stream, router.clone())));
    }
}

/// Answers one request. Connections are not kept alive: each client asks a few times a minute.
async fn serve_one(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(BUFFER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A client that disconnects or takes too long gets no response.
    timeout(CONNECTION_TIME, connection).await.ok();
}

fn answer(well: bool, body: &Value) -> Response {
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// Asks the instance at the other end for its health. One request with one response needs no HTTP client.
///
/// # Errors
///
/// The response if it is not 200, or the reason why there is none.
pub async fn ask(mut stream: TcpStream, host: &str) -> Result<(), String> {
    let answer = exchange(&mut stream, host).await.map_err(|error| error.to_string())?;
    let status = answer.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    Err(format!("unexpected response {:?}", status.chars().take(100).collect::<String>()))
}

async fn exchange(stream: &mut TcpStream, host: &str) -> io::Result<String> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    stream.write_all(format!("GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
