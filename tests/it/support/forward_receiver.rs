//! Receivers of Fluent Forward: one with a strict decoder of its own that answers as a test's script says, and the server of the
//! npm package @fluent-org/logger.

use std::{
    fs,
    io::{self, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};
use tokio_rustls::rustls::{ServerConnection, StreamOwned};

use super::{
    ca::Identity,
    http_receiver::unzstd,
    server::Duplex,
    wait::{LONG, eventually},
};

/// One chunk.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub tag: String,
    /// Time of each entry, in seconds, and its record.
    pub entries: Vec<(u32, Value)>,
    /// Value of the option `compressed`.
    pub compressed: Option<String>,
    id: String,
    /// Number of the connection, from 1.
    pub connection: usize,
}

pub enum Answer {
    Ack,
    /// As Vector's `fluent` source: an empty map, and the end of the connection.
    Nack,
    /// The acknowledgement of another chunk.
    WrongAck,
    Late(Duration),
    Raw(Vec<u8>),
    Cut,
    /// The acknowledgement, and the end of the connection.
    AckAndClose,
}

type Script = dyn Fn(usize, &Chunk) -> Answer + Send + Sync;

pub struct ForwardReceiver {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub struct State {
    pub chunks: Vec<Chunk>,
    /// Records of all chunks that were acknowledged, in the order of the acknowledgements.
    pub taken: Vec<Value>,
    connections: usize,
}

impl ForwardReceiver {
    /// Starts a receiver; `script` gets the number of the chunk, from 1, and the chunk.
    pub fn start(script: impl Fn(usize, &Chunk) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = accept(listener.into_incoming_boxed(), Arc::new(script));
        Self { port, state }
    }

    /// As `start`, over TLS; asks for a client certificate of the authority `clients`.
    pub fn with_tls(
        identity: &Identity,
        clients: &Path,
        script: impl Fn(usize, &Chunk) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (port, tls) = (listener.local_addr().unwrap().port(), identity.tls(Some(clients)));
        let incoming = std::iter::from_fn(move || {
            let stream = listener.accept().unwrap().0;
            Some(Box::new(StreamOwned::new(ServerConnection::new(tls.clone()).unwrap(), stream)) as Box<dyn Duplex>)
        });
        Self { port, state: accept(Box::new(incoming), Arc::new(script)) }
    }

    /// Starts a receiver on a Unix socket.
    pub fn at(path: &Path, script: impl Fn(usize, &Chunk) -> Answer + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let incoming = std::iter::from_fn(move || Some(Box::new(listener.accept().unwrap().0) as Box<dyn Duplex>));
        Self { port: 0, state: accept(Box::new(incoming), Arc::new(script)) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

trait IntoIncomingBoxed {
    fn into_incoming_boxed(self) -> Incoming;
}

type Incoming = Box<dyn Iterator<Item = Box<dyn Duplex>> + Send>;

impl IntoIncomingBoxed for TcpListener {
    fn into_incoming_boxed(self) -> Incoming {
        Box::new(std::iter::from_fn(move || Some(Box::new(self.accept().unwrap().0) as Box<dyn Duplex>)))
    }
}

fn accept(incoming: Incoming, script: Arc<Script>) -> Arc<Mutex<State>> {
    let state: Arc<Mutex<State>> = Arc::default();
    let shared = state.clone();
    thread::spawn(move || {
        for stream in incoming {
            let (script, state) = (script.clone(), shared.clone());
            thread::spawn(move || {
                let connection = {
                    let mut state = state.lock().unwrap();
                    state.connections += 1;
                    state.connections
                };
                // A client that closes the connection early is not an error of the test.
                converse(stream, connection, &*script, &state).ok();
            });
        }
    });
    state
}

fn converse(stream: Box<dyn Duplex>, connection: usize, script: &Script, state: &Mutex<State>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let Ok(message) = rmpv::decode::read_value(&mut stream) else { return Ok(()) };
        let chunk = chunk(&message, connection);
        let number = {
            let mut state = state.lock().unwrap();
            state.chunks.push(chunk.clone());
            state.chunks.len()
        };
        let answer = script(number, &chunk);
        if let Answer::Late(delay) = answer {
            thread::sleep(delay);
        }
        let acknowledge = |id: &str| {
            let mut bytes = Vec::new();
            let map = rmpv::Value::Map(vec![("ack".into(), id.into())]);
            rmpv::encode::write_value(&mut bytes, &map).unwrap();
            bytes
        };
        let (response, ends) = match answer {
            Answer::Ack | Answer::Late(_) => (acknowledge(&chunk.id), false),
            Answer::AckAndClose => (acknowledge(&chunk.id), true),
            Answer::WrongAck => (acknowledge("b3RoZXI="), false),
            Answer::Nack => (vec![0x80], true),
            Answer::Raw(bytes) => (bytes, true),
            Answer::Cut => (Vec::new(), true),
        };
        if response == acknowledge(&chunk.id) {
            state.lock().unwrap().taken.extend(chunk.entries.into_iter().map(|(_, record)| record));
        }
        stream.get_mut().write_all(&response)?;
        stream.get_mut().flush()?;
        if ends {
            return Ok(());
        }
    }
}

/// Decodes a message in PackedForward or CompressedPackedForward mode, and nothing else.
fn chunk(message: &rmpv::Value, connection: usize) -> Chunk {
    let [tag, entries, options] = message.as_array().unwrap().as_slice() else { panic!("{message:?}") };
    let options = json_of(options);
    let rmpv::Value::Binary(packed) = entries else { panic!("entries are binary: {entries:?}") };
    let compressed = options.get("compressed").map(|kind| kind.as_str().unwrap().to_owned());
    let bytes = match compressed.as_deref() {
        Some("gzip") => {
            let mut bytes = Vec::new();
            MultiGzDecoder::new(&**packed).read_to_end(&mut bytes).unwrap();
            bytes
        }
        Some("zstd") => unzstd(packed),
        _ => packed.clone(),
    };
    let mut rest = &*bytes;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let entry = rmpv::decode::read_value(&mut rest).unwrap();
        let [rmpv::Value::Ext(0, time), record] = entry.as_array().unwrap().as_slice() else { panic!("{entry:?}") };
        let second = u32::from_be_bytes(time[..4].try_into().unwrap());
        let nanosecond = u32::from_be_bytes(time[4..].try_into().unwrap());
        assert!(time.len() == 8 && nanosecond < 1_000_000_000);
        entries.push((second, json_of(record)));
    }
    assert_eq!(options["size"], entries.len());
    let id = options["chunk"].as_str().unwrap().to_owned();
    Chunk { tag: tag.as_str().unwrap().to_owned(), entries, compressed, id, connection }
}

fn json_of(value: &rmpv::Value) -> Value {
    match value {
        rmpv::Value::Nil => Value::Null,
        rmpv::Value::Boolean(flag) => json!(flag),
        rmpv::Value::Integer(number) => json!(number.as_i64().unwrap()),
        rmpv::Value::String(text) => json!(text.as_str().unwrap()),
        rmpv::Value::Array(items) => items.iter().map(json_of).collect(),
        rmpv::Value::Map(entries) => {
            entries.iter().map(|(key, value)| (key.as_str().unwrap().to_owned(), json_of(value))).collect()
        }
        other => panic!("{other:?} is not in events"),
    }
}

/// The server of @fluent-org/logger.
pub struct FluentServer {
    pub port: u16,
    output: std::path::PathBuf,
    process: Child,
}

const SCRIPT: &str = r#"
const { FluentServer } = require("@fluent-org/logger");
const fs = require("fs");
const [output, options] = [process.argv[2], JSON.parse(process.argv[3])];
if (options.tlsOptions) {
    options.tlsOptions = {
        cert: fs.readFileSync(options.tlsOptions.cert), key: fs.readFileSync(options.tlsOptions.key),
    };
}
const server = new FluentServer({ ...options, listenOptions: { port: 0, host: "127.0.0.1" } });
server.on("entry", (tag, time, record) => {
    fs.appendFileSync(output, JSON.stringify({ tag, seconds: time.epoch ?? time, record }) + "\n");
});
server.listen().then(() => console.log(server.port));
"#;

impl FluentServer {
    /// Starts it in `folder`; `security` as in its options.
    pub fn start(folder: &Path, tls: Option<&Identity>, security: Option<Value>) -> Self {
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers/fluent-logger/node_modules");
        assert!(modules.exists(), "@fluent-org/logger is missing: run tests/install-servers.sh");
        let (script, output) = (folder.join("fluent.js"), folder.join("fluent.ndjson"));
        fs::write(&script, SCRIPT).unwrap();
        fs::write(&output, "").unwrap();
        let mut options = json!({});
        if let Some(identity) = tls {
            options["tlsOptions"] = json!({"cert": identity.certificate, "key": identity.key});
        }
        if let Some(security) = security {
            options["security"] = security;
        }
        let mut command = Command::new("node");
        command.arg(&script).arg(&output).arg(options.to_string()).env("NODE_PATH", modules);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        io::BufRead::read_line(&mut BufReader::new(process.stdout.as_mut().unwrap()), &mut port).unwrap();
        Self { port: port.trim().parse().unwrap(), output, process }
    }

    /// Waits for this many entries, and returns them: `tag`, `seconds`, `record`.
    pub fn entries(&self, count: usize) -> Vec<Value> {
        eventually(LONG, &format!("{count} entries"), || {
            let text = fs::read_to_string(&self.output).unwrap();
            let entries: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            (entries.len() >= count).then_some(entries)
        })
    }
}

impl Drop for FluentServer {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
