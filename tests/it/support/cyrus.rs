//! A real Cyrus 3.6, unpacked by tests/install-servers.sh. It accepts [`USER`](super::dovecot::USER) with any password,
//! and keeps all folders below INBOX, with the delimiter `.`.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
};

use tempfile::TempDir;

use super::{
    dovecot::{Account, greets},
    server::{Server, free_port},
    unpacked::Unpacked,
};

pub struct Cyrus {
    pub port: u16,
    _server: Server,
    // Last, so that the server is gone before its folder.
    _folder: TempDir,
}

impl Cyrus {
    pub fn start() -> Self {
        let unpacked = Unpacked::find("cyrus", "usr/lib/cyrus/bin/imapd");
        let programs = unpacked.root.join("usr/lib/cyrus/bin");
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let account = Account::of_mails();
        let path = |name: &str| folder.path().join(name);
        for name in ["config", "spool", "run"] {
            fs::create_dir(path(name)).unwrap();
            chown(path(name), account.chown_to, account.chown_to).unwrap();
        }
        let port = free_port();
        let shown = folder.path().display();
        let Account { user, group, .. } = &account;
        fs::write(
            path("imapd.conf"),
            format!(
                "configdirectory: {shown}/config
partition-default: {shown}/spool
defaultpartition: default
cyrus_user: {user}
cyrus_group: {group}
sasl_pwcheck_method: alwaystrue
sasl_mech_list: PLAIN
allowplaintext: yes
admins: cyrus
virtdomains: userid
# A user's INBOX is made at the first login.
autocreate_quota: 0
autocreate_quota_messages: 0
unixhierarchysep: no
altnamespace: no
lmtpsocket: {shown}/run/lmtp
idlesocket: {shown}/run/idle
notifysocket: {shown}/run/notify
mboxname_lockpath: {shown}/run/lock
proc_path: {shown}/run/proc
"
            ),
        )
        .unwrap();
        fs::write(
            path("cyrus.conf"),
            format!(
                "START {{\n}}\nSERVICES {{\n  imap cmd=\"{} -C {shown}/imapd.conf\" listen=\"127.0.0.1:{port}\" prefork=1\n}}\nEVENTS {{\n}}\n",
                programs.join("imapd").display()
            ),
        )
        .unwrap();
        let server = Server::start(
            "cyrus",
            &programs.join("master"),
            &path("log"),
            |command| {
                command.arg("-C").arg(path("imapd.conf")).arg("-M").arg(path("cyrus.conf"));
                command.arg("-D").arg("-p").arg(path("run/master.pid"));
                unpacked.with_libraries(command);
            },
            || greets(port),
        );
        Self { port, _server: server, _folder: folder }
    }
}
