//! Process-wide metrics; names follow Vector's component specification where it has one.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, LazyLock},
};

use prometheus::{
    GaugeVec, IntCounterVec, Opts, TextEncoder,
    core::{Collector, MetricVec, MetricVecBuilder},
};
use tokio::time::Instant;

macro_rules! metrics_table {
    ($($vector:ident $const:ident = $name:literal, [$($label:literal),*], $help:literal;)*) => {
        $(#[doc = $help] pub static $const: LazyLock<$vector> =
            LazyLock::new(|| registered($vector::new(named($name, $help), &[$($label),*])));)*

        /// Every metric: its name, labels and meaning, in the order of the documentation.
        pub const ALL: &[(&str, &[&str], &str)] =
            &[$((concat!("dmarc_shipper_", $name), &[$($label),*], $help),)*];
    };
}

metrics_table! {
    GaugeVec BUILD_INFO = "build_info", ["version", "rust_version"], "Always 1; the labels are the versions of the running program.";
    GaugeVec UPTIME = "uptime_seconds", [], "Seconds since the process started.";
    IntCounterVec RELOADED = "reloaded_total", [], "Number of successful configuration reloads (SIGHUP).";
    IntCounterVec RECEIVED_BYTES = "component_received_bytes_total", ["component_id", "component_kind", "component_type"],
        "Source: bytes of mails and files read. Sink: bytes of events queued, as encoded for it.";
    IntCounterVec RECEIVED_EVENTS = "component_received_events_total", ["component_id", "component_kind", "component_type"],
        "Source: events created from what it read. Sink: events queued.";
    IntCounterVec SENT_EVENTS = "component_sent_events_total", ["component_id", "component_kind", "component_type"], "Events that the sink has confirmed, without those that it rejected; what that proves depends on the sink.";
    IntCounterVec SENT_BYTES = "component_sent_bytes_total", ["component_id", "component_kind", "component_type"], "Bytes of events that the sink has confirmed.";
    IntCounterVec DISCARDED_EVENTS = "component_discarded_events_total", ["component_id", "component_kind", "component_type", "intentional"],
        "Events not sent to a sink. `intentional` is `true` if its `events` exclude them, `false` if the sink rejected them, or is not required and its buffer was full.";
    IntCounterVec ERRORS = "component_errors_total", ["component_id", "component_kind", "component_type", "error_type", "stage"],
        "Errors by stage. `receiving`: error of a source at its server. `processing`: input could not be read; error_type is the \
         reason. `sending`: a sink could not deliver.";
    GaugeVec BUFFER_MAX_BYTES = "buffer_max_size_bytes", ["component_id", "component_kind", "component_type"], "Maximum size of the buffer for unconfirmed events (`buffer.max_size`).";
    GaugeVec BUFFER_BYTES = "buffer_size_bytes", ["component_id", "component_kind", "component_type"], "Bytes of unconfirmed events in the buffer.";
    GaugeVec BUFFER_EVENTS = "buffer_size_events", ["component_id", "component_kind", "component_type"], "Number of unconfirmed events in the buffer.";
    GaugeVec UTILIZATION = "utilization", ["component_id", "component_kind", "component_type"], "Fraction of time, averaged over about a minute, in which a sink had events to send; 0 to 1.";
    IntCounterVec MAILS = "mails_total", ["component_id", "outcome"],
        "Mails and files processed, by outcome: `archived`, `quarantined`, `without_report`; `deferred` to another day, since the \
         sender exceeded its share; or `left` in place for a retry. The source's configuration says what happens to each.";
    GaugeVec MAILS_IN_FLIGHT = "mails_in_flight", ["component_id"], "Mails whose processing has started and is not finished.";
    GaugeVec OLDEST_MAIL = "oldest_mail_in_flight_age_seconds", ["component_id"], "Age in seconds of the oldest mail in flight; 0 without any.";
    IntCounterVec DOCUMENTS = "documents_total", ["component_id", "report_type", "outcome", "reporter"],
        "Documents in mails, by type and outcome of their `report` event; `reporter` is the name of a large reporter, or `other`.";
    IntCounterVec ROWS = "rows_total", ["component_id"], "Report rows turned into events; `report` and `ingest_error` events do not count.";
    IntCounterVec INGEST_ERRORS = "ingest_errors_total", ["component_id", "reason"], "`ingest_error` events, by reason; suppressed ones are not counted.";
    GaugeVec LAST_REPORT = "last_report_timestamp_seconds", ["component_id"], "Unix time at which the last new report was confirmed by every required sink.";
    GaugeVec LAST_PASS = "last_pass_timestamp_seconds", ["component_id"], "Unix time at which the source last completed a pass.";
    GaugeVec LEDGER_BYTES = "ledger_size_bytes", [], "Size of the ledger file in bytes.";
    GaugeVec CERTIFICATE_EXPIRY = "tls_certificate_expiry_timestamp_seconds", ["peer"], "Expiry of the server's certificate as of the last handshake, as Unix time.";
    GaugeVec RUN_EXIT_CODE = "run_exit_code", [], "Exit code of a completed run; only in `metrics_file`.";
    GaugeVec RUN_DURATION = "run_duration_seconds", [], "Duration of a completed run; only in `metrics_file`.";
    GaugeVec RUN_LAST_SUCCESS = "run_last_success_timestamp_seconds", [], "Unix time at which a completed run ended, if its exit code was 0; only in `metrics_file`.";
}

/// Returns the sum of a counter over all its labels.
pub fn total(counter: &IntCounterVec) -> u64 {
    let families = counter.collect();
    let counted = families.iter().flat_map(|family| family.get_metric()).map(|metric| metric.get_counter().get_value());
    counted.sum::<f64>() as u64
}

fn named(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("dmarc_shipper")
}

/// Registers a metric. Names and labels are in the table, where a test checks that they are valid and unique.
fn registered<T>(vector: prometheus::Result<MetricVec<T>>) -> MetricVec<T>
where
    T: MetricVecBuilder + 'static,
    MetricVec<T>: Collector,
{
    let vector = vector.expect("names and labels are sound");
    prometheus::register(Box::new(vector.clone())).expect("each name is there once");
    vector
}

/// Returns all current metrics in Prometheus' text format.
pub type Exposition = Arc<dyn Fn() -> String + Send + Sync>;

/// `refresh` is called before each exposition, to update values that are only measured then.
pub fn exposition(refresh: impl Fn() + Send + Sync + 'static) -> Exposition {
    let began = Instant::now();
    BUILD_INFO.with_label_values(&[env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_RUST_VERSION")]).set(1.0);
    Arc::new(move || {
        UPTIME.with_label_values::<&str>(&[]).set(began.elapsed().as_secs_f64());
        refresh();
        // Fails for a metric without a value, which none here is.
        TextEncoder::new().encode_to_string(&prometheus::gather()).unwrap_or_default()
    })
}

/// Writes an exposition to `path` atomically: the node exporter may read it at any moment.
pub fn write(exposition: &str, path: &Path) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&beside)?;
    io::Write::write_all(&mut file, exposition.as_bytes())?;
    fs::rename(&beside, path)
}

/// Returns the reporter's name from a fixed list, so that no reporter can add a label value.
pub fn reporter(org: Option<&str>) -> &'static str {
    let org = org.unwrap_or_default().to_lowercase();
    REPORTERS.iter().find(|(part, _)| org.contains(part)).map_or("other", |(_, name)| name)
}

/// Text in the organisation's name, and the reporter that it identifies.
const REPORTERS: &[(&str, &str)] = &[
    ("google", "google"),
    ("outlook", "microsoft"),
    ("microsoft", "microsoft"),
    ("yahoo", "yahoo"),
    ("aol", "yahoo"),
    ("amazon", "amazon"),
    ("apple", "apple"),
    ("comcast", "comcast"),
    ("fastmail", "fastmail"),
    ("gmx", "gmx"),
    ("web.de", "gmx"),
    ("1&1", "gmx"),
    ("mail.ru", "mail.ru"),
    ("mimecast", "mimecast"),
    ("proofpoint", "proofpoint"),
    ("zoho", "zoho"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_names_are_valid_and_unique() {
        let mut names: Vec<&str> = ALL.iter().map(|(name, ..)| *name).collect();
        for name in &names {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }

    /// `docs/metrics.md` is generated from the table; `UPDATE_DOCS=1 cargo test` writes it.
    #[test]
    fn the_documentation_of_metrics_is_up_to_date() {
        let mut page = INTRODUCTION.to_owned();
        for (name, labels, help) in ALL {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            let labels = labels.join(", ").replace("component_id, component_kind, component_type", "component_*");
            page.push_str(&format!("| `{name}` | {kind} | {labels} | {help} |\n"));
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, &page).unwrap();
        }
        let found = fs::read_to_string(path).unwrap_or_default();
        assert!(found == page, "docs/metrics.md differs from the table; UPDATE_DOCS=1 cargo test writes it");
    }

    const INTRODUCTION: &str = "\
# Metrics and health

Generated from the program's own table by `UPDATE_DOCS=1 cargo test`.

With `api.address` set, the process serves HTTP:

| path | 200 | 503 |
|---|---|---|
| `/livez` | the process makes progress | its main loop has been blocked for 30 s, which is a bug in the program. Remote outages do not fail this probe. |
| `/readyz` | the process works normally: `{\"ready\":true,\"reasons\":[]}` | the process is starting or draining; or a source has made no progress for longer than its `poll_interval` plus `api.stuck_after`; or a required sink has been failing, or has confirmed nothing while mails wait for it, for `api.stuck_after`; the body has the reasons |
| `/health` | `{\"ok\":true}` | `{\"ok\":false}` while draining, as in Vector |
| `/metrics` | metrics in Prometheus text format | |

The endpoint has no authentication: restrict access to it. A connection serves one request, whose header must arrive
within 5 seconds and 16 KiB. At most 64 connections are open (or an eighth of the process's file descriptor limit, if that is less);
a further one closes the oldest.

`dmarc-shipper health` queries `/health` and exits with 0 or 69.

With `metrics_file` set, the metrics are also written to a file, once a minute and at the end, for the textfile collector of the node exporter. Use it for a
CronJob, whose pod ends before it is scraped. `run --once` ends with a log line `run ended` with its counts, `duration_seconds` and `exit_code`.

Metric names are those of Vector's component specification, where it has one, with the prefix `dmarc_shipper_`. `component_*` stands for the labels
`component_id` (the name in the configuration), `component_kind` (source or sink) and `component_type` (imap, file, syslog, stdout). Counters
start at 0 with the process.

| metric | type | labels | meaning |
|---|---|---|---|
";

    #[test]
    fn the_reporter_label_has_few_values() {
        assert_eq!(reporter(Some("google.com")), "google");
        assert_eq!(reporter(Some("Enterprise Outlook")), "microsoft");
        assert_eq!(reporter(Some("AMAZON-SES")), "amazon");
        assert_eq!((reporter(Some("x\n\u{1b}[2J")), reporter(None)), ("other", "other"));
    }
}
