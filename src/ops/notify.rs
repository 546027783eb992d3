//! systemd notifications (sd_notify(3)): lines of `NAME=value`, sent as one datagram each time to the socket named by
//! `NOTIFY_SOCKET`. If that is not set, nothing is sent.

use std::{
    collections::VecDeque,
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tracing::{error, warn};

use super::condition::Condition;

/// Variables meant for this process alone: a command that it starts must not send notifications in its name.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Interval at which the status is checked, unless the watchdog's is shorter.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Delay before a state that found the receiver's queue full is sent again. The kernel holds as few as ten datagrams
/// (`net.unix.max_dgram_qlen`) for all processes that send to one receiver.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Maximum number of characters of a status, which is one line for a person.
const MAX_STATUS: usize = 500;

const AT_WORK: &str = "running";

/// Sender of notifications. Sending never blocks: the socket is non-blocking.
#[derive(Debug, Default)]
pub struct Notify {
    listener: Option<(UnixDatagram, SocketAddr)>,
    /// Watchdog timeout: the process is killed if it sends nothing for this long.
    watchdog: Option<Duration>,
    said: Mutex<Said>,
    /// Notified when a state waits for room in the receiver's queue.
    refused: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct Said {
    /// States that found the receiver's queue full, in order: at most a reload, its end and the end of the process.
    waiting: VecDeque<String>,
    /// The last status that was sent or waits.
    status: String,
}

impl Notify {
    /// Returns a sender to the socket that the environment names; without one, nothing is sent.
    pub fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Self::default() };
        let name = name.to_string_lossy();
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        let for_us = number("WATCHDOG_PID").is_none_or(|process| process == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|&period| period > 0 && for_us).map(Duration::from_micros);
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&*name),
        };
        let opened = address.and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            Ok((socket, address))
        });
        match opened {
            Ok(listener) => Self { listener: Some(listener), watchdog, ..Self::default() },
            Err(error) => {
                warn!(%error, "can't notify NOTIFY_SOCKET {name}; expected a path or an abstract name (@…)");
                Self::default()
            }
        }
    }

    /// Notifies that the configuration is in force and the work begins.
    pub fn ready(&self) {
        self.enter("READY=1", AT_WORK);
    }

    /// Notifies that a new configuration is being read. [`Self::ready`] follows, whether it is accepted or not.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        // This and the READY=1 that follows replace earlier states that still wait.
        self.said().waiting.clear();
        self.enter(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"), "reloading");
    }

    /// Notifies that the process is stopping.
    pub fn stopping(&self) {
        self.enter("STOPPING=1", "finishing mails in flight");
    }

    /// Sends the status whenever it changes, and the watchdog keep-alive, only while the process makes progress. Resends
    /// states that found the receiver's queue full.
    pub async fn attend(self: Arc<Self>, condition: Arc<Condition>) {
        if self.listener.is_none() {
            return;
        }
        // Half of the watchdog's, so that a late keep-alive is still in time.
        let period = self.watchdog.map_or(LOOK_EVERY, |watchdog| (watchdog / 2).min(LOOK_EVERY));
        let mut tick = interval_at(Instant::now() + period, period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut moved = true;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = async { self.refused.notified().await; sleep(RETRY_AFTER).await } => {
                    self.send_waiting(&mut self.said());
                    continue;
                }
            }
            let now = Instant::now();
            let moves = condition.moves(now);
            if moved && !moves {
                error!("the process makes no progress; this is a bug, please report it");
            }
            moved = moves;
            let mut said = self.said();
            if !self.send_waiting(&mut said) {
                continue;
            }
            if moves && self.watchdog.is_some() {
                self.send("WATCHDOG=1");
            }
            let status = status(&condition.reasons(now));
            if status != said.status && self.send(&format!("STATUS={status}")) {
                said.status = status;
            }
        }
    }

    /// Sends a state, or keeps it for later: a service whose `READY=1` never arrives is killed when its start times out.
    fn enter(&self, state: &str, status: &str) {
        let message = format!("{state}\nSTATUS={status}");
        let mut said = self.said();
        status.clone_into(&mut said.status);
        if said.waiting.back() != Some(&message) {
            said.waiting.push_back(message);
        }
        self.send_waiting(&mut said);
    }

    /// Sends the states that wait; true if none waits any more.
    fn send_waiting(&self, said: &mut Said) -> bool {
        while let Some(message) = said.waiting.front() {
            if !self.send(message) {
                self.refused.notify_one();
                return false;
            }
            said.waiting.pop_front();
        }
        true
    }

    /// Sends a message; false if the receiver's queue is full. Other errors, such as a missing receiver, count as sent:
    /// they can't be reported, and a watchdog reacts by itself.
    fn send(&self, what: &str) -> bool {
        let Some((socket, address)) = &self.listener else { return true };
        let sent = socket.send_to_addr(what.as_bytes(), address);
        !sent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the status as one line: servers influence the text of troubles, and a second line would be another notification.
fn status(reasons: &[String]) -> String {
    if reasons.is_empty() {
        return AT_WORK.to_owned();
    }
    let line = reasons.join("; ");
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_STATUS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATCHDOG: Duration = Duration::from_secs(4);
    const LONG: Duration = Duration::from_secs(600);

    /// A receiver, and the messages that came since the last call.
    fn listener(watchdog: Option<Duration>) -> (Arc<Notify>, impl Fn() -> Vec<String>) {
        let name = format!("dmarc-shipper-{}-{:?}", std::process::id(), std::thread::current().id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let ear = UnixDatagram::bind_addr(&address).unwrap();
        ear.set_nonblocking(true).unwrap();
        let heard = move || {
            let mut buffer = [0; 2048];
            std::iter::from_fn(|| {
                let length = ear.recv(&mut buffer).ok()?;
                Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
            })
            .collect()
        };
        let mouth = UnixDatagram::unbound().unwrap();
        mouth.set_nonblocking(true).unwrap();
        (Arc::new(Notify { listener: Some((mouth, address)), watchdog, ..Notify::default() }), heard)
    }

    fn fill(notify: &Notify) {
        while notify.send("WATCHDOG=1") {}
    }

    #[tokio::test(start_paused = true)]
    async fn watchdog_keepalives_stop_when_the_process_stalls() {
        let ((notify, heard), condition) = (listener(Some(WATCHDOG)), Arc::new(Condition::default()));
        condition.begin(LONG, &[("rua", LONG)], &[]);
        tokio::spawn(notify.attend(condition.clone()));
        for _ in 0..20 {
            condition.stuck_since(None);
            tokio::time::sleep(WATCHDOG).await;
            assert!(heard().contains(&"WATCHDOG=1".to_owned()));
        }
        tokio::time::sleep(LONG).await;
        let last = heard();
        tokio::time::sleep(WATCHDOG).await;
        assert!(last.len() < 20 && heard().is_empty(), "{last:?}");
        condition.stuck_since(None);
        tokio::time::sleep(WATCHDOG / 2).await;
        assert_eq!(heard(), ["WATCHDOG=1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn systemd_status_names_stuck_components_in_one_line() {
        let ((notify, heard), condition) = (listener(None), Arc::new(Condition::default()));
        let limit = Duration::from_secs(60);
        condition.begin(limit, &[("rua", limit)], &["siem".into()]);
        notify.ready();
        tokio::spawn(notify.attend(condition.clone()));
        tokio::time::sleep(LOOK_EVERY * 2).await;
        assert_eq!(heard(), ["READY=1\nSTATUS=running"]);
        condition.sink_is("siem", Some("refused\nREADY=1".into()));
        condition.source_moved("rua");
        tokio::time::sleep(limit + LOOK_EVERY).await;
        let told = heard().concat();
        assert!(told.starts_with("STATUS=sink siem has made no progress for "), "{told}");
        assert!(told.contains("refused READY=1") && !told.contains('\n'), "{told}");
        condition.sink_is("siem", None);
        tokio::time::sleep(LOOK_EVERY).await;
        assert_eq!(heard(), ["STATUS=running"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_notify_socket_blocks_nothing_and_loses_no_state() {
        let ((notify, heard), condition) = (listener(None), Arc::new(Condition::default()));
        condition.begin(LONG, &[], &[]);
        tokio::spawn(notify.clone().attend(condition));
        for _ in 0..3 {
            fill(&notify);
            notify.ready();
            notify.reloading();
            notify.ready();
            notify.stopping();
            notify.stopping();
            tokio::time::sleep(LOOK_EVERY * 3).await;
            assert!(heard().iter().all(|message| message == "WATCHDOG=1"));
            tokio::time::sleep(RETRY_AFTER * 2).await;
            let first = |message: &String| message.lines().next().unwrap().to_owned();
            let states: Vec<_> = heard().iter().map(first).filter(|line| !line.starts_with("STATUS")).collect();
            assert_eq!(states, ["RELOADING=1", "READY=1", "STOPPING=1"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn systemd_status_is_sent_again_after_a_rejected_reload_and_a_full_socket() {
        let ((notify, heard), condition) = (listener(None), Arc::new(Condition::default()));
        let limit = Duration::from_secs(60);
        condition.begin(limit, &[("rua", limit)], &[]);
        tokio::spawn(notify.clone().attend(condition.clone()));
        tokio::time::sleep(limit * 3).await;
        assert!(heard().concat().contains("source rua has made no progress"));
        notify.reloading();
        notify.ready();
        heard();
        fill(&notify);
        tokio::time::sleep(LOOK_EVERY).await;
        heard();
        tokio::time::sleep(LOOK_EVERY).await;
        assert!(heard().concat().contains("source rua has made no progress"));
    }
}
