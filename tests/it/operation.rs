//! Operation: concurrent instances, repeated runs, closed standard streams, and the content of the log.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    ca::Ca,
    delivery::{assert_all_archived, mailbox, rows},
    dovecot::{Dovecot, PASSWORD, USER},
    process::{Shipper, ndjson},
    reports::{Batch, Container, damaged, essences},
    server::free_port,
    wait::{LONG, eventually},
    workplace::{Workplace, imaps, starttls, stdout, syslog_tcp, with},
};

#[test]
fn a_second_instance_on_the_same_data_dir_is_refused() {
    let ca = Ca::new();
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    let config = workplace.config(imaps(&dovecot, &ca), stdout());
    let first = workplace.shipper(&["run", "--config"], &config).start();
    eventually(LONG, "the first has logged in", || dovecot.log().contains("Login: user=").then_some(()));
    let data_dir = workplace.path("data").display().to_string();
    workplace.once(&config).exits(75).says(&["is in use by process", &data_dir]);
    workplace.shipper(&["run", "--once", "--dry-run", "--config"], &config).exits(0);
    first.signal(Signal::KILL);
    first.finish();
    workplace.once(&config).exits(0);
}

#[test]
fn a_closed_stdout_pipe_archives_nothing() {
    let (ca, batch) = (Ca::new(), Batch::generate(61, 5, 1..=5, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let config = workplace.config(imaps(&dovecot, &ca), stdout());
    workplace.once(&config).with_stdout_closed().exits(74);
    assert_eq!((dovecot.mailbox().count("INBOX"), dovecot.mailbox().count("Processed")), (batch.mails.len(), 0));
    assert_eq!(essences(rows(&workplace.once(&config).exits(0).events())), batch.essences());
    assert_all_archived(&dovecot, &batch);
    let sample = "examples/mailbox/01-gzip.eml";
    Shipper::new(["parse", sample]).with_stdout_closed().exits(74);
}

/// Regression: Rust's runtime opens /dev/null in place of a closed stdout, so 60 mails were archived and 6,000 rows were
/// lost.
#[test]
fn a_closed_or_unwritable_stdout_exits_with_74_and_archives_nothing() {
    let (ca, batch) = (Ca::new(), Batch::generate(63, 5, 1..=5, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let config = workplace.config(imaps(&dovecot, &ca), stdout());
    let file = workplace.write("config.json", config.to_string()).display().to_string();
    let cases: [&[&str]; 9] = [
        &["run", "--once", "--config", &file],
        &["parse", "examples/mailbox/01-gzip.eml"],
        &["schema", "event"],
        &["ledger", "list", "--config", &file],
        &["check", "--no-probe", "--config", &file],
        &["check", "--config", &file],
        &["migrate", "tests/data/migrate/parsedmarc.ini"],
        &["--help"],
        &["--version"],
    ];
    for redirection in [">&-", ">&- <&-", "1</dev/null"] {
        for arguments in &cases {
            Shipper::redirected(redirection, *arguments).exits(74).says(&["to stdout", "it "]);
        }
        Shipper::redirected(&format!("{redirection} 2>&-"), cases[0]).exits(74);
    }
    assert_eq!((dovecot.mailbox().count("INBOX"), dovecot.mailbox().count("Processed")), (batch.mails.len(), 0));
}

#[test]
fn a_closed_or_unreadable_stdin_exits_with_66() {
    for redirection in ["<&-", "0>/dev/null"] {
        for arguments in [&["parse", "-"][..], &["run", "--once", "--from", "-", "--to", "stdout:"]] {
            Shipper::redirected(redirection, arguments).exits(66).says(&["can", "read", "it "]);
        }
        // A command that does not read stdin does not need it.
        Shipper::redirected(redirection, ["parse", "examples/mailbox/01-gzip.eml"]).exits(0);
    }
    Shipper::redirected("</dev/null", ["parse", "-"]).exits(65).says(&["the file or attachment is empty"]);
}

#[test]
fn closed_standard_descriptors_are_not_reused() {
    let (ca, batch) = (Ca::new(), Batch::generate(64, 5, 1..=5, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let sink = json!({"type": "file", "path": workplace.path("out.ndjson")});
    let config = workplace.config(imaps(&dovecot, &ca), sink);
    let file = workplace.write("config.json", config.to_string()).display().to_string();
    let running = Shipper::redirected("<&- >&- 2>&-", ["run", "--config", &file]).start();
    eventually(LONG, "the mails are archived", || {
        (dovecot.mailbox().count("Processed") == batch.mails.len()).then_some(())
    });
    for number in 0..=2 {
        let opened = std::fs::read_link(format!("/proc/{}/fd/{number}", running.id())).unwrap();
        assert_eq!(opened.to_str(), Some("/dev/null"), "{number}");
    }
    running.signal(Signal::TERM);
    running.finish().exited(0);
    assert_eq!(essences(rows(&ndjson(&workplace.read("out.ndjson")))), batch.essences());
}

#[test]
fn dev_null_as_stdout_gives_a_warning() {
    let (ca, batch) = (Ca::new(), Batch::generate(65, 2, 1..=5, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let config = workplace.config(imaps(&dovecot, &ca), stdout());
    let file = workplace.write("config.json", config.to_string()).display().to_string();
    let gone = "stdout is /dev/null: events are discarded";
    Shipper::redirected(">/dev/null", ["check", "--config", &file]).exits(0).says(&["stdout, which is /dev/null"]);
    // Like Python's subprocess.DEVNULL, and indistinguishable from the /dev/null that Rust's runtime opens in place of a
    // closed stdout.
    Shipper::redirected("1<>/dev/null", ["run", "--once", "--config", &file]).exits(0).says(&[gone]);
    let parsed = Shipper::redirected(">/dev/null", ["parse", "examples/mailbox/01-gzip.eml"]).exits(0);
    assert!(!parsed.stderr.contains("/dev/null"), "{}", parsed.stderr);
}

#[test]
fn mails_left_in_the_mailbox_are_not_fetched_again() {
    let (ca, batch) = (Ca::new(), Batch::generate(62, 2, 1..=5, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    dovecot.mailbox().deliver("INBOX", b"From: a@example.com\r\nSubject: Lunch?\r\n\r\nAre you there?\r\n");
    dovecot.mailbox().deliver("INBOX", &damaged(Container::Gzip, 900));
    let left = json!({"archive_folder": null, "quarantine_folder": null});
    let config = workplace.config(with(imaps(&dovecot, &ca), left), stdout());
    let fetches = || dovecot.commands().iter().filter(|command| command.contains("BODY")).count();

    workplace.once(&config).exits(0);
    let after_first = fetches();
    assert!(after_first > 0, "{:?}", dovecot.commands());
    let again = workplace.once(&config).exits(0);
    assert_eq!((fetches(), again.stdout.as_str()), (after_first, ""), "{:?}", dovecot.commands());
    assert_eq!(dovecot.mailbox().count("INBOX"), 4);

    let letter = b"From: a@example.com\r\nSubject: Dinner?\r\n\r\nOr then?\r\n";
    dovecot.mailbox().deliver("INBOX", letter);
    workplace.once(&config).exits(0);
    assert_eq!(fetches(), after_first + 1, "only the new mail is fetched");
}

#[test]
fn max_messages_per_run_limits_a_run() {
    let (ca, batch) = (Ca::new(), Batch::generate(63, 5, 1..=3, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let config = workplace.config(with(imaps(&dovecot, &ca), json!({"max_messages_per_run": 2})), stdout());
    for left in [3, 1, 0] {
        workplace.once(&config).exits(0);
        assert_eq!((dovecot.mailbox().count("INBOX"), dovecot.mailbox().count("Processed")), (left, 5 - left));
    }
}

#[test]
fn no_secret_is_in_the_log_at_any_level() {
    let (ca, batch) = (Ca::new(), Batch::generate(64, 2, 1..=3, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let from_file = json!({"password": null, "password_file": workplace.write("password", format!("{PASSWORD}\n"))});
    let plain = json!({"port": dovecot.imap_port, "security": "none", "tls": null});
    let never = [PASSWORD.to_owned(), STANDARD.encode(PASSWORD), STANDARD.encode(format!("\0{USER}\0{PASSWORD}"))];
    for auth in ["plain", "login"] {
        for source in [
            imaps(&dovecot, &ca),
            starttls(&dovecot, &ca),
            with(imaps(&dovecot, &ca), from_file.clone()),
            with(imaps(&dovecot, &ca), plain.clone()),
            // The login is refused; the server's answer and the failed command are logged.
            with(imaps(&dovecot, &ca), json!({"user": "someone@example.com"})),
        ] {
            let config = workplace.config(with(source, json!({"auth": auth})), stdout());
            let arguments = ["run", "--once", "--log-level", "trace", "--config"];
            let finished = workplace.shipper(&arguments, &config).run();
            assert!(matches!(finished.status.code(), Some(0 | 77)), "{finished:?}");
            for secret in &never {
                assert!(!finished.stderr.contains(secret), "{secret} in {}", finished.stderr);
            }
            let refused = finished.status.code() == Some(77);
            assert!(refused || finished.stderr.contains("\"debug\""), "{}", finished.stderr);
        }
    }
    assert!(dovecot.log().contains("auth failed"), "the wrong user was tried");
}

#[test]
fn every_line_of_the_log_is_json_with_the_logger_s_name() {
    let (ca, batch) = (Ca::new(), Batch::generate(65, 3, 1..=3, 2));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    dovecot.mailbox().deliver("INBOX", b"From: a@example.com\r\nSubject: Lunch?\r\n\r\nAre you there?\r\n");
    dovecot.mailbox().deliver("INBOX", &damaged(Container::Zip, 900));
    let sinks = json!({"siem": with(syslog_tcp(free_port()), json!({"required": false})), "out": stdout()});
    let config = workplace.config(imaps(&dovecot, &ca), stdout());
    let config = with(config, json!({"sinks": sinks, "shutdown_timeout": "0s"}));
    for arguments in [
        &["run", "--once", "--log-format", "json", "--log-level", "trace", "--config"][..],
        &["run", "--once", "--config"], // stderr is no terminal
    ] {
        let lines = ndjson(&workplace.shipper(arguments, &config).exits(0).stderr);
        assert!(lines.len() > 1);
        for line in lines {
            assert_eq!(line["logger"], "DMARC_SCRIPT", "{line}");
            for key in ["timestamp", "level", "message"] {
                assert!(line[key].is_string(), "{key} in {line}");
            }
        }
    }
    let mistaken = workplace.write("wrong.yaml", "sources: 1\n");
    let finished = Shipper::new(["check", "--offline", "--config", mistaken.to_str().unwrap()]).exits(78);
    assert!(ndjson(&finished.stderr).iter().all(|line| line["level"] == "error"));
}

#[test]
fn schemas_are_printed_as_json() {
    for (of, words) in [("config", ["sources", "sinks"]), ("event", ["dmarc_aggregate", "event_id"])] {
        let finished = Shipper::new(["schema", of]).exits(0);
        let schema: Value = serde_json::from_str(&finished.stdout).unwrap();
        assert!(schema["$schema"].is_string() && finished.stderr.is_empty(), "{finished:?}");
        assert!(words.iter().all(|word| finished.stdout.contains(&format!("\"{word}\""))), "{}", finished.stdout);
    }
}

#[test]
fn log_format_text_writes_plain_text() {
    let (ca, batch) = (Ca::new(), Batch::generate(66, 2, 1..=3, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    let plain = json!({"port": dovecot.imap_port, "security": "none", "tls": null});
    let config = workplace.config(with(imaps(&dovecot, &ca), plain), stdout());
    let finished = workplace.once(&config).exits(0).says(&["unencrypted"]);
    assert_eq!(essences(rows(&finished.events())), batch.essences());
    assert_all_archived(&dovecot, &batch);
}
