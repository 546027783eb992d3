//! `check` of local files and folders, with the permissions of the user that runs the program.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::Command,
};

use rustix::process::geteuid;
use serde_json::json;

use super::{Findings, check};
use crate::support::{
    disk::Disk,
    process::ndjson,
    workplace::{Workplace, stdout, with},
};

/// Returns a file source that exists.
fn source(workplace: &Workplace) -> serde_json::Value {
    json!({"type": "file", "path": workplace.write("report.xml", "<feedback/>")})
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    entries.map(|name| name.to_string_lossy().into_owned()).collect()
}

#[test]
fn a_file_sink_probe_leaves_no_file() {
    let workplace = Workplace::new();
    fs::create_dir(workplace.path("out")).unwrap();
    let kept = workplace.write("out/all.json", "{\"org\":\"a\"}\n{\"org\":\"torn");
    let old = workplace.write("out/20200101.json", "{}\n");
    let sinks = json!({
        "whole": {"type": "file", "path": kept},
        "daily": {"type": "file", "path": workplace.path("out/%Y%m%d.json"), "retention_days": 1},
        "new": {"type": "file", "path": workplace.path("new/100%%/%Y.json"), "encoding": {"codec": "array"}},
    });
    let config = with(workplace.config(source(&workplace), stdout()), json!({"sinks": sinks}));
    let found = check(&workplace, &config, &[], 0);
    found.has("whole", "folder", "ok", &["out can be written to"]);
    found.has("whole", "file", "ok", &["all.json exists"]);
    found.has("daily", "file", "ok", &["would be created"]);
    found.has("new", "folder", "ok", &["new/100% would be created"]);
    for sink in ["whole", "daily", "new"] {
        found.has(sink, "probe", "ok", &["event ", "written to disk", "deleted again"]);
    }
    assert_eq!(fs::read_to_string(&kept).unwrap(), "{\"org\":\"a\"}\n{\"org\":\"torn");
    assert!(old.exists(), "a check has deleted what is past its days");
    let mut left = names(&workplace.path("out"));
    left.sort();
    assert_eq!(left, ["20200101.json", "all.json"]);
    let mut left = names(&workplace.path(""));
    left.sort();
    assert_eq!(left, ["config.json", "out", "report.xml"]);
    let found = check(&workplace, &config, &["--no-probe"], 0);
    assert_eq!(found.with("skipped"), ["probe", "probe", "probe"]);
    found.has("new", "probe", "skipped", &["--no-probe"]);
}

#[test]
fn an_unwritable_folder_fails_with_and_without_a_probe() {
    let Some(disk) = Disk::mount(100) else { return };
    disk.make_read_only();
    let workplace = Workplace::new();
    let sink = json!({"type": "file", "path": disk.path("reports/all.json")});
    let config = with(workplace.config(source(&workplace), sink), json!({"data_dir": disk.path("data")}));
    for arguments in [&[][..], &["--no-probe"]] {
        let found = check(&workplace, &config, arguments, 73);
        found.has("", "folder", "failed", &["Read-only file system", "configure another path"]);
        found.has("out", "folder", "failed", &["can't write to", "Read-only file system"]);
        assert_eq!(found.with("skipped"), ["files", "instance", "file", "probe"]);
        found.has("rua", "file", "ok", &["report.xml can be read"]);
    }
    let file = workplace.write("file", "");
    let config =
        with(config, json!({"data_dir": file, "sinks": {"out": {"type": "file", "path": file.join("x.json")}}}));
    let found = check(&workplace, &config, &[], 73);
    found.has("out", "folder", "failed", &["ot a directory"]);
    found.has("", "folder", "failed", &["ot a directory"]);
}

/// The disk has room for a directory entry, but not for an event.
#[test]
fn a_full_disk_fails_the_probe() {
    let Some(disk) = Disk::mount(16) else { return };
    let workplace = Workplace::new();
    fs::write(disk.path("ballast"), vec![0; 1 << 20]).unwrap_err();
    let config = workplace.config(source(&workplace), json!({"type": "file", "path": disk.path("all.json")}));
    check(&workplace, &config, &["--no-probe"], 0).has("out", "folder", "ok", &["can be written to"]);
    let found = check(&workplace, &config, &[], 74);
    found.has("out", "probe", "failed", &["No space left", "disk is full"]);
    assert_eq!(names(disk.path("").as_path()), ["ballast"]);
}

#[test]
fn a_missing_source_path_fails() {
    let workplace = Workplace::new();
    fs::create_dir(workplace.path("mails")).unwrap();
    let sources = json!({
        "gone": {"type": "file", "path": workplace.path("gone.xml")},
        "mails": {"type": "file", "path": workplace.path("mails")},
    });
    let config = with(workplace.config(json!({}), stdout()), json!({"sources": sources}));
    let found = check(&workplace, &config, &["--no-probe"], 66);
    found.has("gone", "file", "failed", &["gone.xml", "No such file", "mounted"]);
    found.has("mails", "file", "ok", &["is a folder"]);
    found.has("", "folder", "ok", &["data would be created"]);
    assert!(!workplace.path("data").exists());
}

/// Created by root earlier, and unusable for the user of the service.
#[test]
fn unwritable_files_in_data_dir_fail() {
    let workplace = Workplace::new();
    let data = workplace.path("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("ledger.redb"), "").unwrap();
    fs::set_permissions(data.join("ledger.redb"), fs::Permissions::from_mode(0o000)).unwrap();
    let config = workplace.write("config.json", workplace.config(source(&workplace), stdout()).to_string());
    let program = Path::new(env!("CARGO_BIN_EXE_dmarc-shipper"));
    let mut command = Command::new(program);
    if geteuid().is_root() {
        // Root has access to everything, so the program runs as another user.
        let copy = workplace.path("dmarc-shipper");
        fs::copy(program, &copy).unwrap();
        fs::set_permissions(workplace.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        chown(&data, Some(65534), Some(65534)).unwrap();
        command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(copy);
    }
    let output = command.args(["check", "--no-probe", "--format", "json", "--config"]).arg(config).output().unwrap();
    let found = Findings(ndjson(&String::from_utf8(output.stdout).unwrap()));
    assert_eq!(output.status.code(), Some(73));
    found.has("", "files", "failed", &["ledger.redb", "another user"]);
    found.has("", "instance", "ok", &["none is running"]);
}
