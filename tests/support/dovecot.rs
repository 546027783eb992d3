//! A real Dovecot on loopback, in a temporary folder, with a certificate of its own authority.

use std::{
    fs::Permissions,
    net::{TcpListener, TcpStream},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

pub const USER: &str = "dmarc@example.com";
pub const PASSWORD: &str = "pa\"ss \\wörd";

/// Dovecot refuses to touch mail as root; this is `nobody`.
const MAIL_USER: u32 = 65_534;

pub struct Dovecot {
    dir: TempDir,
    process: Child,
    pub imap_port: u16,
    pub imaps_port: u16,
    pub ca_file: PathBuf,
    separator: char,
}

impl Dovecot {
    /// `separator` of its only namespace, and more lines for its configuration.
    pub fn start(separator: char, extra: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        // Its login processes run as users of their own.
        std::fs::set_permissions(root, Permissions::from_mode(0o755)).unwrap();
        for dir in ["mail", "home", "rawlog"] {
            own(&root.join(dir));
        }
        let ca_file = certificates(root);
        let [imap_port, imaps_port] = free_ports();
        std::fs::write(root.join("users"), format!("{USER}:{{PLAIN}}{PASSWORD}::::::\n")).unwrap();
        let config = root.join("dovecot.conf");
        std::fs::write(&config, configuration(root, separator, imap_port, imaps_port, extra)).unwrap();
        let process = Command::new("dovecot")
            .args(["-F", "-c"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("dovecot-imapd is installed");
        let server = Self { dir, process, imap_port, imaps_port, ca_file, separator };
        server.await_ready();
        server
    }

    /// Puts a mail into a folder, as a delivery agent does.
    pub fn deliver(&self, folder: &str, name: &str, content: &[u8]) {
        let dir = self.maildir(folder);
        own(&dir);
        for sub in ["cur", "new", "tmp"] {
            own(&dir.join(sub));
        }
        std::fs::write(dir.join("tmp").join(name), content).unwrap();
        std::fs::rename(dir.join("tmp").join(name), dir.join("new").join(name)).unwrap();
    }

    /// The mails in a folder: file names, with their flags where they have any.
    pub fn mails(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = ["cur", "new"]
            .iter()
            .filter_map(|sub| std::fs::read_dir(self.maildir(folder).join(sub)).ok())
            .flatten()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub fn has_folder(&self, folder: &str) -> bool {
        self.maildir(folder).is_dir()
    }

    /// The commands that the client sent, over all sessions so far (`rawlog`).
    pub fn commands(&self) -> Vec<String> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.dir.path().join("rawlog"))
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "in"));
        files.sort();
        // A line of the log is `seconds.micros command`.
        let lines = files.iter().flat_map(|path| {
            let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        });
        lines.filter_map(|line| line.splitn(3, ' ').nth(2).map(|command| command.trim().to_owned())).collect()
    }

    fn maildir(&self, folder: &str) -> PathBuf {
        let mail = self.dir.path().join("mail");
        if folder == "INBOX" { mail } else { mail.join(format!(".{}", folder.replace(self.separator, "."))) }
    }

    fn await_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.imaps_port)).is_err() {
            assert!(Instant::now() < deadline, "dovecot does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.log());
        }
        // The master ends its children on SIGTERM; on SIGKILL it could not.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// A folder that belongs to the user whose mail it holds.
fn own(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    chown(dir, Some(MAIL_USER), Some(MAIL_USER)).unwrap();
}

fn configuration(root: &Path, separator: char, imap: u16, imaps: u16, extra: &str) -> String {
    let root = root.display();
    format!(
        "base_dir = {root}/run
log_path = {root}/log
protocols = imap
listen = 127.0.0.1
first_valid_uid = 0
first_valid_gid = 0
mail_location = maildir:{root}/mail
mail_fsync = never
mailbox_list_index = no
auth_mechanisms = plain login
auth_failure_delay = 0
disable_plaintext_auth = no
ssl = yes
ssl_cert = <{root}/server.pem
ssl_key = <{root}/server.key
namespace inbox {{
  inbox = yes
  separator = {separator}
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {root}/users
}}
userdb {{
  driver = static
  args = uid={MAIL_USER} gid={MAIL_USER} home={root}/home
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
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
  rawlog_dir = {root}/rawlog
}}
{extra}
"
    )
}

/// Writes `ca.pem`, `server.pem` and `server.key`; the server's certificate is for `localhost`.
fn certificates(root: &Path) -> PathBuf {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &authority).unwrap();
    std::fs::write(root.join("server.pem"), server.pem()).unwrap();
    std::fs::write(root.join("server.key"), key.serialize_pem()).unwrap();
    let ca_file = root.join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    ca_file
}

/// Two ports that were free a moment ago, and not the same.
fn free_ports() -> [u16; 2] {
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}
