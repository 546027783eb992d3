//! The whole flow: the only place that knows every stage.
//!
//! ```text
//! source task ─mails▶ reader (a blocking thread a mail) ─frames▶ sink task
//!      ▲                        │ mail_read                    │ confirm
//!      └────── verdict ◀── settling task (ledger) ◀────────────┘
//! ```
//!
//! Mails wait in the intake budget, frames in each sink's: when a sink slows down its queue fills, the readers block, the
//! intake fills, and the source stops fetching.

mod build;
mod lane;
pub mod reading;
mod settling;
mod tally;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{runtime::Handle, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::{
    lane::Emitter,
    reading::{Incoming, Output, Reading, read},
    settling::{Desk, MailId, Read, Reply},
    tally::Tally,
};
pub use self::{lane::Stopped, settling::Claimed};
use crate::{
    config::{
        Config,
        source::{SourceConfig, WithoutReport},
    },
    event::Event,
    exit::Exit,
    ledger::{DocumentKey, Ledger, PlaceVerdict},
    limits::Limits,
    ops::signals::Stop,
    sink::SinkError,
    source::{Mail, Pass, Place, SourceError, Verdict},
};

/// How `run` was asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// One pass over what is there now.
    pub once: bool,
    /// Change and send nothing.
    pub dry_run: bool,
    /// An input that could not be read is exit 65, in a mailbox too.
    pub strict: bool,
    /// What was first shipped at this time or later is shipped again, where it is met.
    pub reship: Option<Timestamp>,
}

/// Mails that may wait between a source and its reader; their bytes are bounded by the intake budget.
const MAILS_WAITING: usize = 256;

/// How often the flow is looked at for a sink that has stood still.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What sources may still take to say good-bye to their servers once everything else has stopped.
const FAREWELL: Duration = Duration::from_secs(10);

/// Runs until the sources have ended (`once`), `stop` asks for it, or nothing more can be delivered.
pub async fn run(config: Config, ledger: Arc<Ledger>, options: Options, stop: Stop) -> Exit {
    let config = Arc::new(config);
    // Cancelled when what is in flight is given up.
    let abort = CancellationToken::new();
    let mut flow = build::sinks(&config, options, &abort);
    let desk = Arc::new(Desk::new(ledger.clone(), flow.confirmed.len(), options.reship));
    for confirmed in &flow.confirmed {
        let (mut confirmed, desk) = (confirmed.clone(), desk.clone());
        tokio::spawn(async move {
            while confirmed.changed().await.is_ok() {
                desk.wake();
            }
        });
    }
    let settled = CancellationToken::new();
    let settling = tokio::spawn(desk.clone().settle(flow.confirmed.clone(), settled.clone()));
    let tally = Arc::new(Tally::default());

    let mut sources = JoinSet::new();
    let mut readers = JoinSet::new();
    for source in build::sources(&config, &ledger, options, &stop.gently) {
        let emitter =
            Emitter::new(source.source.name(), &flow.lanes, flow.confirmed.len(), &flow.host, Handle::current());
        readers.spawn(
            SourceReader {
                mails: source.mails,
                verdicts: source.verdicts,
                emitter,
                desk: desk.clone(),
                config: config.clone(),
                tally: tally.clone(),
                stop: stop.gently.clone(),
                dry_run: options.dry_run,
            }
            .run(),
        );
        let name: Arc<str> = source.source.name().into();
        sources.spawn(async move { (name, source.source.run(source.intake).await) });
    }

    let mut exit = Exit::Done;
    let mut deadline = None;
    loop {
        tokio::select! {
            ended = sources.join_next() => match ended {
                None => break,
                Some(ended) => exit = exit.or_worse(source_ended(ended, options)),
            },
            Some(ended) = flow.sinks.join_next() => {
                if let Some(failed) = sink_ended(ended) {
                    exit = exit.or_worse(failed);
                    break;
                }
            }
            () = stop.gently.cancelled(), if deadline.is_none() => {
                info!(in_flight = desk.in_flight(), "stopping: finishing what is in flight");
                deadline = Some(Instant::now() + config.shutdown_timeout);
            }
            () = tokio::time::sleep(LOOK_EVERY) => {
                if stop.now.is_cancelled() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    warn!(
                        in_flight = desk.in_flight(),
                        "stopping before everything was confirmed; the rest stays where it is for the next run"
                    );
                    exit = exit.or_worse(Exit::Undelivered);
                    break;
                }
                let stuck = desk.stuck_since().is_some_and(|since| since.elapsed() >= config.give_up_after);
                if options.once && stuck {
                    error!(
                        in_flight = desk.in_flight(),
                        "nothing was confirmed for give_up_after ({:?}); mails stay where they are for the next run",
                        config.give_up_after
                    );
                    exit = exit.or_worse(Exit::Undelivered);
                    break;
                }
            }
        }
    }
    // Sources that still run were given up on: let no sink hold a reader, tell every mail, and say good-bye.
    stop.gently.cancel();
    if !sources.is_empty() {
        abort.cancel();
        settled.cancel();
        let farewell = async { while sources.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            sources.shutdown().await;
        }
    }
    while let Some(ended) = readers.join_next().await {
        if let Err(panic) = ended {
            error!(%panic, "reading failed; this is a bug, please report it");
            exit = exit.or_worse(Exit::Internal);
        }
    }
    for lane in std::mem::take(&mut flow.lanes) {
        if lane.missed() > 0 {
            warn!(sink = %lane.name, missed = lane.missed(), "an optional sink missed events: it was slow or away");
        }
    }
    let drained = async {
        while let Some(ended) = flow.sinks.join_next().await {
            exit = exit.or_worse(sink_ended(ended).unwrap_or(Exit::Done));
        }
    };
    if tokio::time::timeout(config.shutdown_timeout, drained).await.is_err() {
        abort.cancel();
        flow.sinks.shutdown().await;
    }
    settled.cancel();
    settling.await.ok();
    tally.say(options);
    exit.or_worse(tally.exit(options))
}

fn source_ended(
    ended: Result<(Arc<str>, Result<Pass, SourceError>), tokio::task::JoinError>,
    options: Options,
) -> Exit {
    match ended {
        Ok((source, Ok(pass))) => {
            if pass.unsettled > 0 && !options.dry_run {
                warn!(%source, unsettled = pass.unsettled, "mails were shipped but not moved; the next run moves them");
            }
            Exit::Done
        }
        Ok((_, Err(SourceError::Stopped))) => Exit::Done,
        Ok((source, Err(error))) => {
            error!(%source, "{error}");
            match error {
                SourceError::Unreachable(_) => Exit::Unavailable,
                SourceError::AuthenticationRefused(_) => Exit::AuthenticationRefused,
                SourceError::Configuration(_) => Exit::Configuration,
                SourceError::NoInput(_) => Exit::NoInput,
                SourceError::Stopped => Exit::Done,
            }
        }
        Err(panic) => {
            error!(%panic, "a source failed; this is a bug, please report it");
            Exit::Internal
        }
    }
}

/// `None`: the sink ended in order, or the flow can go on without it.
fn sink_ended(ended: Result<build::SinkEnd, tokio::task::JoinError>) -> Option<Exit> {
    let end = match ended {
        Ok(end) => end,
        Err(panic) => {
            error!(%panic, "a sink failed; this is a bug, please report it");
            return Some(Exit::Internal);
        }
    };
    let error = end.result.err()?;
    if !end.required {
        error!(sink = %end.name, "{error}; going on without this sink, which is not required");
        return None;
    }
    error!(sink = %end.name, "{error}");
    Some(match error {
        SinkError::CannotCreate(_) => Exit::CannotCreate,
        SinkError::CannotWrite(_) | SinkError::BrokenPipe => Exit::Io,
        SinkError::Configuration(_) => Exit::Configuration,
    })
}

/// Reads the mails of one source, one at a time.
struct SourceReader {
    mails: mpsc::Receiver<Mail>,
    verdicts: mpsc::UnboundedSender<(crate::source::MailRef, Verdict)>,
    emitter: Emitter,
    desk: Arc<Desk>,
    config: Arc<Config>,
    tally: Arc<Tally>,
    stop: CancellationToken,
    dry_run: bool,
}

impl SourceReader {
    async fn run(mut self) {
        while let Some(mail) = self.mails.recv().await {
            let reply = Reply { mail: mail.mail, verdicts: self.verdicts.clone() };
            if self.stop.is_cancelled() {
                reply.send(Verdict::Leave);
                continue;
            }
            let task = tokio::task::spawn_blocking(move || {
                self.read(mail, reply);
                self
            });
            // Readers contain their panics; one that gets here is a fault of this file, and the mail keeps its place.
            self = task.await.expect("what is left of reading does not panic");
        }
    }

    fn read(&mut self, mail: Mail, reply: Reply) {
        let id = self.desk.open();
        let Mail { place, content, permit, .. } = mail;
        let limits: &Limits = &self.config.limits;
        let incoming =
            Incoming { content: &content, place: &place, tenant: self.config.tenant.as_deref(), now: Timestamp::now() };
        let mut output = ToSinks { mail: id, emitter: &mut self.emitter, desk: &self.desk };
        let reading = read(incoming, limits, &mut output);
        drop((content, permit));
        let Ok(reading) = reading else { return self.desk.abandon(id, &reply) };
        let verdict = reading.verdict();
        self.tally.add(&place, &reading, &verdict);
        let stays = stays(&place, &verdict, &self.config).filter(|_| !self.dry_run);
        let Reading { documents, seen_again, .. } = reading;
        let read = Read { reply, place, verdict, documents, seen_again, stays };
        self.desk.mail_read(id, self.emitter.mark(), read);
    }
}

/// What the ledger is to remember of a mail with this verdict, where its source leaves it in place.
fn stays(place: &Place, verdict: &Verdict, config: &Config) -> Option<PlaceVerdict> {
    let imap = match config.sources.get(place.source().as_ref()) {
        Some(SourceConfig::Imap(imap)) => Some(imap),
        _ => None,
    };
    let (moved, remembered) = match verdict {
        Verdict::Archive => (imap.is_some_and(|imap| imap.archive_folder.is_some()), PlaceVerdict::Shipped),
        Verdict::Quarantine(_) => {
            (imap.is_some_and(|imap| imap.quarantine_folder.is_some()), PlaceVerdict::Quarantined)
        }
        Verdict::WithoutReport => {
            let moved = imap.is_some_and(|imap| match imap.without_report {
                WithoutReport::Keep => false,
                WithoutReport::Archive => imap.archive_folder.is_some(),
                WithoutReport::Quarantine => imap.quarantine_folder.is_some(),
                WithoutReport::Delete => true,
            });
            (moved, PlaceVerdict::WithoutReport)
        }
        Verdict::Leave => return None,
    };
    (!moved).then_some(remembered)
}

/// The sinks and the ledger, as one mail's reader sees them.
struct ToSinks<'a> {
    mail: MailId,
    emitter: &'a mut Emitter,
    desk: &'a Desk,
}

impl Output for ToSinks<'_> {
    fn emit(&mut self, event: Event) -> Result<(), Stopped> {
        self.emitter.emit(&event)
    }

    fn claim(&mut self, document: &DocumentKey) -> Result<Claimed, Stopped> {
        self.desk.claim(self.mail, document).map_err(|error| {
            error!(%error, "can't read the ledger; the mail stays where it is");
            Stopped
        })
    }

    fn document_read(&mut self, document: &DocumentKey) {
        self.desk.document_read(document, self.emitter.mark());
    }
}
