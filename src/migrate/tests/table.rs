//! The tables of `docs/migration.md`: what each option becomes, as the dialects make it of a sample.

use std::{collections::BTreeSet, path::Path};

use super::super::{Made, dmarc_ingest, make, parsedmarc};

/// The names of an option, a value that shows what it does, and what it needs beside it: another option, or a section that
/// is not there.
type Sample = (&'static str, &'static str, &'static str);

const OF_DMARC_INGEST: &[Sample] = &[
    ("imap.host imap.server", "mail.example.org", ""),
    ("imap.port", "1993", ""),
    ("imap.ssl imap.use_ssl imap.tls", "false", ""),
    ("imap.starttls", "true", ""),
    ("imap.user imap.username", "reports", ""),
    ("imap.password imap.pass", "…", ""),
    ("imap.ca_file imap.cafile", "/etc/ssl/own.pem", ""),
    ("imap.folder imap.mailbox", "Reports", ""),
    ("imap.archive_folder imap.processed_folder", "Processed", ""),
    ("imap.quarantine_folder imap.error_folder imap.failed_folder", "Unreadable", ""),
    ("processing.max_messages processing.max_messages_per_run imap.max_messages", "500", ""),
    ("imap.timeout", "60", ""),
    ("syslog.enable syslog.enabled options.log_records", "false", ""),
    ("syslog.host", "siem.example.org", ""),
    ("syslog.port", "1514", ""),
    ("syslog.protocol syslog.transport", "udp", ""),
    ("syslog.facility", "LOG_LOCAL3", ""),
    ("syslog.app_name syslog.tag syslog.ident syslog.program", "DMARC", ""),
    ("syslog.ca_file syslog.cafile", "/etc/ssl/own.pem", "syslog.protocol=tls"),
    ("syslog.format syslog.message_format", "text", ""),
    (
        "output.dir output.directory output.output_dir output.json_dir output.path options.xml_output_dir",
        "/srv/dmarc",
        "",
    ),
    ("output.json output.save_json output.write_json options.save_json", "false", ""),
    ("output.ndjson output.save_ndjson output.write_ndjson", "true", ""),
    ("output.text output.write_text_log options.write_text_log", "true", ""),
    ("output.text_log_path options.text_log_path", "/srv/dmarc_data.log", "output.text=true"),
    (
        "retention.days retention.days_to_keep retention.retention_days retention.keep_days output.days_to_keep options.days_to_keep",
        "30",
        "",
    ),
    (
        "processing.processed_db processing.processed_file processing.state_file options.processed_db",
        "/var/lib/dmarc-ingest/processed.json",
        "",
    ),
    ("logging.level logging.log_level logging.loglevel", "WARNING", ""),
    ("logging.file_path logging.file logging.log_file logging.path", "/var/log/dmarc.log", ""),
    ("logging.enable_file logging.file_enabled", "true", ""),
    ("logging.max_bytes logging.maxbytes", "5242880", "logging.enable_file=true"),
    ("logging.backup_count logging.backupcount", "3", "logging.enable_file=true"),
];

const OF_PARSEDMARC: &[Sample] = &[
    ("imap.host", "mail.example.org", ""),
    ("imap.port", "1993", ""),
    ("imap.ssl", "False", ""),
    ("imap.skip_certificate_verification", "True", ""),
    ("imap.user", "reports", ""),
    ("imap.password", "…", ""),
    ("imap.timeout", "60", ""),
    ("mailbox.reports_folder imap.reports_folder", "INBOX/DMARC", ""),
    ("mailbox.archive_folder imap.archive_folder", "Done", ""),
    ("mailbox.delete imap.delete", "True", ""),
    ("mailbox.test imap.test", "True", ""),
    ("mailbox.watch imap.watch", "True", ""),
    ("mailbox.check_timeout imap.check_timeout", "60", ""),
    ("maildir.maildir_path maildir.path", "/var/mail/dmarc", "-imap"),
    ("general.save_aggregate", "True", ""),
    ("general.save_forensic general.save_failure", "True", ""),
    ("general.save_smtp_tls", "True", ""),
    ("general.output", "/srv/parsedmarc", ""),
    ("general.silent", "False", ""),
    ("general.debug general.verbose", "True", ""),
    ("general.warnings", "True", ""),
    ("general.log_file", "/var/log/parsedmarc.log", ""),
    ("syslog.server", "siem.example.org", ""),
    ("syslog.port", "1514", ""),
    ("syslog.protocol", "tcp", ""),
    ("syslog.cafile_path", "/etc/ssl/own.pem", "syslog.protocol=tls"),
    ("syslog.certfile_path", "/etc/ssl/shipper.pem", "syslog.protocol=tls"),
    ("syslog.keyfile_path", "/etc/ssl/shipper.key", "syslog.protocol=tls"),
    ("syslog.timeout", "10.0", "syslog.protocol=tcp"),
];

/// What all samples are set in.
const DMARC_INGEST: &[&str] = &[
    "imap.host=imap.example.com",
    "imap.user=dmarc",
    "imap.password=p",
    "syslog.host=siem.example.com",
    "output.dir=/var/log/dmarc",
];
const PARSEDMARC: &[&str] = &[
    "imap.host=imap.example.com",
    "imap.user=dmarc",
    "imap.password=p",
    "general.offline=True",
    "syslog.server=siem.example.com",
];

#[test]
fn the_tables_of_the_migration_guide_are_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/migration.md");
    let mut page = std::fs::read_to_string(&path).unwrap();
    let found = page.clone();
    for (name, base, samples, none) in [
        (dmarc_ingest::NAME, DMARC_INGEST, OF_DMARC_INGEST, dmarc_ingest::NO_EQUIVALENT),
        (parsedmarc::NAME, PARSEDMARC, OF_PARSEDMARC, parsedmarc::NO_EQUIVALENT),
    ] {
        let begin = format!("<!-- options of {name}, made by `UPDATE_DOCS=1 cargo test` -->\n");
        let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("docs/migration.md has no {begin}"));
        let (_, after) = rest.split_once("<!-- end -->\n").unwrap();
        page = format!("{before}{begin}\n{}\n<!-- end -->\n{after}", table(base, samples, none));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    } else {
        assert!(page == found, "docs/migration.md differs from src/migrate; UPDATE_DOCS=1 cargo test writes it");
    }
}

#[test]
fn every_option_that_is_asked_for_is_in_the_tables() {
    for (text, samples, more) in [
        (include_str!("../dmarc_ingest.rs"), OF_DMARC_INGEST, &[][..]),
        (
            include_str!("../parsedmarc.rs"),
            OF_PARSEDMARC,
            &["general.save_aggregate", "general.save_forensic", "general.save_failure", "general.save_smtp_tls"],
        ),
    ] {
        let (code, told) = text.split_once("pub(super) fn draft").map(|(table, code)| (code, table)).unwrap();
        let sections = [
            "imap",
            "mailbox",
            "maildir",
            "general",
            "syslog",
            "output",
            "retention",
            "processing",
            "options",
            "logging",
        ];
        let is_option = |word: &&str| {
            word.split_once('.').is_some_and(|(section, key)| sections.contains(&section) && !key.contains('{'))
        };
        let asked: BTreeSet<&str> =
            code.split('"').skip(1).step_by(2).filter(is_option).chain(more.iter().copied()).collect();
        let shown: BTreeSet<&str> = samples.iter().flat_map(|(names, ..)| names.split(' ')).collect();
        assert!(asked.len() > 25 && told.contains("NO_EQUIVALENT"));
        assert_eq!(asked, shown);
    }
}

fn table(base: &[&str], samples: &[Sample], none: &[(&str, &str)]) -> String {
    let mut table = "| option | such as | becomes |\n|---|---|---|\n".to_owned();
    for (names, value, beside) in samples {
        let all: Vec<&str> = names.split(' ').collect();
        let becomes = becomes(base, &all, all[0], value, beside);
        for alias in &all[1..] {
            // A section of the script before dmarc-ingest makes more differences than its option.
            assert!(
                alias.starts_with("options.") || self::becomes(base, &all, alias, value, beside) == becomes,
                "{alias}"
            );
        }
        let with = beside.split_once('=').map(|(option, value)| format!(", with `{}` = `{value}`", shown(option)));
        let names: Vec<_> = all.iter().map(|name| format!("`{}`", shown(name))).collect();
        table.push_str(&format!("| {} | `{value}`{} | {becomes} |\n", names.join(", "), with.unwrap_or_default()));
    }
    table.push_str("\n| no equivalent | instead |\n|---|---|\n");
    for (option, instead) in none {
        table.push_str(&format!("| `{}` | {instead} |\n", shown(option)));
    }
    table
}

/// `section.option` as it stands in a file, or a section.
fn shown(name: &str) -> String {
    name.split_once('.').map_or(format!("[{name}]"), |(section, option)| format!("[{section}] {option}"))
}

/// What is otherwise in the configuration with this option, which goes by several names.
fn becomes(base: &[&str], names: &[&str], option: &str, value: &str, beside: &str) -> String {
    let mut without: Vec<String> = base.iter().map(|&line| line.to_owned()).collect();
    match beside.strip_prefix('-') {
        Some(section) => without.retain(|line| !line.starts_with(&format!("{section}."))),
        None if !beside.is_empty() => without.push(beside.to_owned()),
        None => {}
    }
    let with: Vec<String> = without
        .iter()
        .filter(|line| !names.contains(&line.split('=').next().unwrap()))
        .cloned()
        .chain([format!("{option}={value}")])
        .collect();
    // A configuration without a mailbox is none; then it is compared with one that has one.
    let whole: Vec<String> = base.iter().map(|&line| line.to_owned()).collect();
    let before = made(&without).or_else(|_| made(&whole)).unwrap();
    let after = made(&with).unwrap();
    let (old, new) = (lines(&before.yaml), lines(&after.yaml));
    let mut told: Vec<String> = new.iter().filter(|line| !old.contains(line)).map(|line| format!("`{line}`")).collect();
    if told.is_empty() {
        let paths = |lines: &[String]| lines.iter().map(|line| path(line)).collect::<BTreeSet<_>>();
        let gone: BTreeSet<String> = paths(&old).difference(&paths(&new)).map(|path| highest(path, &new)).collect();
        told.extend(gone.iter().map(|path| format!("no `{path}`")));
    }
    if after.password.as_ref().is_some_and(|password| Some(password) != before.password.as_ref()) {
        told.push("the file `imap-password` beside the configuration".to_owned());
    }
    if after.processed != before.processed {
        told.push("nothing; it is what `--processed` is for".to_owned());
    }
    told.extend(after.differences.iter().filter(|what| !before.differences.contains(what)).cloned());
    assert!(!told.is_empty() && after.missing.len() <= before.missing.len(), "{option} = {value} does nothing");
    told.join("; ")
}

fn made(options: &[String]) -> Result<Made, String> {
    let mut sections: Vec<(&str, String)> = Vec::new();
    for option in options {
        let (section, option) = option.split_once('.').unwrap();
        match sections.iter_mut().find(|(name, _)| *name == section) {
            Some((_, text)) => text.push_str(&format!("{option}\n")),
            None => sections.push((section, format!("{option}\n"))),
        }
    }
    let ini: String = sections.iter().map(|(name, text)| format!("[{name}]\n{text}")).collect();
    make(&ini, Path::new("/etc/old/config.ini"), Path::new("/data"), Path::new("/etc/new/imap-password"))
}

/// Each option of a configuration as it is written, with the tables that it stands in before it.
fn lines(yaml: &str) -> Vec<String> {
    let (mut tables, mut found): (Vec<&str>, _) = (Vec::new(), Vec::new());
    for line in yaml.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let depth = (line.len() - line.trim_start().len()) / 2;
        tables.truncate(depth);
        match line.trim().strip_suffix(':') {
            Some(table) => tables.push(table),
            None => found.push(tables.iter().map(|table| format!("{table}.")).collect::<String>() + line.trim()),
        }
    }
    found
}

fn path(line: &str) -> String {
    line.split(": ").next().unwrap().to_owned()
}

/// The highest table above a path, or it itself, of which nothing is left.
fn highest(path: &str, left: &[String]) -> String {
    let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
    let gone = ends.map(|end| &path[..end]).find(|above| !left.iter().any(|line| line.starts_with(above)));
    gone.unwrap_or(path).to_owned()
}
