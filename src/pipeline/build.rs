//! From the configuration to sources and sinks that are ready to run.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{MAILS_WAITING, Options, lane::Lane};
use crate::{
    config::{
        Config,
        sink::{SinkConfig, SinkKind},
        source::SourceConfig,
    },
    encode::Host,
    ledger::Ledger,
    sink::{self, Sink, SinkError, Status, file::FileSink, rate::RateLimit, stdout::StdoutSink, syslog::SyslogSink},
    source::{Intake, Mail, MailRef, Memory, Place, Source, Verdict, files, imap::ImapSource},
};

/// The running sinks, and how to reach them.
pub struct Sinks {
    pub lanes: Vec<Arc<Lane>>,
    pub sinks: JoinSet<SinkEnd>,
    /// The required sinks' confirmations, in the order of the marks.
    pub confirmed: Vec<watch::Receiver<u64>>,
    pub host: Host,
}

/// How a sink ended.
pub struct SinkEnd {
    pub name: Arc<str>,
    pub required: bool,
    pub result: Result<(), SinkError>,
}

/// A source, ready to run, and the reader's ends of its channels.
pub struct ReadySource {
    pub source: Box<dyn Source>,
    pub intake: Intake,
    pub mails: mpsc::Receiver<Mail>,
    pub verdicts: mpsc::UnboundedSender<(MailRef, Verdict)>,
}

/// Starts every sink; in a dry run, none.
pub fn sinks(config: &Config, options: Options, abort: &CancellationToken) -> Sinks {
    let mut running = Sinks { lanes: Vec::new(), sinks: JoinSet::new(), confirmed: Vec::new(), host: this_machine() };
    let none = BTreeMap::new();
    let configured = if options.dry_run { &none } else { &config.sinks };
    for (name, sink) in configured {
        let name: Arc<str> = name.as_str().into();
        let (outlet, inlet) = sink::queue(sink.buffer_max_size);
        let (status, confirmed, _health) = Status::new();
        let required = sink.required.then_some(running.confirmed.len());
        if sink.required {
            running.confirmed.push(confirmed);
        }
        running.lanes.push(Arc::new(Lane::new(name.clone(), sink.clone(), outlet, required)));
        let (built, abort, required) = (build(name.clone(), sink), abort.clone(), sink.required);
        running.sinks.spawn(async move { SinkEnd { name, required, result: built.run(inlet, status, abort).await } });
    }
    running
}

/// What syslog frames call this machine and process.
fn this_machine() -> Host {
    Host { name: rustix::system::uname().nodename().to_string_lossy().into_owned(), pid: std::process::id() }
}

fn build(name: Arc<str>, sink: &SinkConfig) -> Box<dyn Sink> {
    let rate = RateLimit::new(&sink.rate);
    match &sink.kind {
        SinkKind::Stdout(_) => Box::new(StdoutSink::new(rate)),
        SinkKind::File(file) => Box::new(FileSink::new(name, file.clone(), sink.encoding.codec, rate)),
        SinkKind::Syslog(syslog) => Box::new(SyslogSink::new(name, syslog.clone(), sink.rate.clone())),
    }
}

/// Every configured source, with one intake budget for all of them.
pub fn sources(config: &Config, ledger: &Arc<Ledger>, options: Options, stop: &CancellationToken) -> Vec<ReadySource> {
    let budget = Arc::new(Semaphore::new(config.intake_max_size as usize));
    let ready = config.sources.iter().map(|(name, source)| {
        let memory: Arc<dyn Memory> = match options.reship {
            Some(_) => Arc::new(Forgetful),
            None => ledger.clone(),
        };
        let (mail_sender, mails) = mpsc::channel(MAILS_WAITING);
        let (verdicts, verdict_receiver) = mpsc::unbounded_channel();
        let intake = Intake::new(
            mail_sender,
            verdict_receiver,
            budget.clone(),
            config.intake_max_size,
            memory,
            options.once,
            options.dry_run,
            stop.clone(),
        );
        let name: Arc<str> = name.as_str().into();
        let source: Box<dyn Source> = match source {
            SourceConfig::Imap(imap) => {
                Box::new(ImapSource::new(name, (**imap).clone(), config.limits.clone(), config.give_up_after))
            }
            SourceConfig::File(file) => Box::new(files::new(name, file.clone(), config.limits.clone())),
        };
        ReadySource { source, intake, mails, verdicts }
    });
    ready.collect()
}

/// The memory of a run that ships again: every mail that is still there is read again.
struct Forgetful;

impl Memory for Forgetful {
    fn knows(&self, _: &Place) -> bool {
        false
    }
}
