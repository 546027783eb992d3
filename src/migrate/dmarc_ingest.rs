//! Dialect of the config.ini of dmarc-ingest, and of the script that it came from.

use super::{
    draft::{Asked, Draft, address, dated},
    yaml::Table,
};

pub(super) const NAME: &str = "dmarc-ingest";

/// Options without an equivalent here, by `section.key`, and why that is no loss.
pub(super) const NO_EQUIVALENT: &[(&str, &str)] = &[
    ("processing.lock_file", "a lock, which ends with the process, allows one instance per data_dir"),
    ("processing.dry_run", "use run --once --dry-run"),
    ("options.dry_run", "use run --once --dry-run"),
    (
        "imap.search",
        "every mail in the folder is read, seen or not, and each report is shipped once; `search` selects mails",
    ),
    ("imap.mark_seen", "mails are moved or recorded in the ledger; `after: seen` marks them as read instead"),
    ("logging.console", "the log always goes to stderr too"),
    ("logging.format", "log.format is auto, text or json"),
];

pub(super) fn draft(asked: &mut Asked<'_>) -> Draft {
    let mut draft = Draft { logs_in: true, ..Draft::default() };
    imap(asked, &mut draft);
    syslog(asked, &mut draft);
    files(asked, &mut draft);
    logging(asked, &mut draft);
    draft.processed = asked
        .path(&[
            "processing.processed_db",
            "processing.processed_file",
            "processing.state_file",
            "options.processed_db",
        ])
        .map(Into::into);
    draft.differences.extend(
        [
            "the server's certificate is verified, which imaplib does not do by default; set tls.ca_file for a private CA",
            "every mail in the folder is read, not only unseen ones; reports are recognised by their content",
            "for unreadable mails, an ingest_error is sent; they are moved to quarantine_folder, if it is set",
            "dates in file names are in UTC, as is every time in an event",
        ]
        .map(str::to_owned),
    );
    draft
}

fn imap(asked: &mut Asked<'_>, draft: &mut Draft) {
    let source = &mut draft.source;
    source.set_if("host", asked.text(&["imap.host", "imap.server"]));
    let port = asked.number(&["imap.port"]);
    if !asked.flag(&["imap.ssl", "imap.use_ssl", "imap.tls"], true) || asked.flag(&["imap.starttls"], false) {
        source.comment("TLS with STARTTLS; `none`, for servers without TLS, sends the password in plain text.");
        source.set("security", "starttls");
    }
    source.set_if("port", port.map(|port| port.to_string()));
    source.set_if("user", asked.text(&["imap.user", "imap.username"]));
    draft.password = asked.secret(&["imap.password", "imap.pass"]);
    source.set_table("tls", &[("ca_file", asked.path(&["imap.ca_file", "imap.cafile"]))]);
    source.set_if("folder", asked.text(&["imap.folder", "imap.mailbox"]));
    match asked.text(&["imap.archive_folder", "imap.processed_folder"]) {
        Some(folder) => source.set("archive_folder", &folder),
        None => source.comment("No archive_folder: mails stay where they are, and are recorded in the ledger."),
    }
    match asked.text(&["imap.quarantine_folder", "imap.error_folder", "imap.failed_folder"]) {
        Some(folder) => source.set("quarantine_folder", &folder),
        None => source.comment("quarantine_folder: Unreadable    # for mails that can't be read in full"),
    }
    let most = asked.number(&["processing.max_messages", "processing.max_messages_per_run", "imap.max_messages"]);
    source.set_if("max_messages_per_run", most.filter(|&most| most > 0).map(|most| most.to_string()));
    let timeout = asked.number(&["imap.timeout"]);
    source.set_if("read_timeout", timeout.filter(|&seconds| seconds > 0).map(|seconds| format!("{seconds}s")));
}

fn syslog(asked: &mut Asked<'_>, draft: &mut Draft) {
    let enabled = asked.flag(&["syslog.enable", "syslog.enabled", "options.log_records"], true);
    let host = asked.text(&["syslog.host"]).unwrap_or_else(|| "localhost".to_owned());
    let port = asked.number(&["syslog.port"]);
    let mode = asked.text(&["syslog.protocol", "syslog.transport"]).unwrap_or_else(|| "tcp".to_owned()).to_lowercase();
    let facility = asked.text(&["syslog.facility"]);
    let app_name = asked.text(&["syslog.app_name", "syslog.tag", "syslog.ident", "syslog.program"]);
    let ca_file = asked.path(&["syslog.ca_file", "syslog.cafile"]);
    let format = asked.text(&["syslog.format", "syslog.message_format"]).unwrap_or_default().to_lowercase();
    if !enabled || !asked.ini.has("syslog") {
        return;
    }
    let mut sink = Table::default();
    sink.set("type", "syslog");
    sink.set("mode", &mode);
    sink.set("address", &address(&host, port.unwrap_or(if mode == "tls" { 6514 } else { 514 })));
    sink.set_table("tls", &[("ca_file", ca_file.filter(|_| mode == "tls"))]);
    sink.comment(
        "The format, events and fields that dmarc-ingest sent, for existing receivers. Without `format`, `events` and",
    );
    sink.comment("`fields`: RFC 5424, events for unreadable mails too, and every field, including event_id.");
    sink.set("format", "rfc3164");
    if mode != "udp" {
        sink.set_table("framing", &[("method", Some("newline_delimited".to_owned()))]);
    }
    sink.set_if("facility", facility.as_deref().map(|name| name.trim_start_matches("LOG_").to_lowercase()));
    sink.set_if("app_name", app_name);
    sink.set_list("events", &["dmarc_aggregate"]);
    // The script that dmarc-ingest came from had only lines of key=value.
    let text = asked.ini.has("options") || ["text", "kv", "keyvalue", "key=value"].contains(&&*format);
    let codec = if text { "text" } else { "json" };
    sink.set_table("encoding", &[("codec", Some(codec.to_owned())), ("fields", Some("seed".to_owned()))]);
    draft.sinks.push(("siem", sink));
}

fn files(asked: &mut Asked<'_>, draft: &mut Draft) {
    let days = asked.number(&[
        "retention.days",
        "retention.days_to_keep",
        "retention.retention_days",
        "retention.keep_days",
        "output.days_to_keep",
        "options.days_to_keep",
    ]);
    let folder = asked
        .path(&[
            "output.dir",
            "output.directory",
            "output.output_dir",
            "output.json_dir",
            "output.path",
            "options.xml_output_dir",
        ])
        .unwrap_or_else(|| "/var/lib/dmarc-shipper/reports".to_owned());
    let array = asked.flag(&["output.json", "output.save_json", "output.write_json", "options.save_json"], true);
    let lines = asked.flag(&["output.ndjson", "output.save_ndjson", "output.write_ndjson"], false);
    let text = asked.flag(&["output.text", "output.write_text_log", "options.write_text_log"], false);
    let text_path = asked.path(&["output.text_log_path", "options.text_log_path"]);
    if !asked.ini.has("output") && !asked.ini.has("options") {
        return;
    }
    for (name, wanted, pattern, codec) in
        [("archive", array, "%Y%m%d_all.json", "array"), ("archive_ndjson", lines, "%Y%m%d_all.ndjson", "ndjson")]
    {
        if wanted {
            let mut sink = Table::default();
            sink.set("type", "file");
            sink.set("path", &dated(&folder, pattern));
            sink.set_if("retention_days", days.filter(|&days| days > 0).map(|days| days.to_string()));
            sink.set_list("events", &["dmarc_aggregate"]);
            sink.set_table("encoding", &[("codec", Some(codec.to_owned())), ("fields", Some("seed".to_owned()))]);
            draft.sinks.push((name, sink));
        }
    }
    if text {
        let mut sink = Table::default();
        sink.set("type", "file");
        sink.set("path", &text_path.unwrap_or_else(|| dated(&folder, "dmarc_data.log")));
        sink.set_list("events", &["dmarc_aggregate"]);
        sink.set_table("encoding", &[("codec", Some("text".to_owned()))]);
        draft.sinks.push(("text", sink));
    }
}

fn logging(asked: &mut Asked<'_>, draft: &mut Draft) {
    let level = asked.text(&["logging.level", "logging.log_level", "logging.loglevel"]);
    draft.log.set_if("level", level.map(|level| level.to_lowercase().replace("critical", "error")));
    let path = asked.path(&["logging.file_path", "logging.file", "logging.log_file", "logging.path"]);
    // In Python, 0 for either means no rotation; here the defaults apply instead.
    let size = asked.number(&["logging.max_bytes", "logging.maxbytes"]).filter(|&size| size > 0);
    let count = asked.number(&["logging.backup_count", "logging.backupcount"]).filter(|&count| count > 0);
    if asked.flag(&["logging.enable_file", "logging.file_enabled"], path.is_some()) {
        let file = [
            ("path", path.or(Some("/var/log/dmarc-shipper/dmarc-shipper.log".to_owned()))),
            ("max_size", size.map(|size| size.to_string())),
            ("max_files", count.map(|count| count.to_string())),
        ];
        draft.log.set_table("file", &file);
    }
}
