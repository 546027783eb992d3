//! How far long work has come, for a person at a terminal: a bar on stderr, below the log's lines.

use std::{
    io::{self, IsTerminal},
    sync::{Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that takes no longer shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_millis(200);

/// The bar that there is now.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// How far the work has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Mails or files.
    pub done: u64,
    /// Of so many; 0 where nobody knows.
    pub of: u64,
    pub rows: u64,
}

/// Work under way; dropped, its bar is gone.
pub struct Progress {
    end: Option<mpsc::Sender<()>>,
    painter: Option<JoinHandle<()>>,
}

/// Shows `look`, five times a second, where stderr is a terminal. `unit`: of what is done. `prints`: data goes to stdout, and
/// where that is a terminal too, a bar would only be in its way.
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

/// Writes to stderr while no bar is there: it is drawn again below.
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
            painter.join().ok(); // one that failed has said so
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
    // First: each of the others may draw.
    bar.set_style(style.expect("the template is sound").progress_chars("=> ").tick_chars("|/-\\ "));
    bar.set_length(seen.of);
    bar.set_message(seen.rows.to_string());
    bar.set_position(seen.done);
    bar.tick();
}

/// A terminal that can't go back in a line.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb")
}
