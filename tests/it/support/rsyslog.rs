//! A real rsyslog that listens on TCP, TLS (GnuTLS) and UDP and writes down what it understood of each frame.

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

/// How this server differs from a usual one.
pub struct Options {
    /// Its driver for TLS: `gtls` or `ossl`.
    pub driver: &'static str,
    pub peers: Peers,
    pub writes: Writes,
    pub site: Site,
}

/// What it writes down of a message.
pub enum Writes {
    /// Everything that it understood, see [`Rsyslog::received`].
    All,
    /// MSG alone, see [`Rsyslog::lines`], and before it takes the next: what it took before it is killed is on disk.
    Msg,
}

/// Whom rsyslog takes TLS connections from.
pub enum Peers {
    Anyone,
    /// Those who show a certificate of the authority's with this name.
    Named(&'static str),
}

impl Default for Options {
    fn default() -> Self {
        Self { driver: "gtls", peers: Peers::Anyone, writes: Writes::All, site: Site::default() }
    }
}

impl Rsyslog {
    /// Listens for anyone, with the authority's certificate for loopback.
    pub fn start(ca: &Ca) -> Self {
        Self::with(ca, &Options::default())
    }

    pub fn with(ca: &Ca, options: &Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (tcp_port, tls_port, udp_port) = (free_port(), free_port(), free_port());
        let mut rsyslog = Self { tcp_port, tls_port, udp_port, site: options.site.clone(), server: None, folder };
        let config = rsyslog.configuration(&ca.file(), &ca.server(), options);
        fs::write(rsyslog.path("rsyslog.conf"), config).unwrap();
        rsyslog.resume();
        rsyslog
    }

    /// Ends the server; what it wrote, and its ports, stay.
    pub fn halt(&mut self) {
        self.server = None;
    }

    /// Ends it as a crash does: what it has not written is lost.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// Starts it again on the same ports.
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
                // One that was killed leaves the file behind, and its number may be another process's by now.
                fs::remove_file(&pid).ok();
                command.arg("-n").arg("-f").arg(config).arg("-i").arg(pid);
            },
            || accepting(self.site.address, &ports),
        ));
    }

    /// Everything received so far.
    pub fn received(&self) -> Vec<Received> {
        read(&self.path("received.ndjson"), |line| common(line, &line["sd"]["rfc5424-sd"], &line["json"]))
    }

    /// Everything received, once that is at least `count` messages.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually(LONG, &format!("rsyslog has written {count} messages"), || {
            Some(self.received()).filter(|received| received.len() >= count)
        })
    }

    /// MSG of all messages so far; with [`Writes::All`], of those that a filter by the program's name DMARC_DATA takes.
    pub fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("lines")).unwrap_or_default();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// The same, once that is at least `count` messages.
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

/// What is done with each message, to write all of it.
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

/// Ubuntu's AppArmor profile keeps /usr/sbin/rsyslogd to the files of the system's own; it goes by the path.
pub fn unconfined(program: &Path) -> PathBuf {
    static COPY: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    if !Path::new("/etc/apparmor.d/usr.sbin.rsyslogd").exists() {
        return program.to_owned();
    }
    let copy = COPY.get_or_init(|| {
        let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rsyslogd");
        let own = copy.with_extension(std::process::id().to_string());
        // Written by another process: while we had it open for writing, nobody could run it.
        let copied = Command::new("cp").arg(program).arg(&own).status().unwrap();
        assert!(copied.success(), "can't copy {} to {}", program.display(), own.display());
        // Whole at any moment: other tests run it at the same time.
        fs::rename(own, &copy).unwrap();
        copy
    });
    copy.clone()
}
