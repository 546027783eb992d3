//! HTTP for whoever looks after the process: `/livez`, `/readyz`, `/health` and `/metrics` on `api.address`.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::{condition::Condition, metrics::Exposition};

/// Answers until the process ends. Liveness depends on nothing but the process: restarting it mends no SIEM.
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
    tokio::spawn(async move {
        // axum's own loop goes on after any failed connection.
        axum::serve(listener, router).await.ok();
    });
    Ok(())
}

fn answer(well: bool, body: &Value) -> Response {
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// Asks the instance at the other end whether it is well. One request with one answer needs no HTTP client.
///
/// # Errors
///
/// What it said instead, or why it could not be asked.
pub async fn ask(mut stream: TcpStream, host: &str) -> Result<(), String> {
    let answer = exchange(&mut stream, host).await.map_err(|error| error.to_string())?;
    let status = answer.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    Err(format!("it answered {:?}", status.chars().take(100).collect::<String>()))
}

async fn exchange(stream: &mut TcpStream, host: &str) -> io::Result<String> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    stream.write_all(format!("GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
