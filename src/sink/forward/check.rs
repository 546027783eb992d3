//! Steps of `check` on the way to a receiver of Fluent Forward.

use crate::{
    config::sink::{Endpoint, Forward, ForwardMode, SinkKind},
    exit::Exit,
    sink::registry::Probe,
    steps::{PROBE, Steps, peer},
};

/// Tests the first endpoint step by step; the probe goes to the first one that works.
pub async fn check(forward: &Forward, steps: &mut Steps) -> Option<Probe> {
    match forward.endpoints.first() {
        Some(Endpoint::Host { host, port }) => {
            let encryption = (forward.mode == ForwardMode::Tls).then_some(peer::ENCRYPTION);
            steps.plan([peer::NAME, peer::CONNECTION].into_iter().chain(encryption).chain([PROBE]));
            let tcp = peer::reach(host, *port, forward.connect_timeout, steps).await?;
            if forward.mode == ForwardMode::Tls {
                peer::encrypt(&forward.tls, host, forward.connect_timeout, tcp, steps).await?;
            }
        }
        Some(Endpoint::Unix(_)) | None => steps.plan([PROBE]),
    }
    Some(Probe {
        kind: SinkKind::Forward(Box::new(forward.clone())),
        arrived: "was acknowledged by the receiver; what that proves depends on it (docs/delivery.md)",
        exit: Exit::Unavailable,
        advice: "see the receiver's log",
        scratch: None,
    })
}
