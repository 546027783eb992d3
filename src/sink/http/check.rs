//! Steps of `check` on the way to an HTTP receiver.

use crate::{
    config::sink::{Http, SinkKind},
    exit::Exit,
    net::http_client,
    sink::registry::Probe,
    steps::{PROBE, Steps, peer},
};

pub async fn check(http: &Http, steps: &mut Steps) -> Option<Probe> {
    match (http.uri.host(), http_client::proxy_of(&http.uri)) {
        (_, Some(proxy)) => {
            steps.plan([peer::CONNECTION, PROBE]);
            steps.note(peer::CONNECTION, format!("through the proxy {proxy}, which the environment names"));
        }
        (Some(host), None) => {
            let port = http_client::port_of(&http.uri);
            let encryption = http.is_encrypted().then_some(peer::ENCRYPTION);
            steps.plan([peer::NAME, peer::CONNECTION].into_iter().chain(encryption).chain([PROBE]));
            let tcp = peer::reach(host, port, http.connect_timeout, steps).await?;
            if http.is_encrypted() {
                peer::encrypt(&http.tls, host, http.connect_timeout, tcp, steps).await?;
            }
        }
        (None, None) => steps.plan([PROBE]),
    }
    Some(Probe {
        kind: SinkKind::Http(Box::new(http.clone())),
        arrived: "was accepted by the receiver; what that proves depends on it (docs/delivery.md)",
        exit: Exit::Unavailable,
        advice: "see the receiver's log",
        scratch: None,
    })
}
