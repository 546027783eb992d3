//! The protocol of `Type=notify`, with a socket in place of systemd's.

use std::{
    cell::RefCell,
    fs,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    process::{Running, Shipper},
    wait::{LONG, eventually},
    workplace::{Workplace, stdout},
};

/// A socket for notifications, and all messages that were received.
struct Listener {
    socket: UnixDatagram,
    name: String,
    heard: RefCell<Vec<String>>,
}

impl Listener {
    fn at_path(workplace: &Workplace) -> Self {
        let path = workplace.path("notify");
        Self::at(UnixDatagram::bind(&path).unwrap(), path.display().to_string())
    }

    fn abstract_one(workplace: &Workplace) -> Self {
        let name = workplace.path("notify").display().to_string();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        Self::at(UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}"))
    }

    fn at(socket: UnixDatagram, name: String) -> Self {
        socket.set_nonblocking(true).unwrap();
        Self { socket, name, heard: RefCell::default() }
    }

    /// Returns all messages so far.
    fn heard(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            self.heard.borrow_mut().push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        self.heard.borrow().clone()
    }

    /// Returns the messages other than watchdog keep-alives, by their first lines.
    fn told(&self) -> Vec<String> {
        let first = |message: &String| message.lines().next().unwrap().to_owned();
        self.heard().iter().map(first).filter(|line| line != "WATCHDOG=1").collect()
    }

    fn signs_of_life(&self) -> usize {
        self.heard().iter().filter(|message| *message == "WATCHDOG=1").count()
    }

    #[track_caller]
    fn until(&self, told: &[&str]) {
        eventually(LONG, &format!("it tells {told:?}"), || (self.told() == told).then_some(()));
    }
}

/// Returns a configuration that reads an empty folder.
fn idle(workplace: &Workplace) -> Value {
    let inbox = workplace.path("inbox");
    fs::create_dir_all(&inbox).unwrap();
    workplace.config(json!({"type": "file", "path": inbox}), stdout())
}

fn running(workplace: &Workplace, environment: &[(&str, &str)]) -> Running {
    let shipper = workplace.shipper(&["run", "--config"], &idle(workplace));
    environment.iter().fold(shipper, |shipper, (name, value)| shipper.env(name, value)).start()
}

#[test]
fn ready_reloading_and_stopping_are_notified() {
    for listener in [Listener::at_path, Listener::abstract_one] {
        let workplace = Workplace::new();
        let listener = listener(&workplace);
        let running = running(&workplace, &[("NOTIFY_SOCKET", &listener.name)]);
        listener.until(&["READY=1"]);
        running.signal(Signal::HUP);
        listener.until(&["READY=1", "RELOADING=1", "READY=1"]);
        eventually(LONG, "it has reloaded", || running.stderr().contains("\"reloaded\"").then_some(()));
        let reloading = listener.heard()[1].clone();
        let at: u64 = reloading.lines().nth(1).unwrap().strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
        let uptime: f64 = fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
        // CLOCK_MONOTONIC: unlike /proc/uptime, it stands still while the machine sleeps, and no other clock is that low.
        assert!(at > 0 && at as f64 <= uptime * 1e6 + 1e6, "{at} is none of {uptime}");

        // A refused reload must also be reported as finished, or `systemctl reload` would wait for it.
        workplace.write("config.json", "{");
        running.signal(Signal::HUP);
        listener.until(&["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1"]);
        running.signal(Signal::TERM);
        running.finish().exited(0).says(&["keeping the current one"]);
        assert_eq!(listener.told().last().unwrap(), "STOPPING=1");
        assert_eq!(listener.signs_of_life(), 0, "nobody has asked for them");
    }
}

/// The kernel queues ten datagrams for a listener that does not read, unless `net.unix.max_dgram_qlen` is higher.
#[test]
fn a_blocked_notify_socket_delays_only_the_notifications() {
    let workplace = Workplace::new();
    let listener = Listener::at_path(&workplace);
    let mouth = UnixDatagram::unbound().unwrap();
    mouth.set_nonblocking(true).unwrap();
    let fill = || while mouth.send_to(b"WATCHDOG=1", &listener.name).is_ok() {};
    fill();
    let environment = [("NOTIFY_SOCKET", &*listener.name), ("WATCHDOG_USEC", "200000")];
    fs::create_dir(workplace.path("inbox")).unwrap();
    fs::copy("examples/mailbox/01-gzip.eml", workplace.path("inbox/01.eml")).unwrap();
    let running = running(&workplace, &environment);
    eventually(LONG, "it ships", || running.stdout().contains("event_id").then_some(()));
    listener.until(&["READY=1"]);
    fill();
    running.signal(Signal::HUP);
    eventually(LONG, "it has reloaded", || running.stderr().contains("\"reloaded\"").then_some(()));
    listener.until(&["READY=1", "RELOADING=1", "READY=1"]);
    fill();
    running.signal(Signal::TERM);
    running.finish().exited(0);
}

#[test]
fn watchdog_keepalives_are_sent() {
    let workplace = Workplace::new();
    let listener = Listener::at_path(&workplace);
    let running = running(&workplace, &[("NOTIFY_SOCKET", &listener.name), ("WATCHDOG_USEC", "200000")]);
    eventually(LONG, "it shows signs of life", || (listener.signs_of_life() > 3).then_some(()));
    running.signal(Signal::TERM);
    running.finish().exited(0);
    assert_eq!(listener.told(), ["READY=1", "STOPPING=1"]);
}

#[test]
fn watchdog_pid_of_another_process_disables_keepalives() {
    let workplace = Workplace::new();
    let listener = Listener::at_path(&workplace);
    let others = [("NOTIFY_SOCKET", &*listener.name), ("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")];
    let running = running(&workplace, &others);
    listener.until(&["READY=1"]);
    running.signal(Signal::HUP);
    listener.until(&["READY=1", "RELOADING=1", "READY=1"]);
    running.signal(Signal::TERM);
    running.finish().exited(0);
    assert_eq!(listener.signs_of_life(), 0);
}

#[test]
fn missing_or_invalid_notify_sockets_are_ignored() {
    let workplace = Workplace::new();
    fs::create_dir(workplace.path("inbox")).unwrap();
    let once = |name: &str| workplace.once(&idle(&workplace)).env("NOTIFY_SOCKET", name);
    assert!(!once("").exits(0).stderr.contains("NOTIFY_SOCKET"));
    once(&workplace.path("nowhere").display().to_string()).exits(0);
    once(&"x".repeat(200)).exits(0).says(&["can't notify NOTIFY_SOCKET", "expected a path or an abstract name"]);
}

#[test]
fn only_run_notifies_systemd() {
    let workplace = Workplace::new();
    let listener = Listener::at_path(&workplace);
    workplace
        .shipper(&["check", "--offline", "--config"], &idle(&workplace))
        .env("NOTIFY_SOCKET", &listener.name)
        .exits(0);
    Shipper::new(["parse", "examples/mailbox/01-gzip.eml"]).env("NOTIFY_SOCKET", &listener.name).exits(0);
    assert_eq!(listener.heard(), <[&str; 0]>::default());
}
