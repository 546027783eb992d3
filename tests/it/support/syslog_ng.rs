//! A real syslog-ng, unpacked by tests/install-servers.sh: with its `syslog()` source on TCP and TLS and, as configured
//! for dmarc-ingest, its `network()` source with a filter by program name.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{
    ca::{Ca, Identity},
    received::{Received, common, read},
    server::{Server, accepting, free_port},
    unpacked::{Unpacked, children},
    wait::{LONG, eventually},
};

pub struct SyslogNg {
    pub tcp_port: u16,
    pub tls_port: u16,
    /// RFC 3164, framed by newlines; only messages of the program DMARC_DATA are kept.
    pub network_port: u16,
    _server: Server,
    folder: TempDir,
}

impl SyslogNg {
    pub fn start(ca: &Ca) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports @ [tcp_port, tls_port, network_port] = [free_port(), free_port(), free_port()];
        let server = run(folder.path(), &configuration(folder.path(), &ca.server(), ports), &ports);
        Self { tcp_port, tls_port, network_port, _server: server, folder }
    }

    /// Returns all messages received so far.
    pub fn received(&self) -> Vec<Received> {
        read(&self.folder.path().join("received.ndjson"), |line| common(line, &line["_SDATA"], &line["json"]))
    }

    /// Waits for at least `count` messages, and returns all.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually(LONG, &format!("syslog-ng has written {count} messages"), || {
            Some(self.received()).filter(|received| received.len() >= count)
        })
    }
}

/// Starts syslog-ng with this configuration, and waits until it listens on the ports; its state and its log are in the
/// folder.
pub fn run(folder: &Path, configuration: &str, ports: &[u16]) -> Server {
    let unpacked = Unpacked::find("syslog-ng", "usr/sbin/syslog-ng");
    let path = |name: &str| folder.join(name);
    fs::write(path("syslog-ng.conf"), configuration).unwrap();
    Server::start(
        "syslog-ng",
        &unpacked.root.join("usr/sbin/syslog-ng"),
        &path("syslog-ng.log"),
        |command| {
            command.args(["--foreground", "--stderr", "--no-caps", "--module-path"]).arg(modules(&unpacked.root));
            command.arg("--cfgfile").arg(path("syslog-ng.conf"));
            command.arg("--persist-file").arg(path("persist"));
            command.arg("--control").arg(path("control"));
            command.arg("--pidfile").arg(path("pid"));
            unpacked.with_libraries(command);
        },
        || accepting(Ipv4Addr::LOCALHOST.into(), ports),
    )
}

fn configuration(folder: &Path, identity: &Identity, ports: [u16; 3]) -> String {
    let [tcp_port, tls_port, network_port] = ports;
    let folder = folder.display();
    let (certificate, key) = (identity.certificate.display(), identity.key.display());
    format!(
        r#"@version: 3.38
options {{ keep-hostname(yes); use-dns(no); dns-cache(no); stats-freq(0); log-msg-size(65536); frac-digits(6); }};
source tcp {{
  syslog(ip(127.0.0.1) port({tcp_port}) transport("tcp") log-iw-size(10000));
}};
source tls {{
  syslog(ip(127.0.0.1) port({tls_port}) transport("tls") log-iw-size(10000)
         tls(key-file("{key}") cert-file("{certificate}") peer-verify(optional-untrusted)));
}};
source network {{ network(ip(127.0.0.1) port({network_port}) transport("tcp") log-iw-size(10000)); }};
filter ours {{ program("^DMARC_DATA$"); }};
parser json {{ json-parser(prefix("json.")); }};
template line {{
  template("$(format-json --key json.* --key .SDATA.* hostname=$HOST app_name=$PROGRAM procid=$PID msgid=$MSGID severity=$LEVEL_NUM facility=$FACILITY_NUM timestamp=$ISODATE msg=$MESSAGE)\n");
}};
destination received {{ file("{folder}/received.ndjson" template(line) flush-lines(1)); }};
log {{
  source(tcp);
  source(tls);
  if {{ parser(json); }};
  destination(received);
  flags(flow-control);
}};
log {{
  source(network);
  filter(ours);
  if {{ parser(json); }};
  destination(received);
  flags(flow-control);
}};
"#
    )
}

/// Returns the folder of the plugins, which is named after the version.
fn modules(root: &Path) -> PathBuf {
    children(&root.join("usr/lib/syslog-ng"))
        .into_iter()
        .find(|folder| folder.join("libjson-plugin.so").is_file())
        .expect("syslog-ng-core brings its JSON plugin")
}
