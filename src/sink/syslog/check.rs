//! Steps of `check` on the way to a syslog receiver.

use crate::{
    config::sink::{Acknowledgements, SinkKind, Syslog, SyslogMode},
    exit::Exit,
    sink::registry::Probe,
    steps::{PROBE, Steps, peer},
};

pub async fn check(syslog: &Syslog, steps: &mut Steps) -> Option<Probe> {
    let Syslog { host, port, connect_timeout, .. } = syslog;
    let acknowledged = match syslog.acknowledgements {
        Acknowledgements::Kernel => {
            "was acknowledged by the receiver's TCP stack; look at the receiver to see whether it was stored"
        }
        Acknowledgements::Strict => "was read by the receiver; look there to see whether it was stored",
    };
    let arrived = match syslog.mode {
        SyslogMode::Udp => {
            steps.plan([peer::NAME, PROBE]);
            peer::find(host, *port, *connect_timeout, steps).await?;
            "was sent; UDP has no acknowledgements, so look at the receiver to see whether it arrived"
        }
        SyslogMode::Tcp => {
            steps.plan([peer::NAME, peer::CONNECTION, PROBE]);
            peer::reach(host, *port, *connect_timeout, steps).await?;
            acknowledged
        }
        SyslogMode::Tls => {
            steps.plan([peer::NAME, peer::CONNECTION, peer::ENCRYPTION, PROBE]);
            let tcp = peer::reach(host, *port, *connect_timeout, steps).await?;
            peer::encrypt(&syslog.tls, host, *connect_timeout, tcp, steps).await?;
            acknowledged
        }
    };
    Some(Probe {
        kind: SinkKind::Syslog(syslog.clone()),
        arrived,
        exit: Exit::Unavailable,
        advice: "see the receiver's log",
        scratch: None,
    })
}
