//! The command `check`: tests everything that the configuration names, step by step, and says how to fix failures.
//!
//! Sources and sinks are tested in parallel and reported one after the other: one that does not answer hides nothing of the
//! others, and takes no longer than its own timeouts. The command may run beside an instance: it does not open the ledger,
//! change any mail, or write to a file that an instance writes to.

mod report;
mod sink;

use std::{
    io::{self, LineWriter, Write},
    sync::Arc,
};

use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use self::{
    report::{Part, Report},
    sink::Target,
};
use crate::{
    config::{CheckFormat, Config, sink::SinkConfig},
    exit::Exit,
    net::token,
    ops::signals::Signals,
    source::registry::{self, Checking},
    stdio,
    steps::{self, Failure, Step, Steps, local},
};

/// Command-line options of `check`.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Send an event to each sink; create and delete a test folder for each target folder that would have to be created.
    pub probe: bool,
    pub format: CheckFormat,
}

/// Tests everything, and prints the report: to stdout, or to stderr if a probe goes to stdout.
pub fn run(config: Config, options: Options) -> Exit {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "can't start the async runtime");
            return Exit::Internal;
        }
    };
    let exit = runtime.block_on(check(config, options));
    // A name server that does not answer, or a pipe that nobody reads, is not waited for.
    runtime.shutdown_background();
    token::end_all();
    exit
}

async fn check(config: Config, options: Options) -> Exit {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            error!(%error, "can't listen for signals");
            return Exit::Internal;
        }
    };
    let to_stdout = options.probe && config.sinks.values().any(|sink| sink.kind.options().prints());
    let out: Box<dyn Write + Send> = if to_stdout {
        Box::new(io::stderr())
    } else {
        match stdio::output() {
            Ok(stdout) => Box::new(LineWriter::new(stdout)),
            Err(error) => {
                error!("can't write the report to stdout: {error}");
                return Exit::Io;
            }
        }
    };
    let mut work = Work { stop: CancellationToken::new(), tasks: JoinSet::new(), parts: Vec::new() };
    work.begin(Arc::new(config), options);
    let Work { stop, tasks: _tasks, parts } = work;
    // A separate task, so that signals are handled while the report blocks on its reader.
    let mut telling = tokio::spawn(Report::new(out, options.format).tell(parts));
    loop {
        tokio::select! {
            told = &mut telling => {
                let exit = told.unwrap_or(Exit::Internal);
                return if stop.is_cancelled() { exit.or_worse(Exit::Undelivered) } else { exit };
            }
            signal = signals.next() => {
                info!(signal = signal.name(), "asked to stop");
                if stop.is_cancelled() {
                    return Exit::Undelivered;
                }
                stop.cancel();
            }
        }
    }
}

/// All checks, running in parallel.
struct Work {
    stop: CancellationToken,
    tasks: JoinSet<()>,
    parts: Vec<Part>,
}

impl Work {
    fn begin(&mut self, config: Arc<Config>, options: Options) {
        let (told, mut steps) = self.part("data_dir", String::new(), shown_data_dir(&config));
        let own = config.clone();
        self.spawn(told, async move {
            local::data_dir(own.data_dir.as_deref(), &mut steps).await;
            steps.end();
        });
        for (name, source) in &config.sources {
            let about = about(source.type_name(), &source.options().shown(), "");
            let (told, mut steps) = self.part("source", name.clone(), about);
            let checking = Checking { remembers: config.data_dir.is_some(), probes: options.probe };
            let source = source.clone();
            self.spawn(told, async move {
                registry::kind(&source).check(checking, &mut steps).await;
                steps.end();
            });
        }
        for (name, sink) in &config.sinks {
            let (told, mut steps) = self.part("sink", name.clone(), shown_sink(sink));
            let (name, sink, own) = (name.clone(), sink.clone(), config.clone());
            self.spawn(told, async move {
                let target = Target { name: &name, sink: &sink, tenant: own.tenant.as_deref(), probes: options.probe };
                sink::check(&target, &mut steps).await;
                steps.end();
            });
        }
    }

    fn part(&mut self, kind: &'static str, name: String, about: String) -> (UnboundedSender<Step>, Steps) {
        let (told, steps) = unbounded_channel();
        self.parts.push(Part { kind, name, about, steps });
        (told.clone(), Steps::new(told, self.stop.clone()))
    }

    /// Spawns a check. A panic, such as of the IMAP parser on a server's response, is reported as a failure of this part,
    /// and ends no other.
    fn spawn(&mut self, told: UnboundedSender<Step>, work: impl Future<Output = ()> + Send + 'static) {
        let work = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(work));
        self.tasks.spawn(async move {
            if work.await.is_err() {
                let why = "the check crashed, perhaps on a response of the peer; this is a bug, please report it";
                let outcome = steps::Outcome::Failed(Failure::new(Exit::Internal, why));
                told.send(Step { what: "check".to_owned(), outcome }).ok(); // ignored: nobody listens any more
            }
        });
    }
}

fn shown_data_dir(config: &Config) -> String {
    config.data_dir.as_ref().map(|data_dir| data_dir.display().to_string()).unwrap_or_default()
}

fn shown_sink(sink: &SinkConfig) -> String {
    let optional = if sink.required { "" } else { "not required" };
    about(sink.kind.type_name(), &sink.kind.options().shown(), optional)
}

/// Joins what is known of a source or sink, in brackets.
fn about(kind: &str, place: &str, note: &str) -> String {
    let known = [kind, place, note].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    format!("({})", known.join(", "))
}
