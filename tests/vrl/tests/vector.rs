//! Tests of the remaps in `examples/vector`: Vector's VRL engine and syslog parser read what the program has just sent, and
//! so do the regular expressions of other receivers. DMARC_SHIPPER names the binary (`make vrl` builds it).

use std::{
    collections::BTreeMap,
    env, fs,
    io::Read,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    thread,
};

use serde_json::{Value as Json, json};
use syslog_loose::{Message, ProcId, Protocol, Variant};
use vrl::{
    compiler::{Context, Program, TargetValue, TimeZone, compile, state::RuntimeState},
    value::{Secrets, Value},
};

/// Keys that Vector or the remap adds to those of the program.
const ADDED: [&str; 2] = ["syslog", "timestamp"];

#[test]
fn a_frame_becomes_the_event_that_was_sent() {
    let (lines, frames) = (events_on_stdout(), frames("rfc5424"));
    assert!(lines.len() > 10);
    without_the_remap_the_address_is_the_peer_s(&frames[0]);
    assert_eq!(frames.len(), lines.len());
    let program = program("lift.vrl");
    for (frame, line) in frames.iter().zip(&lines) {
        let mut event = as_json(run(&program, from_syslog(frame)).expect("it is one of ours"));
        assert_eq!(event["syslog"]["received_from"], "10.9.8.7", "where the frame came from is kept");
        let time = event["timestamp"].as_str().expect("Vector's time is kept").to_owned();
        assert!(time.starts_with(&event["ingest_timestamp"].as_str().unwrap()[..16]), "{time}");
        ADDED.iter().for_each(|key| drop(event.as_object_mut().unwrap().remove(*key)));
        assert_eq!(timeless(event), timeless(line.clone()));
    }
}

fn without_the_remap_the_address_is_the_peer_s(frame: &str) {
    let event = as_json(from_syslog(frame));
    assert_eq!(event["source_ip"], "10.9.8.7");
    let ours: Json = serde_json::from_str(event["message"].as_str().unwrap()).unwrap();
    assert_eq!(event["dmarc@32473"]["org"], ours["org"], "structured data is a key of its own");
}

#[test]
fn a_frame_of_rfc_3164_becomes_the_same_event() {
    let program = program("lift.vrl");
    let lines = events_on_stdout();
    for (frame, line) in frames("rfc3164").iter().zip(&lines) {
        let mut event = as_json(run(&program, from_syslog(frame)).expect("it is one of ours"));
        ADDED.iter().for_each(|key| drop(event.as_object_mut().unwrap().remove(*key)));
        assert_eq!(timeless(event), timeless(line.clone()));
    }
}

#[test]
fn a_line_becomes_the_event_that_was_written() {
    let program = program("json.vrl");
    for line in events_on_stdout() {
        let read = Value::from(BTreeMap::from([("message".into(), Value::from(line.to_string()))]));
        let mut event = as_json(run(&program, read).expect("it is one of ours"));
        assert_eq!(event["timestamp"], event["ingest_timestamp"]);
        event.as_object_mut().unwrap().remove("timestamp");
        assert_eq!(event, line);
    }
}

#[test]
fn foreign_frames_are_dropped() {
    for name in ["lift.vrl", "json.vrl"] {
        let program = program(name);
        for message in ["no JSON", r#"{"level":"info"}"#, "[1]", ""] {
            let read = Value::from(BTreeMap::from([("message".into(), Value::from(message))]));
            assert!(run(&program, read).is_err(), "{name} lets {message:?} pass");
        }
    }
}

/// Engines of other receivers can't be had; what their expressions have in common with VRL's is all that ours use.
#[test]
fn the_expressions_for_fluent_bit_splunk_and_logstash_find_the_event_in_a_frame() {
    let line_with = |path: &str, begin: &str| {
        let text = fs::read_to_string(examples().join(path)).unwrap();
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix(begin)).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no {begin} in {path}"))
    };
    let fluent_bit = line_with("fluent-bit/parsers.yaml", "regex: ").trim_matches('\'').to_owned();
    let splunk = line_with("splunk/transforms.conf", "REGEX = ");
    let grok = line_with("logstash/dmarc.conf", r#"grok { match => { "message" => ""#);
    let logstash = grok.strip_suffix(r#"" } }"#).unwrap().to_owned();
    for frame in frames("rfc5424") {
        let message = syslog_loose::parse_message_with_year(&frame, |_| 2026, Variant::RFC5424).msg;
        let found = captures(&fluent_bit, &frame);
        assert_eq!(found["message"], message);
        assert_eq!(
            (&found["ident"], &found["msgid"]),
            (&json!("DMARC_DATA"), &serde_json::from_str::<Json>(message).unwrap()["event_type"])
        );
        assert_eq!(captures(&splunk, &frame)["1"], message);
        assert_eq!(captures(&logstash, message)["dmarc_json"], message, "a line of a file");
    }
    for frame in frames("rfc5424&structured_data=false") {
        let message = syslog_loose::parse_message_with_year(&frame, |_| 2026, Variant::RFC5424).msg;
        assert_eq!(captures(&logstash, &frame)["dmarc_json"], message);
        assert_eq!(captures(&fluent_bit, &frame)["message"], message);
        assert_eq!(captures(&splunk, &frame)["1"], message);
    }
}

/// Matches of the expression's groups, by name and number.
fn captures(expression: &str, text: &str) -> Json {
    let source = format!(". = parse_regex!(.message, r'{}', numeric_groups: true)", expression.replace('\'', "\\'"));
    let program =
        compile(&source, &vrl::stdlib::all()).unwrap_or_else(|faults| panic!("{expression}: {faults:?}")).program;
    let read = Value::from(BTreeMap::from([("message".into(), Value::from(text))]));
    as_json(run(&program, read).unwrap_or_else(|error| panic!("{expression} does not fit {text}: {error}")))
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

fn program(name: &str) -> Program {
    let source = fs::read_to_string(examples().join("vector").join(name)).unwrap();
    let compiled = compile(&source, &vrl::stdlib::all()).unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
    assert!(compiled.warnings.is_empty(), "{name}: {:?}", compiled.warnings);
    compiled.program
}

/// The event after the program, or why Vector drops it.
fn run(program: &Program, event: Value) -> Result<Value, String> {
    let mut target =
        TargetValue { value: event, metadata: Value::Object(BTreeMap::new()), secrets: Secrets::default() };
    let (mut state, zone) = (RuntimeState::default(), TimeZone::default());
    program.resolve(&mut Context::new(&mut target, &mut state, &zone)).map_err(|error| format!("{error:?}"))?;
    Ok(target.value)
}

fn as_json(event: Value) -> Json {
    event.try_into().unwrap()
}

/// Two runs of the program are not at the same second.
fn timeless(mut event: Json) -> Json {
    event["ingest_timestamp"] = Json::Null;
    event
}

/// The keys that Vector's `syslog` source makes of a frame, and of a peer at 10.9.8.7.
fn from_syslog(frame: &str) -> Value {
    let Message { protocol, facility, severity, timestamp, hostname, appname, procid, msgid, structured_data, msg } =
        syslog_loose::parse_message_with_year(frame, |_| 2026, Variant::Either);
    let mut event = BTreeMap::new();
    let mut put = |key: &str, value: Option<Value>| drop(value.and_then(|value| event.insert(key.into(), value)));
    put("message", Some(msg.into()));
    put("timestamp", timestamp.map(|time| time.with_timezone(&chrono::Utc).into()));
    put("hostname", hostname.map(Into::into));
    put("host", hostname.map(Into::into));
    put("severity", severity.map(|severity| severity.as_str().into()));
    put("facility", facility.map(|facility| facility.as_str().into()));
    put("version", if let Protocol::RFC5424(version) = protocol { Some(i64::from(version).into()) } else { None });
    put("appname", appname.map(Into::into));
    put("msgid", msgid.map(Into::into));
    put(
        "procid",
        procid.map(|id| match id {
            ProcId::PID(number) => i64::from(number).into(),
            ProcId::Name(name) => name.into(),
        }),
    );
    for element in &structured_data {
        let parameters: BTreeMap<_, _> =
            element.params().map(|(name, value)| (name.to_string().into(), Value::from(value.to_string()))).collect();
        put(element.id, Some(parameters.into()));
    }
    put("source_ip", Some("10.9.8.7".into()));
    put("source_type", Some("syslog".into()));
    event.into()
}

/// Events that the program writes to stdout for the example mailbox.
fn events_on_stdout() -> Vec<Json> {
    static OUTPUT: OnceLock<String> = OnceLock::new();
    let output = OUTPUT.get_or_init(|| ship("stdout:", &[]));
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Frames that the program sends to a syslog server, without the octet counts.
fn frames(format: &str) -> Vec<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let received = thread::spawn(move || {
        let mut bytes = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    });
    ship(&format!("syslog+tcp://{address}?format={format}"), &[("TZ", "UTC")]);
    let received = received.join().unwrap();
    let (mut rest, mut frames) = (received.as_str(), Vec::new());
    while let Some((length, after)) = rest.split_once(' ') {
        let (frame, after) = after.split_at(length.parse().unwrap());
        frames.push(frame.to_owned());
        rest = after;
    }
    frames
}

fn ship(sink: &str, variables: &[(&str, &str)]) -> String {
    let binary = env::var("DMARC_SHIPPER").expect("DMARC_SHIPPER names the binary: run `make vrl`");
    let mut command = Command::new(binary);
    command.args(["run", "--once", "--from"]).arg(examples().join("mailbox")).args(["--to", sink]);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The order of keys, and what a number is, survive Vector.
#[test]
fn numbers_and_nulls_and_arrays_stay_what_they_are() {
    let line = json!({"event_id": "x", "ingest_timestamp": "2026-11-01T12:00:00Z", "count": 9_007_199_254_740_993_i64, "pct": null, "a": [], "b": [{"c": null}]});
    let read = Value::from(BTreeMap::from([("message".into(), Value::from(line.to_string()))]));
    let mut event = as_json(run(&program("json.vrl"), read).unwrap());
    event.as_object_mut().unwrap().remove("timestamp");
    assert_eq!(event, line);
}
