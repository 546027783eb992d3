//! Output of the Helm chart for various values, without a cluster.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::{Value, json};

use super::render::{documents, helm, path, rendered, validated, value_files};
use crate::support::{process::Shipper, workplace::Workplace};

#[test]
fn helm_lint_passes() {
    for (name, file) in value_files() {
        let chart = path("helm/dmarc-shipper");
        let output = helm(["lint".as_ref(), "--strict".as_ref(), chart.as_os_str(), "-f".as_ref(), file.as_os_str()]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn rendered_manifests_match_the_kubernetes_schemas() {
    let mut all = String::new();
    for (_, file) in value_files() {
        let yaml = rendered("dmarc-shipper", &[&file], &[]);
        // The kinds of the Prometheus operator are not part of Kubernetes.
        let own = yaml.split("---\n").filter(|document| !document.contains("monitoring.coreos.com"));
        all.extend(own.flat_map(|document| ["---\n", document]));
    }
    validated(&all).unwrap();
    let wrong = validated(&all.replacen("concurrencyPolicy:", "concurencyPolicy:", 1));
    assert!(wrong.unwrap_err().contains("concurencyPolicy"), "a typo is told");
}

#[test]
fn unknown_chart_values_are_refused() {
    for (typo, told) in [
        ("replicaCount=2", "replicaCount"),
        ("mode=statefulset", "mode"),
        ("image.tagg=1", "tagg"),
        ("cronjob.shedule=x", "shedule"),
        ("collector.type=logstash", "collector.type"),
        ("image.digest=latest", "image.digest"),
        ("api.port=99999", "api.port"),
        ("service.enabled=never", "service.enabled"),
    ] {
        let chart = path("helm/dmarc-shipper").display().to_string();
        let output = helm(["template", "x", chart.as_str(), "--kube-version", "1.31.0", "--set", typo]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(told), "{typo}: {error}");
    }
}

#[test]
fn values_schema_covers_exactly_the_values() {
    let values = documents(&fs::read_to_string(path("helm/dmarc-shipper/values.yaml")).unwrap()).remove(0);
    let schema = fs::read(path("helm/dmarc-shipper/values.schema.json")).unwrap();
    let mut schema: Value = serde_json::from_slice(&schema).unwrap();
    // Added for Helm, which sets it if the chart is a dependency of another one.
    schema["properties"].as_object_mut().unwrap().remove("global");
    same_keys("", &values, &schema);
}

#[track_caller]
fn same_keys(at: &str, values: &Value, schema: &Value) {
    if schema["additionalProperties"] != Value::Bool(false) {
        return;
    }
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let (mut told, mut known) = (keys(values), keys(&schema["properties"]));
    told.sort();
    known.sort();
    assert_eq!(told, known, "{at}");
    for key in told {
        same_keys(&format!("{at}.{key}"), &values[&key], &schema["properties"][&key]);
    }
}

/// A chart can't hold files from outside of it.
#[test]
fn the_charts_dashboard_equals_the_example() {
    let [ours, example] = ["helm/dmarc-shipper/files/dashboard.json", "examples/grafana/operation.json"]
        .map(|name| fs::read_to_string(path(name)).unwrap());
    assert!(ours == example, "copy examples/grafana/operation.json to helm/dmarc-shipper/files/dashboard.json");
}

/// The restricted profile of the Pod Security Standards, and no service account token.
#[test]
fn every_pod_meets_the_restricted_pod_security_level() {
    for (name, file) in value_files() {
        let documents = documents(&rendered("dmarc-shipper", &[&file], &[]));
        let pods: Vec<&Value> = documents.iter().filter_map(pod).collect();
        assert_eq!(pods.len(), 2, "{name}: the program's and the test's");
        for pod in pods {
            assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
            for key in ["hostNetwork", "hostPID", "hostIPC"] {
                assert_eq!(pod[key], Value::Null, "{name}");
            }
            let kinds = ["containers", "initContainers"].map(|kind| pod[kind].as_array().cloned().unwrap_or_default());
            for container in kinds.concat() {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{name}: {}", container["name"]);
                assert_eq!(context["readOnlyRootFilesystem"], true, "{name}: {}", container["name"]);
                assert_eq!(
                    context["capabilities"]["drop"],
                    serde_json::json!(["ALL"]),
                    "{name}: {}",
                    container["name"]
                );
                assert_ne!(container["resources"]["limits"]["memory"], Value::Null, "{name}: {}", container["name"]);
            }
            for volume in pod["volumes"].as_array().into_iter().flatten() {
                assert!(volume["secret"].is_null() || volume["secret"]["defaultMode"] == 0o400, "{name}: {volume}");
                assert_eq!(volume["hostPath"], Value::Null, "{name}");
            }
        }
    }
}

/// Returns the pod in a document, if there is one.
fn pod(document: &Value) -> Option<&Value> {
    match document["kind"].as_str()? {
        "Pod" => Some(&document["spec"]),
        "Deployment" => Some(&document["spec"]["template"]["spec"]),
        "CronJob" => Some(&document["spec"]["jobTemplate"]["spec"]["template"]["spec"]),
        _ => None,
    }
}

#[test]
fn every_rendered_configuration_is_valid() {
    let workplace = Workplace::new();
    for (name, file) in value_files() {
        for document in documents(&rendered("dmarc-shipper", &[&file], &["--skip-tests"])) {
            let Some(config) = document["data"]["config.yaml"].as_str() else { continue };
            let file = workplace.write(&format!("{name}.yaml"), config);
            Shipper::new(["check".as_ref(), "--offline".as_ref(), "--config".as_ref(), file.as_os_str()]).exits(0);
            let strict = config.contains("acknowledgements: strict");
            assert_eq!(strict, name == "cronjob", "{name}: a run that ends counts what the syslog receiver has read");
        }
    }
}

/// Regression: the collectors read syslog, which they do not acknowledge, so 678 mails were settled and lost while Vector's
/// output was down.
#[test]
fn a_collector_receives_what_it_acknowledges_and_ends_before_the_pod() {
    for mode in ["sidecar", "cronjob"] {
        for kind in ["vector", "fluent-bit"] {
            let name = format!("{mode}-{kind}");
            let documents = documents(&rendered("x", &[&values(&name)], &["--skip-tests"]));
            let (sink, collector) = (collector_sink(&documents), collector_config(&documents, kind));
            let pod = documents.iter().find_map(pod).unwrap();
            let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
            let container = container(pod, kind);
            if kind == "vector" {
                let source = &collector["sources"]["shipper"];
                assert_eq!((&sink["type"], &source["type"]), (&json!("http"), &json!("http_server")));
                assert_eq!(sink["uri"], format!("http://{}/", source["address"].as_str().unwrap()));
                assert_eq!(sink["on_rejected"], "retry", "an output may refuse everything");
                assert_eq!(collector["acknowledgements"]["enabled"], true);
                let limit = container["args"][3].as_str().unwrap();
                assert_eq!(container["args"][2], "--graceful-shutdown-limit-secs");
                assert!(limit.parse::<u64>().unwrap() < grace, "{name}: {limit}");
            } else {
                let input = &collector["pipeline"]["inputs"][0];
                assert_eq!((&sink["type"], &input["name"]), (&json!("forward"), &json!("forward")));
                assert_eq!(
                    sink["endpoints"],
                    json!([format!("{}:{}", input["listen"].as_str().unwrap(), input["port"])])
                );
                assert_eq!(input["storage.type"], "filesystem");
                assert_eq!(input["storage.pause_on_chunks_overlimit"], true, "it does not take more than it can hold");
                assert!(collector["service"]["grace"].as_u64().unwrap() < grace, "{name}");
            }
            let path = if kind == "vector" { &collector["data_dir"] } else { &collector["service"]["storage.path"] };
            let mounts = container["volumeMounts"].as_array().unwrap();
            let mount = mounts.iter().find(|mount| mount["mountPath"] == *path).unwrap();
            let volumes = pod["volumes"].as_array().unwrap();
            let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
            assert!(volume["persistentVolumeClaim"].is_object(), "{name}: the buffer outlives the pod");
            assert_eq!(mount["subPath"], "collector", "{name}: apart from the ledger");
        }
    }
}

/// By default, Fluent Bit drops what it could not send twice.
#[test]
fn outputs_of_fluent_bit_retry_without_limit_unless_told_otherwise() {
    let workplace = Workplace::new();
    let outputs = workplace.write(
        "outputs.yaml",
        "collector: {outputs: [{name: es, match: 'dmarc.*'}, {name: loki, match: 'dmarc.*', retry_limit: 9}]}",
    );
    let documents = documents(&rendered("x", &[&values("sidecar-fluent-bit"), &outputs], &["--skip-tests"]));
    let outputs = &collector_config(&documents, "fluent-bit")["pipeline"]["outputs"];
    assert_eq!((&outputs[0]["name"], &outputs[0]["retry_limit"]), (&json!("es"), &json!("no_limits")));
    assert_eq!((&outputs[1]["name"], &outputs[1]["retry_limit"]), (&json!("loki"), &json!(9)));
}

#[test]
fn the_users_collector_may_take_syslog_and_vector_reads_secrets_from_files() {
    let workplace = Workplace::new();
    let changes = workplace.write(
        "changes.yaml",
        "config: {sinks: {collector: {type: syslog, mode: tcp, address: '127.0.0.1:6601'}}}\n\
         collector: {existingSecret: tokens}\n",
    );
    let documents = documents(&rendered("x", &[&values("sidecar-vector"), &changes], &["--skip-tests"]));
    let sink = collector_sink(&documents);
    assert_eq!(sink, json!({"type": "syslog", "mode": "tcp", "address": "127.0.0.1:6601"}));
    let pod = documents.iter().find_map(pod).unwrap();
    let mounts = container(pod, "vector")["volumeMounts"].as_array().unwrap().clone();
    let mount = mounts.iter().find(|mount| mount["name"] == "collector-secrets").unwrap();
    assert_eq!(collector_config(&documents, "vector")["secret"]["files"]["path"], mount["mountPath"]);
    let volumes = pod["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == "collector-secrets").unwrap();
    assert_eq!(volume["secret"]["secretName"], "tokens");
}

/// Server-side apply, which Helm 4 uses, refuses lists that have two items of one key, and keeps the `rollingUpdate` that the API
/// server has added to a Deployment of another strategy, with which `Recreate` is invalid.
#[test]
fn server_side_apply_takes_the_manifests_over_a_rolling_update() {
    for (name, file) in value_files() {
        for document in documents(&rendered("x", &[&file], &["--skip-tests"])) {
            if document["kind"] == "Deployment" {
                let strategy = document["spec"]["strategy"].as_object().unwrap();
                assert_eq!(strategy.get("rollingUpdate"), Some(&Value::Null), "{name}: cleared");
            }
            let Some(pod) = pod(&document) else { continue };
            let lists = |kind: &str| pod[kind].as_array().cloned().unwrap_or_default();
            assert_distinct(&name, "name", &lists("volumes"));
            for container in [lists("containers"), lists("initContainers")].concat() {
                for (list, key) in [("env", "name"), ("ports", "containerPort"), ("volumeMounts", "mountPath")] {
                    assert_distinct(&name, key, container[list].as_array().map_or(&[], Vec::as_slice));
                }
            }
        }
    }
}

#[track_caller]
fn assert_distinct(name: &str, key: &str, list: &[Value]) {
    let keys: BTreeSet<String> = list.iter().map(|item| item[key].to_string()).collect();
    assert_eq!(keys.len(), list.len(), "{name}: {list:?} by {key}");
}

fn values(name: &str) -> PathBuf {
    path(&format!("helm/dmarc-shipper/ci/{name}-values.yaml"))
}

/// Returns the sink of the program's configuration that ships to the collector.
fn collector_sink(documents: &[Value]) -> Value {
    let file = documents.iter().find_map(|document| document["data"]["config.yaml"].as_str()).unwrap();
    super::render::documents(file)[0]["sinks"]["collector"].clone()
}

fn collector_config(documents: &[Value], kind: &str) -> Value {
    let name = format!("{kind}.yaml");
    let file = documents.iter().find_map(|document| document["data"][&name].as_str()).unwrap();
    super::render::documents(file).remove(0)
}

fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let all = ["containers", "initContainers"].into_iter().filter_map(|kind| pod[kind].as_array()).flatten();
    all.into_iter().find(|container| container["name"] == name).unwrap()
}

#[test]
fn a_job_is_not_retried_after_permanent_exit_codes() {
    for name in ["cronjob", "cronjob-vector", "cronjob-fluent-bit"] {
        let file = path(&format!("helm/dmarc-shipper/ci/{name}-values.yaml"));
        let documents = documents(&rendered("dmarc-shipper", &[&file], &[]));
        let cronjob = documents.iter().find(|document| document["kind"] == "CronJob").unwrap();
        assert_eq!(cronjob["spec"]["concurrencyPolicy"], "Forbid");
        let rules = &cronjob["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"];
        assert_eq!(rules[0]["onPodConditions"][0]["type"], "DisruptionTarget");
        assert_eq!(rules[1]["onExitCodes"]["values"], serde_json::json!([64, 77, 78]));
        let pod = pod(cronjob).unwrap();
        assert_eq!(pod["restartPolicy"], "Never", "which podFailurePolicy needs");
        let containers = pod["containers"].as_array().unwrap();
        assert_eq!((containers.len(), &containers[0]["args"]), (1, &serde_json::json!(["run", "--once"])));
        for sidecar in pod["initContainers"].as_array().into_iter().flatten() {
            assert_eq!(sidecar["restartPolicy"], "Always", "a Job waits for any other container");
        }
    }
}

#[test]
fn every_optional_resource_renders() {
    let file = path("helm/dmarc-shipper/ci/everything-values.yaml");
    let documents = documents(&rendered("everything", &[&file], &[]));
    let mut kinds: Vec<&str> = documents.iter().map(|document| document["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            "ConfigMap",
            "ConfigMap",
            "ConfigMap",
            "ConfigMap",
            "Deployment",
            "NetworkPolicy",
            "PersistentVolumeClaim",
            "Pod",
            "PodDisruptionBudget",
            "PodMonitor",
            "PrometheusRule",
            "Secret",
            "Service",
            "ServiceAccount",
            "ServiceMonitor"
        ]
    );
    let deployment = documents.iter().find(|document| document["kind"] == "Deployment").unwrap();
    assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate", "one instance for one data_dir");
    let pod = pod(deployment).unwrap();
    let program = &pod["containers"][0];
    assert!(program["image"].as_str().unwrap().contains("@sha256:"), "a digest goes before a tag");
    for key in [
        "nodeSelector",
        "tolerations",
        "affinity",
        "topologySpreadConstraints",
        "priorityClassName",
        "imagePullSecrets",
    ] {
        assert_ne!(pod[key], Value::Null, "{key}");
    }
    for key in ["env", "envFrom", "livenessProbe", "readinessProbe", "startupProbe"] {
        assert_ne!(program[key], Value::Null, "{key}");
    }
    assert_eq!(program["livenessProbe"]["httpGet"]["path"], "/livez", "it depends on no server");
    assert_ne!(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"], Value::Null);
}

#[test]
fn the_default_network_policy_allows_cluster_ingress_and_all_egress() {
    let (_, file) = value_files().into_iter().find(|(name, _)| name == "deployment-syslog-tls").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let policy = |changed: &str| {
        let changes = folder.path().join("changes.yaml");
        fs::write(&changes, format!("networkPolicy: {{{changed}}}\n")).unwrap();
        let mut documents = documents(&rendered("plain", &[&file, &changes], &[])).into_iter();
        documents.find(|document| document["kind"] == "NetworkPolicy").map(|policy| policy["spec"].clone())
    };
    let spec = policy("egressPorts: []").unwrap();
    assert_eq!((&spec["policyTypes"], &spec["egress"]), (&serde_json::json!(["Ingress"]), &Value::Null));
    assert_eq!(
        spec["ingress"],
        serde_json::json!([{"ports": [{"protocol": "TCP", "port": "http"}], "from": [{"namespaceSelector": {}}]}])
    );
    assert_eq!(policy("").unwrap()["policyTypes"], serde_json::json!(["Ingress", "Egress"]));
    assert_eq!(policy("enabled: false"), None);
}

/// Regression: the address was taken from an environment variable. With an IPv6 Service, that is not a valid host before a
/// colon.
#[test]
fn the_helm_test_hook_queries_the_service() {
    let (_, file) = value_files().into_iter().find(|(name, _)| name == "deployment-syslog-tls").unwrap();
    let documents = documents(&rendered("dmarc-shipper", &[&file], &[]));
    let of_kind = |kind: &str| documents.iter().find(|document| document["kind"] == kind).unwrap();
    let (service, hook) = (of_kind("Service"), &of_kind("Pod")["spec"]["containers"][0]);
    let name = service["metadata"]["name"].as_str().unwrap();
    let address = format!("{name}:{}", service["spec"]["ports"][0]["port"]);
    assert_eq!(hook["args"], serde_json::json!(["health", "--address", address]));
    Shipper::new(hook["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap())).exits(69);
}

/// The files are written by `make k8s`.
#[test]
fn manifests_in_k8s_are_up_to_date() {
    for (name, file) in value_files().iter().filter(|(name, _)| name != "everything") {
        let first = fs::read_to_string(file).unwrap();
        let about: String =
            first.lines().take_while(|line| line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
        let yaml = rendered("dmarc-shipper", &[file], &["--skip-tests"]);
        // Marks of Helm do not apply to these manifests.
        let of_helm = ["# Source:", "app.kubernetes.io/managed-by:", "helm.sh/chart:"];
        let kept = yaml.lines().filter(|line| !of_helm.iter().any(|mark| line.trim_start().starts_with(mark)));
        let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
        up_to_date(&format!("k8s/{name}.yaml"), &format!("{about}# Made of the chart by `make k8s`.\n{kept}"));
    }
}

/// The file is written by `make helm`.
#[test]
fn the_charts_readme_lists_every_value() {
    let values = fs::read_to_string(path("helm/dmarc-shipper/values.yaml")).unwrap();
    let readme = fs::read_to_string(path("helm/dmarc-shipper/README.md")).unwrap();
    let (before, _) = readme.split_once("## Values\n").unwrap();
    let table: String = rows(&values).concat();
    up_to_date(
        "helm/dmarc-shipper/README.md",
        &format!(
            "{before}## Values\n\n<!-- Made of values.yaml by `make helm`. -->\n\n| value | default | |\n|---|---|---|\n{table}"
        ),
    );
}

/// Quick start, from nothing to the first events: the values at the beginning of the chart's README, and the commands of
/// both READMEs.
#[test]
fn links_in_the_readmes_are_valid() {
    let [ours, charts] =
        ["README.md", "helm/dmarc-shipper/README.md"].map(|name| fs::read_to_string(path(name)).unwrap());
    let (_, rest) = charts.split_once("```yaml\n").unwrap();
    let workplace = Workplace::new();
    let values = workplace.write("values.yaml", rest.split_once("```").unwrap().0);
    let yaml = rendered("dmarc-shipper", &[&values], &[]);
    validated(&yaml).unwrap();
    let documents = documents(&yaml);
    let of_kind = |kind: &str| documents.iter().find(|document| document["kind"] == kind).unwrap();
    let config = of_kind("ConfigMap")["data"]["config.yaml"].as_str().unwrap();
    let config = workplace.write("config.yaml", config);
    Shipper::new(["check".as_ref(), "--offline".as_ref(), "--config".as_ref(), config.as_os_str()]).exits(0);

    assert_eq!(of_kind("Deployment")["metadata"]["name"], "dmarc-shipper");
    let pod = pod(of_kind("Deployment")).unwrap();
    let [container] = pod["containers"].as_array().unwrap().as_slice() else { panic!("{}", pod["containers"]) };
    assert_eq!(container["name"], "dmarc-shipper");
    let image = concat!("registry.example.com/dmarc-shipper:", env!("CARGO_PKG_VERSION"));
    assert_eq!(container["image"], image);
    let secret = pod["volumes"].as_array().unwrap().iter().find_map(|volume| volume["secret"]["secretName"].as_str());
    assert_eq!(secret, Some("dmarc-shipper-secrets"));
    for command in [
        &format!("podman push {image}"),
        "create secret generic dmarc-shipper-secrets --from-file=imap-password",
        "helm -n dmarc install dmarc-shipper helm/dmarc-shipper -f values.yaml",
    ] {
        assert!(ours.contains(command) && charts.contains(command), "{command}");
    }
    assert!(ours.contains("exec deployment/dmarc-shipper -c dmarc-shipper -- /usr/bin/dmarc-shipper check\n"));
}

/// Returns a table row for each key with a `# --` comment above it.
fn rows(values: &str) -> Vec<String> {
    let (mut rows, mut parents, mut about) = (Vec::new(), Vec::<(usize, String)>::new(), String::new());
    let mut lines = values.lines().peekable();
    while let Some(line) = lines.next() {
        let (indent, text) = (line.len() - line.trim_start().len(), line.trim());
        if let Some(comment) = text.strip_prefix("# ") {
            about = match comment.strip_prefix("-- ") {
                Some(first) => first.to_owned(),
                None => format!("{about} {comment}"),
            };
            continue;
        }
        let Some((key, default)) = text.split_once(':') else { continue };
        parents.retain(|(depth, _)| *depth < indent);
        parents.push((indent, key.to_owned()));
        if about.is_empty() {
            continue;
        }
        let mut default = default.trim().to_owned();
        while let Some(next) =
            lines.next_if(|next| next.len() - next.trim_start().len() > indent && default_goes_on(next))
        {
            default = format!("{default}{}{}", if default.is_empty() { "" } else { ", " }, next.trim());
        }
        let name = parents.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>().join(".");
        rows.push(format!("| `{name}` | `{default}` | {} |\n", std::mem::take(&mut about)));
    }
    assert!(about.is_empty(), "a comment without a value: {about}");
    rows
}

fn default_goes_on(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim_start().starts_with('#')
}

/// Fails unless the file has this content; with UPDATE_DOCS=1, writes it.
#[track_caller]
fn up_to_date(name: &str, expected: &str) {
    let file = path(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, expected).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == expected, "{name} is not what the chart makes; `make k8s helm` writes it anew");
}
