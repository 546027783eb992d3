//! Names of IMAP folders in the configuration: of folders to read, and of folders to move mails to.

use std::fmt;

use serde_json::json;

use super::{
    decoder::{Decoder, Told},
    form::Form,
    near::nearest,
    node::{Node, Value},
    template::{self, Template},
};

/// A folder name, or a pattern with `*` (any text) or `%` (any text within a level), as in IMAP's LIST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderName(String);

impl FolderName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if it may match several folders.
    pub fn is_pattern(&self) -> bool {
        self.0.contains(['*', '%'])
    }

    /// Compares names. Only INBOX is case-insensitive (RFC 3501 section 5.1).
    pub fn is_same(&self, other: &Self) -> bool {
        let is_inbox = |name: &Self| name.0.eq_ignore_ascii_case("INBOX");
        self == other || (is_inbox(self) && is_inbox(other))
    }
}

impl From<&str> for FolderName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl fmt::Display for FolderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One folder or a list of folders. A comma is part of a name, so a single text is one folder.
pub(crate) struct FolderNames;

impl Form for FolderNames {
    type Value = Vec<FolderName>;

    fn expected() -> String {
        "the name of a folder, or a list of names".to_owned()
    }

    fn kind() -> String {
        "text, or list of texts".to_owned()
    }

    fn parse(text: &str) -> Result<Self::Value, String> {
        checked(text).map(|name| vec![FolderName(name)])
    }

    fn read(node: &Node, key: &str, decoder: &Decoder<'_>) -> Result<Option<Self::Value>, Told> {
        let Value::List(items) = &node.value else {
            return Ok(one(node, key, decoder)?.map(|name| vec![FolderName(name)]));
        };
        let read = items.iter().enumerate().map(|(index, item)| one(item, &format!("{key}[{index}]"), decoder));
        // All names are read before the first problem is returned, so that all problems are reported.
        let read: Vec<_> = read.collect();
        let mut names: Vec<FolderName> = Vec::new();
        for name in read.into_iter().collect::<Result<Vec<_>, Told>>()?.into_iter().flatten().map(FolderName) {
            if names.iter().any(|before| before.is_same(&name)) {
                return Err(decoder.problem(&node.at, key, format!("contains {:?} twice; keep one of them", name.0)));
            }
            names.push(name);
        }
        Ok(Some(names))
    }

    fn written(value: &Self::Value) -> String {
        value.iter().map(FolderName::as_str).collect::<Vec<_>>().join(", ")
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [{"type": "array", "items": {"type": "string"}, "minItems": 1}, {"type": "string"}]})
    }
}

/// `Ok(None)` if the value is null, or if variables leave it empty.
fn one(node: &Node, key: &str, decoder: &Decoder<'_>) -> Result<Option<String>, Told> {
    let Some(text) = String::read(node, key, decoder)? else { return Ok(None) };
    checked(&text).map(Some).map_err(|message| decoder.problem(&node.at, key, message))
}

/// Special uses of folders (RFC 6154 section 2).
const USES: &[&str] = &["\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash"];

/// Directives allowed for dates in folder names. Others are refused, so that no name contains a line end or changes by
/// itself.
const DIRECTIVES: &str = "YymdjGVBbFHMS";

/// A folder name or special use, with strftime directives; a `\Use` may be followed by further levels.
pub(super) struct FolderPattern;

/// The folder name for `pattern` at `second` since 1970, in UTC.
pub fn at(pattern: &str, second: i64) -> String {
    // `FolderPattern` has checked the directives, and a pattern that can be formatted for one time can be for all.
    template::at(pattern, second).unwrap_or_else(|_| pattern.to_owned())
}

/// True if the name depends on the time.
pub fn has_date(pattern: &str) -> bool {
    Template::has_date(pattern.as_ref())
}

/// The `\Use` that a name begins with, and the levels below it.
pub fn special_use(written: &str) -> Option<(&str, Option<&str>)> {
    written.starts_with('\\').then(|| match written.split_once(['/', '.']) {
        Some((special_use, below)) => (special_use, Some(below)),
        None => (written, None),
    })
}

/// Checks a folder name, or a special use such as `\Junk`.
fn checked(text: &str) -> Result<String, String> {
    let name = String::parse(text)?;
    let Some((special_use, _)) = special_use(&name) else { return Ok(name) };
    if USES.iter().any(|known| known.eq_ignore_ascii_case(special_use)) {
        return Ok(name);
    }
    let known = USES.join(", ");
    Err(match nearest(special_use, USES.iter().copied()) {
        Some(near) => format!("unknown special use {special_use} (RFC 6154); did you mean {near}? known: {known}"),
        None => format!("unknown special use {special_use} (RFC 6154); known: {known}"),
    })
}

impl Form for FolderPattern {
    type Value = String;

    fn expected() -> String {
        "the name of a folder, such as Processed, Processed/%Y/%m, or \\Archive".to_owned()
    }

    fn kind() -> String {
        "folder, with strftime directives".to_owned()
    }

    fn parse(text: &str) -> Result<String, String> {
        let pattern = checked(text)?;
        let mut rest = pattern.split('%').skip(1);
        while let Some(after) = rest.next() {
            match after.chars().next() {
                // `%%`: splitting at the second sign yields an empty part.
                None if rest.next().is_some() => {}
                Some(directive) if DIRECTIVES.contains(directive) => {}
                _ => {
                    let known: Vec<String> = DIRECTIVES.chars().map(|directive| format!("%{directive}")).collect();
                    return Err(format!(
                        "%{} in {pattern:?} is not supported in folder names; known: {}; write %% for a \
                         literal %",
                        after.chars().next().map(String::from).unwrap_or_default(),
                        known.join(" ")
                    ));
                }
            }
        }
        Ok(pattern)
    }

    fn written(value: &String) -> String {
        value.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-05 09:08:07 UTC.
    const THEN: i64 = 1_793_869_687;

    #[test]
    fn folder_dates_are_in_utc() {
        for (pattern, name) in [
            ("Processed", "Processed"),
            ("Processed/%Y/%m", "Processed/2026/11"),
            ("Processed.%F", "Processed.2026-11-05"),
            ("%G-W%V %j %y %B %b %d", "2026-W45 309 26 November Nov 05"),
            ("%H%M%S", "090807"),
            ("100%%/%Y", "100%/2026"),
            ("%%%%Y", "%%Y"),
            ("\\Archive/%Y", "\\Archive/2026"),
        ] {
            assert_eq!(FolderPattern::parse(pattern).as_deref(), Ok(pattern));
            assert_eq!(at(pattern, THEN), name);
        }
    }

    #[test]
    fn unsupported_date_directives_and_control_characters_in_folder_names_are_refused() {
        for pattern in ["100%", "a%n", "%t", "%N/x", "%s", "%!", "%c", "%-d", "%%%", ""] {
            assert!(FolderPattern::parse(pattern).is_err(), "{pattern}");
        }
        assert!(FolderPattern::parse("Done/%n").unwrap_err().contains("%Y %y %m"));
    }

    #[test]
    fn only_known_special_use_names_are_accepted() {
        for name in ["\\Junk", "\\archive", "\\All", "INBOX", "a\\b"] {
            assert_eq!(checked(name).as_deref(), Ok(name));
        }
        let error = checked("\\Archiv").unwrap_err();
        assert!(error.contains("did you mean \\Archive?") && error.contains("\\Trash"), "{error}");
        assert!(checked("\\Spam").unwrap_err().contains("\\Junk"));
        assert_eq!(special_use("\\Archive.2026.11"), Some(("\\Archive", Some("2026.11"))));
        assert_eq!(special_use("Archive"), None);
    }
}
