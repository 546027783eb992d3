//! `migrate`: converts configurations of other programs.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    receivers::names,
    support::{
        ca::Ca,
        delivery::{assert_all_archived, mailbox, rows},
        dovecot::{Dovecot, PASSWORD, USER},
        process::{Shipper, ndjson},
        received::Received,
        reports::{Batch, essences},
        rsyslog::Rsyslog,
        workplace::{Workplace, imaps, stdout},
    },
};

/// Password in the fixtures, after the unescaping by `configparser`.
const SECRET: &str = "pa%ss;w#rd";

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/migrate");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 5);
    files
}

fn migrate(ini: &Path) -> Shipper {
    Shipper::new(["migrate".as_ref(), ini.as_os_str()])
}

fn migrate_to(ini: &Path, output: &Path, more: &[&str]) -> Shipper {
    let more = more.iter().map(AsRef::as_ref);
    Shipper::new(["migrate".as_ref(), ini.as_os_str(), "--output".as_ref(), output.as_os_str()].into_iter().chain(more))
}

fn check(config: &Path) -> Shipper {
    Shipper::new(["check".as_ref(), "--offline".as_ref(), "--config".as_ref(), config.as_os_str()])
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn migrated_configurations_are_valid() {
    for ini in fixtures() {
        let workplace = Workplace::new();
        let on_stdout = migrate(&ini).exits(0).says(&["imap-password"]);
        check(&workplace.write("stdout.yaml", &on_stdout.stdout)).exits(0);

        let config = workplace.path("etc/config.yaml");
        let in_file = migrate_to(&ini, &config, &[]).exits(0);
        assert_eq!(in_file.stdout, "");
        let checked = check(&config).exits(0);
        let warnings: Vec<_> = checked.stderr.lines().filter(|line| line.contains("\"warn\"")).collect();
        // Unsafe settings are carried over, with a warning.
        assert!(warnings.iter().all(|line| line.contains("tls.verify_certificate")), "{}: {warnings:?}", ini.display());
        let password = workplace.path("etc/imap-password");
        assert_eq!(fs::read_to_string(&password).unwrap(), SECRET);
        assert_eq!((mode(&config), mode(&password)), (0o640, 0o600));

        let shown = on_stdout.stdout + &on_stdout.stderr + &in_file.stderr + &fs::read_to_string(&config).unwrap();
        assert!(!shown.contains("pa%") && !shown.contains("w#rd") && !shown.contains("0c8b9a5e"), "{shown}");
    }
}

#[test]
fn migrate_overwrites_files_only_with_force() {
    let workplace = Workplace::new();
    let (ini, config) = (&fixtures()[0], workplace.write("config.yaml", "mine"));
    migrate_to(ini, &config, &[]).exits(73).says(&["--force"]);
    assert_eq!((workplace.read("config.yaml").as_str(), workplace.path("imap-password").exists()), ("mine", false));
    migrate_to(ini, &config, &["--force"]).exits(0);
    check(&config).exits(0);
}

#[test]
fn invalid_values_are_named_and_the_rest_is_converted() {
    let workplace = Workplace::new();
    let ini =
        workplace.write("x.ini", "[imap]\nhost = a b\nuser = u\npassword = p\n[syslog]\nhost = h\nprotocol = smoke\n");
    let made = migrate(&ini).exits(78).says(&["sources.rua.host", "sinks.siem.mode", "by hand"]);
    assert!(made.stdout.contains("user: u"), "{}", made.stdout);
    migrate(&workplace.path("missing.ini")).exits(66).says(&["missing.ini"]);
    migrate(&workplace.write("y.ini", "[imap\n")).exits(65).says(&["line 1"]);
}

#[test]
fn a_migrated_configuration_ships_the_frames_of_dmarc_ingest() {
    let (ca, batch) = (Ca::new(), Batch::generate(91, 3, 1..=5, 0));
    let (dovecot, rsyslog, workplace) = (mailbox(&ca, &batch), Rsyslog::start(&ca), Workplace::new());
    let ini = format!(
        "[imap]\nhost = localhost\nport = {}\nuser = {USER}\npassword = {PASSWORD}\narchive_folder = Processed\nca_file = {}\n\
         [syslog]\nhost = 127.0.0.1\nport = {}\nprotocol = tcp\n[output]\ndir = reports\n",
        dovecot.imaps_port,
        ca.file().display(),
        rsyslog.tcp_port,
    );
    let (ini, config) = (workplace.write("config.ini", ini), workplace.path("config.yaml"));
    let data_dir = workplace.path("data").display().to_string();
    migrate_to(&ini, &config, &["--data-dir", &data_dir]).exits(0);
    Shipper::new(["run".as_ref(), "--once".as_ref(), "--config".as_ref(), config.as_os_str()]).exits(0);

    let received = rsyslog.wait_for(batch.essences().len());
    let events: Vec<Value> = received.iter().map(Received::event).collect();
    assert_eq!(essences(&events), batch.essences());
    assert!(received.iter().all(|frame| frame.app_name == "DMARC_DATA"), "{received:?}");
    assert!(events.iter().all(|event| event.get("event_id").is_none()), "{events:?}");
    let files: Vec<_> = fs::read_dir(workplace.path("reports")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    assert!(files[0].to_str().unwrap().ends_with("_all.json"), "{files:?}");
    let kept: Vec<Value> = serde_json::from_str(&fs::read_to_string(&files[0]).unwrap()).unwrap();
    assert_eq!(kept.len(), batch.essences().len());
    assert_all_archived(&dovecot, &batch);
}

#[test]
fn reports_imported_from_processed_json_are_not_shipped_again() {
    let (ca, batch) = (Ca::new(), Batch::generate(92, 5, 1..=5, 0));
    let (dovecot, workplace) = (mailbox(&ca, &batch), Workplace::new());
    // Obtains the hashes from a ledger of our own, after the reports were shipped from files.
    let first = workplace.path("first").display().to_string();
    let mails = Workplace::new();
    for (number, mail) in batch.mails.iter().take(3).enumerate() {
        mails.write(&format!("{number}.eml"), mail);
    }
    let from_files = json!({"data_dir": first, "sources": {"rua": {"type": "file", "path": mails.path("")}}, "sinks": {"out": stdout()}});
    let shipped = workplace.once(&from_files).exits(0).events();
    let listed = ndjson(&Shipper::new(["ledger", "list", "--data-dir", &first]).exits(0).stdout);
    let hashes: serde_json::Map<_, _> = listed
        .iter()
        .map(|document| (document["document_sha256"].as_str().unwrap().to_owned(), json!("2026-11-01T00:00:00")))
        .collect();
    assert_eq!(hashes.len(), 3);
    let processed = workplace.write("processed.json", Value::Object(hashes).to_string());

    let config = workplace.config(imaps(&dovecot, &ca), stdout());
    let (data_dir, processed) = (workplace.path("data").display().to_string(), processed.display().to_string());
    let ini = &fixtures()[1];
    let arguments = ["--data-dir", &data_dir, "--processed", &processed];
    migrate_to(ini, &workplace.path("config.yaml"), &arguments).exits(0).says(&["\"reports\":3"]);
    let rest = workplace.once(&config).exits(0).events();
    let both: Vec<Value> = rows(&shipped).chain(rows(&rest)).cloned().collect();
    assert_eq!(essences(&both), batch.essences());
    assert_all_archived(&dovecot, &batch);
}

fn guide() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/migration.md")).unwrap()
}

/// Returns the guide's configuration for running both programs side by side.
fn side_by_side() -> String {
    let guide = guide();
    let (_, rest) = guide.split_once("```yaml\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn every_command_of_the_migration_guide_works() {
    let workplace = Workplace::new();
    let ini = fixtures().into_iter().find(|file| file.ends_with("dmarc-ingest.ini")).unwrap();
    fs::copy(ini, workplace.path("config.ini")).unwrap();
    workplace.write("processed.json", json!(["a".repeat(64), "a report_id"]).to_string());
    fs::create_dir(workplace.path("etc")).unwrap();
    let guide = guide();
    let commands: Vec<&str> =
        guide.lines().filter_map(|line| line.trim_start().strip_prefix("dmarc-shipper ")).collect();
    assert_eq!(commands.len(), 3, "{commands:?}");
    for command in commands {
        let here = command
            .replace("/etc/dmarc-shipper", workplace.path("etc").to_str().unwrap())
            .replace("/var/lib/dmarc-shipper", workplace.path("data").to_str().unwrap())
            .replace("config.ini", workplace.path("config.ini").to_str().unwrap())
            .replace("processed.json", workplace.path("processed.json").to_str().unwrap())
            // The mailbox does not exist, so only the offline checks are made.
            .replace("run --once --dry-run", "check --offline");
        let force = here.starts_with("migrate").then_some("--force");
        Shipper::new(here.split_whitespace().chain(force)).exits(0);
    }
    let listed = Shipper::new(["ledger", "list", "--data-dir", workplace.path("data").to_str().unwrap()]).exits(0);
    assert_eq!(ndjson(&listed.stdout).len(), 1, "the entry with a hash was taken over");
    check(&workplace.write("side-by-side.yaml", side_by_side())).exits(0);
}

#[test]
fn the_migration_guide_names_existing_fields() {
    let guide = guide();
    let (_, rest) = guide.split_once("|---|---|---|\n").unwrap();
    let rows: Vec<&str> = rest.lines().take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 25, "{rows:?}");
    let ours = rows.iter().flat_map(|row| row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    // These are a value of a field, and an option.
    for name in ours.filter(|name| !["pass", "failure_reports: full"].contains(name)) {
        assert!(names::fields().contains_key(name), "there is no field {name}");
    }
}

/// The procedure of the guide: both programs side by side with separate data folders, then the switch with the same
/// ledger.
#[test]
fn after_running_side_by_side_only_new_reports_are_shipped() {
    let (ca, old, new) = (Ca::new(), Batch::generate(93, 3, 1..=5, 0), Batch::generate(94, 2, 1..=5, 0));
    let (dovecot, workplace) = (Dovecot::start(&ca.server()), Workplace::new());
    let mailbox = dovecot.mailbox();
    mailbox.create_folder("Processed");
    // One mail that the other program has handled, and those that it has not.
    mailbox.deliver("Processed", &old.mails[0]);
    old.mails[1..].iter().for_each(|mail| mailbox.deliver("INBOX", mail));
    let place =
        format!("host: localhost\n    port: {}\n    tls: {{ca_file: {}}}", dovecot.imaps_port, ca.file().display());
    let text = side_by_side()
        .replace("/var/lib/dmarc-shipper", workplace.path("data").to_str().unwrap())
        .replace("/etc/dmarc-shipper/imap-password", workplace.write("password", PASSWORD).to_str().unwrap())
        .replace("host: imap.example.com", &place)
        .replace("user: dmarc@example.com", &format!("user: {USER}"));
    let config = workplace.write("side-by-side.yaml", text);
    let compare = || {
        Shipper::new(["run".as_ref(), "--once".as_ref(), "--config".as_ref(), config.as_os_str()]).exits(0);
        let files = fs::read_dir(workplace.path("data/compare")).unwrap().map(|entry| entry.unwrap().path());
        let text: String = files.map(|file| fs::read_to_string(file).unwrap()).collect();
        essences(&ndjson(&text))
    };
    assert_eq!(compare(), old.essences());
    assert_eq!((mailbox.count("INBOX"), mailbox.count("Processed")), (2, 1));
    // The other program moves a mail; in the new folder it has a new identity.
    mailbox.deliver("Processed", &old.mails[1]);
    assert_eq!(compare(), old.essences());

    new.mails.iter().for_each(|mail| mailbox.deliver("INBOX", mail));
    let told = workplace.once(&workplace.config(imaps(&dovecot, &ca), stdout())).exits(0).events();
    assert_eq!(essences(rows(&told)), new.essences());
    assert_eq!((mailbox.count("INBOX"), mailbox.count("Processed")), (2, 4), "what was met before stays");
}
