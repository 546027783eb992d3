//! `check` of syslog receivers: each step of the connection, and how receivers react to the probe.

use std::{collections::BTreeSet, net::Ipv4Addr, path::Path, process::Command};

use serde_json::{Value, json};

use super::check;
use crate::support::{
    ca::Ca,
    peer::{Manner, Peer},
    rsyslog::{Options, Peers, Rsyslog},
    server::{Server, accepting, free_port, installed},
    syslog_ng::SyslogNg,
    workplace::{Workplace, syslog_tcp, syslog_tls, with},
};

fn config(workplace: &Workplace, sinks: Value) -> Value {
    let source = json!({"type": "file", "path": workplace.write("report.xml", "<feedback/>")});
    with(workplace.config(source, json!({})), json!({"sinks": sinks, "tenant": "acme"}))
}

#[test]
fn a_probe_reaches_rsyslog_over_every_transport_regardless_of_events() {
    let (ca, workplace) = (Ca::new(), Workplace::new());
    let rsyslog = Rsyslog::start(&ca);
    let udp = json!({"type": "syslog", "mode": "udp", "address": format!("127.0.0.1:{}", rsyslog.udp_port)});
    let sinks = json!({
        "tls": with(syslog_tls(rsyslog.tls_port, &ca), json!({"events": ["dmarc_aggregate"]})),
        "tcp": syslog_tcp(rsyslog.tcp_port),
        "strict": with(syslog_tcp(rsyslog.tcp_port), json!({"acknowledgements": "strict"})),
        "udp": udp,
    });
    let found = check(&workplace, &config(&workplace, sinks), &[], 0);
    let received = rsyslog.wait_for(4);
    assert!(
        received.iter().all(|message| message.msgid == "probe" && message.app_name == "DMARC_DATA"),
        "{received:?}"
    );
    let events: Vec<Value> = received.iter().map(|message| message.event()).collect();
    let sinks: BTreeSet<&str> = events.iter().map(|event| event["sink"].as_str().unwrap()).collect();
    assert_eq!(sinks, BTreeSet::from(["strict", "tcp", "tls", "udp"]));
    for event in &events {
        assert_eq!((&event["event_type"], &event["tenant"]), (&json!("probe"), &json!("acme")));
        let words = [event["event_id"].as_str().unwrap()];
        found.has(event["sink"].as_str().unwrap(), "probe", "ok", &words);
    }
    found.has("tls", "encryption", "ok", &["TLS 1.", "valid until"]);
    found.has("tcp", "probe", "ok", &["acknowledged by", "look at the receiver"]);
    found.has("udp", "probe", "ok", &["UDP has no acknowledgements"]);
}

#[test]
fn a_probe_reaches_syslog_ng() {
    let (ca, workplace) = (Ca::new(), Workplace::new());
    let syslog_ng = SyslogNg::start(&ca);
    let sinks = json!({"siem": syslog_tls(syslog_ng.tls_port, &ca)});
    check(&workplace, &config(&workplace, sinks), &[], 0).has("siem", "probe", "ok", &["was acknowledged by"]);
    assert_eq!(syslog_ng.wait_for(1)[0].msgid, "probe");
}

#[test]
fn a_probe_that_is_too_large_for_a_datagram_is_a_failure() {
    let workplace = Workplace::new();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let sinks = json!({"siem": with(syslog_tcp(socket.local_addr().unwrap().port()), json!({"mode": "udp"}))});
    let config = config(&workplace, sinks);
    let ended = workplace.shipper(&["check", "--config"], &config).with_datagrams_up_to(100).run().exited(69);
    assert!(ended.stdout.contains("max_message_bytes (1400)"), "{}", ended.stdout);
}

#[test]
fn no_probe_sends_nothing() {
    let (ca, workplace) = (Ca::new(), Workplace::new());
    let (rsyslog, peer) = (Rsyslog::start(&ca), Peer::start(Manner::Resetting { after_bytes: 1, times: 0 }));
    let sinks = json!({"siem": syslog_tls(rsyslog.tls_port, &ca), "peer": syslog_tcp(peer.port)});
    let found = check(&workplace, &config(&workplace, sinks.clone()), &["--no-probe"], 0);
    found.has("siem", "encryption", "ok", &["TLS 1."]);
    found.has("siem", "probe", "skipped", &["--no-probe"]);
    assert_eq!((peer.connections(), peer.bytes()), (1, 0));
    // The first message at rsyslog is the probe of this second check.
    check(&workplace, &config(&workplace, sinks), &[], 0);
    assert_eq!(rsyslog.wait_for(1).len(), 1);
}

#[test]
fn untrusted_and_unreachable_receivers_are_distinguished_and_hide_no_other() {
    let (ca, workplace) = (Ca::new(), Workplace::new());
    let rsyslog = Rsyslog::start(&ca);
    let (other, deaf) = (Ca::new(), Peer::start(Manner::Deaf));
    let sinks = json!({
        "untrusted": syslog_tls(rsyslog.tls_port, &other),
        "away": with(syslog_tcp(free_port()), json!({"required": false})),
        "silent": with(syslog_tls(deaf.port, &ca), json!({"connect_timeout": "500ms"})),
        "no_file": with(syslog_tls(rsyslog.tls_port, &ca), json!({"tls": {"ca_file": workplace.path("gone.pem")}})),
        "well": syslog_tls(rsyslog.tls_port, &ca),
    });
    let found = check(&workplace, &config(&workplace, sinks), &[], 78);
    found.has("untrusted", "encryption", "failed", &["not signed by a trusted authority", "tls.ca_file"]);
    found.has("untrusted", "probe", "skipped", &["needs: encryption"]);
    found.has("away", "connection", "failed", &["refused", "whether the server is running"]);
    found.has("silent", "encryption", "failed", &["500ms", "connect_timeout"]);
    found.has("no_file", "encryption", "failed", &["gone.pem"]);
    assert_eq!(found.step("no_file", "encryption")["exit_code"], 78);
    found.has("well", "probe", "ok", &["was acknowledged by"]);
    assert_eq!(rsyslog.wait_for(1).len(), 1);
}

/// rsyslog verifies the name in a certificate only after the handshake.
#[test]
fn a_client_certificate_refused_after_the_handshake_fails_the_probe() {
    let (ca, workplace) = (Ca::new(), Workplace::new());
    let rsyslog = Rsyslog::with(&ca, &Options { peers: Peers::Named("shipper.test"), ..Options::default() });
    let shows = |name: &str| {
        let identity = ca.client(name);
        let tls = json!({"ca_file": ca.file(), "crt_file": identity.certificate, "key_file": identity.key});
        with(syslog_tls(rsyslog.tls_port, &ca), json!({"tls": tls}))
    };
    let sinks = json!({"known": shows("shipper.test"), "stranger": shows("stranger.test"), "none": syslog_tls(rsyslog.tls_port, &ca)});
    let found = check(&workplace, &config(&workplace, sinks), &[], 69);
    found.has("known", "encryption", "ok", &["requests a client certificate"]);
    found.has("known", "probe", "ok", &["was acknowledged by"]);
    found.has("stranger", "encryption", "ok", &["that in tls.crt_file is sent", "only when an event is sent"]);
    found.has("stranger", "probe", "failed", &["tls.crt_file"]);
    found.has("none", "encryption", "ok", &["tls.crt_file is not set"]);
    found.has("none", "probe", "failed", &["client certificate"]);
    assert_eq!(rsyslog.wait_for(1)[0].event()["sink"], "known");
}

/// A successful connection proves nothing: this peer accepts it, and resets it at the first byte.
#[test]
fn a_receiver_that_disconnects_fails_the_probe() {
    let workplace = Workplace::new();
    let peer = Peer::start(Manner::Resetting { after_bytes: 1, times: usize::MAX });
    let sinks = json!({"siem": syslog_tcp(peer.port)});
    let found = check(&workplace, &config(&workplace, sinks), &[], 69);
    found.has("siem", "connection", "ok", &["127.0.0.1:"]);
    found.has("siem", "probe", "failed", &["connection", "see the receiver's log"]);
}

/// Starts OpenSSL's own server with these options.
fn openssl(workplace: &Workplace, certificate: &Path, key: &Path, options: &[&str]) -> (Server, u16) {
    let (port, log) = (free_port(), workplace.path("openssl.log"));
    let setup = |command: &mut Command| {
        command.args(["s_server", "-quiet", "-accept", &port.to_string(), "-cert"]).arg(certificate);
        command.arg("-key").arg(key).args(options);
    };
    let ready = || accepting(Ipv4Addr::LOCALHOST.into(), &[port]);
    (Server::start("openssl", &installed("openssl"), &log, setup, ready), port)
}

#[test]
fn a_ca_certificate_used_as_server_certificate_is_explained() {
    for (constraint, exit) in [("CA:TRUE", 69), ("CA:FALSE", 0)] {
        let workplace = Workplace::new();
        let (certificate, key) = (workplace.path("server.crt"), workplace.path("server.key"));
        let made = Command::new(installed("openssl"))
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext"])
            .arg(format!("basicConstraints=critical,{constraint}"))
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let (_server, port) = openssl(&workplace, &certificate, &key, &[]);
        let siem = json!({"type": "syslog", "address": format!("localhost:{port}"), "tls": {"ca_file": certificate}});
        let found = check(&workplace, &config(&workplace, json!({"siem": siem})), &["--no-probe"], exit);
        match exit {
            0 => found.has("siem", "encryption", "ok", &["TLS 1."]),
            _ => found.has("siem", "encryption", "failed", &["is a CA certificate", "basicConstraints=CA:FALSE"]),
        }
    }
}

#[test]
fn a_server_with_only_old_tls_versions_is_explained() {
    let (ca, workplace) = (Ca::new(), Workplace::new());
    let identity = ca.server();
    for version in ["-tls1", "-tls1_1"] {
        let options = [version, "-cipher", "ALL:@SECLEVEL=0"];
        let (_server, port) = openssl(&workplace, &identity.certificate, &identity.key, &options);
        let sinks = json!({"siem": syslog_tls(port, &ca)});
        let found = check(&workplace, &config(&workplace, sinks), &["--no-probe"], 69);
        found.has("siem", "encryption", "failed", &["only TLS versions below 1.2", "RFC 8996"]);
    }
}
