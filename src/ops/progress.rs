//! Progress bar on stderr for long work, if stderr is a terminal; it stays below the lines of the log.

use std::{
    io::{self, IsTerminal},
    sync::{Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Delay before a bar is shown: shorter work shows none.
const PATIENCE: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_millis(200);

/// The current bar.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Progress of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Number of mails or files done.
    pub done: u64,
    /// Total number; 0 if it is not known.
    pub of: u64,
    pub rows: u64,
}

/// Work in progress; when this is dropped, its bar is removed.
pub struct Progress {
    end: Option<mpsc::Sender<()>>,
    painter: Option<JoinHandle<()>>,
}

/// Shows the result of `look` five times a second if stderr is a terminal. `unit` is the unit of `done`. `prints`: data
/// goes to stdout; if that is a terminal too, no bar is shown, as it would only disturb.
pub fn show(unit: &'static str, prints: bool, look: impl Fn() -> Seen + Send + 'static) -> Progress {
    let is_wanted = io::stderr().is_terminal() && !(prints && rustix::stdio::stdout().is_terminal()) && !is_dumb();
    if !is_wanted {
        return Progress { end: None, painter: None };
    }
    let (end, ended) = mpsc::channel();
    let painter = thread::spawn(move || {
        let goes_on = |wait| ended.recv_timeout(wait) == Err(mpsc::RecvTimeoutError::Timeout);
        if !goes_on(PATIENCE) {
            return;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_elapsed(PATIENCE);
        bar_now().replace(bar.clone());
        loop {
            paint(&bar, unit, look());
            if !goes_on(EVERY) {
                break;
            }
        }
        bar.finish_and_clear();
        bar_now().take();
    });
    Progress { end: Some(end), painter: Some(painter) }
}

/// Runs `write`, which writes to stderr, with the bar hidden; the bar is drawn again below.
pub fn above(write: impl FnOnce()) {
    match &*bar_now() {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(painter) = self.painter.take() {
            painter.join().ok(); // ignored: a thread that panicked has reported it
        }
    }
}

fn bar_now() -> std::sync::MutexGuard<'static, Option<ProgressBar>> {
    BAR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn paint(bar: &ProgressBar, unit: &str, seen: Seen) {
    let known = match seen.of {
        0 => format!("{{spinner}} {{human_pos}} {unit}"),
        _ => format!("[{{bar:30}}] {{human_pos}} of {{human_len}} {unit}"),
    };
    let style = ProgressStyle::with_template(&format!("{known}, {{msg}} rows, {{elapsed}}"));
    // Set first, as each of the other calls may draw.
    bar.set_style(style.expect("the template is sound").progress_chars("=> ").tick_chars("|/-\\ "));
    bar.set_length(seen.of);
    bar.set_message(seen.rows.to_string());
    bar.set_position(seen.done);
    bar.tick();
}

/// True for a terminal that can't move the cursor back in a line.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb")
}
