//! Secrets: values that are never shown in logs, debug output or errors.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::{decode::View, form::Form};

/// A secret from the configuration, or the file that holds it and is read again before every use.
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
    /// Returns the secret itself, without the line end that editors and `echo` add. Reads the file each time.
    pub fn reveal(&self) -> Result<String, String> {
        match self {
            Secret::Value(value) => Ok(value.clone()),
            Secret::File(path) => read_text(path)
                .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                .map_err(|error| format!("can't read the secret file {}: {error}", path.display())),
        }
    }
}

/// Reads a file with a secret or a certificate as bytes, without the byte order mark that editors on Windows put before
/// text. UTF-16, which PowerShell writes with such a mark, becomes UTF-8.
pub fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = std::fs::read(path)?;
    let (unit, text): (fn([u8; 2]) -> u16, _) = match bytes.as_slice() {
        [0xef, 0xbb, 0xbf, ..] => return Ok(bytes.split_off(3)),
        [0xff, 0xfe, text @ ..] => (u16::from_le_bytes, text),
        [0xfe, 0xff, text @ ..] => (u16::from_be_bytes, text),
        _ => return Ok(bytes),
    };
    let units: Vec<u16> = text.as_chunks().0.iter().map(|&pair| unit(pair)).collect();
    let text = String::from_utf16(&units).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(text.into_bytes())
}

/// As [`read_bytes`], for a file that has to be text.
pub fn read_text(path: &Path) -> io::Result<String> {
    let text = String::from_utf8(read_bytes(path)?);
    text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8"))
}

/// Syntax of a secret: any text; no problem quotes it.
impl Form for Secret {
    type Value = Secret;

    fn expected() -> String {
        "a text".to_owned()
    }

    fn kind() -> String {
        "secret".to_owned()
    }

    fn parse(text: &str) -> Result<Secret, String> {
        if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(Secret::Value(text.to_owned())) }
    }

    fn written(_: &Secret) -> String {
        String::new()
    }
}

/// Returns the secret of `key` or of its variant `key_file`, at most one of which may be set. `None`: a problem was
/// reported.
pub(super) fn at_most_one(
    view: &View<'_>,
    key: &str,
    value: Option<Secret>,
    file: Option<PathBuf>,
) -> Option<Option<Secret>> {
    let twin = format!("{key}_file");
    match (view.has(key), view.has(&twin)) {
        (true, true) => {
            view.problem(&twin, format!("can't be combined with {key}; keep one of the two"));
            None
        }
        (false, false) => Some(None),
        (_, true) => {
            let file = file?;
            warn_of(view, &twin, &file);
            Some(Some(Secret::File(file)))
        }
        (true, false) => value.map(Some),
    }
}

/// Warns about a secret's file that everyone may read, or that is not accessible now (it is read again when needed).
pub(super) fn warn_of(view: &View<'_>, key: &str, file: &Path) {
    match std::fs::metadata(file) {
        Ok(metadata) if readable_by_all(&metadata) => {
            view.warn(key, &format!("{} is world-readable; run chmod 0600 on it", file.display()));
        }
        Ok(_) => {}
        Err(error) => view.warn(key, &format!("{} can't be read now: {error}", file.display())),
    }
}

#[cfg(unix)]
pub(super) fn readable_by_all(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o004 != 0
}

/// On other systems, file modes do not tell who may read a file.
#[cfg(not(unix))]
pub(super) fn readable_by_all(_: &std::fs::Metadata) -> bool {
    false
}
