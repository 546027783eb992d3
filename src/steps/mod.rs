//! Steps of `check`: the steps of one part of the configuration, their outcomes, and those that sources and sinks share.

pub mod local;
pub mod peer;

use std::{future::Future, time::Duration};

use tokio::{select, sync::mpsc::UnboundedSender, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    exit::Exit,
    net::{connect::ConnectError, tls::TlsError},
};

/// The step that ends the check of a sink: an event is sent.
pub const PROBE: &str = "probe";

/// Maximum time of a step, whatever the timeouts of the configuration allow.
const STEP: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub struct Step {
    pub what: String,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub enum Outcome {
    Well(String),
    /// Nothing is wrong, but the user should know about it.
    Note(String),
    Failed(Failure),
    /// Not tested, because something that it needs failed.
    Skipped(String),
}

/// The error, advice on how to fix it if the error does not say so, and the exit code.
#[derive(Debug)]
pub struct Failure {
    pub why: String,
    pub advice: Option<&'static str>,
    pub exit: Exit,
}

/// The steps of one part: reports finished ones, and keeps those that are still planned.
pub struct Steps {
    told: UnboundedSender<Step>,
    planned: Vec<String>,
    /// Reason why the remaining steps can't be tested.
    in_the_way: String,
    stop: CancellationToken,
}

impl Steps {
    pub fn new(told: UnboundedSender<Step>, stop: CancellationToken) -> Self {
        Self { told, planned: Vec::new(), in_the_way: String::new(), stop }
    }

    /// Adds planned steps; each will be reported, with its outcome or as skipped.
    pub fn plan<S: Into<String>>(&mut self, steps: impl IntoIterator<Item = S>) {
        self.planned.extend(steps.into_iter().map(Into::into));
    }

    /// Does the work of a step. `None`: it failed, which was reported, or the check was asked to stop.
    pub async fn attempt<T, E: Into<Failure>>(
        &mut self,
        what: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Option<T> {
        let stop = self.stop.clone();
        select! {
            biased;
            () = stop.cancelled() => {
                "interrupted".clone_into(&mut self.in_the_way);
                None
            }
            done = self.attempt_whole(what, work) => done,
        }
    }

    /// As `attempt`, for work that leaves something behind when it is dropped half-way: it is not interrupted.
    pub async fn attempt_whole<T, E: Into<Failure>>(
        &mut self,
        what: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Option<T> {
        let failure = match timeout(STEP, work).await {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => error.into(),
            Err(_) => Failure::new(Exit::Unavailable, format!("not finished after {STEP:?}, the time limit of a step")),
        };
        self.fail(what, failure);
        None
    }

    pub fn well(&mut self, what: &str, detail: impl Into<String>) {
        self.tell(what, Outcome::Well(detail.into()));
    }

    pub fn note(&mut self, what: &str, detail: impl Into<String>) {
        self.tell(what, Outcome::Note(detail.into()));
    }

    pub fn skip(&mut self, what: &str, why: impl Into<String>) {
        self.tell(what, Outcome::Skipped(why.into()));
    }

    pub fn fail(&mut self, what: &str, failure: Failure) {
        self.in_the_way = format!("needs: {what}");
        self.tell(what, Outcome::Failed(failure));
    }

    /// Ends the part: reports the remaining steps as skipped.
    pub fn end(mut self) {
        let why = std::mem::take(&mut self.in_the_way);
        for what in std::mem::take(&mut self.planned) {
            self.skip(&what, why.clone());
        }
    }

    fn tell(&mut self, what: &str, outcome: Outcome) {
        self.planned.retain(|planned| planned != what);
        self.told.send(Step { what: what.to_owned(), outcome }).ok(); // ignored: nobody listens any more, as the check was ended
    }
}

impl Failure {
    pub fn new(exit: Exit, why: impl Into<String>) -> Self {
        Self { why: why.into(), advice: None, exit }
    }

    pub fn advising(self, advice: &'static str) -> Self {
        Self { advice: Some(advice), ..self }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let failure = Self::new(Exit::Unavailable, error.to_string());
        failure.advising(match error {
            ConnectError::Resolve { .. } | ConnectError::NoAddress { .. } => {
                "check the spelling of the name, and whether this machine's DNS resolves it"
            }
            ConnectError::Refused { .. } => {
                "check host and port, whether the server is running, and whether a firewall blocks the connection"
            }
        })
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        let exit = match error {
            TlsError::Configuration { .. } => Exit::Configuration,
            TlsError::Handshake { .. } => Exit::Unavailable,
        };
        Self::new(exit, error.to_string())
    }
}
