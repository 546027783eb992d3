//! The files in `examples/systemd`, checked with the tools of systemd and logrotate.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rustix::process::Signal;

use crate::support::{
    process::Shipper,
    server::installed,
    wait::{LONG, eventually},
    workplace::Workplace,
};

const UNITS: [&str; 3] = ["dmarc-shipper.service", "dmarc-shipper-once.service", "dmarc-shipper-once.timer"];

/// Maximum exposure level that systemd computes for a unit, in tenths: for the network, UNIX sockets, and group-readable
/// files.
const MOST_EXPOSED: &str = "11";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systemd").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap()
}

/// Runs a tool; returns its exit code and output.
fn tool<S: AsRef<std::ffi::OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>) -> (i32, String) {
    let Output { status, stdout, stderr } = Command::new(installed(name)).args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// Returns the units, with the path of the program that was built.
fn units(workplace: &Workplace) -> Vec<PathBuf> {
    let unit = |name: &&str| {
        let text = read(name).replace("/usr/local/bin/dmarc-shipper", env!("CARGO_BIN_EXE_dmarc-shipper"));
        workplace.write(name, text)
    };
    UNITS.iter().map(unit).collect()
}

fn verify(units: &[PathBuf]) -> (i32, String) {
    let arguments = ["verify", "--man=no"].map(PathBuf::from);
    tool("systemd-analyze", arguments.iter().chain(units))
}

#[test]
fn systemd_analyze_verify_accepts_the_units() {
    let workplace = Workplace::new();
    let mut units = units(&workplace);
    let (code, said) = verify(&units);
    // Messages about other units of this machine are ignored.
    assert!(code == 0 && !said.contains("dmarc-shipper"), "{said}");
    let typo = fs::read_to_string(&units[0]).unwrap().replace("ProtectHome", "ProtectedHome");
    units[0] = workplace.write("typo.service", typo);
    let (_, said) = verify(&units);
    assert!(said.contains("ProtectedHome"), "a typo is told: {said}");
}

#[test]
fn systemd_analyze_security_exposure_stays_low() {
    let security = |unit: &Path, most: &str| {
        let arguments = ["security", "--no-pager", "--offline=true", "--threshold", most];
        tool("systemd-analyze", arguments.iter().map(Path::new).chain([unit]))
    };
    let workplace = Workplace::new();
    for unit in units(&workplace).iter().filter(|unit| unit.extension().is_some_and(|ending| ending == "service")) {
        let (code, said) = security(unit, MOST_EXPOSED);
        assert_eq!(code, 0, "{said}");
        let open =
            workplace.write("open.service", fs::read_to_string(unit).unwrap().replace("NoNewPrivileges=yes", ""));
        assert_ne!(security(&open, MOST_EXPOSED).0, 0, "the threshold is no higher than it has to be");
    }
}

/// Returns the keys of a unit's `[Service]` section with all their values.
fn service(name: &str) -> BTreeMap<String, Vec<String>> {
    let mut keys = BTreeMap::<_, Vec<_>>::new();
    let text = read(name);
    let lines = text.split("[Service]\n").nth(1).unwrap().lines().take_while(|line| !line.starts_with('['));
    for (key, value) in lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')) {
        keys.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    keys
}

#[test]
fn both_services_have_the_same_rights() {
    let [mut watching, mut once] = [UNITS[0], UNITS[1]].map(service);
    let of_one_alone = ["Type", "ExecStart", "ExecReload", "Restart", "RestartSec", "RestartPreventExitStatus"];
    let more = ["WatchdogSec", "SuccessExitStatus", "TimeoutStartSec"];
    for key in of_one_alone.iter().chain(&more) {
        watching.remove(*key);
        once.remove(*key);
    }
    assert!(watching.len() > 30);
    assert_eq!(watching, once);
}

#[test]
fn timer_schedules_are_valid() {
    let timer = read(UNITS[2]);
    let calendar = timer.lines().find_map(|line| line.strip_prefix("OnCalendar=")).unwrap();
    let (code, said) = tool("systemd-analyze", ["calendar", calendar]);
    assert!(code == 0 && said.contains("*:00/15:00"), "{said}");
}

#[test]
fn sysusers_and_tmpfiles_create_the_user_and_its_folders() {
    let workplace = Workplace::new();
    fs::create_dir_all(workplace.path("root/etc/dmarc-shipper")).unwrap();
    let root = format!("--root={}", workplace.path("root").display());
    let (code, said) = tool("systemd-sysusers", [&*root, path("sysusers.conf").to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    let users = workplace.read("root/etc/passwd");
    let user: Vec<&str> = users.lines().find(|line| line.starts_with("dmarc-shipper:")).unwrap().split(':').collect();
    assert_eq!((user[5], user[6]), ("/var/lib/dmarc-shipper", "/usr/sbin/nologin"));
    let (uid, gid) = (user[2].parse().unwrap(), user[3].parse().unwrap());

    // With wrong permissions, as when created carelessly.
    for file in ["config.yaml", "imap-password"] {
        workplace.write(&format!("root/etc/dmarc-shipper/{file}"), "x");
    }
    let (code, said) = tool("systemd-tmpfiles", [&*root, "--create", path("tmpfiles.conf").to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    for (name, mode, owner, group) in [
        ("etc/dmarc-shipper", 0o750, 0, gid),
        ("etc/dmarc-shipper/config.yaml", 0o640, 0, gid),
        ("etc/dmarc-shipper/imap-password", 0o600, 0, 0),
        ("var/lib/dmarc-shipper", 0o750, uid, gid),
        ("var/log/dmarc-shipper", 0o750, uid, gid),
    ] {
        let is = fs::metadata(workplace.path(&format!("root/{name}"))).unwrap();
        assert_eq!((is.mode() & 0o777, is.uid(), is.gid()), (mode, owner, group), "{name}");
    }
}

/// Returns the configuration with its log file enabled, which is commented out in the example.
fn with_log_file() -> String {
    let config = read("config.yaml");
    let (before, log) = config.split_once("#log:\n").unwrap();
    format!("{before}log:\n{}", log.replace("\n#", "\n").trim_start_matches('#'))
}

#[test]
fn the_configuration_is_valid_and_stays_within_what_the_units_may_write() {
    let workplace = Workplace::new();
    for text in [read("config.yaml"), with_log_file()] {
        let file = workplace.write("config.yaml", &text).display().to_string();
        let check = || Shipper::new(["check", "--offline", "--config", &file]);
        check().exits(0);
        check().env("CREDENTIALS_DIRECTORY", "/run/credentials/dmarc-shipper.service").exits(0);
        let places =
            ["/var/lib/dmarc-shipper", "/var/log/dmarc-shipper/", "${CREDENTIALS_DIRECTORY:-/etc/dmarc-shipper}/"];
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let path = line.split_once(": ").map(|(_, value)| value).filter(|value| value.contains('/'));
            assert!(path.is_none_or(|path| places.iter().any(|place| path.starts_with(place))), "{line}");
        }
    }
    let unit = service(UNITS[0]);
    assert_eq!(unit["LoadCredential"], ["imap-password:/etc/dmarc-shipper/imap-password"]);
    assert_eq!((&*unit["StateDirectory"][0], &*unit["LogsDirectory"][0]), ("dmarc-shipper", "dmarc-shipper"));
}

#[test]
fn logrotate_rotates_the_log_and_the_program_reopens_it() {
    let workplace = Workplace::new();
    for folder in ["log", "inbox", "data"] {
        fs::create_dir(workplace.path(folder)).unwrap();
    }
    let rules = read("logrotate.conf");
    let rules = rules.replace("/var/log/dmarc-shipper", workplace.path("log").to_str().unwrap());
    let rules = workplace.write("rules", rules.replace("su dmarc-shipper dmarc-shipper", "su root root"));
    let log = with_log_file().replace("/var/log/dmarc-shipper", workplace.path("log").to_str().unwrap());
    let (_, log) = log.split_once("log:\n").unwrap();
    let (inbox, data) = (workplace.path("inbox"), workplace.path("data"));
    let config = format!(
        "data_dir: {}\nsources: {{rua: {{type: file, path: {}}}}}\nsinks: {{out: {{type: stdout}}}}\nlog:\n{log}",
        data.display(),
        inbox.display()
    );
    let config = workplace.write("config.yaml", config).display().to_string();
    fs::copy("examples/mailbox/01-gzip.eml", workplace.path("inbox/1.eml")).unwrap();
    let running = Shipper::new(["run", "--config", &config]).start();
    eventually(LONG, "it is at work, and listens to signals", || running.stdout().contains('\n').then_some(()));
    let reloads = |count: usize| {
        running.signal(Signal::HUP);
        eventually(LONG, "it has reloaded", || {
            (running.stderr().matches("\"reloaded\"").count() == count).then_some(())
        });
    };
    reloads(1);
    let state = workplace.path("state").display().to_string();
    let (code, said) = tool("logrotate", ["-f", "-s", &state, rules.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    reloads(2);
    running.signal(Signal::TERM);
    running.finish().exited(0);
    let count = |name: &str| workplace.read(name).matches("\"reloaded\"").count();
    assert_eq!((count("log/dmarc-shipper.log.1"), count("log/dmarc-shipper.log")), (1, 1));
}

#[test]
fn the_systemd_readme_lists_every_file_and_its_commands_parse() {
    let readme = read("README.md");
    for entry in fs::read_dir(path("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || readme.contains(&format!("]({name})")), "README.md does not tell of {name}");
    }
    let commands = readme.lines().filter_map(|line| line.strip_prefix("    dmarc-shipper "));
    let here = |command: &str| command.replace("/etc/dmarc-shipper/config.yaml", path("config.yaml").to_str().unwrap());
    let codes: Vec<_> =
        commands.map(|command| Shipper::new(here(command).split_whitespace()).run().status.code()).collect();
    // An instance may or may not be running on this machine.
    assert!(matches!(codes[..], [Some(0), Some(0 | 69)]), "{codes:?}");
}
