//! `sinks.*`: destinations of events, and their encoding. Each kind has a file of its own here, and one line in `kinds!`.

mod compression;
mod encoding;
mod file;
mod forward;
mod headers;
mod http;
mod kind_options;
mod requests;
mod stdout;
mod syslog;

use std::{num::NonZeroU32, time::Duration};

use serde_json::json;

use super::{
    decode::View,
    form::{Form, NonZero, Whole, not_one_of},
    kinds::{self, kinds},
    near::nearest,
    options::options,
    units::{Seconds, Size},
};
use crate::event::EventType;

pub use self::{
    compression::Compression,
    encoding::{Arrays, Codec, Encoding, Preset},
    file::File,
    forward::{Endpoint, Forward, ForwardMode, Tag},
    headers::{HeaderFiles, Headers},
    http::{Credentials, Http, Method, OnRejected},
    kind_options::SinkOptions,
    requests::Requests,
    stdout::Stdout,
    syslog::{Acknowledgements, EventTime, Framing, Syslog, SyslogFormat, SyslogMode},
};

kinds! {
    /// Type of a sink, with the options specific to it.
    pub enum SinkKind: SinkOptions {
        /// A syslog receiver over TLS, TCP or UDP.
        Syslog(Syslog): Syslog = "syslog",
        /// A receiver of Fluent Forward, such as Fluent Bit, Fluentd or Vector, that acknowledges each chunk.
        Forward(Box<Forward>): Forward = "forward",
        /// An HTTP receiver that answers each request.
        Http(Box<Http>): Http = "http",
        /// Files, one per day or by the pattern.
        File(File): File = "file",
        /// Lines on standard output.
        Stdout(Stdout): Stdout = "stdout",
    }
}

impl SinkKind {
    /// Form of the frames that the encoder makes for it.
    pub fn frames(&self) -> Frames<'_> {
        match self {
            SinkKind::Syslog(syslog) => Frames::Syslog(syslog),
            SinkKind::Forward(_) => Frames::Entries,
            SinkKind::Http(_) | SinkKind::File(_) => Frames::Lines { max_bytes: None },
            SinkKind::Stdout(stdout) => Frames::Lines { max_bytes: Some(stdout.max_line_bytes) },
        }
    }
}

/// Form of frames.
#[derive(Debug, Clone, Copy)]
pub enum Frames<'a> {
    /// A line for each event, or an element of an array, of at most `max_bytes` with its end. None: the encoder's own limit.
    Lines { max_bytes: Option<u32> },
    /// A syslog message for each event.
    Syslog(&'a Syslog),
    /// A MessagePack array of time and record for each event, as in the entries of Fluent Forward.
    Entries,
}

options! {
    /// A named sink: the options that all types share, and the type.
    #[derive(Debug, Clone)]
    pub struct SinkConfig {
        /// Names of the sources whose events the sink takes. Empty: all.
        pub inputs: Vec<String> = Vec::new(),
        /// A mail is settled only after every required sink has confirmed it. At least one sink must be required.
        pub required: bool = true,
        /// Event types that the sink takes. Empty: all. The `probe` of `check` is sent to every sink regardless.
        pub events: Vec<EventType> = Vec::new(),
        /// Encoding of events.
        pub encoding: Encoding = nested,
        /// Maximum size of unconfirmed events in the sink's queue.
        pub buffer_max_size("buffer.max_size"): u32 as Size<u32, 65_536, 1_073_741_824> = 8 << 20,
        /// Rate limits.
        pub rate: Rate = flattened,
        /// Type of the sink, with the options specific to it.
        pub kind: SinkKind = from |view| kind(view, encoding.as_ref()),
    }
}

impl SinkConfig {
    /// True if the sink takes the events of this source.
    pub fn takes_from(&self, source: &str) -> bool {
        self.inputs.is_empty() || self.inputs.iter().any(|input| input == source)
    }

    /// Text that identifies this sink in the ledger: everything that its events depend on, which are its type, its
    /// destination, `events` and `inputs`. A sink that is renamed, or reached in another way, keeps its history.
    pub fn identity(&self) -> String {
        let (mut events, mut inputs): (Vec<_>, _) =
            (self.events.iter().map(|event| event.as_str()).collect(), self.inputs.clone());
        events.sort_unstable();
        inputs.sort_unstable();
        json!([self.kind.type_name(), self.kind.options().destination(), events, inputs]).to_string()
    }
}

options! {
    /// `rate_limit_num` events per `rate_limit_duration_secs`, and `rate_limit_bytes` per second.
    #[derive(Debug, Clone)]
    pub struct Rate: Default {
        /// Maximum number of events per `rate_limit_duration_secs`. None: unlimited.
        pub events("rate_limit_num"): Option<NonZeroU32> as Option<NonZero<Whole<u32, 1, 4_294_967_295>>> = None,
        /// Period of `rate_limit_num`.
        pub per("rate_limit_duration_secs"): Duration as Seconds = Duration::from_secs(1),
        /// Maximum number of bytes per second. None: unlimited.
        pub bytes_per_second("rate_limit_bytes"): Option<NonZeroU32> as Option<NonZero<Size<u32, 1_024, 1_073_741_824>>> = None,
    }
}

/// Decodes the sink's options by its `type`; encodings that the type does not support are refused.
fn kind(view: &View<'_>, encoding: Option<&Encoding>) -> Option<SinkKind> {
    for key in ["only_fields", "except_fields"] {
        let names = encoding.map_or(&[][..], |e| if key == "only_fields" { &e.only_fields } else { &e.except_fields });
        known_fields(view, &format!("encoding.{key}"), names);
    }
    let kind: SinkKind = kinds::read(view)?;
    if encoding.is_some_and(|encoding| encoding.codec == Codec::Array) && !kind.options().takes_arrays() {
        let compressed = if view.has("compression") { " with compression" } else { "" };
        let message = format!("array is not supported by sinks of type {}{compressed}; use json", kind.type_name());
        view.problem("encoding.codec", message);
        return None;
    }
    Some(kind)
}

fn known_fields(view: &View<'_>, key: &str, names: &[String]) {
    let fields = view.decoder.fields;
    for name in names.iter().filter(|name| !fields.is_empty() && !fields.contains(&name.as_str())) {
        let message = match nearest(name, fields.iter().copied()) {
            Some(near) => format!("unknown field {name:?}; did you mean {near}?"),
            None => format!("unknown field {name:?}; `schema event` lists all fields"),
        };
        view.problem(key, message);
    }
}

impl Form for EventType {
    type Value = EventType;

    fn expected() -> String {
        format!("one of {}", event_types().join(", "))
    }

    fn kind() -> String {
        format!("`{}`", event_types().join("`, `"))
    }

    fn parse(text: &str) -> Result<EventType, String> {
        let found = EventType::ALL.iter().find(|kind| kind.as_str() == text);
        found.copied().ok_or_else(|| not_one_of(text, &event_types()))
    }

    fn written(value: &EventType) -> String {
        value.as_str().to_owned()
    }

    fn schema() -> serde_json::Value {
        json!({"enum": event_types()})
    }
}

fn event_types() -> Vec<&'static str> {
    EventType::ALL.iter().map(|kind| kind.as_str()).collect()
}
