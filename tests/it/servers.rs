//! Checks assumptions of the other tests about the servers that they use.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream, UdpSocket},
    sync::Arc,
};

use serde_json::json;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::support::{
    ca::{Ca, Identity},
    dovecot::{Dovecot, Options, PASSWORD, USER},
    imap::Imap,
    received::Received,
    reports::Batch,
    rsyslog::{self, Peers, Rsyslog},
    syslog_ng::SyslogNg,
};

/// A frame in the format of the program: escaped structured data, ASCII JSON.
const FRAME: &str = concat!(
    "<134>1 2026-11-23T10:00:00.123456Z host.example DMARC_DATA 42 dmarc_aggregate ",
    r#"[dmarc@32473 event_id="abc" org="a \"b\" \\ \] c"] "#,
    r#"{"org":"a \"b\" \u00e9","count":3,"dkim_auth":[{"domain":"x"}],"spf":null,"dmarc_pass":true,"text":"x\ny"}"#
);

#[test]
fn rsyslog_reads_octet_counted_frames_over_tcp() {
    let rsyslog = Rsyslog::start(&Ca::new());
    TcpStream::connect((Ipv4Addr::LOCALHOST, rsyslog.tcp_port)).unwrap().write_all(&counted(FRAME)).unwrap();
    let received = rsyslog.wait_for(1);
    assert_understood(&received[0]);
    assert_eq!(received[0].json, received[0].event(), "rsyslog's own parser keeps types and arrays");
}

#[test]
fn rsyslog_reads_frames_over_tls_and_udp() {
    let ca = Ca::new();
    let rsyslog = Rsyslog::start(&ca);
    let mut tls = tls(&ca, None, rsyslog.tls_port);
    tls.write_all(&[counted(FRAME), counted(FRAME)].concat()).unwrap();
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    udp.send_to(FRAME.as_bytes(), (Ipv4Addr::LOCALHOST, rsyslog.udp_port)).unwrap();
    rsyslog.wait_for(3).iter().for_each(assert_understood);
}

#[test]
fn rsyslog_accepts_only_the_expected_client_certificate() {
    let ca = Ca::new();
    let rsyslog =
        Rsyslog::with(&ca, &rsyslog::Options { peers: Peers::Named("shipper.example"), ..Default::default() });
    for stranger in [None, Some(ca.client("someone.example"))] {
        // With TLS 1.3 the refusal comes after the handshake, so the write may still succeed.
        let mut tls = tls(&ca, stranger, rsyslog.tls_port);
        tls.write_all(&counted(FRAME)).ok();
        assert!(matches!(tls.read(&mut [0; 1]), Err(_) | Ok(0)), "the session goes on");
    }
    tls(&ca, Some(ca.client("shipper.example")), rsyslog.tls_port).write_all(&counted(FRAME)).unwrap();
    assert_eq!(rsyslog.wait_for(1).len(), 1, "what strangers sent was written down");
}

#[test]
fn rsyslog_keeps_ports_and_messages_over_a_restart() {
    let mut rsyslog = Rsyslog::start(&Ca::new());
    let send = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap().write_all(&counted(FRAME)).unwrap();
    send(rsyslog.tcp_port);
    rsyslog.wait_for(1);
    rsyslog.halt();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, rsyslog.tcp_port)).is_err());
    rsyslog.resume();
    send(rsyslog.tcp_port);
    rsyslog.wait_for(2);
}

#[test]
fn syslog_ng_reads_octet_counted_frames_over_tcp_and_tls() {
    let ca = Ca::new();
    let syslog_ng = SyslogNg::start(&ca);
    TcpStream::connect((Ipv4Addr::LOCALHOST, syslog_ng.tcp_port)).unwrap().write_all(&counted(FRAME)).unwrap();
    let mut tls = tls(&ca, None, syslog_ng.tls_port);
    tls.write_all(&counted(FRAME)).unwrap();
    for received in syslog_ng.wait_for(2) {
        assert_understood(&received);
        assert_eq!(received.json["org"], "a \"b\" é");
    }
}

#[test]
fn dovecot_logs_a_user_in_and_shows_delivered_mails() {
    let dovecot = Dovecot::start(&Ca::new().server());
    let batch = Batch::generate(1, 3, 1..=5, 3);
    for mail in &batch.mails {
        dovecot.mailbox().deliver("INBOX", mail);
    }
    let mut imap = Imap::connect(dovecot.imap_port);
    assert!(imap.greeting.contains("STARTTLS"), "{}", imap.greeting);
    assert!(imap.tries(&format!("LOGIN {USER} wrong")).ends_with("NO [AUTHENTICATIONFAILED] Authentication failed."));
    imap.login();
    let answer = imap.does("SELECT INBOX");
    assert!(answer.contains("* 3 EXISTS"), "{answer}");
    imap.does("CREATE Processed/2026");
    imap.does("UID MOVE 1:2 Processed/2026");
    assert_eq!((dovecot.mailbox().count("INBOX"), dovecot.mailbox().count("Processed/2026")), (1, 2));
    let moved = dovecot.mailbox().mails("Processed/2026");
    assert!(moved.iter().all(|mail| batch.mails.contains(mail)), "a mail was changed on its way");
}

#[test]
fn dovecot_can_be_configured_with_other_capabilities() {
    let options = Options {
        users: vec![(USER, PASSWORD), ("second", "p")],
        separator: '.',
        capability: Some("IMAP4rev1 UIDPLUS"),
        extra: "mail_max_keyword_length = 20".into(),
    };
    let dovecot = Dovecot::with(&Ca::new().server(), &options);
    dovecot.mailbox_of("second").deliver("INBOX", b"Subject: x\r\n\r\n");
    dovecot.mailbox().create_folder("A.B");
    let mut imap = Imap::connect(dovecot.imap_port);
    imap.login();
    let folders = imap.does("LIST \"\" *");
    assert!(folders.contains("\".\" A.B"), "{folders}");
    let capability = imap.does("CAPABILITY");
    assert!(capability.contains("UIDPLUS") && !capability.contains("MOVE"), "{capability}");
    assert!(imap.does("SELECT INBOX").contains("* 0 EXISTS"));
    assert!(dovecot.mailbox().names("A.B").is_empty() && dovecot.log().contains("Login: user="));
}

#[test]
fn generated_mails_are_deterministic_and_add_up() {
    let (batch, again) = (Batch::generate(7, 40, 1..=9, 4), Batch::generate(7, 40, 1..=9, 4));
    assert_eq!(batch.mails, again.mails);
    assert_eq!((batch.mails.len(), batch.reports.len()), (40, 30));
    assert_eq!(batch.essences().len(), batch.row_count());
    let told: i64 = batch.reports.iter().map(|report| counts_in(&report.xml())).sum();
    assert_eq!(batch.message_count(), told);
}

fn counts_in(xml: &str) -> i64 {
    xml.split("<count>").skip(1).map(|rest| rest.split('<').next().unwrap().parse::<i64>().unwrap()).sum()
}

fn counted(frame: &str) -> Vec<u8> {
    format!("{} {frame}", frame.len()).into_bytes()
}

#[track_caller]
fn assert_understood(received: &Received) {
    assert_eq!(received.hostname, "host.example");
    assert_eq!((received.app_name.as_str(), received.procid.as_str()), ("DMARC_DATA", "42"));
    assert_eq!(received.msgid, "dmarc_aggregate");
    assert_eq!((received.facility, received.severity), (16, 6));
    assert!(received.timestamp.starts_with("2026-11-23T10:00:00.123456"), "{}", received.timestamp);
    assert_eq!(received.structured_data["dmarc@32473"]["org"], r#"a "b" \ ] c"#);
    let event = json!({"org": "a \"b\" é", "count": 3, "dkim_auth": [{"domain": "x"}], "spf": null, "dmarc_pass": true, "text": "x\ny"});
    assert_eq!(received.event(), event);
}

fn tls(ca: &Ca, identity: Option<Identity>, port: u16) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.file()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { certificate, key }) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(certificate).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap(),
    };
    let session = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(session, TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap())
}
