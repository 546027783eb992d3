//! The program, its receivers of requests, and the network between them are killed in turn.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    ca::Ca,
    cutter::Cutter,
    delivery::{assert_all_archived, assert_rows, deliver, times_told},
    dovecot::Dovecot,
    moments::Moments,
    process::{Running, ndjson},
    reports::Batch,
    server::installed,
    workplace::{Workplace, imaps, with},
};

/// Number of kills; `make soak` sets a higher one.
const KILLS: usize = 12;

/// A receiver, as a process of its own, that has written each batch to its file before it answers. The server of
/// @fluent-org/logger answers first, and loses what it has in memory.
struct Receiver {
    port: u16,
    process: Child,
}

const HTTP: &str = r#"
const http = require("http"), fs = require("fs");
const [output, port] = [process.argv[2], Number(process.argv[3])];
const server = http.createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
        fs.appendFileSync(output, Buffer.concat(parts));
        response.writeHead(200).end();
    });
});
server.listen(port, "127.0.0.1", () => console.log(server.address().port));
"#;

const FORWARD: &str = r#"
const net = require("net"), fs = require("fs"), zlib = require("zlib");
const { decodeMulti, decodeMultiStream, encode } = require("@msgpack/msgpack");
const [output, port] = [process.argv[2], Number(process.argv[3])];
const server = net.createServer(async (socket) => {
    socket.on("error", () => {});
    try {
        for await (const [tag, packed, options] of decodeMultiStream(socket)) {
            const entries = options.compressed === "gzip" ? zlib.gunzipSync(packed) : packed;
            const lines = [...decodeMulti(entries)].map(([time, record]) => JSON.stringify(record) + "\n");
            fs.appendFileSync(output, lines.join(""));
            socket.write(encode({ ack: options.chunk }));
        }
    } catch (error) {} // the connection was cut in the middle of a chunk
    socket.destroy();
});
server.listen(port, "127.0.0.1", () => console.log(server.address().port));
"#;

impl Receiver {
    /// Starts it at `port`, or at a free one; `name` is that of its file.
    fn start(folder: &Path, name: &str, script: &str, port: u16) -> Self {
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers/fluent-logger/node_modules");
        assert!(modules.exists(), "@fluent-org/logger is missing: run tests/install-servers.sh");
        let file = folder.join(format!("{name}.js"));
        std::fs::write(&file, script).unwrap();
        let mut command = Command::new("node");
        command.arg(file).arg(folder.join(name)).arg(port.to_string()).env("NODE_PATH", modules);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { port: line.trim().parse().unwrap(), process }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Events that a receiver wrote; a kill may have cut off its last line in the middle.
fn written(workplace: &Workplace, name: &str) -> Vec<Value> {
    workplace.read(name).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn kills_at_any_moment_of_program_receivers_and_network_lose_no_request() {
    let kills = std::env::var("SOAK_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let (ca, workplace, begin) = (Ca::new(), Workplace::new(), Instant::now());
    let (batch, dovecot) = (Batch::generate(91, kills * 10, 1..=10, 0), Dovecot::start(&ca.server()));
    let folder = workplace.path("");
    let kinds = [("http.ndjson", HTTP), ("forward.ndjson", FORWARD)];
    let mut receivers = kinds.map(|(name, script)| Receiver::start(&folder, name, script, 0));
    let networks = [0, 1].map(|kind| Cutter::start(receivers[kind].port, |_| None));
    let small = json!({"max_events": 20});
    let config = with(
        workplace.config(imaps(&dovecot, &ca), Value::Null),
        json!({"sinks": {
            "http": {"type": "http", "uri": format!("http://127.0.0.1:{}/", networks[0].port), "batch": small},
            "forward": {
                "type": "forward", "mode": "tcp", "batch": small, "compression": "gzip",
                "endpoints": [format!("127.0.0.1:{}", networks[1].port)],
            },
            "gzip": {"type": "file", "path": workplace.path("events.gz"), "compression": "gzip"},
            "zstd": {"type": "file", "path": workplace.path("events.zst"), "compression": "zstd"},
        }}),
    );
    let start = || workplace.shipper(&["run", "--config"], &config).start();
    let (mut running, mut moments): (Option<Running>, _) = (None, Moments(91));
    for (number, mails) in batch.mails.chunks(10).enumerate() {
        deliver(&dovecot, mails);
        let program = running.take().unwrap_or_else(start);
        sleep(moments.next(Duration::from_millis(50), Duration::from_millis(2000)));
        match number % 3 {
            0 => {
                program.signal(Signal::KILL);
                program.finish();
                continue;
            }
            1 => {
                for (receiver, (name, script)) in receivers.iter_mut().zip(kinds) {
                    let port = receiver.port;
                    receiver.process.kill().unwrap();
                    receiver.process.wait().unwrap();
                    *receiver = Receiver::start(&folder, name, script, port);
                }
            }
            _ => {
                networks.iter().for_each(Cutter::cut);
                sleep(moments.next(Duration::from_millis(10), Duration::from_millis(500)));
                networks.iter().for_each(Cutter::restore);
            }
        }
        running = Some(program);
    }
    if let Some(program) = running {
        program.signal(Signal::TERM);
        program.finish();
    }
    workplace.once(&config).exits(0);
    assert_all_archived(&dovecot, &batch);
    for (program, name) in [("zcat", "events.gz"), ("zstdcat", "events.zst")] {
        let output = Command::new(installed(program)).arg(workplace.path(name)).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        assert_rows(&batch, &ndjson(&String::from_utf8(output.stdout).unwrap()));
    }
    let again = kinds.map(|(name, _)| {
        let events = written(&workplace, name);
        assert_rows(&batch, &events);
        times_told(&events).values().map(|times| times - 1).sum::<usize>()
    });
    eprintln!(
        "{kills} kills in {:.0?}, {} mails, {} rows, lost 0, told again: {} over http, {} over forward",
        begin.elapsed(),
        batch.mails.len(),
        batch.row_count(),
        again[0],
        again[1]
    );
}
