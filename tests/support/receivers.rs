//! Receivers to send to: rsyslog on loopback, and the certificates for TLS.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// An authority of our own with a server's certificate (127.0.0.1, localhost) and a client's (client.test), as PEM
/// files `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key`.
pub struct Certificates {
    dir: TempDir,
}

impl Certificates {
    pub fn make() -> Self {
        let dir = TempDir::new().unwrap();
        let write = |name: &str, pem: String| fs::write(dir.path().join(name), pem).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        write("ca.pem", authority.pem());
        for (name, hosts) in [("server", vec!["127.0.0.1", "localhost"]), ("client", vec!["client.test"])] {
            let key = KeyPair::generate().unwrap();
            let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
            let mut params = CertificateParams::new(hosts.clone()).unwrap();
            params.distinguished_name.push(DnType::CommonName, hosts.last().unwrap().as_str());
            write(&format!("{name}.pem"), params.signed_by(&key, &authority).unwrap().pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// An rsyslogd of its own that writes each message's MSG as a line to a file. Killed when dropped.
pub struct Rsyslog {
    dir: TempDir,
    port: Option<u16>,
    input: String,
    child: Option<Child>,
}

impl Rsyslog {
    /// imtcp without TLS.
    pub fn tcp() -> Self {
        Self::prepare("module(load=\"imtcp\")".into())
    }

    /// imtcp with a TLS driver (gtls or ossl); `auth` is the rest of the module's parameters.
    pub fn tls(driver: &str, certificates: &Certificates, auth: &str) -> Self {
        let path = |name| certificates.path(name).display().to_string();
        Self::prepare(format!(
            "global(DefaultNetstreamDriver=\"{driver}\" DefaultNetstreamDriverCAFile=\"{}\" \
             DefaultNetstreamDriverCertFile=\"{}\" DefaultNetstreamDriverKeyFile=\"{}\")\n\
             module(load=\"imtcp\" StreamDriver.Name=\"{driver}\" StreamDriver.Mode=\"1\" {auth})",
            path("ca.pem"),
            path("server.pem"),
            path("server.key"),
        ))
    }

    fn prepare(input: String) -> Self {
        let mut rsyslog = Self { dir: TempDir::new().unwrap(), port: None, input, child: None };
        rsyslog.start();
        rsyslog
    }

    /// Starts it, on the port it had before if it ran before.
    pub fn start(&mut self) {
        let at = |name: &str| self.dir.path().join(name);
        // A killed one leaves it behind.
        fs::remove_file(at("pid")).ok();
        let config = format!(
            "global(workDirectory=\"{dir}\")\nmain_queue(queue.type=\"direct\")\n{input}\n\
             template(name=\"msg\" type=\"string\" string=\"%msg%\\n\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" listenPortFileName=\"{dir}/port\" \
             ruleset=\"all\")\n\
             ruleset(name=\"all\") {{ action(type=\"omfile\" file=\"{dir}/received\" template=\"msg\") }}\n",
            dir = self.dir.path().display(),
            input = self.input,
            port = self.port.unwrap_or(0),
        );
        fs::write(at("rsyslog.conf"), config).unwrap();
        let mut command = Command::new("rsyslogd");
        command.arg("-n").arg("-f").arg(at("rsyslog.conf")).arg("-i").arg(at("pid"));
        command.stdout(Stdio::null()).stderr(fs::File::create(at("stderr")).unwrap());
        self.child = Some(command.spawn().expect("rsyslogd is installed"));
        if self.port.is_none() {
            let port = wait_for("rsyslogd's port", || fs::read_to_string(at("port")).ok()?.trim().parse().ok());
            self.port = Some(port);
        }
    }

    pub fn port(&self) -> u16 {
        self.port.unwrap()
    }

    /// Kill -9: what it has not written is lost.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// The lines written so far.
    pub fn received(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file()).unwrap_or_default();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    pub fn file(&self) -> PathBuf {
        Path::join(self.dir.path(), "received")
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks until there is an answer; fails the test after half a minute.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..3000 {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no {what} after half a minute");
}
