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
    GaugeVec BUILD_INFO = "build_info", ["version", "rust_version"], "Always 1; its labels say what runs.";
    GaugeVec UPTIME = "uptime_seconds", [], "Seconds since the process began.";
    IntCounterVec RELOADED = "reloaded_total", [], "Configurations taken while running (SIGHUP).";
    IntCounterVec RECEIVED_BYTES = "component_received_bytes_total", ["component_id", "component_kind", "component_type"],
        "Of a source: bytes of mails and files that it read. Of a sink: bytes of events that it was given, as encoded for it.";
    IntCounterVec RECEIVED_EVENTS = "component_received_events_total", ["component_id", "component_kind", "component_type"],
        "Of a source: events made of what it read. Of a sink: events that it was given.";
    IntCounterVec SENT_EVENTS = "component_sent_events_total", ["component_id", "component_kind", "component_type"], "Events of a sink that have arrived, as far as it can tell.";
    IntCounterVec SENT_BYTES = "component_sent_bytes_total", ["component_id", "component_kind", "component_type"], "Their bytes.";
    IntCounterVec DISCARDED_EVENTS = "component_discarded_events_total", ["component_id", "component_kind", "component_type", "intentional"],
        "Events that a sink does not get: `true`, its `events` don't name them; `false`, it is not required and had no room.";
    IntCounterVec ERRORS = "component_errors_total", ["component_id", "component_kind", "component_type", "error_type", "stage"],
        "`receiving`: a source could not work with its server. `processing`: something could not be read; error_type is the \
         reason. `sending`: a sink could not deliver.";
    GaugeVec BUFFER_MAX_BYTES = "buffer_max_size_bytes", ["component_id", "component_kind", "component_type"], "Room for events that have not arrived yet.";
    GaugeVec BUFFER_BYTES = "buffer_size_bytes", ["component_id", "component_kind", "component_type"], "How much of it is taken.";
    GaugeVec BUFFER_EVENTS = "buffer_size_events", ["component_id", "component_kind", "component_type"], "Events in it.";
    GaugeVec UTILIZATION = "utilization", ["component_id", "component_kind", "component_type"], "Share of the last minute or so in which a sink had something to send, 0 to 1.";
    IntCounterVec MAILS = "mails_total", ["component_id", "outcome"],
        "Mails and files dealt with: `archived`, `quarantined`, `without_report`, or left as they were: `deferred` to another day, \
         as their senders are over their shares, or `left` for another try. What then becomes of each is the source's configuration.";
    GaugeVec MAILS_IN_FLIGHT = "mails_in_flight", ["component_id"], "Mails begun and not yet settled.";
    GaugeVec OLDEST_MAIL = "oldest_mail_in_flight_age_seconds", ["component_id"], "For how long the oldest of them has been; 0 without any.";
    IntCounterVec DOCUMENTS = "documents_total", ["component_id", "report_type", "outcome", "reporter"],
        "Documents in mails, by kind and outcome of their `report` event; `reporter` is one of the large ones, or `other`.";
    IntCounterVec ROWS = "rows_total", ["component_id"], "Rows of reports made events of: all but `report` and `ingest_error` events.";
    IntCounterVec INGEST_ERRORS = "ingest_errors_total", ["component_id", "reason"], "`ingest_error` events, by reason; those held back are not counted.";
    GaugeVec LAST_REPORT = "last_report_timestamp_seconds", ["component_id"], "Unix time at which a report that was new last arrived at every required sink.";
    GaugeVec LAST_PASS = "last_pass_timestamp_seconds", ["component_id"], "Unix time at which a source last had looked at all that lies there.";
    GaugeVec LEDGER_BYTES = "ledger_size_bytes", [], "Size of the ledger's file.";
    GaugeVec CERTIFICATE_EXPIRY = "tls_certificate_expiry_timestamp_seconds", ["peer"], "Unix time until which the certificate of a server was valid at the last handshake.";
    GaugeVec RUN_EXIT_CODE = "run_exit_code", [], "Of a run that has ended, in `metrics_file`: its exit code.";
    GaugeVec RUN_DURATION = "run_duration_seconds", [], "Likewise: how long it took.";
    GaugeVec RUN_LAST_SUCCESS = "run_last_success_timestamp_seconds", [], "Likewise: Unix time of its end, if the exit code was 0.";
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
    fn names_are_those_of_prometheus_and_each_once() {
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

With `api.address` set, the process answers over HTTP:

| path | 200 | 503 |
|---|---|---|
| `/livez` | while the process moves | when its own flow has not moved for 30 s, which is a fault of the program; never for a server's sake, which no restart mends |
| `/readyz` | while it works: `{\"ready\":true,\"reasons\":[]}` | while it starts, drains, or a source or required sink has stood still for longer than `api.stuck_after`, with the reasons |
| `/health` | `{\"ok\":true}` | `{\"ok\":false}` while it drains, as Vector has it |
| `/metrics` | Prometheus' text format | |

The port asks for no password: let it be reached by those who scrape it. Each connection is for one request, whose header has to come
within 5 seconds and 16 KiB. Of 64 connections at most (an eighth of the descriptors that the process may open, where that is less) the
oldest is closed when another one comes.

`dmarc-shipper health` asks `/health` and exits 0 or 69. With `metrics_file` set, the metrics are written there once a minute and at the
end, for the node exporter's textfile collector: a CronJob's pod is gone before it is scraped. `run --once` ends with a log line `run
ended` with its counts, `duration_seconds` and `exit_code`.

Names are those of Vector's component specification, where it has one, after `dmarc_shipper_`. `component_*` stands for the labels
`component_id` (the name in the configuration), `component_kind` (source or sink) and `component_type` (imap, file, syslog, stdout). Counters
begin at 0 with the process.

| metric | kind | labels | |
|---|---|---|---|
";

    #[test]
    fn reporters_are_few_whatever_they_call_themselves() {
        assert_eq!(reporter(Some("google.com")), "google");
        assert_eq!(reporter(Some("Enterprise Outlook")), "microsoft");
        assert_eq!(reporter(Some("AMAZON-SES")), "amazon");
        assert_eq!((reporter(Some("x\n\u{1b}[2J")), reporter(None)), ("other", "other"));
    }
}
