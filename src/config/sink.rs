//! `sinks.*`: where events go, and how they are encoded.

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
    /// One named sink: what all kinds have in common, and the kind.
    #[derive(Debug, Clone)]
    pub struct SinkConfig {
        /// Names of the sources whose events it takes. Empty: all.
        pub inputs: Vec<String> = Vec::new(),
        /// A mail is settled only when every required sink has confirmed it. At least one sink is required.
        pub required: bool = true,
        /// Event types it takes. Empty: all. The `probe` of `check` is sent to every sink, whatever this says.
        pub events: Vec<EventType> = Vec::new(),
        /// How events become bytes.
        pub encoding: Encoding = nested,
        /// Bytes that may wait, unconfirmed.
        pub buffer_max_size("buffer.max_size"): u32 as Size<u32, 65_536, 1_073_741_824> = 8 << 20,
        /// How fast events may go.
        pub rate: Rate = flattened,
        /// The kind, and its own options.
        pub kind: SinkKind = from |view| kind(view, encoding.as_ref()),
    }
}

impl SinkConfig {
    /// True if it takes the events of this source.
    pub fn takes_from(&self, source: &str) -> bool {
        self.inputs.is_empty() || self.inputs.iter().any(|input| input == source)
    }

    /// The text by which the ledger tells this sink from others: what its events depend on, which are its type, its
    /// destination, `events` and `inputs`. A sink that is renamed, or reached in another way, has what it had before.
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
        /// Files, one for each day or as the pattern says.
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
        /// What an event looks like.
        pub codec: Codec = Codec::Json,
        /// How many of the fields are written.
        pub fields: Preset = Preset::Full,
        /// Only these fields, in the order of the schema. Empty: all of the preset.
        pub only_fields: Vec<String> = Vec::new(),
        /// All but these fields.
        pub except_fields: Vec<String> = Vec::new(),
        /// Leave out fields that have no value.
        pub omit_null: bool = false,
        /// How fields with several values are written.
        pub arrays: Arrays = Arrays::Nested,
    }
}

choices! {
    /// What an event looks like.
    pub enum Codec = Json {
        /// One JSON object an event (a line each, where the sink writes lines).
        Json = "json" | "ndjson",
        /// A JSON array per file; `file` sinks only.
        Array = "array",
        /// The key=value line of dmarc-ingest.
        Text = "text",
    }
}

choices! {
    /// How many of the fields are written.
    pub enum Preset = Full {
        /// All of them.
        Full = "full",
        /// Without provenance, arrays and what is derived from other fields.
        Lean = "lean",
        /// The seed schema of dmarc-ingest and nothing else.
        Seed = "seed",
    }
}

choices! {
    /// How fields with several values are written.
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
        /// Events in `rate_limit_duration_secs`. None: as fast as the receiver takes them.
        pub events("rate_limit_num"): Option<NonZeroU32> as Option<NonZero<Whole<u32, 1, 4_294_967_295>>> = None,
        /// What `rate_limit_num` counts by.
        pub per("rate_limit_duration_secs"): Duration as Seconds = Duration::from_secs(1),
        /// Bytes a second. None: as fast as the receiver takes them.
        pub bytes_per_second("rate_limit_bytes"): Option<NonZeroU32> as Option<NonZero<Size<u32, 1_024, 1_073_741_824>>> = None,
    }
}

options! {
    /// `type: stdout`. Data goes to stdout alone; everything else to stderr.
    #[derive(Debug, Clone)]
    pub struct Stdout: Default {
        /// A line is made smaller than this. Container runtimes split lines of more than 16 KiB.
        pub max_line_bytes: u32 as Size<u32, 480, 1_048_576> = 16_000,
    }
}

options! {
    /// `type: file`.
    #[derive(Debug, Clone)]
    pub struct File {
        /// Path of the file; `%Y`, `%m`, `%d` and other strftime directives are the day of ingest, UTC.
        let pattern("path"): PathBuf as Template = required,
        /// Days after which a file is deleted. Needs a path with a date in it. None: files are kept.
        pub retention_days: Option<NonZeroU32> as Option<NonZero<Whole<u32, 1, 36_500>>> = None,
        /// strftime pattern, day of ingest, UTC.
        pub path: PathBuf = from |view| pattern.filter(|path| {
            let sound = retention_days.is_none() || Template::has_date(path);
            if !sound {
                view.problem("retention_days", "needs a date in path, such as %Y%m%d: it is what tells old files from new");
            }
            sound
        }),
    }
}

/// The kind that `type` names; encodings that only some kinds have are refused for the others.
fn kind(view: &View<'_>, encoding: Option<&Encoding>) -> Option<SinkKind> {
    let Some(kind) = view.required::<SinkType>("type") else {
        view.give_up();
        return None;
    };
    if encoding.is_some_and(|encoding| encoding.codec == Codec::Array) && kind != SinkType::File {
        view.problem("encoding.codec", "array is for sinks of type file; use json");
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
            Some(near) => format!("{name:?} is no field of any event; did you mean {near}?"),
            None => format!("{name:?} is no field of any event; `schema event` lists them"),
        };
        view.problem(key, message);
    }
}

/// A plain number of seconds, under Vector's name for it.
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
