//! Pipelining: several commands under way at once (RFC 3501 section 5.5), so that the round-trip time is paid only once.

use std::{collections::VecDeque, pin::pin};

use async_imap::imap_proto::{Response, Status};
use futures::{FutureExt, Stream, StreamExt, stream};

use super::{
    budget::Asked,
    fault::{Answer, Fault},
    session::{Outcome, Session, out_of_step, told, verb},
};

/// Maximum number of commands under way: with lines of 1,000 octets, they fit any socket buffer while the server is busy.
const AT_ONCE: usize = 16;

/// A command that was sent and has no tagged response yet.
struct UnderWay {
    tag: String,
    verb: String,
    /// Index among all commands of this call.
    at: usize,
    asked: Asked,
    /// Number of EXPUNGE responses that arrived while it was the oldest command under way.
    expunged: usize,
}

/// Meaning of a response for the commands under way.
enum Told {
    /// Tagged response: the position of its command, and true if it was OK.
    Done(usize, bool, Answer),
    Expunged,
    Stray,
    /// Continuation request (`+`), and the bytes to send; `None` if none was expected.
    Continue(Option<Vec<u8>>),
    Other,
}

/// A command without secrets, and the size of the response that it asks for.
pub struct Command {
    text: String,
    asked: Asked,
}

/// A command to send.
pub(super) struct Line {
    /// Name of the command in errors: its arguments may be secret.
    pub verb: String,
    /// The whole command, or the part before the first continuation request (`+`).
    pub bytes: Vec<u8>,
    pub asked: Asked,
}

impl Session {
    /// Pipelines `commands`, and passes each untagged response to `on`, whichever command it belongs to. Returns their
    /// outcomes in order: an error among these is a NO or BAD that leaves the session usable.
    ///
    /// No command may depend on the effect of an earlier one: it is sent even if that one is refused.
    pub async fn flight(
        &mut self,
        commands: impl IntoIterator<Item = Command, IntoIter: Send>,
        on: impl FnMut(&Response<'_>) + Send,
    ) -> Result<Vec<Result<Outcome, Fault>>, Fault> {
        let mut outcomes = Vec::new();
        self.fly(stream::iter(commands), on, &mut outcomes).await?;
        Ok(outcomes.into_iter().flatten().collect())
    }

    /// Like [`flight`](Self::flight), for commands that may be added while others are under way: returns when none is
    /// under way and none is ready to be sent. `outcomes` also has the commands that were completed before the session
    /// broke.
    pub async fn fly(
        &mut self,
        commands: impl Stream<Item = Command> + Send,
        on: impl FnMut(&Response<'_>) + Send,
        outcomes: &mut Vec<Option<Result<Outcome, Fault>>>,
    ) -> Result<(), Fault> {
        self.follow(commands.map(Line::of), |_| None, on, outcomes).await
    }

    /// Sends `lines` and waits for the tagged response of each. `answer` maps the text of a continuation request (`+`) to
    /// the bytes to send, or to `None` if none was expected.
    pub(super) async fn follow(
        &mut self,
        lines: impl Stream<Item = Line> + Send,
        mut answer: impl FnMut(&str) -> Option<Vec<u8>> + Send,
        mut on: impl FnMut(&Response<'_>) + Send,
        outcomes: &mut Vec<Option<Result<Outcome, Fault>>>,
    ) -> Result<(), Fault> {
        let most = if self.pipelines() { AT_ONCE } else { 1 };
        let mut under_way: VecDeque<UnderWay> = VecDeque::new();
        let mut lines = pin!(lines.peekable());
        loop {
            let mut bytes = Vec::new();
            while under_way.len() < most
                && let Some(Some(Line { verb, bytes: line, asked })) = lines.next().now_or_never()
            {
                self.grant(asked);
                let tag = self.next_tag();
                [tag.as_bytes(), b" ", &line].iter().for_each(|part| bytes.extend_from_slice(part));
                under_way.push_back(UnderWay { tag, verb, at: outcomes.len(), asked, expunged: 0 });
                outcomes.push(None);
            }
            if !bytes.is_empty() {
                self.write(&bytes).await?;
            }
            if under_way.is_empty() {
                return Ok(());
            }
            let told = self.read(|response| match response {
                Response::Done { tag, status, outcome } => match under_way.iter().position(|sent| sent.tag == tag.0) {
                    Some(at) => Told::Done(at, *status == Status::Ok, told(outcome)),
                    None => Told::Stray,
                },
                Response::Continue(asked) => Told::Continue(answer(asked.information.as_deref().unwrap_or_default())),
                Response::Expunge(_) => Told::Expunged,
                other => {
                    on(other);
                    Told::Other
                }
            });
            let told = tokio::select! {
                biased;
                told = told => told?,
                Some(_) = lines.as_mut().peek(), if under_way.len() < most => continue,
            };
            match told {
                Told::Done(at, is_ok, answer) => {
                    let Some(UnderWay { verb, at, asked, expunged, .. }) = under_way.remove(at) else { continue };
                    self.granted(asked);
                    outcomes[at] = Some(match is_ok {
                        true => Ok(Outcome { answer, expunged }),
                        false => match self.refused(verb, answer) {
                            refusal if refusal.leaves_session() => Err(refusal),
                            fault => return Err(fault),
                        },
                    });
                }
                // Attributed to the oldest command: servers execute commands one after the other if their order matters.
                Told::Expunged => under_way[0].expunged += 1,
                Told::Stray => return Err(out_of_step("a response to a command that was never sent")),
                Told::Continue(Some(part)) => self.write(&part).await?,
                Told::Continue(None) => return Err(out_of_step("a request for more where none was due")),
                Told::Other => {}
            }
        }
    }
}

impl Command {
    pub fn new(text: impl Into<String>, asked: Asked) -> Self {
        Self { text: text.into(), asked }
    }
}

/// A command whose response is a tagged line and a few untagged ones.
impl From<String> for Command {
    fn from(text: String) -> Self {
        Self::new(text, Asked::LITTLE)
    }
}

impl From<&str> for Command {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Line {
    fn of(Command { text, asked }: Command) -> Self {
        Self { verb: verb(&text), bytes: format!("{text}\r\n").into_bytes(), asked }
    }
}

/// Returns the first refusal, if any.
pub fn all(outcomes: Vec<Result<Outcome, Fault>>) -> Result<(), Fault> {
    outcomes.into_iter().try_for_each(|outcome| outcome.map(drop))
}
