//! A small IMAP server that is honest but for what a test makes it do.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

/// What the server does instead of the honest thing.
pub enum Act {
    Honest,
    /// Sends this, with `TAG` for the command's tag, and goes on.
    Say(String),
    /// Sends `+` and this; what comes in answer is a command to the hook, after `+ `, with the same tag.
    Ask(String),
    /// Does the honest thing, but hangs up before it says so.
    HangUp,
    /// Sends this and hangs up.
    SayAndHangUp(String),
    /// Never answers.
    Silent,
}

type Hook = Box<dyn FnMut(&mut State, &str) -> Act + Send>;

#[derive(Default)]
pub struct State {
    pub mails: BTreeMap<u32, Vec<u8>>,
    /// What was moved away.
    pub moved: Vec<u32>,
    pub uid_validity: u32,
    /// Every command of every session, without its tag.
    pub commands: Vec<String>,
    /// Sessions so far, this one included.
    pub sessions: u32,
    pub capabilities: &'static str,
    pub greeting: &'static str,
}

pub struct Scripted {
    pub port: u16,
    pub state: Arc<Mutex<State>>,
    told: mpsc::UnboundedSender<String>,
    task: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    /// Holds the mails 1 to `mails`; asks `hook` about each command first.
    pub async fn start(mails: u32, hook: impl FnMut(&mut State, &str) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            mails: (1..=mails).map(|uid| (uid, format!("Subject: {uid}\r\n\r\nbody\r\n").into_bytes())).collect(),
            uid_validity: 7,
            capabilities: "IMAP4rev1 MOVE UIDPLUS",
            greeting: "* OK ready",
            ..State::default()
        }));
        let (told, mut to_tell) = mpsc::unbounded_channel();
        let task = tokio::spawn({
            let state = state.clone();
            let mut hook: Hook = Box::new(hook);
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    state.lock().unwrap().sessions += 1;
                    // One session after the other, as the source has them; a broken one ends with its connection.
                    session(stream, &state, &mut hook, &mut to_tell).await.ok();
                }
            }
        });
        Self { port, state, told, task }
    }

    pub fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    /// Sends this in the session that there is, unasked.
    pub fn tell(&self, text: &str) {
        self.told.send(text.into()).unwrap();
    }

    pub fn count(&self, command: &str) -> usize {
        self.state.lock().unwrap().commands.iter().filter(|sent| sent.starts_with(command)).count()
    }
}

async fn session(
    mut stream: TcpStream,
    state: &Mutex<State>,
    hook: &mut Hook,
    to_tell: &mut mpsc::UnboundedReceiver<String>,
) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    let greeting = state.lock().unwrap().greeting;
    write.write_all(format!("{greeting}\r\n").as_bytes()).await?;
    let mut asked: Option<String> = None;
    let mut idle_tag = String::new();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            Some(text) = to_tell.recv() => {
                write.write_all(text.as_bytes()).await?;
                continue;
            }
        };
        let Some(line) = line else { return Ok(()) };
        if line == "DONE" {
            write.write_all(format!("{idle_tag} OK idle no more\r\n").as_bytes()).await?;
            continue;
        }
        let (tag, command) = match asked.take() {
            Some(tag) => (tag, format!("+ {line}")),
            None => {
                let (tag, command) = line.split_once(' ').expect("a command has a tag");
                (tag.to_owned(), command.to_owned())
            }
        };
        let act = {
            let mut state = state.lock().unwrap();
            state.commands.push(command.clone());
            hook(&mut state, &command)
        };
        idle_tag.clone_from(&tag);
        match act {
            Act::Honest if command == "IDLE" => write.write_all(b"+ idling\r\n").await?,
            Act::Honest => {
                let answer = honest(&mut state.lock().unwrap(), &tag, &command);
                write.write_all(answer.as_bytes()).await?;
            }
            Act::Say(text) => write.write_all(text.replace("TAG", &tag).as_bytes()).await?,
            Act::Ask(text) => {
                write.write_all(format!("+ {text}\r\n").as_bytes()).await?;
                asked = Some(tag);
            }
            Act::SayAndHangUp(text) => {
                write.write_all(text.replace("TAG", &tag).as_bytes()).await?;
                return Ok(());
            }
            Act::HangUp => {
                honest(&mut state.lock().unwrap(), &tag, &command);
                return Ok(());
            }
            Act::Silent => {}
        }
    }
}

/// The FETCH response that carries a mail.
pub fn body(state: &State, uid: u32) -> String {
    let content = String::from_utf8_lossy(&state.mails[&uid]).into_owned();
    format!("* {uid} FETCH (UID {uid} BODY[] {{{}}}\r\n{content})\r\n", content.len())
}

pub fn asked(state: &State, set: &str) -> Vec<u32> {
    let ends = |part: &str| -> (u32, u32) {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        (first.parse().unwrap(), if last == "*" { u32::MAX } else { last.parse().unwrap() })
    };
    let ranges: Vec<(u32, u32)> = set.split(',').map(ends).collect();
    state.mails.keys().copied().filter(|uid| ranges.iter().any(|(first, last)| (first..=last).contains(&uid))).collect()
}

fn honest(state: &mut State, tag: &str, command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    let data = match words[..] {
        ["CAPABILITY"] => format!("* CAPABILITY {}\r\n", state.capabilities),
        ["LIST", ..] if command.ends_with("\"\"") => "* LIST (\\Noselect) \"/\" \"\"\r\n".into(),
        ["LIST", "\"\"", ..] => format!("* LIST () \"/\" {}\r\n", &command["LIST \"\" ".len()..]),
        ["SELECT", ..] => {
            format!("* {} EXISTS\r\n* OK [UIDVALIDITY {}] it is\r\n", state.mails.len(), state.uid_validity)
        }
        ["UID", "SEARCH", "UNDELETED"] => search(state.mails.keys().copied().collect()),
        ["UID", "SEARCH", "UID", set] => search(asked(state, set)),
        ["UID", "FETCH", set, _, "RFC822.SIZE)"] => asked(state, set)
            .into_iter()
            .map(|uid| format!("* {uid} FETCH (UID {uid} RFC822.SIZE {})\r\n", state.mails[&uid].len()))
            .collect(),
        ["UID", "SEARCH", "UID", set, "UNDELETED"] => {
            // What stands before :* may be above the last UID; the range has the last mail in it all the same.
            let first: u32 = set.trim_end_matches(":*").parse().unwrap();
            let last = state.mails.keys().max().copied();
            search(state.mails.keys().copied().filter(|uid| *uid >= first || Some(*uid) == last).collect())
        }
        ["UID", "FETCH", set, _, "BODY.PEEK[])"] => asked(state, set).into_iter().map(|uid| body(state, uid)).collect(),
        ["UID", "MOVE", set, ..] => {
            let uids = asked(state, set);
            state.moved.extend(&uids);
            uids.iter().for_each(|uid| drop(state.mails.remove(uid)));
            "* 1 EXPUNGE\r\n".repeat(uids.len())
        }
        _ => String::new(),
    };
    format!("{data}{tag} OK done\r\n")
}

fn search(uids: Vec<u32>) -> String {
    let numbers: Vec<String> = uids.iter().map(|uid| format!(" {uid}")).collect();
    format!("* SEARCH{}\r\n", numbers.concat())
}
