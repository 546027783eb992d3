//! Parsers for YAML, TOML and JSON, all into the same tree with positions.

mod json;
mod toml;
mod yaml;

use std::path::Path;

use super::{
    node::{At, Node},
    problem::Problem,
};

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

/// Converts byte offsets to lines and columns.
struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(index, _)| index + 1);
        Self { starts: std::iter::once(0).chain(ends).collect() }
    }

    fn at(&self, text: &str, offset: usize) -> At {
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self.starts.get(line.wrapping_sub(1)).copied().unwrap_or(0);
        let column = text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        At::Line { line, column }
    }
}
