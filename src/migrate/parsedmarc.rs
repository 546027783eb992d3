//! Dialect of parsedmarc.ini, for the features that this program has.

use super::{
    draft::{Asked, Draft, address, dated},
    yaml::Table,
};

pub(super) const NAME: &str = "parsedmarc";

/// Options without an equivalent here, by `section` or `section.key`, and what to do instead.
pub(super) const NO_EQUIVALENT: &[(&str, &str)] = &[
    ("elasticsearch", "forward from Vector, Fluent Bit or Logstash"),
    ("opensearch", "forward from Vector, Fluent Bit or Logstash"),
    ("splunk_hec", "forward from Vector, or use Splunk's syslog input"),
    ("kafka", "forward from Vector or Fluent Bit"),
    ("s3", "forward from Vector or Fluent Bit"),
    ("gelf", "forward from Vector, or use Graylog's syslog input"),
    ("webhook", "forward from Vector or Fluent Bit"),
    ("log_analytics", "use the Azure Monitor agent's syslog input"),
    ("smtp", "reports are not forwarded by mail"),
    ("msgraph", "Microsoft 365 is read over IMAP with oauth; docs/imap.md says how"),
    ("gmail_api", "Gmail is read over IMAP, with an app password or oauth; docs/imap.md says how"),
    ("general.n_procs", "reading and sending run in parallel in one process"),
    ("general.offline", "there are no DNS lookups"),
    ("general.nameservers", "there are no DNS lookups; resolve addresses in your pipeline"),
    ("general.dns_timeout", "there are no DNS lookups"),
    ("general.dns_test_address", "there are no DNS lookups"),
    ("general.ip_db_path", "there is no geolocation; do it in your pipeline"),
    ("general.always_use_local_files", "nothing is downloaded"),
    ("general.local_reverse_dns_map_path", "sender names are not looked up; do it in your pipeline"),
    ("general.reverse_dns_map_url", "nothing is downloaded"),
    (
        "general.strip_attachment_payloads",
        "the contents of mails are never included; failure_reports controls the masking of addresses",
    ),
    ("general.aggregate_csv_filename", "CSV is not supported"),
    ("general.forensic_csv_filename", "CSV is not supported"),
    ("general.smtp_tls_csv_filename", "CSV is not supported"),
    ("general.aggregate_json_filename", "all events go to one file; event_type distinguishes them"),
    ("general.forensic_json_filename", "all events go to one file; event_type distinguishes them"),
    ("general.smtp_tls_json_filename", "all events go to one file; event_type distinguishes them"),
    ("mailbox.batch_size", "mails are read one by one, within intake.max_size of memory"),
    ("imap.batch_size", "mails are read one by one, within intake.max_size of memory"),
    ("mailbox.since", "every mail in the folder is read, and known reports are skipped; `search: SINCE 7d` reads less"),
    ("imap.max_retries", "connections are retried without limit"),
    ("syslog.retry_attempts", "sending is retried without limit"),
    ("syslog.retry_delay", "sending is retried with backoff"),
];

pub(super) fn draft(asked: &mut Asked<'_>) -> Draft {
    let mut draft = Draft::default();
    match asked.text(&["maildir.maildir_path", "maildir.path"]) {
        Some(path) if !asked.ini.has("imap") => {
            draft.source.set("type", "file");
            draft.source.set("path", &asked.folder.join(path).display().to_string());
        }
        _ => imap(asked, &mut draft),
    }
    general(asked, &mut draft);
    draft
        .differences
        .push("events are flat, with other field names (docs/events.md): adapt dashboards and parsers".to_owned());
    draft
}

fn imap(asked: &mut Asked<'_>, draft: &mut Draft) {
    draft.logs_in = true;
    let source = &mut draft.source;
    source.set_if("host", asked.text(&["imap.host"]));
    let port = asked.number(&["imap.port"]);
    if !asked.flag(&["imap.ssl"], true) {
        source.comment("TLS with STARTTLS; `none`, for servers without TLS, sends the password in plain text.");
        source.set("security", "starttls");
    }
    source.set_if("port", port.map(|port| port.to_string()));
    source.set_if("user", asked.text(&["imap.user"]));
    draft.password = asked.secret(&["imap.password"]);
    if asked.flag(&["imap.skip_certificate_verification"], false) {
        source.comment("A man in the middle can read the password. Set tls.ca_file to trust a private CA instead.");
        source.set_table("tls", &[("verify_certificate", Some("false".to_owned()))]);
    }
    source.set_if("folder", asked.text(&["mailbox.reports_folder", "imap.reports_folder"]));
    let archive =
        asked.text(&["mailbox.archive_folder", "imap.archive_folder"]).unwrap_or_else(|| "Archive".to_owned());
    if asked.flag(&["mailbox.test", "imap.test"], false) {
        source
            .comment("`test` was on, so no mail is moved: mails stay where they are, and are recorded in the ledger.");
    } else {
        source.set("archive_folder", &archive);
        source.set("quarantine_folder", &format!("{archive}/Invalid"));
        source.set("without_report", "quarantine");
        draft.differences.push(format!(
            "mails with reports are moved to {archive}, those without and unreadable ones to {archive}/Invalid"
        ));
        if asked.flag(&["mailbox.delete", "imap.delete"], false) {
            draft.differences.push(format!("mails with reports are not deleted: they are moved to {archive}"));
        }
    }
    let interval = asked.number(&["mailbox.check_timeout", "imap.check_timeout"]);
    source.set_if("poll_interval", interval.filter(|&seconds| seconds > 0).map(|seconds| format!("{seconds}s")));
    let timeout = asked.number(&["imap.timeout"]);
    source.set_if("read_timeout", timeout.filter(|&seconds| seconds > 0).map(|seconds| format!("{seconds}s")));
    draft.differences.push(if asked.flag(&["mailbox.watch", "imap.watch"], false) {
        "`run` keeps watching the mailbox".to_owned()
    } else {
        "`watch` was off: `run --once` makes one pass and ends; `run` keeps watching".to_owned()
    });
}

fn general(asked: &mut Asked<'_>, draft: &mut Draft) {
    let saved: Vec<&str> = [
        ("save_aggregate", "dmarc_aggregate"),
        ("save_forensic", "dmarc_failure"),
        ("save_failure", "dmarc_failure"),
        ("save_smtp_tls", "tls_rpt"),
    ]
    .into_iter()
    .filter(|(key, _)| asked.flag(&[&format!("general.{key}")], false))
    .map(|(_, event)| event)
    .collect();
    syslog(asked, draft, &saved);
    if let Some(folder) = asked.path(&["general.output"]) {
        let mut sink = Table::default();
        sink.set("type", "file");
        sink.comment("One event per line. To separate types of reports, use one sink with `events` for each.");
        sink.set("path", &dated(&folder, "%Y%m%d.ndjson"));
        draft.sinks.push(("archive", sink));
    }
    if !asked.flag(&["general.silent"], true) {
        let mut sink = Table::default();
        sink.set("type", "stdout");
        draft.sinks.push(("stdout", sink));
    }
    let debug = asked.flag(&["general.debug"], false) || asked.flag(&["general.verbose"], false);
    let warnings = asked.flag(&["general.warnings"], false);
    if debug || warnings {
        draft.log.set("level", if debug { "debug" } else { "warn" });
    }
    draft.log.set_table("file", &[("path", asked.path(&["general.log_file"]))]);
}

fn syslog(asked: &mut Asked<'_>, draft: &mut Draft, saved: &[&str]) {
    let Some(host) = asked.text(&["syslog.server"]) else { return };
    let port = asked.number(&["syslog.port"]).unwrap_or(514);
    let mode = asked.text(&["syslog.protocol"]).unwrap_or_else(|| "udp".to_owned()).to_lowercase();
    let files = [
        ("ca_file", asked.path(&["syslog.cafile_path"])),
        ("crt_file", asked.path(&["syslog.certfile_path"])),
        ("key_file", asked.path(&["syslog.keyfile_path"])),
    ];
    let timeout = asked.text(&["syslog.timeout"]).and_then(|seconds| seconds.parse::<f64>().ok());
    let mut sink = Table::default();
    sink.set("type", "syslog");
    sink.set("mode", &mode);
    sink.set("address", &address(&host, port));
    if mode == "tls" {
        sink.set_table("tls", &files);
    }
    if mode != "udp" {
        let timeout =
            timeout.filter(|seconds| *seconds > 0.0).map(|seconds| format!("{}ms", (seconds * 1000.0) as u64));
        sink.set_if("connect_timeout", timeout);
    }
    if saved.is_empty() {
        draft
            .differences
            .push("none of save_aggregate, save_forensic and save_smtp_tls was on; all events are sent here".into());
    } else {
        sink.comment("The types that save_* selected. Without `events`, `report` and `ingest_error` are sent too.");
        sink.set_list("events", saved);
    }
    draft.sinks.push(("siem", sink));
}
