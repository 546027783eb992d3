//! `check` of mailboxes: the login, the folders, and the rights of the account in them.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};

use super::{Findings, check};
use crate::{
    source_imap::scripted::{Act, Scripted},
    support::{
        ca::Ca,
        courier::Courier,
        cyrus::Cyrus,
        dovecot::{Dovecot, Options, USER},
        imap::Imap,
        process::Shipper,
        server::free_port,
        workplace::{Workplace, imaps, starttls, stdout, with},
    },
};

const MAIL: &[u8] = b"From: a@example.net\r\nSubject: x\r\n\r\nno report\r\n";

/// Mailbox with two mails that a mail client has seen, one of them read, and the workplace for checking it.
struct Account {
    ca: Ca,
    dovecot: Dovecot,
    workplace: Workplace,
}

impl Account {
    fn new() -> Self {
        Self::with(&Options::default())
    }

    fn with(options: &Options) -> Self {
        let ca = Ca::new();
        let dovecot = Dovecot::with(&ca.server(), options);
        dovecot.mailbox().deliver("INBOX", MAIL);
        dovecot.mailbox().deliver("INBOX", MAIL);
        let mut program = Imap::connect(dovecot.imap_port);
        program.login();
        program.does("SELECT INBOX");
        program.does("STORE 1 +FLAGS (\\Seen)");
        program.does("LOGOUT");
        Self { ca, dovecot, workplace: Workplace::new() }
    }

    fn source(&self, changes: Value) -> Value {
        with(imaps(&self.dovecot, &self.ca), changes)
    }

    /// Checks only this source, and that the check leaves it unchanged.
    #[track_caller]
    fn check(&self, source: Value, arguments: &[&str], code: i32) -> Findings {
        let config = self.workplace.config(source, json!({"type": "file", "path": self.workplace.path("out.json")}));
        self.check_all(&config, arguments, code)
    }

    #[track_caller]
    fn check_all(&self, config: &Value, arguments: &[&str], code: i32) -> Findings {
        let before = self.state();
        let findings = check(&self.workplace, config, arguments, code);
        assert_eq!(self.state(), before);
        findings
    }

    /// Returns all folders, and the file names of the mails in INBOX, which contain their flags and whether a client has
    /// seen them.
    fn state(&self) -> (Vec<String>, Vec<String>) {
        let mut program = Imap::connect(self.dovecot.imap_port);
        program.login();
        let folders = folders(&mut program);
        (folders, self.dovecot.mailbox().names("INBOX"))
    }
}

fn folders(program: &mut Imap) -> Vec<String> {
    let listed = program.does("LIST \"\" *");
    listed.lines().filter(|line| line.starts_with('*')).map(str::to_owned).collect()
}

/// Returns a source for an account on a scripted server.
fn plain(port: u16, user: &str) -> Value {
    json!({"type": "imap", "host": "127.0.0.1", "port": port, "security": "none", "user": user, "password": "p"})
}

#[test]
fn a_working_mailbox_passes_every_step_and_is_not_changed() {
    let account = Account::new();
    account.dovecot.mailbox().create_folder("Processed");
    for source in [imaps(&account.dovecot, &account.ca), starttls(&account.dovecot, &account.ca)] {
        let found = account.check(source, &[], 0);
        found.has("rua", "name", "ok", &["localhost resolves to ", "127.0.0.1"]);
        found.has("rua", "connection", "ok", &["127.0.0.1:"]);
        found.has("rua", "encryption", "ok", &["TLS 1.", "valid until "]);
        found.has("rua", "login", "ok", &[USER, "by PLAIN"]);
        found.has("rua", "capabilities", "ok", &["MOVE UIDPLUS IDLE NAMESPACE"]);
        found.has("rua", "folder INBOX", "ok", &["2 mails", "UIDVALIDITY ", "all required rights"]);
        found.has("rua", "archive_folder", "ok", &["Processed, 0 mails", "may be moved there"]);
        found.has("rua", "quarantine_folder", "ok", &["Unreadable does not exist and can be created"]);
        assert_eq!((found.with("failed"), found.with("skipped")), (vec![], vec![]));
    }
    let said = account.dovecot.commands();
    let made: Vec<_> = said.iter().filter(|command| command.starts_with("CREATE")).collect();
    assert_eq!(made.len(), 2, "{said:?}");
    assert!(made.iter().all(|command| command.contains("dmarc-shipper-check-")), "{made:?}");
    assert!(!said.iter().any(|command| command.contains("FETCH") || command.contains("EXPUNGE")), "{said:?}");
}

#[test]
fn a_refused_login_is_tried_once_and_later_steps_are_skipped() {
    let account = Account::new();
    let found = account.check(account.source(json!({"password": "wrong"})), &[], 77);
    found.has("rua", "login", "failed", &["refused the login of", "password"]);
    assert_eq!(found.step("rua", "login")["exit_code"], 77);
    assert_eq!(found.with("skipped"), ["capabilities", "folder INBOX", "archive_folder", "quarantine_folder"]);
    found.has("rua", "folder INBOX", "skipped", &["needs: login"]);
    found.has("out", "probe", "ok", &["written to disk"]);
    let log = account.dovecot.log();
    assert_eq!(log.matches("auth failed, 1 attempts").count(), 1, "{log}");
    assert!(!format!("{:?}", found.0).contains("wrong\""), "{:?}", found.0);
}

#[test]
fn disabled_plain_text_login_is_explained() {
    // Dovecot treats a connection between two equal addresses as secure, so the client uses another address.
    let extra = "listen = 127.0.0.1, 127.0.0.2\ndisable_plaintext_auth = yes\n";
    let account = Account::with(&Options { extra: extra.into(), ..Options::default() });
    let plain = json!({"host": "127.0.0.2", "port": account.dovecot.imap_port, "security": "none", "tls": null});
    let plain = account.source(plain);
    let before = account.dovecot.mailbox().names("INBOX");
    let config = account.workplace.config(plain, stdout());
    let found = check(&account.workplace, &config, &["--no-probe"], 77);
    found.has("rua", "encryption", "note", &["plain text"]);
    found.has("rua", "login", "failed", &["security: tls or starttls"]);
    assert_eq!(account.dovecot.mailbox().names("INBOX"), before);
}

#[test]
fn a_missing_folder_does_not_hide_the_others() {
    let account = Account::new();
    let found = account.check(account.source(json!({"folder": "Reports"})), &[], 78);
    found.has("rua", "folder Reports", "failed", &["folder \"Reports\" not found", "INBOX"]);
    found.has("rua", "archive_folder", "ok", &["can be created"]);
    let found = account.check(account.source(json!({"folder": ["Reports", "INBOX", "Lists/*"]})), &[], 0);
    found.has("rua", "folder Reports", "note", &["not found"]);
    found.has("rua", "folder INBOX", "ok", &["2 mails"]);
    found.has("rua", "folder Lists/*", "note", &["matches no folder"]);
    account.dovecot.mailbox().create_folder("Lists/a");
    let found = account.check(account.source(json!({"folder": "Lists/*"})), &[], 0);
    found.has("rua", "folder Lists/*", "ok", &["pattern"]);
    found.has("rua", "folder Lists/a", "ok", &["0 mails"]);
    let found = account.check(account.source(json!({"folder": "Lists/a", "archive_folder": "\\Archive"})), &[], 78);
    found.has("rua", "folder Lists/a", "ok", &["0 mails"]);
    found.has("rua", "archive_folder", "failed", &["marks no folder as \\Archive"]);
}

#[test]
fn a_mailbox_that_refuses_create_fails_the_target_folder() {
    let account = Account::new();
    account.dovecot.mailbox().write_protect("INBOX", true);
    let found = account.check(account.source(json!({"quarantine_folder": null})), &[], 78);
    found.has("rua", "archive_folder", "failed", &["can't create folder \"Processed\"", "archive_folder", "by hand"]);
    account.dovecot.mailbox().write_protect("INBOX", false);
    let found = account.check(account.source(json!({"archive_folder": "Processed/%Y/%m"})), &["--no-probe"], 0);
    found.has("rua", "archive_folder", "note", &["not tested (--no-probe)", "first mail of that date"]);
    assert!(
        !account
            .dovecot
            .commands()
            .iter()
            .skip_while(|said| !said.contains("DELETE"))
            .any(|said| said.contains("CREATE"))
    );
}

/// ACLs as set by an administrator: the account may read folders, and nothing else.
#[test]
fn missing_acl_rights_are_named_per_folder() {
    let rights = tempfile::tempdir().unwrap();
    fs::set_permissions(rights.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(rights.path().join("INBOX"), "owner lrs\n").unwrap();
    fs::write(rights.path().join("Processed"), "owner lrswt\n").unwrap();
    let extra = format!(
        "mail_plugins = acl\nprotocol imap {{\n mail_plugins = acl imap_acl\n}}\nplugin {{\n acl = vfile:{}\n}}\n",
        rights.path().display()
    );
    let account = Account::with(&Options { extra, ..Options::default() });
    account.dovecot.mailbox().create_folder("Processed");
    account.dovecot.mailbox().create_folder("Unreadable");
    let found = account.check(imaps(&account.dovecot, &account.ca), &[], 78);
    found.has("rua", "capabilities", "ok", &["ACL"]);
    found.has("rua", "folder INBOX", "failed", &["to mark mails as deleted (t) or to expunge mails (e)", "rights"]);
    found.has("rua", "archive_folder", "failed", &["no right to put mails into it (i)"]);
    found.has("rua", "quarantine_folder", "ok", &["may be moved there"]);
}

#[test]
fn recent_flags_are_kept_and_untested_rights_are_noted() {
    let account = Account::new();
    account.dovecot.mailbox().deliver("INBOX", MAIL);
    let found = account.check(imaps(&account.dovecot, &account.ca), &[], 0);
    found.has("rua", "folder INBOX", "note", &["3 mails", "not tested", "\\Recent"]);
    let mut program = Imap::connect(account.dovecot.imap_port);
    program.login();
    assert!(program.does("SELECT INBOX").contains("* 1 RECENT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_data_dir_the_server_must_store_keywords() {
    let account = Account::new();
    let forgets = |source| with(account.workplace.config(source, stdout()), json!({"data_dir": null}));
    let stays = json!({"archive_folder": null, "quarantine_folder": null});
    let config = forgets(account.source(stays));
    let found = account.check_all(&config, &["--no-probe"], 0);
    found.has("", "folder", "note", &["data_dir is not set"]);
    found.has("rua", "folder INBOX", "ok", &["all required rights"]);
    let server = Scripted::start(1, |_, command| match command.split(' ').next() {
        Some("STATUS") => Act::Say("* STATUS \"INBOX\" (RECENT 0)\r\nTAG OK done\r\n".into()),
        Some("EXAMINE" | "SELECT") => Act::Say(
            "* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [PERMANENTFLAGS (\\Seen \\Deleted)] x\r\nTAG OK done\r\n"
                .into(),
        ),
        _ => Act::Honest,
    });
    let server = server.await;
    server.set(|state| state.capabilities = "IMAP4rev1");
    let found = check(&account.workplace, &forgets(plain(server.port, "u")), &["--no-probe"], 0);
    found.has("rua", "login", "ok", &["by LOGIN"]);
    found.has("rua", "capabilities", "note", &["none of the optional", "without IDLE"]);
    found.has("rua", "folder INBOX", "note", &["1 mail, ", "stores no keywords", "set data_dir"]);
}

/// Gmail's \Deleted only removes a label, so mails are deleted by moving them to its trash.
#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_gmail_trash_fails_if_mails_are_deleted() {
    let workplace = Workplace::new();
    for (marked, result, code) in [("\\Trash", "ok", 0), ("\\Junk", "failed", 78)] {
        let server = Scripted::start(1, move |_, command| match command {
            "LIST \"\" \"*\"" => Act::Say(format!("* LIST ({marked}) \"/\" \"Bin\"\r\nTAG OK done\r\n")),
            _ if command.starts_with("EXAMINE") => {
                Act::Say("* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK done\r\n".into())
            }
            _ => Act::Honest,
        });
        let server = server.await;
        server.set(|state| state.capabilities = "IMAP4rev1 X-GM-EXT-1 MOVE UIDPLUS IDLE");
        let source = with(plain(server.port, "u"), json!({"after": "delete"}));
        let found = check(&workplace, &workplace.config(source, stdout()), &["--no-probe"], code);
        found.has("rua", "trash", result, if code == 0 { &["Bin"] } else { &["\\Trash", "let IMAP show the label"] });
        found.has("rua", "folder INBOX", "note", &["1 mail, "]);
    }
}

/// These servers keep all folders below INBOX, and Courier has no MOVE.
#[test]
fn cyrus_and_courier_accept_the_test_folder() {
    let (workplace, cyrus, courier) = (Workplace::new(), Cyrus::start(), Courier::start());
    for (port, missing) in [(cyrus.port, None), (courier.port, Some("without MOVE"))] {
        let source = json!({
            "type": "imap", "host": "127.0.0.1", "port": port, "security": "none", "user": USER,
            "password": "correct horse", "archive_folder": "Reports/Done", "poll_interval": "1s",
        });
        let listed = || {
            let mut program = Imap::connect(port);
            program.login();
            folders(&mut program)
        };
        let before = listed();
        let config = workplace.config(source, stdout());
        let found = check(&workplace, &config, &["--no-probe"], 0);
        found.has("rua", "archive_folder", "note", &["not tested"]);
        let config = with(config, json!({"sinks": {"out": {"type": "file", "path": workplace.path("out.json")}}}));
        let found = check(&workplace, &config, &[], 0);
        found.has("rua", "archive_folder", "ok", &["can be created", "deleted again"]);
        found.has("rua", "capabilities", if missing.is_some() { "note" } else { "ok" }, missing.as_slice());
        assert_eq!(listed(), before);
    }
}

#[test]
fn a_refused_connection_and_an_unknown_host_name_are_distinguished() {
    let workplace = Workplace::new();
    let source =
        |host: &str, port: u16| json!({"type": "imap", "host": host, "port": port, "user": "u", "password": "p"});
    let config = workplace.config(source("localhost", free_port()), stdout());
    let found = check(&workplace, &config, &["--no-probe"], 69);
    found.has("rua", "connection", "failed", &["refused", "whether the server is running"]);
    assert!(found.with("skipped").contains(&"login"));
    let config = workplace.config(source("no-such-host.invalid", 993), stdout());
    let found = check(&workplace, &config, &["--no-probe"], 69);
    found.has("rua", "name", "failed", &["no-such-host.invalid", "DNS"]);
    found.has("rua", "connection", "skipped", &["needs: name"]);
}

/// Text from a server must not reach a terminal unfiltered.
#[tokio::test(flavor = "multi_thread")]
async fn control_characters_from_a_server_are_not_printed() {
    let server = Scripted::start(0, |_, command| match command.starts_with("LOGIN") {
        true => Act::Say("TAG NO go \u{1b}[2Jaway\r\n".into()),
        false => Act::Honest,
    });
    let (server, workplace) = (server.await, Workplace::new());
    let file = workplace.write("config.json", workplace.config(plain(server.port, "u"), stdout()).to_string());
    let arguments = ["check".as_ref(), "--no-probe".as_ref(), "--config".as_ref(), file.as_os_str()];
    let finished = Shipper::new(arguments).exits(77);
    assert!(finished.stdout.contains("[2Jaway"), "{}", finished.stdout);
    assert!(!finished.stdout.contains('\u{1b}'), "{}", finished.stdout);
}
