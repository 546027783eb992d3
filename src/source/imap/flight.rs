//! Several commands under way at once (RFC 3501 section 5.5), so that the way to the server and back is paid for once.

use std::{collections::VecDeque, pin::pin};

use async_imap::imap_proto::{Response, Status};
use futures::{FutureExt, Stream, StreamExt, stream};

use super::{
    budget::Asked,
    fault::{Answer, Fault},
    session::{Outcome, Session, out_of_step, told, verb},
};

/// Commands under way at once: with lines of a thousand octets, no more than what any socket holds while a server is busy.
const AT_ONCE: usize = 16;

/// A command that was sent.
struct UnderWay {
    tag: String,
    verb: String,
    /// Its place among all.
    at: usize,
    asked: Asked,
    /// Mails that were reported gone while it was the first.
    expunged: usize,
}

/// What one response means to the commands under way.
enum Told {
    /// The end of one of them: which, and whether it was OK.
    Done(usize, bool, Answer),
    Expunged,
    Stray,
    /// The server asks for more: what is to be sent, where it is due.
    Continue(Option<Vec<u8>>),
    Other,
}

/// A command without secrets, and the answer that it asks for.
pub struct Command {
    text: String,
    asked: Asked,
}

/// A command to be sent.
pub(super) struct Line {
    /// Stands for it in errors: its arguments may be secret.
    pub verb: String,
    /// All of it, or what comes before the server asks for more with `+`.
    pub bytes: Vec<u8>,
    pub asked: Asked,
}

impl Session {
    /// Sends `commands` without waiting for the end of one before the next, and passes each untagged response to `on`,
    /// whichever it came for. Returns what came of each, in their order: an error there is a refusal that leaves the session
    /// as it is.
    ///
    /// None may depend on what another one before it does: that is sent all the same when the other is refused.
    pub async fn flight(
        &mut self,
        commands: impl IntoIterator<Item = Command, IntoIter: Send>,
        on: impl FnMut(&Response<'_>) + Send,
    ) -> Result<Vec<Result<Outcome, Fault>>, Fault> {
        let mut outcomes = Vec::new();
        self.fly(stream::iter(commands), on, &mut outcomes).await?;
        Ok(outcomes.into_iter().flatten().collect())
    }

    /// Like [`flight`](Self::flight), with commands that may come while others are under way: it has ended when none is,
    /// and none is there to be sent. `outcomes` also tells what ended before the session broke.
    pub async fn fly(
        &mut self,
        commands: impl Stream<Item = Command> + Send,
        on: impl FnMut(&Response<'_>) + Send,
        outcomes: &mut Vec<Option<Result<Outcome, Fault>>>,
    ) -> Result<(), Fault> {
        self.follow(commands.map(Line::of), |_| None, on, outcomes).await
    }

    /// Sends `lines` and follows each to its end; what `answer` makes of the text of a `+` is sent, `None` where none is due.
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
                // Servers do one after the other where it matters.
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

/// One that asks for nothing but whether it was done, and perhaps a few words.
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

/// The first refusal, where there is one.
pub fn all(outcomes: Vec<Result<Outcome, Fault>>) -> Result<(), Fault> {
    outcomes.into_iter().try_for_each(|outcome| outcome.map(drop))
}
