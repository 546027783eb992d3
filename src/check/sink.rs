//! Checks of a sink: the connection to it, and a probe event.

use std::{fs, sync::Arc};

use jiff::Timestamp;
use tokio::{select, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{
    config::sink::SinkConfig,
    encode::Encoder,
    event::{Event, probe::ProbeEvent},
    exit::Exit,
    pipeline::build,
    sink::{
        self, Health, Metadata, Status,
        registry::{self, Probe},
    },
    steps::{Failure, PROBE, Steps},
};

/// The sink to check, and whether a probe event is sent to it.
pub struct Target<'a> {
    pub name: &'a str,
    pub sink: &'a SinkConfig,
    pub tenant: Option<&'a str>,
    pub probes: bool,
}

/// Tests each step on the way to the sink, and sends the probe event.
pub async fn check(target: &Target<'_>, steps: &mut Steps) -> Option<()> {
    let probe = registry::kind(&target.sink.kind).check(steps).await?;
    if !target.probes {
        steps.skip(PROBE, "--no-probe");
        return Some(());
    }
    let sent = send(target, &probe, steps).await;
    if let Some(scratch) = probe.scratch {
        fs::remove_file(scratch).ok(); // ignored: the file does not exist if the probe was not written
    }
    sent
}

/// Sends an event as the pipeline would, and waits for the sink's confirmation, or for its first error.
async fn send(target: &Target<'_>, probe: &Probe, steps: &mut Steps) -> Option<()> {
    let event = Event::Probe(Box::new(ProbeEvent::new(target.tenant, target.name, Timestamp::now())));
    let sink = SinkConfig { kind: probe.kind.clone(), ..target.sink.clone() };
    let complains = |why: String| Failure::new(probe.exit, why).advising(probe.advice);
    let delivery = deliver(target.name, &sink, &event, complains);
    match &probe.scratch {
        Some(_) => steps.attempt_whole(PROBE, delivery).await?,
        None => steps.attempt(PROBE, delivery).await?,
    }
    steps.well(PROBE, format!("event {} {}", event.event_id(), probe.arrived));
    Some(())
}

/// `complains` turns an error after which the sink would retry into a failure of the check.
async fn deliver(
    name: &str,
    config: &SinkConfig,
    event: &Event<'_>,
    complains: impl Fn(String) -> Failure,
) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    Encoder::new(config, &build::this_machine()).encode(event, &mut bytes);
    let (outlet, inlet) = sink::queue(config.buffer_max_size);
    let (status, confirmed, health) = Status::new();
    let rejections = status.rejections();
    let name: Arc<str> = name.into();
    let running = registry::kind(&config.kind).build(name, config).run(inlet, status, CancellationToken::new());
    let metadata = Metadata::of(event, None);
    outlet.send(bytes.into(), metadata).await.map_err(|ended| Failure::new(Exit::Internal, ended.to_string()))?;
    drop(outlet);
    select! {
        biased;
        ended = running => ended?,
        complaint = first_complaint(health) => {
            return Err(complains(complaint));
        }
    }
    if let Some(reason) = rejections.latest() {
        return Err(complains(reason.to_string()));
    }
    match *confirmed.borrow() {
        0 => Err(complains("the sink ended without confirming the event".to_owned())),
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
