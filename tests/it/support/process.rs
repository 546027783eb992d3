//! Runs the program itself, as users do.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, PipeReader, Read, Write},
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{cgroup::Cgroup, datagrams, terminal::Terminal};

/// Timeout that no run in a test reaches, even on a busy machine.
const TOO_LONG: Duration = Duration::from_secs(180);

/// A command line of dmarc-shipper that is not running yet.
pub struct Shipper {
    command: Command,
    stdin: Vec<u8>,
}

/// A run in progress.
pub struct Running {
    child: Child,
    stdout: Stream,
    stderr: Stream,
    /// Stdout, if it is left unread.
    unread: Option<ChildStdout>,
}

/// A run that has ended by itself.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Shipper {
    pub fn new<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self::of(Command::new(program()), arguments)
    }

    /// Limits the memory for data to `kib` KiB (writable mappings, even if not all of it is used).
    pub fn limited<S: AsRef<OsStr>>(kib: usize, arguments: impl IntoIterator<Item = S>) -> Self {
        Self::ulimited(&format!("-d {kib}"), arguments)
    }

    /// Sets a limit with the shell's `ulimit`, such as `-n 256`.
    pub fn ulimited<S: AsRef<OsStr>>(limit: &str, arguments: impl IntoIterator<Item = S>) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")]).arg(program());
        Self::of(shell, arguments)
    }

    /// Starts the program from a shell with this redirection, such as `>&-`.
    pub fn redirected<S: AsRef<OsStr>>(redirection: &str, arguments: impl IntoIterator<Item = S>) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec \"$0\" \"$@\" {redirection}")]).arg(program());
        Self::of(shell, arguments)
    }

    /// Replaces the machine's hosts file by this one.
    pub fn with_hosts<S: AsRef<OsStr>>(hosts: &Path, arguments: impl IntoIterator<Item = S>) -> Self {
        let mut shell = Command::new("unshare");
        let mounted = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        shell.args(["--mount", "sh", "-c", mounted]).arg(hosts).arg(program());
        Self::of(shell, arguments)
    }

    /// Runs the program in this control group.
    pub fn in_cgroup<S: AsRef<OsStr>>(group: &Cgroup, arguments: impl IntoIterator<Item = S>) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(group.processes()).arg(program());
        Self::of(shell, arguments)
    }

    fn of<S: AsRef<OsStr>>(mut command: Command, arguments: impl IntoIterator<Item = S>) -> Self {
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Removes environment variables of whoever runs the tests.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DMARC_SHIPPER")) {
            command.env_remove(name);
        }
        Self { command, stdin: Vec::new() }
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    pub fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Sets the pipe that stdin is read from.
    pub fn stdin_from(mut self, reader: PipeReader) -> Self {
        self.command.stdin(reader);
        self
    }

    /// Has the kernel refuse to send more than `bytes` bytes at once on a datagram socket (EMSGSIZE).
    pub fn with_datagrams_up_to(mut self, bytes: u32) -> Self {
        datagrams::limit(&mut self.command, bytes);
        self
    }

    /// Connects stderr to a terminal.
    pub fn on_terminal(mut self, terminal: &Terminal) -> Self {
        self.command.stderr(terminal.end.try_clone().unwrap());
        self
    }

    /// Connects stdout to a pipe without a reader, so that writing to it fails.
    pub fn with_stdout_closed(mut self) -> Self {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        self.command.stdout(writer);
        self
    }

    /// Runs to the end.
    #[track_caller]
    pub fn run(self) -> Finished {
        self.start().finish()
    }

    /// Runs to the end; expects this exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Finished {
        self.run().exited(code)
    }

    /// Starts the program, and does not wait.
    pub fn start(self) -> Running {
        let mut running = self.start_unread();
        running.read_on();
        running
    }

    /// Starts the program, and leaves stdout unread until the end, or until [`Running::read_on`]: the pipe fills up.
    pub fn start_unread(mut self) -> Running {
        let mut child = self.command.spawn().unwrap();
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read its stdin closes it, which is no error.
            thread::spawn(move || stdin.write_all(&self.stdin).ok());
        }
        let stderr = child.stderr.take().map_or_else(|| Stream::read(io::empty()), Stream::read);
        Running { stdout: Stream::read(io::empty()), stderr, unread: child.stdout.take(), child }
    }
}

/// Returns the program that was built with the tests, or the one in `DMARC_SHIPPER`: one for another architecture, run in
/// an emulator (`make arm64`).
fn program() -> OsString {
    std::env::var_os("DMARC_SHIPPER").unwrap_or_else(|| env!("CARGO_BIN_EXE_dmarc-shipper").into())
}

impl Running {
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the content of stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.so_far()
    }

    /// Returns the peak memory so far, in KiB.
    pub fn peak_memory(&self) -> u64 {
        self.peak_memory_yet().expect("it runs")
    }

    /// Returns the peak memory so far, in KiB; `None` once the process has ended.
    pub fn peak_memory_yet(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Waits for the end, and returns the highest peak memory that was observed, in KiB.
    #[track_caller]
    pub fn finish_measured(mut self) -> (Finished, u64) {
        let mut peak = 0;
        while self.child.try_wait().unwrap().is_none() {
            peak = self.peak_memory_yet().unwrap_or_default().max(peak);
            thread::sleep(Duration::from_millis(20));
        }
        (self.finish(), peak)
    }

    /// Reads stdout from now on.
    pub fn read_on(&mut self) {
        if let Some(stdout) = self.unread.take() {
            self.stdout = Stream::read(stdout);
        }
    }

    /// Returns the content of stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.so_far()
    }

    /// Waits for the end.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        let end = Instant::now() + TOO_LONG;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "still running after {TOO_LONG:?}; stderr:\n{}", self.stderr());
            thread::sleep(Duration::from_millis(10));
        };
        self.read_on();
        Finished { status, stdout: self.stdout.ended(), stderr: self.stderr.ended() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if the process has ended already, which is fine.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Finished {
    #[track_caller]
    pub fn exited(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Parses stdout, which must be NDJSON.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        ndjson(&self.stdout)
    }

    /// Fails unless stderr contains each of `words`.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "stderr does not say {word:?}:\n{}", self.stderr);
        }
        self
    }
}

/// Parses an NDJSON text.
#[track_caller]
pub fn ndjson(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))).collect()
}

/// A pipe that is read continuously, so that the program never waits for the test.
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn read(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let filled = bytes.clone();
        let reader = thread::spawn(move || {
            let mut piece = [0; 8192];
            while let Ok(length @ 1..) = pipe.read(&mut piece) {
                filled.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    fn ended(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.so_far()
    }
}
