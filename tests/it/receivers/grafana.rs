//! Checks that `examples/grafana` uses metrics and fields that exist.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    example::read,
    names::{LOGQL, assert_fields, assert_metrics, metrics},
};

#[test]
fn the_operation_dashboard_uses_existing_metrics_and_all_important_ones() {
    let dashboard = dashboard("grafana/operation.json", "prometheus");
    let expressions = expressions(&dashboard);
    expressions.iter().for_each(|expression| assert_metrics(expression));
    let all = expressions.join(" ");
    let left_out: BTreeSet<&str> = metrics().keys().map(String::as_str).filter(|name| !all.contains(name)).collect();
    let uninteresting =
        ["buffer_size_events", "reloaded_total", "rows_total", "run_duration_seconds", "uptime_seconds"];
    let uninteresting: Vec<String> = uninteresting.iter().map(|name| format!("dmarc_shipper_{name}")).collect();
    assert_eq!(left_out.into_iter().collect::<Vec<_>>(), uninteresting);
}

#[test]
fn the_reports_dashboard_uses_existing_fields() {
    let dashboard = dashboard("grafana/reports.json", "loki");
    expressions(&dashboard).iter().for_each(|expression| assert_fields(expression, LOGQL, |_, _| false));
}

/// Returns a dashboard after checking it: every panel has a title and a position of its own, and queries the data source
/// that is selected in a variable.
fn dashboard(path: &str, source: &str) -> Value {
    let dashboard: Value = serde_json::from_str(&read(path)).unwrap();
    let choice = &dashboard["templating"]["list"][0];
    assert_eq!((&choice["type"], &choice["query"]), (&"datasource".into(), &source.into()));
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have one id");
        assert!(!panel["title"].as_str().unwrap().is_empty());
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{} is beyond the edge", panel["title"]);
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(places.insert((x, y)), "{} lies on another panel", panel["title"]);
            }
        }
        assert_eq!(
            (&panel["datasource"]["type"], &panel["datasource"]["uid"]),
            (&source.into(), &"${datasource}".into())
        );
    }
    dashboard
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().unwrap()
}

fn expressions(dashboard: &Value) -> Vec<String> {
    let targets = panels(dashboard).iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}
