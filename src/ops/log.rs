//! Log on stderr, and optionally in a file: text if stderr is a terminal, otherwise JSON; one line per record, whatever is in it.
//!
//! The senders of reports control the contents of many fields, so nothing is written unescaped: see `log::line`. `RUST_LOG`
//! is not read: the level comes from the configuration. Records of the `log` crate never appear, since nothing bridges
//! them: async-imap writes passwords there.

mod file;
mod line;

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use jiff::Timestamp;
use tracing::{Event, Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    layer::{Context, SubscriberExt},
    reload,
};

use self::{file::LogFile, line::Fields};
use super::progress;
use crate::config::{self, LogFormat, LogLevel};

/// Error: logging was set up before, which is possible only once in a process.
#[derive(Debug, thiserror::Error)]
#[error("logging was set up before")]
pub struct AlreadySet;

/// Handle to change the level, once logging is set up.
static LEVEL: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Starts the log on stderr: this program's records from `level` on, those of its libraries from `warn` on.
pub fn init(level: LogLevel, format: LogFormat) -> Result<(), AlreadySet> {
    let terminal = io::stderr().is_terminal();
    let style = match format {
        LogFormat::Text | LogFormat::Auto if terminal => Style::Text { colours: wants_colours() },
        LogFormat::Text => Style::Text { colours: false },
        LogFormat::Auto | LogFormat::Json => Style::Json,
    };
    let (subscriber, handle) = subscriber(level, Arc::new(move |line| everywhere(style, line)));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| AlreadySet)?;
    LEVEL.set(handle).map_err(|_| AlreadySet)
}

/// The log file, and the style of its lines.
static FILE: Mutex<Option<(LogFile, Style)>> = Mutex::new(None);

/// Starts to log into this file too, or stops if none is configured.
pub fn to_file(file: &config::LogFile, format: LogFormat) {
    let style = if format == LogFormat::Text { Style::Text { colours: false } } else { Style::Json };
    let file = file.path.as_deref().map(|path| (LogFile::new(path, file.max_size.into(), file.max_files), style));
    *FILE.lock().unwrap_or_else(PoisonError::into_inner) = file;
}

/// Formats a record as a line in the requested style.
type Line<'a> = &'a dyn Fn(Style) -> String;

/// Writes a record to stderr and to the file. Errors of the file are reported on stderr alone: a record of them would go to
/// the file too.
fn everywhere(style: Style, line: Line<'_>) {
    // Errors of a closed or full stderr are ignored: there is nowhere to report them, and `eprintln!` would panic.
    let on_stderr = |line: &str| progress::above(|| drop(io::stderr().write_all(line.as_bytes())));
    on_stderr(&line(style));
    if let Some((file, style_of_file)) = &mut *FILE.lock().unwrap_or_else(PoisonError::into_inner) {
        let mut lines = line(*style_of_file);
        if file.missed() > 0 {
            let gap = format!("{} lines are missing here", file.missed());
            lines.insert_str(0, &style_of_file.line(Level::WARN, module_path!(), &Fields::saying(gap)));
        }
        if let Some(complaint) = file.write(&lines) {
            on_stderr(&style.line(Level::WARN, module_path!(), &Fields::saying(complaint)));
        }
    }
}

/// Sets the level from now on.
pub fn set_level(level: LogLevel) {
    if let Some(handle) = LEVEL.get() {
        // Fails if the subscriber is gone, which the global one never is.
        handle.reload(targets(level)).ok();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Text { colours: bool },
    Json,
}

/// Follows <https://no-color.org>: no colours if `NO_COLOR` is set and not empty.
fn wants_colours() -> bool {
    let says = |name| std::env::var_os(name).unwrap_or_default();
    says("NO_COLOR").is_empty() && says("TERM") != "dumb"
}

fn subscriber(
    level: LogLevel,
    write: Arc<dyn Fn(Line<'_>) + Send + Sync>,
) -> (impl Subscriber + Send + Sync, reload::Handle<Targets, Registry>) {
    let (filter, handle) = reload::Layer::new(targets(level));
    (Registry::default().with(Lines { write }.with_filter(filter)), handle)
}

fn targets(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(own.min(LevelFilter::WARN)).with_target(env!("CARGO_CRATE_NAME"), own)
}

/// Passes each record on as a line, line end included.
struct Lines {
    write: Arc<dyn Fn(Line<'_>) + Send + Sync>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        (self.write)(&|style| style.line(*metadata.level(), metadata.target(), &fields));
    }
}

impl Style {
    fn line(self, level: Level, target: &str, fields: &Fields) -> String {
        let now = format!("{:.3}", Timestamp::now());
        match self {
            Style::Json => line::json(&now, level_name(level), target, fields),
            Style::Text { colours } => line::text(&now, level, colours, fields),
        }
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

#[cfg(test)]
mod tests;
