//! The container image, run with the minimal rights, between a real mailbox and a real receiver.

use std::{fs, os::unix::fs::PermissionsExt, process::Command, time::Duration};

use serde_json::{Value, json};

use super::{
    podman::{Container, USER, host, image, podman, podman_does},
    render::path,
};
use crate::support::{
    ca::Ca,
    delivery::{assert_all_archived, assert_complete, events, mailbox, told_once},
    dovecot::{Dovecot, PASSWORD},
    reports::Batch,
    rsyslog::Rsyslog,
    server::free_port,
    wait::eventually,
    workplace::{Workplace, imaps, syslog_tls, with},
};

/// Timeout for a container on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// Creates the folder to mount as /etc/dmarc-shipper: configuration, CA certificate and password.
fn mounted(workplace: &Workplace, ca: &Ca, dovecot: &Dovecot, sink: Value, more: Value) -> std::path::PathBuf {
    let tls = json!({"ca_file": "/etc/dmarc-shipper/ca.pem"});
    let secret =
        json!({"tls": tls, "password": null, "password_file": "/etc/dmarc-shipper/password", "poll_interval": "1s"});
    let source = with(imaps(dovecot, ca), secret);
    let config = json!({"data_dir": "/var/lib/dmarc-shipper", "sources": {"rua": source}, "sinks": {"siem": with(sink, json!({"tls": tls}))}});
    let folder = workplace.path("etc");
    fs::create_dir(&folder).unwrap();
    fs::copy(ca.file(), folder.join("ca.pem")).unwrap();
    fs::write(folder.join("password"), PASSWORD).unwrap();
    fs::write(folder.join("config.yaml"), serde_json::to_vec_pretty(&with(config, more)).unwrap()).unwrap();
    for file in [workplace.path(""), folder.clone()] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::os::unix::fs::chown(folder.join("password"), Some(USER), Some(USER)).unwrap();
    fs::set_permissions(folder.join("password"), fs::Permissions::from_mode(0o400)).unwrap();
    folder
}

#[test]
fn the_image_ships_everything_without_privileges() {
    let (ca, batch) = (Ca::new(), Batch::generate(901, 12, 1..=20, 4));
    let (dovecot, rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    let folder = mounted(&workplace, &ca, &dovecot, syslog_tls(rsyslog.tls_port, &ca), json!({}));
    let container = Container::start(&folder, &["--once"]);
    container.ends(0);
    assert_complete(&batch, &rsyslog.wait_for(batch.event_count()));
    assert_all_archived(&dovecot, &batch);
    let log = container.log();
    assert!(log.contains("run ended") && !log.contains("\"warn\""), "{log}");
}

#[test]
fn a_killed_or_stopped_container_loses_nothing_and_resumes_from_its_volume() {
    let (ca, batch) = (Ca::new(), Batch::generate(902, 40, 5..=30, 0));
    let (dovecot, rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    // Slow enough for podman on a busy machine, where it takes seconds to forward a signal.
    let sink = with(syslog_tls(rsyslog.tls_port, &ca), json!({"rate_limit_num": 50}));
    let folder = mounted(&workplace, &ca, &dovecot, sink, json!({}));
    let container = Container::start(&folder, &[]);
    for signal in ["KILL", "TERM", "KILL"] {
        let before = rsyslog.received().len();
        eventually(LONG, "more has arrived", || (rsyslog.received().len() > before + 20).then_some(()));
        container.signal(signal);
        podman_does(["wait", &container.name]);
        assert_ne!(dovecot.mailbox().count("Processed"), batch.mails.len(), "it was not killed in the midst");
        container.start_again();
    }
    eventually(LONG, "all is archived", || (dovecot.mailbox().count("Processed") == batch.mails.len()).then_some(()));
    eventually(LONG, "the receiver has written it all", || {
        (told_once(&events(&rsyslog.received())) == batch.essences()).then_some(())
    });
    container.signal("TERM");
    container.ends(0);
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn the_image_labels_match_and_its_healthcheck_queries_the_program() {
    let told = podman_does(["image", "inspect", image()]);
    let image: Value = serde_json::from_str::<Value>(&told).unwrap().as_array_mut().unwrap().remove(0);
    assert_eq!(image["Config"]["User"], "65532:65532");
    assert_eq!(image["Config"]["StopSignal"], "SIGTERM");
    assert_eq!(image["Labels"]["org.opencontainers.image.licenses"], "MIT");
    assert_eq!(image["Healthcheck"]["Test"], json!(["CMD", "/usr/bin/dmarc-shipper", "health"]));

    let (ca, workplace) = (Ca::new(), Workplace::new());
    let (dovecot, rsyslog) = (Dovecot::start(&ca.server()), Rsyslog::start(&ca));
    let api = json!({"api": {"address": format!("127.0.0.1:{}", free_port())}});
    let folder = mounted(&workplace, &ca, &dovecot, syslog_tls(rsyslog.tls_port, &ca), api);
    let container = Container::start(&folder, &[]);
    container.until_said("serving");
    podman_does(["exec", &container.name, "/usr/bin/dmarc-shipper", "health"]);
    let shell = podman(["exec", &container.name, "/bin/sh", "-c", "true"]);
    assert!(!shell.status.success(), "there is a shell in it");
}

/// Regression: Cargo.toml named benchmarks that were not copied to the build stage, and cargo refused to build anything.
#[test]
fn the_image_build_context_has_everything_that_cargo_needs() {
    let (file, ignore) =
        (fs::read_to_string(path("Dockerfile")).unwrap(), fs::read_to_string(path(".dockerignore")).unwrap());
    let stage = tempfile::tempdir().unwrap();
    for line in file.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from")) {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let (_, copied) = words.split_last().unwrap();
        for name in copied {
            assert!(ignore.lines().any(|line| line.strip_prefix('!') == Some(name)), ".dockerignore keeps {name} back");
            let made = Command::new("cp").arg("-r").arg(path(name)).arg(stage.path()).status().unwrap();
            assert!(made.success(), "{name} is copied and is not there");
        }
    }
    let fetched = Command::new(env!("CARGO"))
        .args(["fetch", "--locked", "--offline", "--target", &host(), "--manifest-path"])
        .arg(stage.path().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
}
