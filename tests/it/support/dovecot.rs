//! A real Dovecot 2.3: one port for IMAPS, one for plain IMAP and STARTTLS.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpStream},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use rustix::process::geteuid;
use tempfile::TempDir;

use super::{
    ca::Identity,
    maildir::Maildir,
    server::{Server, free_port, installed},
};

/// User name and password of a server from [`Dovecot::start`].
pub const USER: &str = "dmarc@example.com";
pub const PASSWORD: &str = "correct horse";

pub struct Dovecot {
    pub imaps_port: u16,
    /// Port for plain text, and STARTTLS.
    pub imap_port: u16,
    mailboxes: BTreeMap<String, Maildir>,
    server: Option<Server>,
    // Last, so that the server is gone before its folder.
    folder: TempDir,
}

/// Deviations of a server from the default one.
pub struct Options {
    /// Users and their passwords (no `:` in either).
    pub users: Vec<(&'static str, &'static str)>,
    /// Hierarchy delimiter of folder names: `/` or `.`.
    pub separator: char,
    /// Announced instead of the server's own capabilities.
    pub capability: Option<&'static str>,
    /// Lines added to the configuration.
    pub extra: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { users: vec![(USER, PASSWORD)], separator: '/', capability: None, extra: String::new() }
    }
}

impl Dovecot {
    /// Starts a default server with one user, [`USER`].
    pub fn start(identity: &Identity) -> Self {
        Self::with(identity, &Options::default())
    }

    pub fn with(identity: &Identity, options: &Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Dovecot's processes run as other users if the tests run as root.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let account = Account::of_mails();
        let (imaps_port, imap_port) = (free_port(), free_port());

        let mut passwords = String::new();
        let mut mailboxes = BTreeMap::new();
        for name in ["mail", "rawlog"] {
            fs::create_dir(folder.path().join(name)).unwrap();
            chown(folder.path().join(name), account.chown_to, account.chown_to).unwrap();
        }
        for (user, password) in &options.users {
            writeln!(passwords, "{user}:{{PLAIN}}{password}").unwrap();
            mailboxes
                .insert((*user).to_owned(), Maildir::create(&folder.path().join("mail").join(user), account.chown_to));
        }
        fs::write(folder.path().join("users"), passwords).unwrap();
        let config = folder.path().join("dovecot.conf");
        fs::write(&config, configuration(folder.path(), identity, options, &account, imaps_port, imap_port)).unwrap();

        let mut dovecot = Self { imaps_port, imap_port, mailboxes, server: None, folder };
        dovecot.resume();
        dovecot
    }

    /// Kills the server and all sessions, as a crash does.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// Starts the server again on the same ports.
    pub fn resume(&mut self) {
        let (folder, imap_port) = (self.folder.path(), self.imap_port);
        // Left behind by a killed server; another process may have its id by now.
        fs::remove_file(folder.join("run/master.pid")).ok();
        self.server = Some(Server::start(
            "dovecot",
            &program(),
            &folder.join("dovecot.log"),
            |command| {
                command.arg("-F").arg("-c").arg(folder.join("dovecot.conf"));
            },
            || greets(imap_port),
        ));
    }

    /// Returns the mailbox of [`USER`].
    pub fn mailbox(&self) -> &Maildir {
        self.mailbox_of(USER)
    }

    pub fn mailbox_of(&self, user: &str) -> &Maildir {
        &self.mailboxes[user]
    }

    /// Returns the commands of all sessions so far, in order, with their arguments but without their tags.
    pub fn commands(&self) -> Vec<String> {
        let mut logs: Vec<PathBuf> =
            fs::read_dir(self.folder.path().join("rawlog")).unwrap().map(|entry| entry.unwrap().path()).collect();
        logs.retain(|path| path.extension().is_some_and(|ending| ending == "in"));
        logs.sort();
        let text: String =
            logs.iter().map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()).collect();
        // A line consists of time, tag and command.
        text.lines().filter_map(|line| line.splitn(3, ' ').nth(2)).map(|command| command.trim().to_owned()).collect()
    }

    /// Returns the server's log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("dovecot.log")).unwrap_or_default()
    }
}

/// User that mail servers run as: the current one if there is no choice; never root, as which Dovecot refuses to read
/// mails.
pub struct Account {
    pub user: String,
    pub group: String,
    /// Owner of the mails, if they have to be given to another user.
    pub chown_to: Option<u32>,
}

impl Account {
    pub fn of_mails() -> Self {
        if geteuid().is_root() {
            Self { user: "nobody".into(), group: "nogroup".into(), chown_to: Some(65534) }
        } else {
            Self { user: id("-un"), group: id("-gn"), chown_to: None }
        }
    }
}

fn id(what: &str) -> String {
    let output = Command::new("id").arg(what).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn configuration(
    folder: &Path,
    identity: &Identity,
    options: &Options,
    account: &Account,
    imaps_port: u16,
    imap_port: u16,
) -> String {
    let folder = folder.display();
    let (certificate, key) = (identity.certificate.display(), identity.key.display());
    let Account { user, group, .. } = account;
    let capability = options.capability.map(|names| format!("imap_capability = {names}")).unwrap_or_default();
    let Options { separator, extra, .. } = options;
    format!(
        "base_dir = {folder}/run
state_dir = {folder}/run
log_path = /dev/stderr
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
disable_plaintext_auth = no
auth_mechanisms = plain login
# A wrong password costs a test no time.
auth_failure_delay = 0 secs
# Many tests come from one address.
mail_max_userip_connections = 100
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
mail_uid = {user}
mail_gid = {group}
mail_home = {folder}/mail/%u
mail_location = maildir:{folder}/mail/%u
# Nothing here has to outlast the machine.
mail_fsync = never
# Tests look into folders by themselves.
mailbox_list_index = no
{capability}
passdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
}}
userdb {{
  driver = static
}}
namespace inbox {{
  inbox = yes
  separator = {separator}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = {imaps_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
protocol imap {{
  rawlog_dir = {folder}/rawlog
}}
{extra}
"
    )
}

pub fn greets(port: u16) -> bool {
    greeting(port).is_some_and(|line| line.starts_with("* OK"))
}

/// Returns the first line that a server sends.
pub fn greeting(port: u16) -> Option<String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    Some(line)
}

/// Returns a Dovecot of the version for which the configuration here is written.
fn program() -> PathBuf {
    static VERSION: OnceLock<String> = OnceLock::new();
    let program = installed("dovecot");
    let version = VERSION.get_or_init(|| {
        let output = Command::new(&program).arg("--version").output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    });
    assert!(
        version.starts_with("2.3."),
        "dovecot is {version}, the tests know how to configure 2.3 (Debian 12, Ubuntu 22.04 and 24.04)"
    );
    program
}
