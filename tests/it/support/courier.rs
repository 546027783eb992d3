//! A real Courier, unpacked by tests/install-servers.sh. It treats each client as the owner of its one mailbox (PREAUTH),
//! because the path of its password daemon is compiled in. It has no MOVE, and keeps all folders below INBOX, with the
//! delimiter `.`.

use std::{fs, os::unix::fs::PermissionsExt};

use tempfile::TempDir;

use super::{
    dovecot::USER,
    maildir::Maildir,
    server::{Server, free_port},
    unpacked::Unpacked,
};

pub struct Courier {
    pub port: u16,
    _server: Server,
    /// Notifies sessions of changes made by others.
    _watcher: Server,
    _folder: TempDir,
}

impl Courier {
    pub fn start() -> Self {
        let unpacked = Unpacked::find("courier", "usr/bin/imapd");
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = |name: &str| folder.path().join(name);
        Maildir::create(&path("Maildir"), None);
        let port = free_port();
        // Each server here has a watcher of its own.
        let session = format!("{}", folder.path().display()).replace('/', "-");
        let watcher = Server::start(
            "gam_server",
            &unpacked.root.join("usr/libexec/gam_server"),
            &path("watcher.log"),
            |command| {
                command.args(["--notimeout", &session]);
                unpacked.with_libraries(command);
            },
            || true,
        );
        let server = Server::start(
            "courier",
            &unpacked.root.join("usr/sbin/couriertcpd"),
            &path("log"),
            |command| {
                command.args(["-address=127.0.0.1", "-nodnslookup", "-noidentlookup", "-maxprocs=40", "-maxperip=40"]);
                command.arg(port.to_string()).arg(unpacked.root.join("usr/bin/imapd")).arg("Maildir");
                command.current_dir(folder.path());
                command.env("AUTHENTICATED", USER).env("MAILDIR", "./Maildir");
                command.env("IMAP_CAPABILITY", "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE SORT QUOTA IDLE");
                command.envs([("IMAP_KEYWORDS", "1"), ("IMAP_USELOCKS", "1"), ("IMAP_TRASHFOLDERNAME", "Trash")]);
                command.env("GAM_CLIENT_ID", &session);
                unpacked.with_libraries(command);
            },
            || super::dovecot::greeting(port).is_some_and(|line| line.starts_with("* PREAUTH")),
        );
        Self { port, _server: server, _watcher: watcher, _folder: folder }
    }
}
