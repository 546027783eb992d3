//! A real rsyslog that listens on TCP, TLS (GnuTLS) and UDP and writes down how it parsed each frame.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{
    ca::{Ca, Identity},
    received::{Received, common, read},
    server::{Server, Site, accepting, free_port, installed},
    wait::{LONG, eventually},
};

pub struct Rsyslog {
    pub tcp_port: u16,
    pub tls_port: u16,
    pub udp_port: u16,
    site: Site,
    server: Option<Server>,
    folder: TempDir,
}

/// Deviations of a server from the default one.
pub struct Options {
    /// TLS driver: `gtls` or `ossl`.
    pub driver: &'static str,
    pub peers: Peers,
    pub writes: Writes,
    pub site: Site,
}

/// Data that it writes down for each message.
pub enum Writes {
    /// All parsed fields, see [`Rsyslog::received`].
    All,
    /// MSG only, see [`Rsyslog::lines`], and before it processes the next message: messages processed before it is killed
    /// are on disk.
    Msg,
}

/// Clients that are accepted over TLS.
pub enum Peers {
    Anyone,
    /// Clients with a certificate of the CA for this name.
    Named(&'static str),
}

impl Default for Options {
    fn default() -> Self {
        Self { driver: "gtls", peers: Peers::Anyone, writes: Writes::All, site: Site::default() }
    }
}

impl Rsyslog {
    /// Listens for any client, with a certificate of the CA for loopback.
    pub fn start(ca: &Ca) -> Self {
        Self::with(ca, &Options::default())
    }

    pub fn with(ca: &Ca, options: &Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (tcp_port, tls_port) = (free_port(), free_port());
        // One number for both, as 514 is: a sink that is changed to TCP stays the same sink.
        let mut rsyslog =
            Self { tcp_port, tls_port, udp_port: tcp_port, site: options.site.clone(), server: None, folder };
        let config = rsyslog.configuration(&ca.file(), &ca.server(), options);
        fs::write(rsyslog.path("rsyslog.conf"), config).unwrap();
        rsyslog.resume();
        rsyslog
    }

    /// Stops the server; its output and its ports are kept.
    pub fn halt(&mut self) {
        self.server = None;
    }

    /// Kills the server, as a crash does: unwritten data is lost.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// Starts the server again on the same ports.
    pub fn resume(&mut self) {
        let program = unconfined(&installed("rsyslogd"));
        let ports = [self.tcp_port, self.tls_port];
        let (config, pid) = (self.path("rsyslog.conf"), self.path("rsyslog.pid"));
        fs::remove_file(&pid).ok(); // one that was killed leaves it behind, and it stops the next
        self.server = Some(Server::start_at(
            &self.site,
            "rsyslogd",
            &program,
            &self.path("rsyslog.log"),
            |command| {
                // A killed server leaves this file behind; another process may have its id by now.
                fs::remove_file(&pid).ok();
                command.arg("-n").arg("-f").arg(config).arg("-i").arg(pid);
            },
            || accepting(self.site.address, &ports),
        ));
    }

    /// Returns all messages received so far.
    pub fn received(&self) -> Vec<Received> {
        read(&self.path("received.ndjson"), |line| common(line, &line["sd"]["rfc5424-sd"], &line["json"]))
    }

    /// Waits for at least `count` messages, and returns all.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually(LONG, &format!("rsyslog has written {count} messages"), || {
            Some(self.received()).filter(|received| received.len() >= count)
        })
    }

    /// Returns MSG of all messages so far; with [`Writes::All`], of those that pass a filter for the program name
    /// DMARC_DATA.
    pub fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("lines")).unwrap_or_default();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// Waits for at least `count` messages, and returns their MSG.
    #[track_caller]
    pub fn wait_for_lines(&self, count: usize) -> Vec<String> {
        eventually(LONG, &format!("rsyslog has written {count} lines"), || {
            Some(self.lines()).filter(|lines| lines.len() >= count)
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configuration(&self, ca: &Path, identity: &Identity, options: &Options) -> String {
        let Self { tcp_port, tls_port, udp_port, .. } = self;
        let (folder, ca, address) = (self.folder.path().display(), ca.display(), self.site.address);
        let (certificate, key) = (identity.certificate.display(), identity.key.display());
        let driver = options.driver;
        let (auth_mode, permitted) = match options.peers {
            Peers::Anyone => ("anon", String::new()),
            Peers::Named(name) => ("x509/name", format!("permittedPeer=[\"{name}\"]")),
        };
        let (queue, ruleset) = match options.writes {
            Writes::All => ("LinkedList", ALL),
            Writes::Msg => ("Direct", r#"action(type="omfile" file="FOLDER/lines" template="msg")"#),
        };
        let ruleset = ruleset.replace("FOLDER", &folder.to_string());
        format!(
            r#"global(maxMessageSize="64k" workDirectory="{folder}" net.enableDNS="off"
       defaultNetstreamDriverCAFile="{ca}"
       defaultNetstreamDriverCertFile="{certificate}"
       defaultNetstreamDriverKeyFile="{key}")
main_queue(queue.type="{queue}")
module(load="imtcp")
module(load="imudp")
module(load="mmpstrucdata")
module(load="mmjsonparse")
template(name="rfc3339" type="string" string="%timereported:::date-rfc3339%")
template(name="line" type="string" string="%$!all-json%\n")
template(name="msg" type="string" string="%msg%\n")
input(type="imtcp" address="{address}" port="{tcp_port}" ruleset="keep")
input(type="imtcp" address="{address}" port="{tls_port}" ruleset="keep"
      streamDriver.name="{driver}" streamDriver.mode="1" streamDriver.authMode="{auth_mode}" {permitted})
input(type="imudp" address="{address}" port="{udp_port}" ruleset="keep")
ruleset(name="keep") {{
{ruleset}
}}
*.* action(type="omfile" file="{folder}/own.log")
"#
        )
    }
}

/// Template and action that write down all fields of a message.
const ALL: &str = r#"
action(type="mmpstrucdata" jsonRoot="$!sd" sd_name.lowercase="off")
action(type="mmjsonparse" cookie="" useRawMsg="off" container="$!json")
if $parsesuccess != "OK" then unset $!json;
set $!hostname = $hostname;
set $!app_name = $app-name;
set $!procid = $procid;
set $!msgid = $msgid;
set $!severity = $syslogseverity;
set $!facility = $syslogfacility;
set $!timestamp = exec_template("rfc3339");
set $!msg = $msg;
action(type="omfile" file="FOLDER/received.ndjson" template="line")
if $programname == "DMARC_DATA" then action(type="omfile" file="FOLDER/lines" template="msg")
"#;

/// Copies rsyslogd, because Ubuntu's AppArmor profile for the path /usr/sbin/rsyslogd confines it to system files.
pub fn unconfined(program: &Path) -> PathBuf {
    static COPY: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    if !Path::new("/etc/apparmor.d/usr.sbin.rsyslogd").exists() {
        return program.to_owned();
    }
    let copy = COPY.get_or_init(|| {
        let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rsyslogd");
        let own = copy.with_extension(std::process::id().to_string());
        // Copied by another process: a file that this one has open for writing could not be executed.
        let copied = Command::new("cp").arg(program).arg(&own).status().unwrap();
        assert!(copied.success(), "can't copy {} to {}", program.display(), own.display());
        // Renamed atomically: other tests execute it at the same time.
        fs::rename(own, &copy).unwrap();
        copy
    });
    copy.clone()
}
