//! TLS peers: correct ones, and ones that refuse the client after the handshake.

use std::{fs, sync::Arc, time::Duration};

use dmarc_shipper::{
    config::{
        sink::{Acknowledgements, Syslog, SyslogMode},
        tls::Tls,
    },
    sink::{Health, SinkError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig, SupportedProtocolVersion,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
        version::{TLS12, TLS13},
    },
    server::TlsStream,
};

use super::running::{Reader, Running, accept, config, listen};
use crate::support::ca::{Ca, Identity};

fn acceptor(ca: &Ca, ask: bool, version: &'static SupportedProtocolVersion) -> TlsAcceptor {
    acceptor_as(ca.server(), ca, ask, version)
}

fn acceptor_as(identity: Identity, ca: &Ca, ask: bool, version: &'static SupportedProtocolVersion) -> TlsAcceptor {
    let Identity { certificate, key } = identity;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[version]).unwrap();
    let builder = if ask {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca.file()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let certificate = CertificateDer::from_pem_file(certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    Arc::new(builder.with_single_cert(vec![certificate], key).unwrap()).into()
}

async fn accept_tls(listener: &TcpListener, acceptor: &TlsAcceptor) -> TlsStream<TcpStream> {
    acceptor.accept(accept(listener).await).await.unwrap()
}

fn tls_config(port: u16, ca: &Ca, shows_certificate: bool) -> Syslog {
    let identity = shows_certificate.then(|| ca.client("client.test"));
    let (crt_file, key_file) = identity.map(|identity| (identity.certificate, identity.key)).unzip();
    Syslog {
        tls: Tls { ca_file: Some(ca.file()), crt_file, key_file, ..Tls::default() },
        ..config(SyslogMode::Tls, port)
    }
}

#[tokio::test]
async fn frames_are_confirmed_over_both_versions_of_tls() {
    let ca = Ca::new();
    for version in [&TLS12, &TLS13] {
        let (listener, port) = listen().await;
        let sink = Running::start(tls_config(port, &ca, false));
        sink.send(1..=5000, 1000).await;
        let mut peer = Reader::new(accept_tls(&listener, &acceptor(&ca, false, version)).await);
        peer.until(5000).await;
        let rest = tokio::spawn(async move { peer.rest().await });
        sink.end().await.unwrap();
        assert!(rest.await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn tls_confirms_only_bytes_acknowledged_by_the_kernel() {
    let ca = Ca::new();
    let (listener, port) = listen().await;
    let mut sink = Running::with_queue(tls_config(port, &ca, false), 1 << 20);
    let last = 40_000;
    let feeding = sink.send_all(1..=last, 1000);
    let peer = accept_tls(&listener, &acceptor(&ca, false, &TLS13)).await;
    sink.until_confirmed(1).await;
    let mut peer = Reader::new(peer);
    // Only what fits into the buffers of the kernels may be confirmed and not yet read.
    while let Some(number) = peer.next().await {
        assert!(sink.confirmed() < number + 12_000, "{number} read, {} confirmed", sink.confirmed());
        if number == last {
            break;
        }
    }
    feeding.await.unwrap();
    sink.until_confirmed(last).await;
}

#[tokio::test]
async fn a_missing_client_certificate_confirms_nothing() {
    let ca = Ca::new();
    let (listener, port) = listen().await;
    let mut sink = Running::start(tls_config(port, &ca, false));
    sink.send(1..=100, 1000).await;
    let asking = acceptor(&ca, true, &TLS13);
    assert!(asking.accept(accept(&listener).await).await.is_err());
    let error = sink.until_failing().await;
    assert!(error.contains("client certificate"), "{error}");
    assert_eq!(sink.confirmed(), 0);
    assert!(asking.accept(accept(&listener).await).await.is_err());
    assert_eq!(sink.confirmed(), 0);
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_may_refuse_it_when_it_has_acknowledged_everything() {
    let ca = Ca::new();
    let (listener, port) = listen().await;
    let mut sink = Running::start(tls_config(port, &ca, true));
    sink.send(1..=100, 1000).await;
    let asking = acceptor(&ca, true, &TLS13);
    let mut peer = Reader::new(accept_tls(&listener, &asking).await);
    peer.until(100).await;
    // The peer verifies the name only after the handshake and the session tickets, with all frames acknowledged for longer
    // than would confirm them if no client certificate was requested.
    tokio::time::sleep(Duration::from_millis(600)).await;
    drop(peer);
    sink.until_failing().await;
    assert_eq!(sink.confirmed(), 0);
    let mut peer = Reader::new(accept_tls(&listener, &asking).await);
    assert_eq!(peer.until(100).await[0], 1);
    sink.until_confirmed(100).await;
    assert_eq!(sink.health(), Health::Up);
}

#[tokio::test]
async fn strict_accepts_eof_with_and_without_close_notify() {
    let ca = Ca::new();
    let (listener, port) = listen().await;
    let settings = Syslog { acknowledgements: Acknowledgements::Strict, ..tls_config(port, &ca, false) };
    let mut sink = Running::start(settings);
    let acceptor = acceptor(&ca, false, &TLS13);
    for number in 1..=2 {
        sink.send(number..=number, 1000).await;
        let mut peer = Reader::new(accept_tls(&listener, &acceptor).await);
        assert_eq!(peer.rest().await, [number]);
        if number == 1 {
            peer.stream.shutdown().await.unwrap();
        }
        // Like rsyslog: closes TCP without a TLS close_notify.
        drop(peer);
        sink.until_confirmed(number).await;
    }
}

#[tokio::test]
async fn tls_never_falls_back_to_plain_text() {
    let ca = Ca::new();
    let (listener, port) = listen().await;
    let mut sink = Running::start(tls_config(port, &ca, false));
    sink.send(1..=1, 100).await;
    for _ in 0..2 {
        let mut peer = accept(&listener).await;
        let mut start = [0; 2];
        peer.read_exact(&mut start).await.unwrap();
        assert_eq!(start, [22, 3], "a TLS handshake record");
        peer.write_all(b"this is no TLS\n").await.unwrap();
        drop(peer);
    }
    sink.until_failing().await;
    assert_eq!(sink.confirmed(), 0);
}

#[tokio::test]
async fn invalid_tls_files_at_start_are_a_configuration_error() {
    let ca = Ca::new();
    fs::remove_file(ca.file()).unwrap();
    let sink = Running::start(tls_config(1, &ca, false));
    assert!(matches!(sink.ended().await, Err(SinkError::Configuration(_, Some(_)))));
}

#[tokio::test]
async fn tls_files_are_read_for_every_handshake_and_retried_after_a_success() {
    let (old, new) = (Ca::new(), Ca::new());
    let (listener, port) = listen().await;
    let mut sink = Running::start(tls_config(port, &old, false));
    sink.send(1..=1, 100).await;
    let mut peer = Reader::new(accept_tls(&listener, &acceptor(&old, false, &TLS13)).await);
    peer.until(1).await;
    sink.until_confirmed(1).await;

    fs::remove_file(old.file()).unwrap();
    drop(peer);
    sink.send(2..=2, 100).await;
    let error = sink.until_failing().await;
    assert!(error.contains("ca.pem"), "{error}");

    fs::copy(new.file(), old.file()).unwrap();
    let renewed = acceptor(&new, false, &TLS13);
    let stream = loop {
        // Connections that were made before the files were restored fail during the handshake.
        if let Ok(stream) = renewed.accept(accept(&listener).await).await {
            break stream;
        }
    };
    let mut peer = Reader::new(stream);
    assert_eq!(peer.until(2).await, [2]);
    sink.until_confirmed(2).await;
}

/// A receiver that returns with an untrusted certificate gets nothing; once its certificate is trusted again, shipping
/// continues.
#[tokio::test]
async fn an_untrusted_certificate_after_a_restart_blocks_sending_until_it_is_trusted() {
    let (ca, stranger) = (Ca::new(), Ca::new());
    let (listener, port) = listen().await;
    let mut sink = Running::start(tls_config(port, &ca, false));
    sink.send(1..=100, 500).await;
    let good = acceptor(&ca, false, &TLS13);
    let mut peer = Reader::new(accept_tls(&listener, &good).await);
    peer.until(100).await;
    sink.until_confirmed(100).await;
    drop(peer);
    sink.send(101..=200, 500).await;
    for (identity, words) in
        [(ca.server_named("another.test"), "not for the name"), (stranger.server(), "not signed by")]
    {
        let wrong = acceptor_as(identity, &ca, false, &TLS13);
        let refused = async {
            loop {
                assert!(wrong.accept(accept(&listener).await).await.is_err(), "the certificate was taken");
            }
        };
        tokio::select! {
            () = refused => {}
            error = sink.until_failing_with(words) => assert!(error.contains(words), "{error}"),
        }
    }
    assert_eq!(sink.confirmed(), 100);
    let stream = loop {
        if let Ok(stream) = good.accept(accept(&listener).await).await {
            break stream;
        }
    };
    let mut peer = Reader::new(stream);
    assert_eq!(peer.until(200).await, (101..=200).collect::<Vec<_>>());
    sink.until_confirmed(200).await;
}
