//! A small scripted IMAP server that behaves correctly unless a test changes its responses.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, Lines},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::sleep,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::support::{
    ca::Identity,
    dovecot::{PASSWORD, USER},
};

/// Action of the server in response to a command.
pub enum Act {
    Honest,
    /// Sends this text, with `TAG` replaced by the command's tag and `HELD` by that of the last unanswered command, and
    /// continues.
    Say(String),
    /// Sends a continuation request (`+`) with this text; the client's answer is passed to the hook as a command, after `+
    /// `, with the same tag.
    Ask(String),
    /// Executes the command, but closes the connection before it responds.
    HangUp,
    /// Executes the command and sends the untagged responses, but closes the connection before the tagged line.
    HangUpUnfinished,
    /// Sends this text and closes the connection.
    SayAndHangUp(String),
    /// Sends this text, and no tagged line, unless a later text contains it.
    SayUnfinished(String),
    /// Does not answer, unless a later text does.
    Silent,
    /// Sends this text repeatedly, as fast as it is read, until the client closes the connection.
    Flood(String),
    /// Sends this text repeatedly, one byte per interval, until the client closes the connection.
    Drip(String, Duration),
}

/// Action for a command that fails; the same each time.
pub type Fault = fn() -> Act;

type Hook = Box<dyn FnMut(&mut State, &str) -> Act + Send>;

#[derive(Default)]
pub struct State {
    pub mails: BTreeMap<u32, Vec<u8>>,
    /// UIDs of mails that were moved away.
    pub moved: Vec<u32>,
    pub copied: Vec<u32>,
    /// UIDs of mails flagged \Deleted that are still there.
    pub deleted: BTreeSet<u32>,
    /// The folder that does not exist, below whatever other one, until it is created.
    pub missing: Option<&'static str>,
    pub uid_validity: u32,
    /// All commands of all sessions, without their tags.
    pub commands: Vec<String>,
    /// Number of sessions so far, including the current one.
    pub sessions: u32,
    pub capabilities: &'static str,
    /// Greeting; without a line end, the connection ends in the middle of it.
    pub greeting: &'static str,
    /// Certificate of the server, from the next session or STARTTLS on.
    pub identity: Option<Identity>,
    /// True for implicit TLS.
    pub imaps: bool,
    /// Bytes of floods that were accepted by the client or by the sockets in between.
    pub flooded: usize,
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
    /// Returns a source that reads from this server, unencrypted, and archives to `Done`.
    pub fn source(&self) -> Value {
        json!({
            "type": "imap",
            "host": "localhost",
            "port": self.port,
            "user": USER,
            "password": PASSWORD,
            "security": "none",
            "archive_folder": "Done",
        })
    }

    /// Starts a server with the mails 1 to `mails`; `hook` is asked about each command first.
    pub async fn start(mails: u32, hook: impl FnMut(&mut State, &str) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            mails: (1..=mails).map(|uid| (uid, format!("Subject: {uid}\r\n\r\nbody\r\n").into_bytes())).collect(),
            uid_validity: 7,
            capabilities: "IMAP4rev1 MOVE UIDPLUS",
            greeting: "* OK ready\r\n",
            ..State::default()
        }));
        let (told, mut to_tell) = mpsc::unbounded_channel();
        let task = tokio::spawn({
            let state = state.clone();
            let mut hook: Hook = Box::new(hook);
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    // Disables Nagle's algorithm, so that answers to pipelined commands don't wait for each other.
                    stream.set_nodelay(true).unwrap();
                    state.lock().unwrap().sessions += 1;
                    // One session at a time, as the source opens them; a broken one ends with its connection.
                    session(stream, &state, &mut hook, &mut to_tell).await.ok();
                }
            }
        });
        Self { port, state, told, task }
    }

    pub fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    /// Sends this unsolicited text in the current session, with `HELD` for the tag of the last unanswered command.
    pub fn tell(&self, text: &str) {
        self.told.send(text.into()).unwrap();
    }

    pub fn count(&self, command: &str) -> usize {
        self.state.lock().unwrap().commands.iter().filter(|sent| sent.starts_with(command)).count()
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The connection to the client, line by line.
struct Connection(Lines<BufReader<Box<dyn Stream>>>);

impl Connection {
    fn over(stream: Box<dyn Stream>) -> Self {
        Self(BufReader::new(stream).lines())
    }

    async fn say(&mut self, text: &str) -> io::Result<()> {
        let stream = self.0.get_mut().get_mut();
        stream.write_all(text.as_bytes()).await?;
        stream.flush().await
    }

    async fn encrypt(self, identity: Identity) -> io::Result<Self> {
        let certificate = CertificateDer::from_pem_file(identity.certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(identity.key).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let stream = TlsAcceptor::from(Arc::new(config)).accept(self.0.into_inner().into_inner()).await?;
        Ok(Self::over(Box::new(stream)))
    }
}

async fn session(
    stream: TcpStream,
    state: &Mutex<State>,
    hook: &mut Hook,
    to_tell: &mut mpsc::UnboundedReceiver<String>,
) -> io::Result<()> {
    let identity = || state.lock().unwrap().identity.clone().expect("a server with TLS has a certificate");
    let mut client = Connection::over(Box::new(stream));
    if state.lock().unwrap().imaps {
        client = client.encrypt(identity()).await?;
    }
    let greeting = state.lock().unwrap().greeting;
    client.say(greeting).await?;
    if !greeting.ends_with("\r\n") {
        return Ok(());
    }
    let mut asked: Option<String> = None;
    let (mut idle_tag, mut held) = (String::new(), String::new());
    loop {
        let line = tokio::select! {
            line = client.0.next_line() => line?,
            Some(text) = to_tell.recv() => {
                client.say(&text.replace("HELD", &held)).await?;
                continue;
            }
        };
        let Some(line) = line else { return Ok(()) };
        let (tag, command) = match asked.take() {
            Some(tag) => (tag, format!("+ {line}")),
            None if line == "DONE" => (idle_tag.clone(), line),
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
        let tagged = |text: &str| text.replace("TAG", &tag).replace("HELD", &held);
        let do_it = || honest(&mut state.lock().unwrap(), &command);
        match act {
            Act::Honest if command == "IDLE" => client.say("+ idling\r\n").await?,
            Act::Honest => {
                let data = do_it();
                client.say(&format!("{data}{tag} OK done\r\n")).await?;
                if command == "STARTTLS" {
                    client = client.encrypt(identity()).await?;
                }
            }
            Act::Say(text) => client.say(&tagged(&text)).await?,
            Act::Ask(text) => {
                client.say(&format!("+ {text}\r\n")).await?;
                asked = Some(tag);
            }
            Act::SayAndHangUp(text) => return client.say(&tagged(&text)).await,
            Act::HangUp => {
                do_it();
                return Ok(());
            }
            Act::HangUpUnfinished => {
                let data = do_it();
                return client.say(&data).await;
            }
            Act::SayUnfinished(text) => {
                client.say(&text).await?;
                held = tag;
            }
            Act::Silent => held = tag,
            Act::Flood(text) => loop {
                client.say(&text).await?;
                state.lock().unwrap().flooded += text.len();
            },
            Act::Drip(text, pause) => drip(&mut client, &tagged(&text), pause).await?,
        }
    }
}

async fn drip(client: &mut Connection, text: &str, pause: Duration) -> io::Result<()> {
    for byte in text.chars().cycle() {
        client.say(byte.encode_utf8(&mut [0; 4])).await?;
        sleep(pause).await;
    }
    Ok(())
}

/// Census command of the first session. Unless a script answers it, the response is empty, so the client ignores it.
pub const CENSUS: &str = "UID FETCH 1:* (UID FLAGS RFC822.SIZE)";

/// Returns the correct response to the census.
pub fn census(state: &State) -> String {
    let told = |(uid, mail): (&u32, &Vec<u8>)| format!("* 1 FETCH (UID {uid} FLAGS () RFC822.SIZE {})\r\n", mail.len());
    state.mails.iter().map(told).collect()
}

/// Returns the FETCH response with the body of a mail.
pub fn body(state: &State, uid: u32) -> String {
    literal(uid, "", &state.mails[&uid])
}

pub fn literal(uid: u32, origin: &str, bytes: &[u8]) -> String {
    let content = String::from_utf8_lossy(bytes);
    format!("* {uid} FETCH (UID {uid} BODY[]{origin} {{{}}}\r\n{content})\r\n", content.len())
}

pub fn asked(state: &State, set: &str) -> Vec<u32> {
    let ends = |part: &str| -> (u32, u32) {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        (first.parse().unwrap(), if last == "*" { u32::MAX } else { last.parse().unwrap() })
    };
    let ranges: Vec<(u32, u32)> = set.split(',').map(ends).collect();
    state.mails.keys().copied().filter(|uid| ranges.iter().any(|(first, last)| (first..=last).contains(&uid))).collect()
}

/// Executes the command; returns its untagged responses.
pub fn honest(state: &mut State, command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    match words[..] {
        ["CAPABILITY"] => format!("* CAPABILITY {}\r\n", state.capabilities),
        ["NAMESPACE"] => "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n".into(),
        ["LIST", ..] if command.ends_with("\"\"") => "* LIST (\\Noselect) \"/\" \"\"\r\n".into(),
        ["LIST", _, name] if state.missing.is_some_and(|missing| name.trim_matches('"').ends_with(missing)) => {
            String::new()
        }
        ["LIST", "\"\"", ..] => format!("* LIST () \"/\" {}\r\n", &command["LIST \"\" ".len()..]),
        ["CREATE", ..] => {
            state.missing = None;
            String::new()
        }
        ["SELECT" | "EXAMINE", ..] => {
            format!("* {} EXISTS\r\n* OK [UIDVALIDITY {}] it is\r\n", state.mails.len(), state.uid_validity)
        }
        ["UID", "SEARCH", "UNDELETED", ..] => search(undeleted(state).collect()),
        ["UID", "SEARCH", "UID", set] => search(asked(state, set)),
        ["UID", "SEARCH", "UID", set, "UNDELETED"] => {
            // The number before :* may be above the last UID; the range includes the last mail all the same.
            let first: u32 = set.trim_end_matches(":*").parse().unwrap();
            let last = state.mails.keys().max().copied();
            search(undeleted(state).filter(|uid| *uid >= first || Some(*uid) == last).collect())
        }
        ["UID", "FETCH", set, _, "RFC822.SIZE)"] => asked(state, set)
            .into_iter()
            .map(|uid| format!("* {uid} FETCH (UID {uid} RFC822.SIZE {})\r\n", state.mails[&uid].len()))
            .collect(),
        ["UID", "FETCH", set, _, "BODY.PEEK[])"] => asked(state, set).into_iter().map(|uid| body(state, uid)).collect(),
        ["UID", "FETCH", set, _, part] => {
            let part = part.strip_prefix("BODY.PEEK[]<").and_then(|part| part.strip_suffix(">)")).unwrap();
            let (offset, length) = part.split_once('.').unwrap();
            let (offset, length): (usize, usize) = (offset.parse().unwrap(), length.parse().unwrap());
            let part = |uid: u32| {
                let rest = state.mails[&uid].get(offset..).unwrap_or_default();
                literal(uid, &format!("<{offset}>"), &rest[..rest.len().min(length)])
            };
            asked(state, set).into_iter().map(part).collect()
        }
        ["UID", "MOVE", set, ..] => {
            let uids = asked(state, set);
            state.moved.extend(&uids);
            remove(state, &uids)
        }
        ["UID", "COPY", set, ..] => {
            state.copied.extend(asked(state, set));
            String::new()
        }
        ["UID", "STORE", set, _, "(\\Deleted)"] => {
            state.deleted.extend(asked(state, set));
            String::new()
        }
        ["UID", "EXPUNGE", set] => {
            let mut uids = asked(state, set);
            uids.retain(|uid| state.deleted.contains(uid));
            remove(state, &uids)
        }
        _ => String::new(),
    }
}

fn undeleted(state: &State) -> impl Iterator<Item = u32> {
    state.mails.keys().copied().filter(|uid| !state.deleted.contains(uid))
}

fn remove(state: &mut State, uids: &[u32]) -> String {
    for uid in uids {
        state.mails.remove(uid);
        state.deleted.remove(uid);
    }
    "* 1 EXPUNGE\r\n".repeat(uids.len())
}

fn search(uids: Vec<u32>) -> String {
    let numbers: Vec<String> = uids.iter().map(|uid| format!(" {uid}")).collect();
    format!("* SEARCH{}\r\n", numbers.concat())
}
