//! Parsers for YAML, TOML and JSON, all into the same tree with positions.

mod json;
mod lines;
mod toml;
mod yaml;

use std::path::Path;

use super::{node::Node, problem::Problem};

/// Format of a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Yaml,
    Toml,
    Json,
}

impl Format {
    /// Returns the format by the file's extension: `.yaml` or `.yml`, `.toml`, `.json`.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Format::Yaml),
            "toml" => Some(Format::Toml),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

/// Returns the tree of `text`, or its syntax errors with their lines.
pub(super) fn parse(text: &str, format: Format) -> Result<Node, Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match format {
        Format::Yaml => yaml::parse(text).map_err(|problem| vec![problem]),
        Format::Toml => toml::parse(text),
        Format::Json => json::parse(text).map_err(|problem| vec![problem]),
    }
}
