//! Path of a `file` sink: a strftime pattern, and the date in the name of a file.

use std::path::{Component, Path, PathBuf};

use jiff::{
    Timestamp,
    civil::{Date, date},
    fmt::strtime,
    tz::TimeZone,
};

/// A path with strftime conversions, all in UTC.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    text: String,
    /// The path up to the first component with a conversion in it.
    base: PathBuf,
    /// The components from there on; empty if the path is the same every day.
    parts: Vec<String>,
}

impl Pattern {
    /// Parses a path. Errors say what jiff can't format, or that the path is not UTF-8.
    pub(super) fn new(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = path.to_str().ok_or_else(|| format!("path {shown} is not UTF-8; expected a strftime pattern"))?;
        strtime::format(text, &Timestamp::UNIX_EPOCH.to_zoned_datetime(TimeZone::UTC))
            .map_err(|error| format!("path {shown} is not a strftime pattern: {error}"))?;
        let (mut base, mut parts) = (PathBuf::new(), Vec::new());
        for component in path.components() {
            let name = component.as_os_str().to_string_lossy();
            if parts.is_empty() && !(matches!(component, Component::Normal(_)) && name.contains('%')) {
                base.push(component);
            } else {
                parts.push(name.into_owned());
            }
        }
        Ok(Self { text: text.into(), base, parts })
    }

    /// Returns the file for events that came in at `second` since 1970.
    pub(super) fn path_at(&self, second: i64) -> PathBuf {
        let end = if second < 0 { Timestamp::MIN } else { Timestamp::MAX };
        let time = Timestamp::from_second(second).unwrap_or(end).to_zoned_datetime(TimeZone::UTC);
        // A pattern that formats for one time formats for all; otherwise, the pattern itself would be the name of the file.
        strtime::format(&self.text, &time).map_or_else(|_| self.text.clone().into(), PathBuf::from)
    }

    /// Returns the folder that all files lie in or below.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// Returns one pattern for each name below [`base`](Self::base), from the top down.
    pub(super) fn parts(&self) -> &[String] {
        &self.parts
    }

    /// True if the path of a file contains the full date: only then can old files be recognised.
    pub(super) fn tells_the_day(&self) -> bool {
        let samples = [date(2023, 11, 28), date(2024, 2, 29)];
        samples.into_iter().all(|day| {
            let Ok(time) = day.to_zoned_datetime(TimeZone::UTC) else { return false };
            strtime::format(self.parts.join("/"), &time).is_ok_and(|tail| self.day_of(&tail) == Some(day))
        })
    }

    /// Returns the date in the path `tail` below [`base`](Self::base), if this pattern would make that path.
    pub(super) fn day_of(&self, tail: &str) -> Option<Date> {
        let parts = self.parts.join("/");
        let time = strtime::parse(&parts, tail).ok()?.to_datetime().ok()?.to_zoned_datetime(TimeZone::UTC).ok()?;
        // The parser accepts more than the formatter makes, such as a day without its leading zero.
        (strtime::format(&parts, &time).ok()? == tail).then(|| time.date())
    }
}

/// True if `part` may make `name`; the whole path decides.
pub(super) fn may_match(part: &str, name: &str) -> bool {
    if part.contains('%') { strtime::parse(part, name).is_ok() } else { part == name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(Path::new(text)).unwrap()
    }

    #[test]
    fn a_path_is_named_by_the_day_in_utc() {
        let pattern = pattern("/data/%Y%m%d_all.json");
        assert_eq!(pattern.path_at(1_767_225_599), Path::new("/data/20251231_all.json"));
        assert_eq!(pattern.path_at(1_767_225_600), Path::new("/data/20260101_all.json"));
        pattern.path_at(i64::MIN);
        pattern.path_at(i64::MAX);
    }

    #[test]
    fn the_day_is_read_back_from_names_that_the_pattern_makes_and_from_no_others() {
        let pattern = pattern("/data/%Y/%m/%Y%m%d_all.json");
        assert_eq!(pattern.base(), Path::new("/data"));
        assert_eq!(pattern.day_of("2026/01/20260102_all.json"), Some(date(2026, 1, 2)));
        for other in [
            "2025/01/20260102_all.json",
            "2026/1/20260102_all.json",
            "2026/01/2026012_all.json",
            "2026/01/20260102_all.json.gz",
            "2026/01/x20260102_all.json",
            "2026/01/20260230_all.json",
            "2026/01/",
        ] {
            assert_eq!(pattern.day_of(other), None, "{other}");
        }
    }

    #[test]
    fn only_a_pattern_with_year_month_and_day_tells_the_day() {
        for whole in ["/d/%Y%m%d.json", "/d/%F", "/d/%Y/%j.json", "/d/%Y-%m-%dT%H.json", "/d/%d.%m.%Y/x%%y.json"] {
            assert!(pattern(whole).tells_the_day(), "{whole}");
        }
        for partial in ["/d/all.json", "/d/%Y%m.json", "/d/%d.json", "/d/%m%d.json", "/d/%H%M.json"] {
            assert!(!pattern(partial).tells_the_day(), "{partial}");
        }
    }

    #[test]
    fn what_is_no_strftime_pattern_is_refused() {
        for wrong in ["/d/%!.json", "/d/100%"] {
            assert!(Pattern::new(Path::new(wrong)).unwrap_err().contains(wrong));
        }
    }
}
