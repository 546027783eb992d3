//! The Deployments of the chart, run by `podman kube play` in place of a cluster.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    podman::{collector_image, image, log, podman, podman_does, unique},
    render::{documents, path, rendered},
};
use crate::support::{
    ca::Ca,
    delivery::{assert_all_archived, assert_complete, rows},
    dovecot::{Dovecot, Options, USER},
    forward_receiver::{self, ForwardReceiver},
    http_receiver::{self, HttpReceiver},
    reports::{Batch, essences},
    rsyslog::Rsyslog,
    server::free_port,
    wait::{LONG, eventually},
    workplace::Workplace,
};

/// Base64, because podman 4 mounts the `data` of a Secret without decoding it.
const PASSWORD: &str = "Y29ycmVjdCBob3JzZQ==";
const WRITTEN_AS: &str = "correct horse";

/// A Deployment that runs until it is dropped.
struct Pod {
    name: String,
    manifest: String,
    _workplace: Workplace,
}

impl Pod {
    /// Renders the chart with a value file of its own, for a mailbox on loopback, adapted to podman.
    #[track_caller]
    fn play(values: &str, dovecot: &Dovecot, ca: &Ca, more: Value) -> Self {
        let (name, workplace) = (unique(values), Workplace::new());
        let (repository, tag) = image().split_once(':').unwrap();
        let ca = fs::read_to_string(ca.file()).unwrap();
        let mut here = json!({
            "fullnameOverride": name,
            "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
            "existingSecret": "",
            "secrets": {"imap-password": WRITTEN_AS},
            "api": {"port": free_port()},
            "config": {"sources": {"rua": {
                "host": "localhost", "port": dovecot.imaps_port, "user": USER, "poll_interval": "1s",
                "tls": {"ca_file": "/etc/authority/ca.pem"},
            }}},
            "extraVolumes": [{"name": "authority", "configMap": {"name": format!("{name}-authority")}}],
            "extraVolumeMounts": [{"name": "authority", "mountPath": "/etc/authority", "readOnly": true}],
            "extraObjects": [{
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": format!("{name}-authority")}, "data": {"ca.pem": ca},
            }],
        });
        merge(&mut here, more);
        let here = workplace.write("values.json", here.to_string());
        let file = path(&format!("helm/dmarc-shipper/ci/{values}-values.yaml"));
        let yaml = rendered(&name, &[&file, &here], &["--skip-tests"]);
        let manifest: Vec<String> =
            documents(&yaml).into_iter().filter_map(for_podman).map(|d| d.to_string()).collect();
        let manifest = workplace.write("pod.yaml", manifest.join("\n---\n")).display().to_string();
        podman_does(["kube", "play", "--network", "host", &manifest]);
        Self { name, manifest, _workplace: workplace }
    }

    /// Stops the pod, and starts another one with the same volumes.
    fn replace(&self) {
        podman_does(["kube", "down", &self.manifest]);
        self.remove(&["config", "secrets", "authority"]);
        // Podman creates the volumes of claims, and fails if one exists already.
        let others = fs::read_to_string(&self.manifest).unwrap();
        let others: Vec<&str> = others.split("\n---\n").filter(|one| !one.contains("PersistentVolumeClaim")).collect();
        fs::write(&self.manifest, others.join("\n---\n")).unwrap();
        podman_does(["kube", "play", "--network", "host", &self.manifest]);
    }

    /// Removes these volumes: podman creates one for each ConfigMap, Secret and claim.
    fn remove(&self, volumes: &[&str]) {
        for what in volumes {
            podman(["volume", "rm", "--force", &format!("{}-{what}", self.name)]);
        }
        podman(["secret", "rm", &format!("{}-secrets", self.name)]);
    }

    /// Returns the last lines of all containers, for the message of a failed test.
    fn last_lines(&self) -> String {
        let mut last = String::new();
        for container in ["dmarc-shipper", "vector", "fluent-bit"] {
            let log = self.log_of(container);
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(5)..] {
                last += &format!("{container}: {}\n", line.chars().take(300).collect::<String>());
            }
        }
        last
    }

    fn log_of(&self, container: &str) -> String {
        log(&format!("{}-pod-0-{container}", self.name))
    }
}

/// Adapts a document to podman: it supports only some kinds, it maps ports only on networks of its own, and its probes
/// need a shell and systemd.
fn for_podman(mut document: Value) -> Option<Value> {
    if !matches!(document["kind"].as_str(), Some("ConfigMap" | "Secret" | "PersistentVolumeClaim" | "Deployment")) {
        return None;
    }
    for container in document["spec"]["template"]["spec"]["containers"].as_array_mut().into_iter().flatten() {
        for key in ["ports", "livenessProbe", "readinessProbe", "startupProbe"] {
            container.as_object_mut().unwrap().remove(key);
        }
    }
    Some(document)
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        podman(["kube", "down", &self.manifest]);
        self.remove(&["config", "data", "secrets", "authority", "collector"]);
    }
}

fn mailbox_with_password(ca: &Ca, batch: &Batch) -> Dovecot {
    let dovecot = Dovecot::with(&ca.server(), &Options { users: vec![(USER, PASSWORD)], ..Options::default() });
    batch.mails.iter().for_each(|mail| dovecot.mailbox().deliver("INBOX", mail));
    dovecot
}

fn until_archived(dovecot: &Dovecot, batch: &Batch, pod: &Pod) {
    let archived = || dovecot.mailbox().count("Processed") == batch.mails.len();
    let end = Instant::now() + LONG;
    while !archived() {
        assert!(Instant::now() < end, "the pod does not archive everything:\n{}", pod.last_lines());
        sleep(Duration::from_millis(100));
    }
    assert_all_archived(dovecot, batch);
}

/// Returns the JSON objects in these lines, without the text before them; lines of the program's log are skipped.
fn events(lines: &str) -> Vec<Value> {
    let objects = lines.lines().filter_map(|line| serde_json::from_str::<Value>(&line[line.find('{')?..]).ok());
    objects.filter(|object| object["logger"] != "DMARC_SCRIPT").collect()
}

#[test]
fn stdout_events_fit_into_lines_of_the_container_runtime() {
    let (ca, batch) = (Ca::new(), Batch::generate(911, 8, 1..=10, 0));
    let dovecot = mailbox_with_password(&ca, &batch);
    let pod = Pod::play("deployment-stdout", &dovecot, &ca, json!({}));
    until_archived(&dovecot, &batch, &pod);
    let log = pod.log_of("dmarc-shipper");
    assert_eq!(essences(rows(&events(&log))), batch.essences());
    assert!(log.lines().all(|line| line.len() < 16 * 1024));
}

#[test]
fn the_sidecar_collector_gets_every_event_over_loopback() {
    let (http, forward) = (
        HttpReceiver::start(|_, _| http_receiver::Answer::Status(200)),
        ForwardReceiver::start(|_, _| forward_receiver::Answer::Ack),
    );
    for (values, port) in [("sidecar-vector", http.port), ("sidecar-fluent-bit", forward.port)] {
        let (ca, batch) = (Ca::new(), Batch::generate(912, 8, 1..=10, 0));
        let dovecot = mailbox_with_password(&ca, &batch);
        let (repository, tag) = collector_image().split_once(':').unwrap();
        let collector = json!({"collector": {
            "port": port, "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        }});
        let pod = Pod::play(values, &dovecot, &ca, collector);
        until_archived(&dovecot, &batch, &pod);
        let taken = if port == http.port { http.state().taken.clone() } else { forward.state().taken.clone() };
        assert_eq!(essences(rows(&taken)), batch.essences());
    }
}

#[test]
fn the_deployment_delivers_over_tls_and_resumes_after_pod_replacement() {
    let (ca, batch) = (Ca::new(), Batch::generate(913, 8, 1..=10, 0));
    let (dovecot, rsyslog) = (mailbox_with_password(&ca, &batch), Rsyslog::start(&ca));
    let tls = json!({"ca_file": "/etc/authority/ca.pem", "crt_file": null, "key_file": null});
    let siem =
        json!({"config": {"sinks": {"siem": {"address": format!("localhost:{}", rsyslog.tls_port), "tls": tls}}}});
    let pod = Pod::play("deployment-syslog-tls", &dovecot, &ca, siem);
    until_archived(&dovecot, &batch, &pod);
    let arrived = rsyslog.wait_for(batch.event_count());
    assert_complete(&batch, &arrived);

    // The new pod has the volume of the old one: it recognizes the mail that is delivered again.
    pod.replace();
    dovecot.mailbox().deliver("INBOX", &batch.mails[0]);
    eventually(LONG, "the mail is archived again", || {
        (dovecot.mailbox().count("Processed") == batch.mails.len() + 1).then_some(())
    });
    let again = rsyslog.wait_for(batch.event_count() + 1);
    assert_eq!(again.last().unwrap().event()["outcome"], "duplicate");
    assert_complete(&batch, &again);
}
