//! What systemd is told of the process (sd_notify(3)): `NAME=value` in lines, a datagram each time, to the socket that
//! `NOTIFY_SOCKET` names. Where it is not set, nobody is told anything.

use std::{
    env,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::Arc,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{error, warn};

use super::condition::Condition;

/// What is meant for this process alone: a command that it starts must not speak in its name.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// How often the status is looked at, unless the watchdog is more impatient.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A manager that takes nothing for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Characters of a status; it is one line for a person.
const MAX_STATUS: usize = 500;

const AT_WORK: &str = "at work";

/// Who wants to hear how the process is.
#[derive(Debug, Default)]
pub struct Notify {
    listener: Option<(UnixDatagram, SocketAddr)>,
    /// The process is killed when it says nothing for so long.
    watchdog: Option<Duration>,
}

impl Notify {
    /// The one that the environment names, or nobody.
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
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok((socket, address))
        });
        match opened {
            Ok(listener) => Self { listener: Some(listener), watchdog },
            Err(error) => {
                warn!(%error, "can't tell NOTIFY_SOCKET {name} how the process is; expected a path or an @name");
                Self::default()
            }
        }
    }

    /// The configuration is in force, and the work begins.
    pub fn ready(&self) {
        self.tell(&format!("READY=1\nSTATUS={AT_WORK}"));
    }

    /// A new configuration is looked at. [`Self::ready`] follows, whatever came of it.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading"));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=finishing what is in flight");
    }

    /// Tells from now on what stands still, and the watchdog that the process moves: only while it does.
    pub async fn attend(self: Arc<Self>, condition: Arc<Condition>) {
        if self.listener.is_none() {
            return;
        }
        // Half of it, so that a late one is still in time.
        let period = self.watchdog.map_or(LOOK_EVERY, |watchdog| (watchdog / 2).min(LOOK_EVERY));
        let mut tick = interval_at(Instant::now() + period, period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut told, mut moved) = (AT_WORK.to_owned(), true);
        loop {
            tick.tick().await;
            let now = Instant::now();
            let moves = condition.moves(now);
            if moved && !moves {
                error!("the process does not move any more; this is a bug, please report it");
            }
            moved = moves;
            if moves && self.watchdog.is_some() {
                self.tell("WATCHDOG=1");
            }
            let status = status(&condition.reasons(now));
            if status != told {
                self.tell(&format!("STATUS={status}"));
                told = status;
            }
        }
    }

    fn tell(&self, what: &str) {
        if let Some((socket, address)) = &self.listener {
            // Who does not listen can't be told; a watchdog draws its own conclusion.
            socket.send_to_addr(what.as_bytes(), address).ok();
        }
    }
}

/// One line: servers have a say in what troubles are called, and a second line would be another message.
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

    /// One who is told, and what was heard since the last question.
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
        (Arc::new(Notify { listener: Some((UnixDatagram::unbound().unwrap(), address)), watchdog }), heard)
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_told_while_the_flow_moves_and_no_longer() {
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
    async fn the_status_says_in_one_line_what_stands_still_when_that_changes() {
        let ((notify, heard), condition) = (listener(None), Arc::new(Condition::default()));
        let limit = Duration::from_secs(60);
        condition.begin(limit, &[("rua", limit)], &["siem".into()]);
        tokio::spawn(notify.attend(condition.clone()));
        tokio::time::sleep(LOOK_EVERY * 2).await;
        assert_eq!(heard(), <[&str; 0]>::default());
        condition.sink_is("siem", Some("refused\nREADY=1".into()));
        condition.source_moved("rua");
        tokio::time::sleep(limit + LOOK_EVERY).await;
        let told = heard().concat();
        assert!(told.starts_with("STATUS=sink siem has stood still for "), "{told}");
        assert!(told.contains("refused READY=1") && !told.contains('\n'), "{told}");
        condition.sink_is("siem", None);
        tokio::time::sleep(LOOK_EVERY).await;
        assert_eq!(heard(), ["STATUS=at work"]);
    }
}
