//! Dialect of parsedmarc.ini, for the features that this program has.

use super::{
    draft::{Asked, Draft, address, dated},
    yaml::Table,
};

pub(super) const NAME: &str = "parsedmarc";

/// Options without an equivalent here, by `section` or `section.key`, and what to do instead.
pub(super) const NO_EQUIVALENT: &[(&str, &str)] = &[
    ("elasticsearch", "ship to Vector, Fluent Bit or Logstash, and from there"),
    ("opensearch", "ship to Vector, Fluent Bit or Logstash, and from there"),
    ("splunk_hec", "ship to Vector or Splunk's syslog input, and from there"),
    ("kafka", "ship to Vector or Fluent Bit, and from there"),
    ("s3", "ship to Vector or Fluent Bit, and from there"),
    ("gelf", "ship to Vector, or to Graylog's syslog input"),
    ("webhook", "ship to Vector or Fluent Bit, and from there"),
    ("log_analytics", "ship to the Azure Monitor agent's syslog input"),
    ("smtp", "reports are not mailed on"),
    ("msgraph", "Microsoft 365 is read over IMAP with oauth; docs/imap.md says how"),
    ("gmail_api", "Gmail is read over IMAP, with an app password or oauth; docs/imap.md says how"),
    ("general.n_procs", "mails are read while others are sent; one process is enough"),
    ("general.offline", "nothing is ever looked up"),
    ("general.nameservers", "nothing is ever looked up; resolve addresses in your pipeline"),
    ("general.dns_timeout", "nothing is ever looked up"),
    ("general.dns_test_address", "nothing is ever looked up"),
    ("general.ip_db_path", "addresses are not located; do that in your pipeline"),
    ("general.always_use_local_files", "nothing is ever downloaded"),
    ("general.local_reverse_dns_map_path", "senders are not named; do that in your pipeline"),
    ("general.reverse_dns_map_url", "nothing is ever downloaded"),
    (
        "general.strip_attachment_payloads",
        "other people's mail is never shown; failure_reports says how much of addresses is",
    ),
    ("general.aggregate_csv_filename", "there is no CSV"),
    ("general.forensic_csv_filename", "there is no CSV"),
    ("general.smtp_tls_csv_filename", "there is no CSV"),
    ("general.aggregate_json_filename", "all events go to one file; event_type tells them apart"),
    ("general.forensic_json_filename", "all events go to one file; event_type tells them apart"),
    ("general.smtp_tls_json_filename", "all events go to one file; event_type tells them apart"),
    ("mailbox.batch_size", "mails are taken one by one, within intake.max_size of memory"),
    ("imap.batch_size", "mails are taken one by one, within intake.max_size of memory"),
    (
        "mailbox.since",
        "every mail in the folder is read, and those shipped before are known; `search: SINCE 7d` reads less",
    ),
    ("imap.max_retries", "a connection is tried again for as long as it takes"),
    ("syslog.retry_attempts", "a receiver is tried again for as long as it takes"),
    ("syslog.retry_delay", "a receiver is tried again at growing intervals"),
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
    draft.differences.push(
        "events are flat and have names of their own (docs/events.md): dashboards and parsers made for parsedmarc need a change"
            .to_owned(),
    );
    draft
}

fn imap(asked: &mut Asked<'_>, draft: &mut Draft) {
    draft.logs_in = true;
    let source = &mut draft.source;
    source.set_if("host", asked.text(&["imap.host"]));
    let port = asked.number(&["imap.port"]);
    if !asked.flag(&["imap.ssl"], true) {
        source.comment("TLS by STARTTLS; `none` sends the password in the clear, for servers without either.");
        source.set("security", "starttls");
    }
    source.set_if("port", port.map(|port| port.to_string()));
    source.set_if("user", asked.text(&["imap.user"]));
    draft.password = asked.secret(&["imap.password"]);
    if asked.flag(&["imap.skip_certificate_verification"], false) {
        source.comment(
            "Whoever stands between can read the password. tls.ca_file trusts an authority of your own instead.",
        );
        source.set_table("tls", &[("verify_certificate", Some("false".to_owned()))]);
    }
    source.set_if("folder", asked.text(&["mailbox.reports_folder", "imap.reports_folder"]));
    let archive =
        asked.text(&["mailbox.archive_folder", "imap.archive_folder"]).unwrap_or_else(|| "Archive".to_owned());
    if asked.flag(&["mailbox.test", "imap.test"], false) {
        source
            .comment("No folders to move mails to, since `test` was on: they stay where they are, and are remembered.");
    } else {
        source.set("archive_folder", &archive);
        source.set("quarantine_folder", &format!("{archive}/Invalid"));
        source.set("without_report", "quarantine");
        draft.differences.push(format!(
            "mails of every kind of report go to {archive}; those without a report, and unreadable ones, go to {archive}/Invalid"
        ));
        if asked.flag(&["mailbox.delete", "imap.delete"], false) {
            draft.differences.push(format!("mails with reports are never deleted: they go to {archive}"));
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
        sink.comment("A line an event. One kind of report in a file: a sink each, with `events`.");
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
            .push("none of save_aggregate, save_forensic and save_smtp_tls was on; every event is sent here".into());
    } else {
        sink.comment("What save_* was on for. Without `events`, reports and mails that can't be read are told of too.");
        sink.set_list("events", saved);
    }
    draft.sinks.push(("siem", sink));
}
