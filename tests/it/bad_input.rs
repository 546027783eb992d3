//! Errors of users, servers and mails: the exit code, the remedy in the message, and what happens to the mails.

use std::io::Write;

use serde_json::{Value, json};

use crate::support::{
    ca::Ca,
    dovecot::{Dovecot, PASSWORD, USER},
    process::Shipper,
    reports::{Batch, Container, damaged, mail},
    server::free_port,
    workplace::{Workplace, imaps, stdout, with},
};

/// Runs once with a changed source; expects this exit code and these words on stderr.
#[track_caller]
fn refused(changes: Value, code: i32, words: &[&str]) {
    let ca = Ca::new();
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    let source = with(imaps(&dovecot, &ca), changes);
    let finished = workplace.once(&impatient(&workplace, source)).exits(code).says(words);
    assert!(finished.stdout.is_empty() && !finished.stderr.contains(PASSWORD), "{finished:?}");
}

/// Returns a configuration that writes to stdout and gives up soon on a server that is unreachable.
fn impatient(workplace: &Workplace, source: Value) -> Value {
    with(workplace.config(source, stdout()), json!({"give_up_after": "2s"}))
}

#[test]
fn a_wrong_password_exits_with_77() {
    refused(json!({"password": "wrong"}), 77, &[USER, "localhost"]);
}

/// Regression: an editor's byte order mark was sent as part of the password.
#[test]
fn a_password_file_may_begin_with_a_byte_order_mark() {
    let ca = Ca::new();
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    let file = workplace.write("password", format!("\u{feff}{PASSWORD}\r\n"));
    let source = with(imaps(&dovecot, &ca), json!({"password": null, "password_file": file}));
    workplace.once(&workplace.config(source, stdout())).exits(0);
}

#[test]
fn an_unknown_host_exits_with_69() {
    refused(json!({"host": "no-such-host.invalid"}), 69, &["no-such-host.invalid", "resolve"]);
}

#[test]
fn a_refused_connection_exits_with_69() {
    let port = free_port();
    refused(json!({"port": port}), 69, &[&port.to_string(), "refused"]);
}

#[test]
fn an_untrusted_certificate_is_refused_with_the_setting_that_helps() {
    let (other, tls) = (Ca::new(), "tls.ca_file");
    refused(json!({"tls": {"ca_file": other.file()}}), 69, &["not signed by a trusted authority", tls]);
}

#[test]
fn a_certificate_for_another_name_is_refused_with_the_setting_that_helps() {
    let ca = Ca::new();
    let (dovecot, workplace) = (Dovecot::start(&ca.server_named("mail.example")), Workplace::new());
    let config = |tls| impatient(&workplace, with(imaps(&dovecot, &ca), json!({"tls": tls})));
    workplace.once(&config(json!({"ca_file": ca.file()}))).exits(69).says(&["localhost", "tls.server_name"]);
    workplace.once(&config(json!({"ca_file": ca.file(), "server_name": "mail.example"}))).exits(0);
}

#[test]
fn tls_to_a_plain_text_port_suggests_starttls() {
    let ca = Ca::new();
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    let source = with(imaps(&dovecot, &ca), json!({"port": dovecot.imap_port}));
    workplace.once(&impatient(&workplace, source)).exits(69).says(&["does not speak TLS", "STARTTLS"]);
}

#[test]
fn a_missing_folder_is_a_configuration_error() {
    refused(json!({"folder": "Reports/2026"}), 78, &["Reports/2026"]);
}

#[test]
fn a_missing_secret_file_is_a_configuration_error() {
    refused(json!({"password": null, "password_file": "/nowhere/secret"}), 78, &["/nowhere/secret"]);
}

#[test]
fn an_output_file_that_cannot_be_created_stops_the_run_and_leaves_the_mails() {
    let ca = Ca::new();
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    Batch::generate(31, 1, 1..=1, 0).mails.iter().for_each(|mail| dovecot.mailbox().deliver("INBOX", mail));
    // Root may write to any folder, but can't create a file below a file.
    let path = workplace.write("a-file", "").join("out.ndjson");
    let sink = json!({"type": "file", "path": path});
    workplace.once(&workplace.config(imaps(&dovecot, &ca), sink)).exits(73).says(&["a-file"]);
    assert_eq!(dovecot.mailbox().count("INBOX"), 1);
}

#[test]
fn every_configuration_problem_is_reported_at_once_with_its_position() {
    let workplace = Workplace::new();
    let file = workplace.write(
        "config.yaml",
        "sources:\n  rua:\n    type: imap\n    host: imap.example.com\n    user: a\n    passwort: b\nsinks:\n  out:\n    \
         type: stdout\n    required: perhaps\n",
    );
    let arguments = ["run", "--once", "--config", file.to_str().unwrap()];
    Shipper::new(arguments).exits(78).says(&["config.yaml:6", "passwort", "config.yaml:10", "required", "perhaps"]);
    Shipper::new(["check", "--offline", "--config", file.to_str().unwrap()]).exits(78).says(&["config.yaml:6"]);
}

#[test]
fn a_missing_or_unreadable_configuration_file_is_named() {
    Shipper::new(["run", "--once", "--config", "/nowhere/config.yaml"]).exits(78).says(&["/nowhere/config.yaml"]);
    let workplace = Workplace::new();
    let file = workplace.write("config.toml", "sources = [");
    Shipper::new(["run", "--once", "--config", file.to_str().unwrap()]).exits(78).says(&["config.toml:1"]);
}

#[test]
fn an_unknown_command_exits_with_64() {
    for arguments in [&["run", "--no-such-flag"][..], &["no-such-command"], &["parse"]] {
        let finished = Shipper::new(arguments).exits(64);
        assert!(finished.stdout.is_empty() && finished.stderr.contains("Usage"), "{finished:?}");
    }
}

#[test]
fn an_empty_mailbox_exits_with_0() {
    let ca = Ca::new();
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    let finished = workplace.once(&workplace.config(imaps(&dovecot, &ca), stdout())).exits(0);
    assert_eq!(finished.stdout, "");
}

#[test]
fn mails_without_a_report_are_left_in_place_and_logged_once() {
    let ca = Ca::new();
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    for number in 0..3 {
        let letter = format!("From: a@example.com\r\nSubject: Lunch {number}\r\n\r\nAre you there?\r\n");
        dovecot.mailbox().deliver("INBOX", letter.as_bytes());
    }
    let config = workplace.config(imaps(&dovecot, &ca), stdout());
    let finished = workplace.once(&config).exits(0);
    assert_eq!(finished.stderr.matches("without a report").count(), 1, "{}", finished.stderr);
    assert_eq!((dovecot.mailbox().count("INBOX"), finished.stdout.as_str()), (3, ""));
    workplace.once(&config).exits(0);
    assert_eq!(dovecot.mailbox().count("INBOX"), 3);
}

#[test]
fn without_report_sets_what_happens_to_mails_without_a_report() {
    for (wish, processed, unreadable) in [("archive", 1, 0), ("quarantine", 0, 1), ("delete", 0, 0)] {
        let ca = Ca::new();
        let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
        dovecot.mailbox().deliver("INBOX", b"From: a@example.com\r\nSubject: Lunch\r\n\r\nAre you there?\r\n");
        let source = with(imaps(&dovecot, &ca), json!({"without_report": wish}));
        workplace.once(&workplace.config(source, stdout())).exits(0).says(&["without a report"]);
        let count = |folder| dovecot.mailbox().count(folder);
        assert_eq!((count("INBOX"), count("Processed"), count("Unreadable")), (0, processed, unreadable), "{wish}");
    }
}

#[test]
fn an_unreadable_mail_is_quarantined_and_blocks_no_other() {
    let ca = Ca::new();
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    let batch = Batch::generate(32, 2, 2..=4, 0);
    let no_report =
        mail("x.example", "Report", 901, "x", Container::Plain, b"<?xml version=\"1.0\"?><html><p/></html>");
    let broken = [
        (damaged(Container::Gzip, 900), "corrupt_gzip"),
        (damaged(Container::Zip, 902), "corrupt_zip"),
        (no_report, "not_a_report"),
    ];
    dovecot.mailbox().deliver("INBOX", &batch.mails[0]);
    broken.iter().for_each(|(mail, _)| dovecot.mailbox().deliver("INBOX", mail));
    dovecot.mailbox().deliver("INBOX", &batch.mails[1]);

    // Mails of strangers must not make the run fail.
    let events = workplace.once(&workplace.config(imaps(&dovecot, &ca), stdout())).exits(0).events();
    let mut reasons: Vec<&str> = events.iter().filter_map(|event| event["reason"].as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["corrupt_gzip", "corrupt_zip", "not_a_report"]);
    let rows = events.iter().filter(|event| event["event_type"] == "dmarc_aggregate").count();
    assert_eq!(rows, batch.row_count());
    let count = |folder| dovecot.mailbox().count(folder);
    assert_eq!((count("INBOX"), count("Processed"), count("Unreadable")), (0, 2, 3));
}

#[test]
fn parse_exits_with_65_for_a_broken_file_only() {
    let workplace = Workplace::new();
    let batch = Batch::generate(33, 1, 3..=3, 0);
    let sound = workplace.write("sound.xml", batch.reports[0].xml());
    let whole = batch.reports[0].xml();
    let cut = workplace.write("cut.xml", &whole[..whole.len() - 200]);

    let parsed = Shipper::new(["parse", sound.to_str().unwrap()]).exits(0).events();
    assert_eq!(parsed.iter().filter(|event| event["event_type"] == "dmarc_aggregate").count(), 3);
    let broken = Shipper::new(["parse", cut.to_str().unwrap()]).exits(65).events();
    assert!(broken.iter().any(|event| event["reason"] == "xml_truncated"), "{broken:?}");
    let piped = Shipper::new(["parse", "-"]).stdin(batch.mails[0].clone()).exits(0).events();
    let ids = |events: &[Value]| -> Vec<Value> { events.iter().map(|event| event["event_id"].clone()).collect() };
    assert_eq!(ids(&piped)[..3], ids(&parsed)[..3], "a row has the same id by every way");
}

/// Regression: `parse` named a limit to raise, and had no option for it.
#[test]
fn parse_takes_limits_of_a_file_and_of_its_own() {
    let (workplace, batch) = (Workplace::new(), Batch::generate(34, 3, 1..=1, 0));
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (number, report) in batch.reports.iter().enumerate() {
        archive.start_file(format!("{number}.xml"), zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(report.xml().as_bytes()).unwrap();
    }
    let archive = workplace.write("three.zip", archive.finish().unwrap().into_inner());
    let config = workplace.write("limits.yaml", "limits: {archive_entries: 2}\n");
    let (archive, config) = (archive.to_str().unwrap(), config.to_str().unwrap());
    let reports = |events: Vec<Value>| events.iter().filter(|event| event["outcome"] == "shipped").count();
    let raise = "raise limits.archive_entries";
    assert_eq!(reports(Shipper::new(["parse", archive]).exits(0).events()), 3);
    let within = Shipper::new(["parse", "--config", config, archive]).exits(65).says(&[raise]);
    assert_eq!(reports(within.events()), 2);
    let within = Shipper::new(["parse", "--limit", "archive_entries=1", archive]).exits(65).says(&[raise]);
    assert_eq!(reports(within.events()), 1);
    let raised = ["parse", "--config", config, "--limit", "limits.archive_entries=3", archive];
    assert_eq!(reports(Shipper::new(raised).exits(0).events()), 3);
    let wrong = Shipper::new(["parse", "--limit", "archive_entry=3", archive]).exits(78);
    assert!(wrong.says(&["did you mean archive_entries?"]).stdout.is_empty());
}

/// Regression: the rows were printed as often as the report came.
#[test]
fn parse_prints_a_report_once_that_comes_twice() {
    let (workplace, batch) = (Workplace::new(), Batch::generate(35, 1, 2..=2, 0));
    let mails = [&batch.mails[0][..], &batch.mails[0]]
        .map(|mail| [b"From a@example.com Thu Jan  1 00:00:00 2026\n", mail, b"\n"].concat());
    let mbox = workplace.write("twice.mbox", mails.concat());
    let report = workplace.write("report.xml", batch.reports[0].xml());
    let finished = Shipper::new(["parse", mbox.to_str().unwrap(), report.to_str().unwrap()]).exits(0);
    let events = finished.says(&["had come before"]).events();
    let outcomes: Vec<&str> = events.iter().filter_map(|event| event["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["shipped", "duplicate", "shipped"], "the report's own file is another input");
    assert_eq!(events.iter().filter(|event| event["event_type"] == "dmarc_aggregate").count(), 4);
}
