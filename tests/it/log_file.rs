//! The log file (`log.file`), written in addition to stderr.

use std::{fs, os::unix::fs::PermissionsExt};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    process::{Running, ndjson},
    wait::{LONG, eventually},
    workplace::{Workplace, stdout, with},
};

/// Returns a configuration that reads an empty folder, and logs to `own.log`.
fn idle(workplace: &Workplace, file: Value) -> Value {
    let inbox = workplace.path("inbox");
    fs::create_dir_all(&inbox).unwrap();
    let file = with(json!({"path": workplace.path("log/own.log")}), file);
    with(workplace.config(json!({"type": "file", "path": inbox}), stdout()), json!({"log": {"file": file}}))
}

fn reload(running: &Running, times: usize) {
    running.signal(Signal::HUP);
    eventually(LONG, "it has reloaded", || (running.stderr().matches("\"reloaded\"").count() == times).then_some(()));
}

#[test]
fn log_file_equals_stderr_and_is_reopened_after_logrotate() {
    let workplace = Workplace::new();
    let config = idle(&workplace, json!({}));
    fs::copy("examples/mailbox/01-gzip.eml", workplace.path("inbox/1.eml")).unwrap();
    let running = workplace.shipper(&["run", "--config"], &config).start();
    let log = workplace.path("log/own.log");
    eventually(LONG, "it is at work, and listens to signals", || running.stdout().contains('\n').then_some(()));
    reload(&running, 1);
    fs::rename(&log, workplace.path("log/moved")).unwrap();
    reload(&running, 2);
    running.signal(Signal::TERM);
    let finished = running.finish().exited(0);

    let (moved, log_text) = (workplace.read("log/moved"), workplace.read("log/own.log"));
    assert_eq!((moved.matches("\"reloaded\"").count(), log_text.matches("\"reloaded\"").count()), (1, 1));
    let messages = |text: &str| ndjson(text).iter().map(|line| line["message"].clone()).collect::<Vec<_>>();
    assert_eq!(messages(&(moved + &log_text)), messages(&finished.stderr));
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn log_file_is_rotated_by_size_and_uses_the_log_format() {
    let workplace = Workplace::new();
    let config = idle(&workplace, json!({"max_size": "1KiB", "max_files": 2}));
    for _ in 0..30 {
        workplace.shipper(&["run", "--once", "--log-format", "text", "--config"], &config).exits(0);
    }
    let mut names: Vec<_> =
        fs::read_dir(workplace.path("log")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["own.log", "own.log.1", "own.log.2"]);
    for name in names {
        let text = workplace.read(&format!("log/{}", name.display()));
        assert!(text.len() <= 1024 && text.lines().all(|line| line.contains(" INFO ")), "{text}");
    }
}

#[test]
fn an_unwritable_log_file_does_not_stop_the_run() {
    let workplace = Workplace::new();
    let config = idle(&workplace, json!({"path": "/proc/own.log"}));
    let finished = workplace.once(&config).exits(0).says(&["can't write the log file /proc/own.log", "run ended"]);
    assert_eq!(finished.stderr.matches("can't write the log file").count(), 1, "{}", finished.stderr);
    ndjson(&finished.stderr);
}

#[test]
fn check_and_dry_run_create_no_log_file() {
    let workplace = Workplace::new();
    let config = idle(&workplace, json!({}));
    workplace.shipper(&["check", "--offline", "--config"], &config).exits(0);
    workplace.shipper(&["run", "--once", "--dry-run", "--config"], &config).exits(0);
    workplace.shipper(&["ledger", "list", "--config"], &config).exits(0);
    assert!(!workplace.path("log").exists());
}
