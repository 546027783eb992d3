//! An external server process: found, started, waited for, and stopped with its test.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};

use super::wait::{LONG, eventually};

/// A byte stream of any kind.
pub trait Duplex: Read + Write + Send {}

impl<S: Read + Write + Send> Duplex for S {}

/// Network namespace of a server, and the address that it listens on.
#[derive(Clone)]
pub struct Site {
    pub address: IpAddr,
    /// Command line prefix that runs a program in that namespace.
    pub enter: Vec<String>,
}

impl Default for Site {
    /// This namespace, on loopback.
    fn default() -> Self {
        Self { address: Ipv4Addr::LOCALHOST.into(), enter: Vec::new() }
    }
}

/// A running server; when dropped, it and its children are stopped.
pub struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `program` with the arguments added by `setup`, with its output in `log`, and waits until `ready`. Fails with
    /// the log if the server ends before that.
    pub fn start(
        name: &'static str,
        program: &Path,
        log: &Path,
        setup: impl FnOnce(&mut Command),
        ready: impl Fn() -> bool,
    ) -> Self {
        Self::start_at(&Site::default(), name, program, log, setup, ready)
    }

    /// Starts a server at another site.
    pub fn start_at(
        site: &Site,
        name: &'static str,
        program: &Path,
        log: &Path,
        setup: impl FnOnce(&mut Command),
        ready: impl Fn() -> bool,
    ) -> Self {
        // The kernel sends SIGTERM to the server when the test's thread ends, in whatever way.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]).args(&site.enter).arg(program);
        setup(&mut command);
        let output = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("can't start {name} with setpriv: {error}"));
        let mut server = Self { name, child, log: log.to_owned() };
        eventually(LONG, &format!("{name} answers"), || {
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("{name} ended at its start with {status}:\n{}", server.log());
            }
            ready().then_some(())
        });
        server
    }

    /// Kills the server, as a crash does.
    pub fn kill(mut self) {
        kill_process_group(Pid::from_child(&self.child), Signal::KILL).unwrap();
        self.child.wait().unwrap();
    }

    /// Returns the output of the server so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        kill_process_group(group, Signal::TERM).ok(); // it may have ended by itself
        for _ in 0..250 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{} ignores SIGTERM; killing it", self.name);
        kill_process_group(group, Signal::KILL).ok();
        self.child.wait().ok();
    }
}

/// Returns the path of an installed program. A missing one fails the test: a skipped test proves nothing.
pub fn installed(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/usr/local/sbin", "/sbin"]);
    folders
        .map(|folder| Path::new(folder).join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: run tests/install-servers.sh"))
}

/// Returns an unused port. It is below the range that the kernel uses for outgoing connections, so that none of those
/// takes it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run at the same time start at different ports.
    let begin = u16::try_from(std::process::id() * 97 % 10_000).unwrap();
    loop {
        let port = 20_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// True if each of `ports` accepts connections.
pub fn accepting(address: IpAddr, ports: &[u16]) -> bool {
    ports.iter().all(|port| std::net::TcpStream::connect((address, *port)).is_ok())
}
