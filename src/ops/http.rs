//! HTTP for whoever looks after the process: `/livez`, `/readyz`, `/health` and `/metrics` on `api.address`.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

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
    time::{Instant, timeout},
};

use super::{condition::Condition, metrics::Exposition};

/// A health check that takes longer is as good as none.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers until the process ends. Liveness depends on nothing but the process: restarting it mends no SIEM.
///
/// # Errors
///
/// The address can't be listened on.
pub async fn serve(address: SocketAddr, condition: Arc<Condition>, exposition: Exposition) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let (ready, health) = (condition.clone(), condition);
    let router = Router::new()
        .route("/livez", get(|| async { answer(true, &json!({"ok": true})) }))
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

/// Asks the instance that listens on `address` whether it is well.
///
/// # Errors
///
/// What it said instead, or why it could not be asked.
pub async fn ask(address: SocketAddr) -> Result<(), String> {
    let asked = timeout(PATIENCE, get_health(here(address))).await;
    let answer = match asked {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(format!("can't ask {address}: {error}")),
        Err(_) => return Err(format!("{address} did not answer within {PATIENCE:?}")),
    };
    let status = answer.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    Err(format!("{address} answered {:?}", status.chars().take(100).collect::<String>()))
}

/// One request with one answer needs no HTTP client.
async fn get_health(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// An instance that listens everywhere is asked on the loopback interface.
fn here(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
