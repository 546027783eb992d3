//! File paths with strftime directives.

use std::path::{Path, PathBuf};

use jiff::{
    Timestamp,
    fmt::strtime::{BrokenDownTime, format},
};

use super::form::Form;

/// A path with strftime directives, all of which can be formatted.
pub(crate) struct Template;

impl Template {
    /// True if the path depends on the time.
    pub(crate) fn has_date(path: &Path) -> bool {
        let pattern = path.to_string_lossy();
        // Two instants that differ in every part: year, month, day, weekday, hour, minute, second.
        at(&pattern, 1_000_000_000).ok() != at(&pattern, 1_777_695_555).ok()
    }
}

impl Form for Template {
    type Value = PathBuf;

    fn expected() -> String {
        "a path, such as /var/log/dmarc/%Y%m%d.json".to_owned()
    }

    fn kind() -> String {
        "path with strftime directives".to_owned()
    }

    fn parse(text: &str) -> Result<PathBuf, String> {
        if text.is_empty() || text.ends_with('/') {
            return Err(format!("expected {}, not {text:?}", Self::expected()));
        }
        match at(text, 1_000_000_000) {
            Ok(_) => Ok(PathBuf::from(text)),
            Err(error) => Err(format!("{text:?} is not a strftime pattern: {error}; write %% for a literal %")),
        }
    }

    fn written(value: &PathBuf) -> String {
        value.display().to_string()
    }
}

/// Formats `pattern` for `second` since 1970, in UTC.
pub(super) fn at(pattern: &str, second: i64) -> Result<String, jiff::Error> {
    format(pattern, BrokenDownTime::from(Timestamp::from_second(second)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_strftime_patterns_are_refused() {
        for pattern in ["/a/%Y%m%d_all.json", "a.json", "/x/%Y/%m/%d/%H.ndjson", "/a/100%%.json"] {
            assert_eq!(Template::parse(pattern).unwrap(), PathBuf::from(pattern));
        }
        for pattern in ["/a/%!x", "/a/50%", "", "/a/"] {
            assert!(Template::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn date_directives_are_detected_in_a_pattern() {
        for pattern in ["%Y", "%j.json", "%F", "%s", "%m", "%d", "%a", "%y"] {
            assert!(Template::has_date(Path::new(pattern)), "{pattern}");
        }
        for pattern in ["a.json", "100%%.json"] {
            assert!(!Template::has_date(Path::new(pattern)), "{pattern}");
        }
    }
}
