//! IMAP session: a thin layer of our own over async-imap's response reader. Waits for the tagged response of each command,
//! and returns an error for NO, BAD and a connection that ends, which async-imap's own commands take for success.
//!
//! The commands are written here, because async-imap's `Client` can send none before the login, and no literals. Errors
//! never quote received data, except for the server's status text: it may be mail, or contain a password.

use std::{collections::HashSet, io, sync::Arc, time::Duration};

use async_imap::{
    Client,
    imap_proto::{Capability, MailboxDatum, Outcome as Told, Response, ResponseCode, Status},
};
use futures::stream;
use tokio::{io::AsyncWriteExt, time::timeout};

use super::{
    auth::{self, Account, Ending, Shown},
    budget::Asked,
    fault::{Answer, Fault},
    flight::{Command, Line},
    guard::{Guard, Overrun, Wire},
    throttle::throttled,
};
use crate::{config::source::Imap, net::tls::Encryption};

/// Timeout of LOGOUT, after which the connection is closed without it.
const FAREWELL: Duration = Duration::from_secs(5);
/// Maximum number of ALERTs logged per session; servers send one or two, about a quota or maintenance.
const MOST_ALERTS: u32 = 8;
/// Maximum number of capabilities. Dovecot has about 40, Gmail 20.
const MOST_CAPABILITIES: usize = 512;

pub struct Session {
    pub(super) client: Client<Guard>,
    pub(super) host: String,
    silence: Duration,
    tags: u32,
    /// True if commands may be pipelined.
    pipelines: bool,
    /// In upper case, from the last response that listed them.
    pub(super) capabilities: HashSet<String>,
    /// True if the server sent capabilities since the login began.
    pub(super) told: bool,
    /// Text of a BYE: the reason why the connection will end.
    farewell: Option<Answer>,
    pub(super) account: Arc<Account>,
    pub(super) encryption: Option<Encryption>,
    /// True if the greeting was PREAUTH: the session is authenticated without a login.
    pub(super) known: bool,
    pub(super) logged_in: bool,
    /// Credentials sent in the login: they are redacted if the server repeats them.
    hidden: Vec<String>,
    /// Number of ALERTs that were logged.
    alerts: u32,
}

/// Result of a command, in addition to its untagged responses.
#[derive(Debug, Default)]
pub struct Outcome {
    pub answer: Answer,
    /// Number of EXPUNGE responses meanwhile.
    pub expunged: usize,
}

impl Session {
    pub(super) fn encryption(&self) -> Option<Encryption> {
        self.encryption
    }

    pub fn offers(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }

    pub fn capabilities(&self) -> impl Iterator<Item = &str> {
        self.capabilities.iter().map(String::as_str)
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    /// Sends a command, passes each untagged response to `on`, and returns the text of the tagged response if it is OK.
    pub async fn command(
        &mut self,
        command: impl Into<Command>,
        mut on: impl FnMut(&Response<'_>) + Send,
    ) -> Result<Outcome, Fault> {
        let mut outcomes = Vec::new();
        self.fly(stream::iter([command.into()]), &mut on, &mut outcomes).await?;
        only(outcomes)
    }

    /// Sends a command in parts, each after the first one on a continuation request (`+`). `verb` stands for the command
    /// in errors: its arguments may be secret.
    pub async fn exchange(
        &mut self,
        verb: String,
        parts: &[Vec<u8>],
        on: impl FnMut(&Response<'_>) + Send,
    ) -> Result<Outcome, Fault> {
        let (first, mut rest) = (parts.first().map_or(&b"\r\n"[..], Vec::as_slice), parts.iter().skip(1));
        let outcome = self.converse(verb, first, |_| rest.next().cloned(), on).await?;
        match rest.next() {
            Some(_) => Err(out_of_step("the end of a command half sent")),
            None => Ok(outcome),
        }
    }

    /// Sends a command. `answer` maps the text of each continuation request (`+`) to the bytes to send, or to `None` if
    /// none was expected.
    pub async fn converse(
        &mut self,
        verb: String,
        command: &[u8],
        answer: impl FnMut(&str) -> Option<Vec<u8>> + Send,
        on: impl FnMut(&Response<'_>) + Send,
    ) -> Result<Outcome, Fault> {
        let mut outcomes = Vec::new();
        let line = Line { verb, bytes: command.to_vec(), asked: Asked::LITTLE };
        self.follow(stream::iter([line]), answer, on, &mut outcomes).await?;
        only(outcomes)
    }

    /// Adds credentials to redact from errors and logs.
    pub fn hide(&mut self, secrets: impl IntoIterator<Item = String>) {
        self.hidden.extend(secrets.into_iter().filter(|secret| !secret.is_empty()));
    }

    /// Sends a command whose responses the caller reads itself; returns its tag.
    pub(super) async fn begin(&mut self, command: &str) -> Result<String, Fault> {
        self.send(format!("{command}\r\n").as_bytes()).await
    }

    /// Allows the server a response of this size and time, until [`granted`](Self::granted).
    pub(super) fn grant(&mut self, asked: Asked) {
        self.client.get_mut().begin(asked);
    }

    /// Ends the allowance for `asked`.
    pub(super) fn granted(&mut self, asked: Asked) {
        self.client.get_mut().end(asked);
    }

    pub(super) fn pipelines(&self) -> bool {
        self.pipelines
    }

    /// Sends LOGOUT and closes the connection without waiting for the response, which would change nothing.
    pub async fn log_out(mut self) {
        let goodbye = async {
            if self.send(b"LOGOUT\r\n").await.is_ok() {
                self.client.get_mut().shutdown().await.ok();
            }
        };
        timeout(FAREWELL, goodbye).await.ok();
    }

    pub(super) fn next_tag(&mut self) -> String {
        self.tags += 1;
        format!("S{}", self.tags)
    }

    async fn send(&mut self, first_part: &[u8]) -> Result<String, Fault> {
        let tag = self.next_tag();
        self.write(&[tag.as_bytes(), b" ", first_part].concat()).await?;
        Ok(tag)
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let wire = self.client.get_mut();
        let written = timeout(self.silence, async {
            wire.write_all(bytes).await?;
            wire.flush().await
        });
        match written.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// Reads the next response and returns the result of `look`. Cancel-safe.
    pub(super) async fn read<T>(&mut self, look: impl FnOnce(&Response<'_>) -> T) -> Result<T, Fault> {
        let response = match self.client.read_response().await {
            Ok(Some(response)) => response,
            Ok(None) => return Err(self.lost(&io::ErrorKind::UnexpectedEof.into())),
            Err(error) => return Err(self.explain(&error)),
        };
        match response.parsed() {
            Response::Data { status, outcome } => {
                let said = blot(told(outcome), &self.hidden);
                if *status == Status::Bye {
                    self.farewell = Some(said);
                } else if outcome.code == Some(ResponseCode::Alert) && self.alerts < MOST_ALERTS {
                    self.alerts += 1;
                    tracing::warn!(host = self.host, "the IMAP server warns: {}", said.shown());
                }
                self.note_capabilities(outcome)?;
            }
            Response::Done { outcome, .. } => self.note_capabilities(outcome)?,
            Response::Capabilities(capabilities) => self.note(capabilities)?,
            Response::MailboxData(MailboxDatum::Exists(mails)) => self.client.get_mut().exists(*mails),
            _ => {}
        }
        Ok(look(response.parsed()))
    }

    fn note_capabilities(&mut self, outcome: &Told<'_>) -> Result<(), Fault> {
        match &outcome.code {
            Some(ResponseCode::Capabilities(capabilities)) => self.note(capabilities),
            _ => Ok(()),
        }
    }

    fn note(&mut self, capabilities: &[Capability<'_>]) -> Result<(), Fault> {
        if capabilities.len() > MOST_CAPABILITIES {
            return Err(Fault::Flooded(format!("{} claims more than {MOST_CAPABILITIES} capabilities", self.host)));
        }
        self.capabilities = capabilities.iter().map(name).collect();
        self.told = true;
        Ok(())
    }

    pub(super) fn over(config: &Imap, account: Arc<Account>, wire: Box<dyn Wire>) -> Self {
        Self {
            client: Client::new(Guard::new(wire, config.read_timeout)),
            host: config.host.clone(),
            silence: config.read_timeout,
            tags: 0,
            pipelines: config.pipelining,
            capabilities: HashSet::new(),
            told: false,
            farewell: None,
            account,
            encryption: None,
            known: false,
            logged_in: false,
            hidden: Vec::new(),
            alerts: 0,
        }
    }

    /// Maps NO and BAD to a fault: throttling, a login that has ended (in an authenticated session), or a refusal.
    pub(super) fn refused(&self, command: String, answer: Answer) -> Fault {
        let (host, answer) = (&self.host, blot(answer, &self.hidden));
        let said = answer.shown();
        let ending = auth::ending(&said).filter(|_| self.logged_in);
        let advice = || auth::advice(host, Shown::Token, &said);
        match (throttled(host, &answer), ending) {
            // Exchange says this for a mailbox without permission, and also when it is in trouble.
            (Some(Fault::Throttled { text, wait }), Some(Ending::Mailbox)) => {
                return Fault::Throttled { text: format!("{text}; {}", advice()), wait };
            }
            (Some(fault), _) => return fault,
            (None, _) => {}
        }
        match ending {
            Some(Ending::Login) => {
                self.account.doubt_token();
                Fault::LoggedOut(format!("{host} has ended the login: {said}"))
            }
            Some(Ending::Mailbox) => Fault::Lost(format!("{host} opens no mailbox: {said}; {}", advice())),
            None => Fault::Refused { command, answer },
        }
    }

    fn explain(&self, error: &io::Error) -> Fault {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Overrun>()) {
            Some(&Overrun::Literal { announced, allowed }) => Fault::Oversize { announced, allowed },
            Some(overrun @ Overrun::Unasked) => Fault::Flooded(format!("{}: {overrun}", self.host)),
            Some(overrun @ Overrun::Slow { .. }) => {
                Fault::Lost(format!("{}: {overrun}; a larger read_timeout gives it more time", self.host))
            }
            Some(overrun) => Fault::Unintelligible(overrun.to_string()),
            // Error of the parser, whose text quotes everything that was received.
            None if error.kind() == io::ErrorKind::Other => out_of_step("a response that is not IMAP"),
            None => self.lost(error),
        }
    }

    fn lost(&self, error: &io::Error) -> Fault {
        self.account.doubt_token();
        let host = &self.host;
        if let Some(fault) = self.farewell.as_ref().and_then(|farewell| throttled(host, farewell)) {
            return fault;
        }
        Fault::Lost(match (&self.farewell, error.kind()) {
            (Some(farewell), _) if self.logged_in && auth::ending(&farewell.shown()) == Some(Ending::Login) => {
                return Fault::LoggedOut(format!("{host} ended the session: {}", farewell.shown()));
            }
            (Some(farewell), _) => format!("{host} ended the session: {}", farewell.shown()),
            (None, io::ErrorKind::UnexpectedEof) => format!("{host} closed the connection"),
            (None, io::ErrorKind::TimedOut) => {
                format!("{host} was silent for {:?}; read_timeout is how long it may be", self.silence)
            }
            (None, _) => format!("the connection to {host} broke: {error}"),
        })
    }
}

/// Returns the outcome of a single command.
fn only(mut outcomes: Vec<Option<Result<Outcome, Fault>>>) -> Result<Outcome, Fault> {
    outcomes.pop().flatten().unwrap_or_else(|| Err(out_of_step("no end of a command")))
}

pub(super) fn out_of_step(what: &str) -> Fault {
    Fault::Unintelligible(format!("the server sent {what}"))
}

fn name(capability: &Capability<'_>) -> String {
    match capability {
        Capability::Imap4rev1 => "IMAP4REV1".into(),
        Capability::Auth(mechanism) => format!("AUTH={}", mechanism.to_ascii_uppercase()),
        Capability::Atom(atom) => atom.to_ascii_uppercase(),
    }
}

/// Returns code and text of a status response. Codes that imap-proto doesn't know are at the start of its text.
pub(super) fn told(outcome: &Told<'_>) -> Answer {
    let text = outcome.information.as_deref().unwrap_or_default();
    let known = match outcome.code {
        Some(ResponseCode::TryCreate) => Some("TRYCREATE"),
        Some(ResponseCode::Alert) => Some("ALERT"),
        Some(ResponseCode::ReadOnly) => Some("READ-ONLY"),
        _ => None,
    };
    if known.is_none()
        && let Some((code, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']'))
    {
        let word = code.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        return Answer { code: Some(word), text: rest.trim().into() };
    }
    Answer { code: known.map(Into::into), text: text.into() }
}

/// Redacts secrets that the server repeats in its text.
fn blot(answer: Answer, secrets: &[String]) -> Answer {
    let Answer { code, mut text } = answer;
    for secret in secrets {
        text = text.replace(secret, "…");
    }
    Answer { code, text }
}

/// Returns the name of a command without its arguments, which may be secret.
pub(super) fn verb(command: &str) -> String {
    let mut words = command.split(' ');
    match (words.next(), words.next()) {
        (Some("UID"), Some(second)) => format!("UID {second}"),
        (first, _) => first.unwrap_or_default().into(),
    }
}
