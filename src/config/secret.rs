//! Secrets: values that no log, debug output or error ever shows.

use std::{fmt, path::PathBuf};

/// A secret written in the configuration, or the file that holds it and is read again before every use.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    Value(String),
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Value(_) => f.write_str("Secret(…)"),
            Secret::File(path) => write!(f, "Secret(file {})", path.display()),
        }
    }
}

impl Secret {
    /// The secret itself, without the line end that editors and `echo` leave. Reads the file anew each time.
    pub fn reveal(&self) -> Result<String, String> {
        match self {
            Secret::Value(value) => Ok(value.clone()),
            Secret::File(path) => std::fs::read_to_string(path)
                .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                .map_err(|error| format!("can't read the secret file {}: {error}", path.display())),
        }
    }
}
