//! `sinks.*`: destinations of events, and their encoding.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use serde_json::json;

use super::{
    decode::{Options, View},
    form::{Form, NonZero, Whole, not_one_of},
    options::{choices, options},
    template::Template,
    units::Size,
};
use crate::event::EventType;

pub use super::syslog::{Acknowledgements, EventTime, Framing, Syslog, SyslogFormat, SyslogMode};

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
        let (kind, destination) = match &self.kind {
            SinkKind::Stdout(_) => ("stdout", String::new()),
            SinkKind::File(file) => ("file", file.path.display().to_string()),
            SinkKind::Syslog(syslog) => ("syslog", format!("{}:{}", syslog.host.to_ascii_lowercase(), syslog.port)),
        };
        let (mut events, mut inputs): (Vec<_>, _) =
            (self.events.iter().map(|event| event.as_str()).collect(), self.inputs.clone());
        events.sort_unstable();
        inputs.sort_unstable();
        serde_json::json!([kind, destination, events, inputs]).to_string()
    }
}

choices! {
    /// `type` of a sink.
    pub enum SinkType = Syslog {
        /// A syslog receiver over TLS, TCP or UDP.
        Syslog = "syslog",
        /// Files, one per day or by the pattern.
        File = "file",
        /// Lines on standard output.
        Stdout = "stdout",
    }
}

#[derive(Debug, Clone)]
pub enum SinkKind {
    Stdout(Stdout),
    File(File),
    Syslog(Syslog),
}

options! {
    /// `encoding.*`.
    #[derive(Debug, Clone)]
    pub struct Encoding: Default {
        /// Codec of events.
        pub codec: Codec = Codec::Json,
        /// Preset of fields to write.
        pub fields: Preset = Preset::Full,
        /// Write only these fields, in the order of the schema. Empty: all of the preset.
        pub only_fields: Vec<String> = Vec::new(),
        /// Do not write these fields.
        pub except_fields: Vec<String> = Vec::new(),
        /// Omit fields without a value.
        pub omit_null: bool = false,
        /// Format of fields with several values.
        pub arrays: Arrays = Arrays::Nested,
    }
}

choices! {
    /// Codec of events.
    pub enum Codec = Json {
        /// One JSON object per event (on a line of its own, if the sink writes lines).
        Json = "json" | "ndjson",
        /// A JSON array per file; `file` sinks only.
        Array = "array",
        /// The key=value line of dmarc-ingest.
        Text = "text",
    }
}

choices! {
    /// Preset of fields to write.
    pub enum Preset = Full {
        /// All fields.
        Full = "full",
        /// Without provenance, arrays and fields derived from others.
        Lean = "lean",
        /// Only the seed schema of dmarc-ingest.
        Seed = "seed",
    }
}

choices! {
    /// Format of fields with several values.
    pub enum Arrays = Nested {
        /// As JSON arrays.
        Nested = "nested",
        /// As one string, elements joined by `; ` and their values by `/`.
        Joined = "joined",
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

options! {
    /// `type: stdout`. Only data is written to stdout; everything else to stderr.
    #[derive(Debug, Clone)]
    pub struct Stdout: Default {
        /// Maximum size of a line; larger events are shrunk. Container runtimes split lines of more than 16 KiB.
        pub max_line_bytes: u32 as Size<u32, 480, 1_048_576> = 16_000,
    }
}

options! {
    /// `type: file`.
    #[derive(Debug, Clone)]
    pub struct File {
        /// Path of the file; `%Y`, `%m`, `%d` and other strftime directives are replaced by the day of ingest, UTC.
        let pattern("path"): PathBuf as Template = required,
        /// Days after which a file is deleted. Needs a path with a date. None: files are kept.
        pub retention_days: Option<NonZeroU32> as Option<NonZero<Whole<u32, 1, 36_500>>> = None,
        /// Path with strftime directives, for the day of ingest, UTC.
        pub path: PathBuf = from |view| pattern.filter(|path| {
            let sound = retention_days.is_none() || Template::has_date(path);
            if !sound {
                view.problem("retention_days", "needs a date in path, such as %Y%m%d, to find the files to delete");
            }
            sound
        }),
    }
}

/// Decodes the sink's options by its `type`; encodings that the type does not support are refused.
fn kind(view: &View<'_>, encoding: Option<&Encoding>) -> Option<SinkKind> {
    let Some(kind) = view.required::<SinkType>("type") else {
        view.give_up();
        return None;
    };
    if encoding.is_some_and(|encoding| encoding.codec == Codec::Array) && kind != SinkType::File {
        view.problem("encoding.codec", "array is only supported by sinks of type file; use json");
    }
    for key in ["only_fields", "except_fields"] {
        let names = encoding.map_or(&[][..], |e| if key == "only_fields" { &e.only_fields } else { &e.except_fields });
        known_fields(view, &format!("encoding.{key}"), names);
    }
    match kind {
        SinkType::Stdout => Stdout::read(view).map(SinkKind::Stdout),
        SinkType::File => File::read(view).map(SinkKind::File),
        SinkType::Syslog => Syslog::read(view).map(SinkKind::Syslog),
    }
}

fn known_fields(view: &View<'_>, key: &str, names: &[String]) {
    let fields = view.decoder.fields;
    for name in names.iter().filter(|name| !fields.is_empty() && !fields.contains(&name.as_str())) {
        let message = match super::near::nearest(name, fields.iter().copied()) {
            Some(near) => format!("unknown field {name:?}; did you mean {near}?"),
            None => format!("unknown field {name:?}; `schema event` lists all fields"),
        };
        view.problem(key, message);
    }
}

/// An integer number of seconds, as for Vector's option of this name.
struct Seconds;

impl super::form::Form for Seconds {
    type Value = Duration;

    fn expected() -> String {
        Whole::<u64, 1, 86_400>::expected()
    }

    fn parse(text: &str) -> Result<Duration, String> {
        Whole::<u64, 1, 86_400>::parse(text).map(Duration::from_secs)
    }

    fn written(value: &Duration) -> String {
        value.as_secs().to_string()
    }

    fn schema() -> serde_json::Value {
        Whole::<u64, 1, 86_400>::schema()
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
