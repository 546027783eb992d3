//! Builds sources and sinks from the configuration.

use std::sync::Arc;

use crate::{
    config::{Config, sink::SinkConfig},
    encode::Host,
    sink::{self, Sink},
    source::{self, Source},
};

/// A configured sink that is not running yet.
pub struct Destination {
    pub name: Arc<str>,
    pub config: SinkConfig,
    pub sink: Box<dyn Sink>,
}

pub fn destinations(config: &Config) -> Vec<Destination> {
    let sinks = config.sinks.iter();
    sinks
        .map(|(name, config)| {
            let name: Arc<str> = name.as_str().into();
            let kind = sink::registry::kind(&config.kind);
            Destination { sink: kind.build(name.clone(), config), name, config: config.clone() }
        })
        .collect()
}

pub fn sources(config: &Config) -> Vec<Box<dyn Source>> {
    let sources = config.sources.iter();
    sources.map(|(name, source)| source::registry::kind(source).build(name.as_str().into(), config)).collect()
}

/// Returns the host name and process id of syslog frames.
pub fn this_machine() -> Host {
    Host { name: rustix::system::uname().nodename().to_string_lossy().into_owned(), pid: std::process::id() }
}
