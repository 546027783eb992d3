//! IMAP session: a thin layer of our own over async-imap's response reader. Waits for the tagged response of each command,
//! and returns an error for NO, BAD and a connection that ends, which async-imap's own commands take for success.
//!
//! The commands are written here, because async-imap's `Client` can send none before the login, and no literals. Errors
//! never quote received data, except for the server's status text: it may be mail, or contain a password.

use std::{
    collections::{HashSet, VecDeque},
    io,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use async_imap::{
    Client,
    imap_proto::{Capability, MailboxDatum, Outcome as StatusOutcome, Response, ResponseCode, Status},
};
use futures::{FutureExt, Stream, StreamExt, stream};
use tokio::{io::AsyncWriteExt, time::timeout};

use super::{
    auth::credentials::Account,
    response_limits::{Allowance, LimitedStream, Overrun},
    server_texts::{CredentialKind, Ending, advice, ending, throttled},
};
use crate::{
    config::source::Imap,
    net::{Wire, tls::Encryption},
    source::imap::error::{Answer, Fault},
};

/// Timeout of LOGOUT, after which the connection is closed without it.
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of ALERTs logged per session; servers send one or two, about a quota or maintenance.
const MOST_ALERTS: u32 = 8;
/// Maximum number of capabilities. Dovecot has about 40, Gmail 20.
const MOST_CAPABILITIES: usize = 512;

/// Maximum number of commands under way: with lines of 1,000 octets, they fit any socket buffer while the server is busy.
const AT_ONCE: usize = 16;

pub struct Session {
    pub(super) client: Client<LimitedStream>,
    pub(super) host: String,
    silence: Duration,
    tags: u32,
    /// True if commands may be pipelined.
    pipelines: bool,
    /// In upper case, from the last response that listed them.
    pub(super) capabilities: HashSet<String>,
    /// True if the server sent capabilities since the login began.
    pub(super) has_capabilities: bool,
    /// Text of a BYE: the reason why the connection will end.
    bye: Option<Answer>,
    pub(super) account: Arc<Account>,
    pub(super) encryption: Option<Encryption>,
    /// True if the greeting was PREAUTH: the session is authenticated without a login.
    pub(super) is_preauth: bool,
    pub(super) logged_in: bool,
    /// Credentials sent in the login: they are redacted if the server repeats them.
    secrets: Vec<String>,
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

/// A command to send.
pub struct Command {
    /// Name of the command in errors: its arguments may be secret.
    verb: String,
    /// The whole command, or the part before the first continuation request (`+`).
    bytes: Vec<u8>,
    allowance: Allowance,
}

impl Command {
    /// A command without secrets, and the size of the response that it asks for.
    pub fn new(text: impl AsRef<str>, allowance: Allowance) -> Self {
        let text = text.as_ref();
        Self { verb: verb(text), bytes: format!("{text}\r\n").into_bytes(), allowance }
    }
}

/// A command whose response is a tagged line and a few untagged ones.
impl From<String> for Command {
    fn from(text: String) -> Self {
        Self::new(text, Allowance::LITTLE)
    }
}

impl From<&str> for Command {
    fn from(text: &str) -> Self {
        Self::new(text, Allowance::LITTLE)
    }
}

/// A command that was sent and has no tagged response yet.
struct UnderWay {
    tag: String,
    verb: String,
    /// Index among all commands of this call.
    at: usize,
    allowance: Allowance,
    /// Number of EXPUNGE responses that arrived while it was the oldest command under way.
    expunged: usize,
}

/// Meaning of a response for the commands under way.
enum Received {
    /// Tagged response: the position of its command, and true if it was OK.
    Done(usize, bool, Answer),
    Expunged,
    Stray,
    /// Continuation request (`+`), and the bytes to send; `None` if none was expected.
    Continue(Option<Vec<u8>>),
    Other,
}

impl Session {
    pub fn encryption(&self) -> Option<Encryption> {
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
        self.pipeline(stream::iter([command.into()]), |_| None, &mut on, &mut outcomes).await?;
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
            Some(_) => Err(out_of_step("a tagged response before the whole command was sent")),
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
        let command = Command { verb, bytes: command.to_vec(), allowance: Allowance::LITTLE };
        self.pipeline(stream::iter([command]), answer, on, &mut outcomes).await?;
        only(outcomes)
    }

    /// Pipelines `commands`, and passes each untagged response to `on`, whichever command it belongs to. Returns their
    /// outcomes in order: an error among these is a NO or BAD that leaves the session usable.
    ///
    /// No command may depend on the effect of an earlier one: it is sent even if that one is refused.
    pub async fn commands(
        &mut self,
        commands: impl IntoIterator<Item = Command, IntoIter: Send>,
        on: impl FnMut(&Response<'_>) + Send,
    ) -> Result<Vec<Result<Outcome, Fault>>, Fault> {
        let mut outcomes = Vec::new();
        self.pipeline(stream::iter(commands), |_| None, on, &mut outcomes).await?;
        Ok(outcomes.into_iter().flatten().collect())
    }

    /// Pipelines commands that may be added while others are under way: returns when none is under way and none is ready
    /// to be sent. `answer` is as in [`converse`](Self::converse). `outcomes` also has the commands that were completed
    /// before the session broke.
    pub async fn pipeline(
        &mut self,
        commands: impl Stream<Item = Command> + Send,
        mut answer: impl FnMut(&str) -> Option<Vec<u8>> + Send,
        mut on: impl FnMut(&Response<'_>) + Send,
        outcomes: &mut Vec<Option<Result<Outcome, Fault>>>,
    ) -> Result<(), Fault> {
        let most = if self.pipelines() { AT_ONCE } else { 1 };
        let mut under_way: VecDeque<UnderWay> = VecDeque::new();
        let mut commands = pin!(commands.peekable());
        loop {
            let mut bytes = Vec::new();
            while under_way.len() < most
                && let Some(Some(Command { verb, bytes: line, allowance })) = commands.next().now_or_never()
            {
                self.grant(allowance);
                let tag = self.next_tag();
                [tag.as_bytes(), b" ", &line].iter().for_each(|part| bytes.extend_from_slice(part));
                under_way.push_back(UnderWay { tag, verb, at: outcomes.len(), allowance, expunged: 0 });
                outcomes.push(None);
            }
            if !bytes.is_empty() {
                self.write(&bytes).await?;
            }
            if under_way.is_empty() {
                return Ok(());
            }
            let received = self.read(|response| match response {
                Response::Done { tag, status, outcome } => match under_way.iter().position(|sent| sent.tag == tag.0) {
                    Some(at) => Received::Done(at, *status == Status::Ok, status_text(outcome)),
                    None => Received::Stray,
                },
                Response::Continue(asked) => {
                    Received::Continue(answer(asked.information.as_deref().unwrap_or_default()))
                }
                Response::Expunge(_) => Received::Expunged,
                other => {
                    on(other);
                    Received::Other
                }
            });
            let received = tokio::select! {
                biased;
                received = received => received?,
                Some(_) = commands.as_mut().peek(), if under_way.len() < most => continue,
            };
            match received {
                Received::Done(at, is_ok, answer) => {
                    let Some(UnderWay { verb, at, allowance, expunged, .. }) = under_way.remove(at) else { continue };
                    self.revoke(allowance);
                    outcomes[at] = Some(match is_ok {
                        true => Ok(Outcome { answer, expunged }),
                        false => match self.refused(verb, answer) {
                            refusal if refusal.leaves_session() => Err(refusal),
                            fault => return Err(fault),
                        },
                    });
                }
                // Attributed to the oldest command: servers execute commands one after the other if their order matters.
                Received::Expunged => under_way[0].expunged += 1,
                Received::Stray => return Err(out_of_step("a tagged response for a command that was never sent")),
                Received::Continue(Some(part)) => self.write(&part).await?,
                Received::Continue(None) => {
                    return Err(out_of_step("a continuation request (+) where none was expected"));
                }
                Received::Other => {}
            }
        }
    }

    /// Adds credentials to redact from errors and logs.
    pub fn redact(&mut self, secrets: impl IntoIterator<Item = String>) {
        self.secrets.extend(secrets.into_iter().filter(|secret| !secret.is_empty()));
    }

    /// Sends a command whose responses the caller reads itself; returns its tag.
    pub async fn begin(&mut self, command: &str) -> Result<String, Fault> {
        self.send(format!("{command}\r\n").as_bytes()).await
    }

    /// Allows the server a response of this size and time, until [`revoke`](Self::revoke).
    pub fn grant(&mut self, allowance: Allowance) {
        self.client.get_mut().begin(allowance);
    }

    /// Ends the allowance for `allowance`.
    pub fn revoke(&mut self, allowance: Allowance) {
        self.client.get_mut().end(allowance);
    }

    pub fn pipelines(&self) -> bool {
        self.pipelines
    }

    /// Sends LOGOUT and closes the connection without waiting for the response, which would change nothing.
    pub async fn log_out(mut self) {
        let goodbye = async {
            if self.send(b"LOGOUT\r\n").await.is_ok() {
                self.client.get_mut().shutdown().await.ok();
            }
        };
        timeout(LOGOUT_TIMEOUT, goodbye).await.ok();
    }

    pub fn next_tag(&mut self) -> String {
        self.tags += 1;
        format!("S{}", self.tags)
    }

    async fn send(&mut self, first_part: &[u8]) -> Result<String, Fault> {
        let tag = self.next_tag();
        self.write(&[tag.as_bytes(), b" ", first_part].concat()).await?;
        Ok(tag)
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
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
    pub async fn read<T>(&mut self, look: impl FnOnce(&Response<'_>) -> T) -> Result<T, Fault> {
        let response = match self.client.read_response().await {
            Ok(Some(response)) => response,
            Ok(None) => return Err(self.lost(&io::ErrorKind::UnexpectedEof.into())),
            Err(error) => return Err(self.explain(&error)),
        };
        match response.parsed() {
            Response::Data { status, outcome } => {
                let said = redacted(status_text(outcome), &self.secrets);
                if *status == Status::Bye {
                    self.bye = Some(said);
                } else if outcome.code == Some(ResponseCode::Alert) && self.alerts < MOST_ALERTS {
                    self.alerts += 1;
                    tracing::warn!(host = self.host, "alert from the IMAP server: {}", said.shown());
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

    fn note_capabilities(&mut self, outcome: &StatusOutcome<'_>) -> Result<(), Fault> {
        match &outcome.code {
            Some(ResponseCode::Capabilities(capabilities)) => self.note(capabilities),
            _ => Ok(()),
        }
    }

    fn note(&mut self, capabilities: &[Capability<'_>]) -> Result<(), Fault> {
        if capabilities.len() > MOST_CAPABILITIES {
            return Err(Fault::Flooded(format!("{} lists more than {MOST_CAPABILITIES} capabilities", self.host)));
        }
        self.capabilities = capabilities.iter().map(name).collect();
        self.has_capabilities = true;
        Ok(())
    }

    pub fn over(config: &Imap, account: Arc<Account>, wire: Box<dyn Wire>) -> Self {
        Self {
            client: Client::new(LimitedStream::new(wire, config.read_timeout)),
            host: config.host.clone(),
            silence: config.read_timeout,
            tags: 0,
            pipelines: config.pipelining,
            capabilities: HashSet::new(),
            has_capabilities: false,
            bye: None,
            account,
            encryption: None,
            is_preauth: false,
            logged_in: false,
            secrets: Vec::new(),
            alerts: 0,
        }
    }

    /// Maps NO and BAD to a fault: throttling, a login that has ended (in an authenticated session), or a refusal.
    pub fn refused(&self, command: String, answer: Answer) -> Fault {
        let (host, answer) = (&self.host, redacted(answer, &self.secrets));
        let said = answer.shown();
        let ending = ending(&said).filter(|_| self.logged_in);
        let hint = || advice(host, CredentialKind::Token, &said);
        match (throttled(host, &answer), ending) {
            // Exchange says this for a mailbox without permission, and also when it is in trouble.
            (Some(Fault::Throttled { text, wait }), Some(Ending::Mailbox)) => {
                return Fault::Throttled { text: format!("{text}; {}", hint()), wait };
            }
            (Some(fault), _) => return fault,
            (None, _) => {}
        }
        match ending {
            Some(Ending::Login) => {
                self.account.doubt_token();
                Fault::LoggedOut(format!("{host} ended the login: {said}"))
            }
            Some(Ending::Mailbox) => Fault::Lost(format!("{host} does not open the mailbox: {said}; {}", hint())),
            None => Fault::Refused { command, answer },
        }
    }

    fn explain(&self, error: &io::Error) -> Fault {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Overrun>()) {
            Some(&Overrun::Literal { announced, allowed }) => Fault::Oversize { announced, allowed },
            Some(overrun @ Overrun::Unasked) => Fault::Flooded(format!("{}: {overrun}", self.host)),
            Some(overrun @ Overrun::Slow { .. }) => {
                Fault::Lost(format!("{}: {overrun}; raise read_timeout to give it more time", self.host))
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
        if let Some(fault) = self.bye.as_ref().and_then(|bye| throttled(host, bye)) {
            return fault;
        }
        Fault::Lost(match (&self.bye, error.kind()) {
            (Some(bye), _) if self.logged_in && ending(&bye.shown()) == Some(Ending::Login) => {
                return Fault::LoggedOut(format!("{host} ended the session: {}", bye.shown()));
            }
            (Some(bye), _) => format!("{host} ended the session: {}", bye.shown()),
            (None, io::ErrorKind::UnexpectedEof) => format!("{host} closed the connection"),
            (None, io::ErrorKind::TimedOut) => {
                format!("{host} sent nothing for {:?} (read_timeout)", self.silence)
            }
            (None, _) => format!("connection to {host} lost: {error}"),
        })
    }
}

/// Returns the first refusal, if any.
pub fn all(outcomes: Vec<Result<Outcome, Fault>>) -> Result<(), Fault> {
    outcomes.into_iter().try_for_each(|outcome| outcome.map(drop))
}

/// Returns the outcome of a single command.
fn only(mut outcomes: Vec<Option<Result<Outcome, Fault>>>) -> Result<Outcome, Fault> {
    outcomes.pop().flatten().unwrap_or_else(|| Err(out_of_step("no tagged response to a command")))
}

pub fn out_of_step(what: &str) -> Fault {
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
pub fn status_text(outcome: &StatusOutcome<'_>) -> Answer {
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
fn redacted(answer: Answer, secrets: &[String]) -> Answer {
    let Answer { code, mut text } = answer;
    for secret in secrets {
        text = text.replace(secret, "…");
    }
    Answer { code, text }
}

/// Returns the name of a command without its arguments, which may be secret.
pub fn verb(command: &str) -> String {
    let mut words = command.split(' ');
    match (words.next(), words.next()) {
        (Some("UID"), Some(second)) => format!("UID {second}"),
        (first, _) => first.unwrap_or_default().into(),
    }
}
