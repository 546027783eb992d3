//! `encoding.*` of a sink: codec, selection of fields, and format of their values.

use crate::config::options::{choices, options};

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
        /// A JSON array per file or request; `file` and `http` sinks only.
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
