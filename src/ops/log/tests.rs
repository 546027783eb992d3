use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

fn logged(level: LogLevel, style: Style, work: impl FnOnce()) -> Vec<String> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let taken = lines.clone();
    let write = move |line: Line<'_>| taken.lock().unwrap().push(line(style));
    tracing::subscriber::with_default(subscriber(level, Arc::new(write)).0, work);
    std::mem::take(&mut *lines.lock().unwrap())
}

const TEXT: Style = Style::Text { colours: false };

#[test]
fn a_json_line_is_one_flat_object_with_typed_fields() {
    let error = io::Error::other("no \"luck\"");
    let lines = logged(LogLevel::Info, Style::Json, || {
        tracing::warn!(rows = 3, share = 0.5, bad = f64::NAN, done = true, org = "Grüße", %error, "left {} behind", 2);
    });
    let value: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(value["level"], "warn");
    assert_eq!(value["logger"], "DMARC_SCRIPT");
    assert_eq!(value["target"], "dmarc_shipper::ops::log::tests");
    assert_eq!(value["message"], "left 2 behind");
    assert_eq!((&value["rows"], &value["share"]), (&3.into(), &0.5.into()));
    assert_eq!((&value["done"], &value["bad"]), (&true.into(), &"NaN".into()));
    assert_eq!((&value["org"], &value["error"]), (&"Grüße".into(), &"no \"luck\"".into()));
    let timestamp = value["timestamp"].as_str().unwrap();
    assert!(timestamp.ends_with('Z') && timestamp.len() == 24, "{timestamp}");
    assert!(timestamp.parse::<Timestamp>().is_ok());
}

#[test]
fn a_field_cannot_overwrite_a_fixed_key() {
    let lines = logged(LogLevel::Info, Style::Json, || tracing::info!(level = "error", logger = "other", "hello"));
    assert!(lines[0].contains(r#""level":"info","logger":"DMARC_SCRIPT""#), "{}", lines[0]);
    assert!(lines[0].contains(r#""level_":"error","logger_":"other""#), "{}", lines[0]);
}

#[test]
fn a_text_line_is_time_level_message_fields() {
    let lines =
        logged(LogLevel::Info, TEXT, || tracing::info!(rows = 3, org = "a b", name = "x", empty = "", "shipped"));
    let (time, rest) = lines[0].split_once(' ').unwrap();
    assert!(time.parse::<Timestamp>().is_ok());
    assert_eq!(rest, " INFO shipped rows=3 org=\"a b\" name=x empty=\"\"\n");
}

#[test]
fn control_characters_and_newlines_are_escaped_in_log_fields() {
    let hostile = "x\n2026 ERROR forged\r\u{1b}[2J\u{9b}31m\u{202e}\u{2066}\" level=\"error";
    let work = || tracing::info!(org = hostile, "from {hostile}");
    let text = logged(LogLevel::Info, TEXT, work).remove(0);
    assert_eq!(text.matches('\n').count(), 1);
    assert!(text.ends_with('\n') && !text.trim_end().contains(|c: char| c.is_control() || !c.is_ascii()), "{text:?}");
    assert!(text.ends_with("\\\" level=\\\"error\"\n"), "{text}");

    let json = logged(LogLevel::Info, Style::Json, work).remove(0);
    assert!(!json.trim_end().contains(|c: char| c.is_control() || !c.is_ascii()), "{json:?}");
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["org"], hostile);
}

#[test]
fn only_the_level_is_coloured() {
    let lines = logged(LogLevel::Info, Style::Text { colours: true }, || tracing::error!("broken \x1b[0m"));
    assert_eq!(lines[0].matches('\x1b').count(), 2, "{:?}", lines[0]);
    assert!(lines[0].contains("\x1b[31mERROR\x1b[0m broken"), "{:?}", lines[0]);
}

#[test]
fn libraries_log_at_warn_and_never_below_the_configured_level() {
    let work = || {
        tracing::debug!("own");
        tracing::info!(target: "async_imap", "A1 LOGIN user secret");
        tracing::warn!(target: "rustls", "theirs");
    };
    let messages = |level| logged(level, TEXT, work).len();
    assert_eq!(messages(LogLevel::Trace), 2);
    assert_eq!(messages(LogLevel::Info), 1);
    assert_eq!(messages(LogLevel::Error), 0);
}

#[test]
fn long_log_values_are_truncated() {
    let long = "ä".repeat(1 << 20);
    let lines = logged(LogLevel::Info, Style::Json, || tracing::info!(long, "hello"));
    assert!(lines[0].len() < 10_000);
    serde_json::from_str::<serde_json::Value>(&lines[0]).unwrap();
}

#[test]
fn records_of_the_log_crate_are_not_logged_as_they_contain_passwords() {
    let bridge = concat!("name = \"tracing", "-log\"");
    assert!(!include_str!("../../../Cargo.lock").contains(bridge));
}

proptest! {
    #[test]
    fn any_text_makes_one_valid_line(message in ".*", value in any::<String>()) {
        let work = || tracing::info!(value, "{message}");
        let json = logged(LogLevel::Info, Style::Json, work).remove(0);
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(parsed["value"].as_str(), Some(&*value));
        prop_assert_eq!(parsed["message"].as_str(), Some(&*message));
        let text = logged(LogLevel::Info, TEXT, work).remove(0);
        prop_assert_eq!(text.lines().count(), 1);
    }
}

/// Set in the child process whose log goes to a stderr that nobody reads.
const ALONE: &str = "DMARC_SHIPPER_TEST_LOG_TO_NOBODY";

#[test]
fn a_closed_stderr_is_ignored() {
    if std::env::var_os(ALONE).is_some() {
        init(LogLevel::Info, LogFormat::Auto).unwrap();
        tracing::error!("nobody hears this");
        assert!(init(LogLevel::Info, LogFormat::Auto).is_err(), "logging is set up once");
        return;
    }
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ops::log::tests::a_closed_stderr_is_ignored"])
        .env(ALONE, "1")
        .stdout(std::process::Stdio::null())
        .stderr(writer)
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn the_log_level_can_be_changed_at_runtime() {
    let lines = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = lines.clone();
    let (subscriber, handle) =
        subscriber(LogLevel::Info, Arc::new(move |line: Line<'_>| kept.lock().unwrap().push(line(Style::Json))));
    tracing::subscriber::with_default(subscriber, || {
        for level in [LogLevel::Info, LogLevel::Debug, LogLevel::Error] {
            handle.reload(targets(level)).unwrap();
            tracing::debug!("debug");
            tracing::info!("info");
        }
    });
    let lines = lines.lock().unwrap();
    let told: Vec<_> = lines.iter().map(|line| line.contains("\"debug\"")).collect();
    assert_eq!(told, [false, true, false], "{lines:?}");
}
