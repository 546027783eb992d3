//! Checks `examples/prometheus` with Debian's promtool, and against the existing metrics.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{example::read, names::assert_metrics, yaml};

#[test]
fn promtool_accepts_the_rules_and_the_scrape_configuration() {
    promtool(&["check", "rules", "rules.yaml"]);
    promtool(&["check", "config", "prometheus.yaml"]);
}

#[test]
fn each_alert_fires_and_stays_silent_as_expected() {
    promtool(&["test", "rules", "rules_test.yaml"]);
    let tests = read("prometheus/rules_test.yaml");
    for alert in alerts() {
        let named = tests.matches(&format!("alertname: {}", alert.0)).count();
        assert!(named >= 2, "{} is tested {named} times: once it has to fire, and once not", alert.0);
    }
}

#[test]
fn every_alert_names_metrics_and_labels_that_exist() {
    let alerts = alerts();
    assert_eq!(alerts.len(), 11);
    alerts
        .iter()
        .filter(|(_, expression)| !expression.starts_with("up{"))
        .for_each(|(_, expression)| assert_metrics(expression));
}

/// Returns names and expressions of the alerts.
fn alerts() -> Vec<(String, String)> {
    let rules = yaml::parse(&read("prometheus/rules.yaml"));
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap().clone());
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    rules.map(|rule| (text(&rule["alert"]), text(&rule["expr"]))).collect()
}

fn promtool(arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/prometheus");
    let output = Command::new(unpacked()).args(arguments).current_dir(folder).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("SUCCESS"), "promtool {arguments:?}: {told}");
}

fn unpacked() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let promtool = target.join("servers/prometheus/promtool");
    assert!(promtool.is_file(), "promtool is not unpacked: run tests/install-servers.sh");
    promtool
}
