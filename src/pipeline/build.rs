//! Builds sources and sinks from the configuration.

use std::sync::Arc;

use crate::{
    config::{
        Config,
        sink::{SinkConfig, SinkKind},
        source::SourceConfig,
    },
    encode::Host,
    sink::{Sink, file::FileSink, rate::RateLimit, stdout::StdoutSink, syslog::SyslogSink},
    source::{Source, files, imap::ImapSource},
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
        .map(|(name, sink)| {
            let name: Arc<str> = name.as_str().into();
            Destination { sink: destination(name.clone(), sink), name, config: sink.clone() }
        })
        .collect()
}

/// Builds a sink from its configuration.
pub fn destination(name: Arc<str>, sink: &SinkConfig) -> Box<dyn Sink> {
    let rate = RateLimit::new(&sink.rate);
    match &sink.kind {
        SinkKind::Stdout(_) => Box::new(StdoutSink::new(rate)),
        SinkKind::File(file) => Box::new(FileSink::new(name, file.clone(), sink.encoding.codec, rate)),
        SinkKind::Syslog(syslog) => Box::new(SyslogSink::new(name, syslog.clone(), sink.rate.clone())),
    }
}

pub fn sources(config: &Config) -> Vec<Box<dyn Source>> {
    let sources = config.sources.iter();
    sources.map(|(name, source)| self::source(name.as_str().into(), source, config)).collect()
}

fn source(name: Arc<str>, source: &SourceConfig, config: &Config) -> Box<dyn Source> {
    match source {
        SourceConfig::Imap(imap) => {
            let (limits, imap) = (config.limits.clone(), (**imap).clone());
            Box::new(ImapSource::new(name, imap, limits, config.give_up_after, config.max_attempts))
        }
        SourceConfig::File(file) => Box::new(files::new(name, file.clone(), config.limits.clone())),
    }
}

/// Returns the host name and process id of syslog frames.
pub fn this_machine() -> Host {
    Host { name: rustix::system::uname().nodename().to_string_lossy().into_owned(), pid: std::process::id() }
}
