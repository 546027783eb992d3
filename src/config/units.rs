//! Durations and sizes with units.

use std::{marker::PhantomData, time::Duration};

use serde_json::json;

use super::form::{Form, Whole};

/// A duration of `MIN` to `MAX` milliseconds: `500ms`, `30s`, `5m`, `1h30m`, `2d`, or a plain number of seconds.
pub(crate) struct Time<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Form for Time<MIN, MAX> {
    type Value = Duration;

    fn expected() -> String {
        format!(
            "a duration from {} to {}, such as 500ms, 30s, 5m, 1h30m or a plain number of seconds",
            duration_text(Duration::from_millis(MIN)),
            duration_text(Duration::from_millis(MAX))
        )
    }

    fn kind() -> String {
        let (min, max) = (Duration::from_millis(MIN), Duration::from_millis(MAX));
        format!("duration, {} to {}", duration_text(min), duration_text(max))
    }

    fn parse(text: &str) -> Result<Duration, String> {
        duration(text)
            .filter(|time| (MIN..=MAX).contains(&time.as_millis().try_into().unwrap_or(u64::MAX)))
            .ok_or_else(|| format!("expected {}, not {text:?}", Self::expected()))
    }

    fn written(value: &Duration) -> String {
        duration_text(*value)
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [
            {"type": "integer", "minimum": MIN.div_ceil(1000), "maximum": MAX / 1000},
            {"type": "string", "pattern": r"^([0-9]+(ms|s|m|h|d))+$|^[0-9]+$|\$\{"},
        ]})
    }
}

/// A size of `MIN` to `MAX` bytes: `8MiB`, `10MB`, or a plain number of bytes.
pub(crate) struct Size<T, const MIN: u64, const MAX: u64>(PhantomData<T>);

impl<T, const MIN: u64, const MAX: u64> Form for Size<T, MIN, MAX>
where
    T: TryFrom<u64> + Copy,
    u64: From<T>,
{
    type Value = T;

    fn expected() -> String {
        format!(
            "a size from {} to {}, such as 64KiB, 8MiB, 10MB or a plain number of bytes",
            size_text(MIN),
            size_text(MAX)
        )
    }

    fn kind() -> String {
        format!("size, {} to {}", size_text(MIN), size_text(MAX))
    }

    fn parse(text: &str) -> Result<T, String> {
        size(text)
            .filter(|bytes| (MIN..=MAX).contains(bytes))
            .and_then(|bytes| T::try_from(bytes).ok())
            .ok_or_else(|| format!("expected {}, not {text:?}", Self::expected()))
    }

    fn written(value: &T) -> String {
        size_text((*value).into())
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [
            {"type": "integer", "minimum": MIN, "maximum": MAX},
            {"type": "string", "pattern": r"^[0-9]+ ?([kKMGT]i?B|B)?$|\$\{"},
        ]})
    }
}

/// Parses `1h30m` and the like; `None` for other texts, and if the milliseconds do not fit into a `u64`.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let mut milliseconds = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
        let scale = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        milliseconds = milliseconds.checked_add(number.parse::<u64>().ok()?.checked_mul(scale)?)?;
        rest = after.trim_start();
    }
    (!text.is_empty()).then(|| Duration::from_millis(milliseconds))
}

fn duration_text(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    match units.iter().find(|&&(_, scale)| milliseconds > 0 && milliseconds.is_multiple_of(scale)) {
        Some((unit, scale)) => format!("{}{unit}", milliseconds / scale),
        None => format!("{milliseconds}ms"),
    }
}

/// Parses `8MiB` and the like; `None` for other texts, and if the bytes do not fit into a `u64`.
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let scale: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

fn size_text(bytes: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|&&(_, scale)| bytes > 0 && bytes.is_multiple_of(scale)) {
        Some((unit, scale)) => format!("{} {unit}", bytes / scale),
        None => bytes.to_string(),
    }
}

/// An integer number of seconds, as for Vector's option of this name.
pub(crate) struct Seconds;

impl Form for Seconds {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_in_every_documented_form() {
        let cases = [("30s", 30_000), ("5m", 300_000), ("1h30m", 5_400_000), ("500ms", 500), ("45", 45_000)];
        for (text, milliseconds) in cases.into_iter().chain([("2d", 172_800_000), ("1h 5m", 3_900_000)]) {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn invalid_durations_are_refused() {
        for text in ["", "s", "5", "5x", "-5s", "1.5h", "5 m", "99999999999999999999s", "300000000000000d", "5mm"] {
            assert_eq!(duration(text).is_some(), text == "5", "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units() {
        for (text, bytes) in
            [("8MiB", 8 << 20), ("10MB", 10_000_000), ("64 KiB", 65_536), ("1400", 1400), ("1GiB", 1 << 30)]
        {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "8M", "-1", "1.5MiB", "99999999999999GiB", "8mib"] {
            assert_eq!(size(text), None, "{text:?}");
        }
    }

    #[test]
    fn out_of_range_values_are_reported_with_the_range_and_the_units() {
        let message = Time::<1_000, 86_400_000>::parse("2d").unwrap_err();
        assert_eq!(
            message,
            "expected a duration from 1s to 1d, such as 500ms, 30s, 5m, 1h30m or a plain number of seconds, not \"2d\""
        );
        let message = Size::<u32, 480, { 1 << 20 }>::parse("100").unwrap_err();
        assert_eq!(
            message,
            "expected a size from 480 to 1 MiB, such as 64KiB, 8MiB, 10MB or a plain number of bytes, not \"100\""
        );
    }

    #[test]
    fn formatted_durations_and_sizes_parse_back() {
        for milliseconds in [1, 500, 1_000, 90_000, 300_000, 5_400_000, 86_400_000] {
            let time = Duration::from_millis(milliseconds);
            assert_eq!(duration(&duration_text(time)), Some(time));
        }
        for bytes in [1, 1400, 8000, 8 << 20, 3 << 30] {
            assert_eq!(size(&size_text(bytes)), Some(bytes));
        }
    }
}
