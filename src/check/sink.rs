//! Checks of a sink: the connection to it, and a probe event.

use std::{fs, path::Path, sync::Arc};

use jiff::Timestamp;
use tokio::{select, sync::watch};
use tokio_util::sync::CancellationToken;

use super::{
    local, peer,
    steps::{Failure, Steps},
};
use crate::{
    config::sink::{Acknowledgements, File, SinkConfig, SinkKind, Syslog, SyslogMode},
    encode::Encoder,
    event::{Event, probe::ProbeEvent},
    exit::Exit,
    pipeline::build,
    sink::{self, Health, Metadata, Status, file},
    stdio,
};

const PROBE: &str = "probe";

/// The sink to check, and whether a probe event is sent to it.
pub struct Target<'a> {
    pub name: &'a str,
    pub sink: &'a SinkConfig,
    pub tenant: Option<&'a str>,
    pub probes: bool,
}

/// Tests each step on the way to the sink.
pub async fn check(target: &Target<'_>, steps: &mut Steps) -> Option<()> {
    match &target.sink.kind {
        SinkKind::Stdout(_) => {
            steps.plan([PROBE]);
            let arrived = if stdio::output().is_ok_and(stdio::discards) {
                "was written to /dev/null, and is gone: no report that is shipped to it arrives anywhere"
            } else {
                "was written to stdout, which proves that the pipe took it, and no more"
            };
            probe(target, target.sink, arrived, steps).await
        }
        SinkKind::File(config) => to_file(target, config, steps).await,
        SinkKind::Syslog(syslog) => to_receiver(target, syslog, steps).await,
    }
}

async fn to_receiver(target: &Target<'_>, syslog: &Syslog, steps: &mut Steps) -> Option<()> {
    let Syslog { host, port, connect_timeout, .. } = syslog;
    let acknowledged = match syslog.acknowledgements {
        Acknowledgements::Kernel => {
            "has arrived: the receiver's machine has acknowledged it; whether it is filed there, only the receiver shows"
        }
        Acknowledgements::Strict => {
            "has arrived: the receiver has read it; whether it is filed there, only the receiver shows"
        }
    };
    let arrived = match syslog.mode {
        SyslogMode::Udp => {
            steps.plan([peer::NAME, PROBE]);
            peer::find(host, *port, *connect_timeout, steps).await?;
            "was sent; over UDP nothing tells whether it arrived, so look for it at the receiver"
        }
        SyslogMode::Tcp => {
            steps.plan([peer::NAME, peer::CONNECTION, PROBE]);
            peer::reach(host, *port, *connect_timeout, steps).await?;
            acknowledged
        }
        SyslogMode::Tls => {
            steps.plan([peer::NAME, peer::CONNECTION, peer::ENCRYPTION, PROBE]);
            let tcp = peer::reach(host, *port, *connect_timeout, steps).await?;
            peer::encrypt(syslog, tcp, steps).await?;
            acknowledged
        }
    };
    probe(target, target.sink, arrived, steps).await
}

/// Checks a `file` sink. The probe goes to a file beside today's and is deleted: a running instance may be writing to
/// today's file, and an event that it has half written must not be mistaken for the remains of a crash.
async fn to_file(target: &Target<'_>, config: &File, steps: &mut Steps) -> Option<()> {
    let today = steps.attempt("path", async { file::path_at(&config.path, Timestamp::now()) }).await?;
    steps.plan([local::FOLDER, local::FILE, PROBE]);
    let folder = local::written(&today, steps).await?;
    let scratch = folder.join(format!(".dmarc-shipper-check-{:08x}", rand::random::<u32>()));
    let kind = SinkKind::File(File { path: literal(&scratch), retention_days: None });
    let sink = SinkConfig { kind, ..target.sink.clone() };
    let arrived = "was written to a file beside today's, is on the disk, and was deleted again";
    let arrived = probe(target, &sink, arrived, steps).await;
    fs::remove_file(&scratch).ok(); // ignored: the file does not exist if the probe was not written
    arrived
}

/// Escapes the path, so that as a pattern it has no date.
fn literal(path: &Path) -> std::path::PathBuf {
    path.to_string_lossy().replace('%', "%%").into()
}

/// Sends an event as the pipeline would, and waits for the sink's confirmation, or for its first error.
async fn probe(target: &Target<'_>, sink: &SinkConfig, arrived: &str, steps: &mut Steps) -> Option<()> {
    if !target.probes {
        steps.skip(PROBE, "--no-probe");
        return Some(());
    }
    let event = Event::Probe(Box::new(ProbeEvent::new(target.tenant, target.name, Timestamp::now())));
    let delivery = deliver(target.name, sink, &event);
    match sink.kind {
        // Not interrupted: a file that is being written at that moment could not be deleted.
        SinkKind::File(_) => steps.attempt_whole(PROBE, delivery).await?,
        SinkKind::Syslog(_) | SinkKind::Stdout(_) => steps.attempt(PROBE, delivery).await?,
    }
    steps.well(PROBE, format!("event {} {arrived}", event.event_id()));
    Some(())
}

async fn deliver(name: &str, config: &SinkConfig, event: &Event) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    Encoder::new(config, &build::this_machine()).encode(event, &mut bytes);
    let (outlet, inlet) = sink::queue(config.buffer_max_size);
    let (status, confirmed, health) = Status::new();
    let rejections = status.rejections();
    let name: Arc<str> = name.into();
    let running = build::destination(name, config).run(inlet, status, CancellationToken::new());
    let metadata = Metadata::of(event, None);
    outlet.send(bytes.into(), metadata).await.map_err(|ended| Failure::new(Exit::Internal, ended.to_string()))?;
    drop(outlet);
    select! {
        biased;
        ended = running => ended?,
        complaint = first_complaint(health) => {
            return Err(complains(config, complaint));
        }
    }
    if let Some(reason) = rejections.latest() {
        return Err(complains(config, reason.to_string()));
    }
    match *confirmed.borrow() {
        0 => Err(complains(config, "the sink has ended without a confirmation".to_owned())),
        _ => Ok(()),
    }
}

/// Waits for the sink's first error; never returns if there is none.
async fn first_complaint(mut health: watch::Receiver<Health>) -> String {
    loop {
        if let Health::Failing { error } = &*health.borrow_and_update() {
            return error.trim_end_matches("; trying again").to_owned();
        }
        if health.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Turns an error after which the sink would retry into a failure of the check.
fn complains(sink: &SinkConfig, complaint: String) -> Failure {
    match sink.kind {
        SinkKind::Syslog(_) => {
            Failure::new(Exit::Unavailable, complaint).advising("the receiver's own log may say more")
        }
        SinkKind::File(_) | SinkKind::Stdout(_) => {
            Failure::new(Exit::Io, complaint).advising("look whether the disk is full, or failing")
        }
    }
}
