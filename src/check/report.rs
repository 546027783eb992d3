//! The report: a heading for each part of the configuration, and a line for each step.

use std::io::{self, Write};

use serde::Serialize;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::{
    config::CheckFormat,
    exit::Exit,
    steps::{Failure, Outcome, Step},
};

/// Width of the column with the names of steps; longer names shift their details to the right.
const NAME_WIDTH: usize = 18;

/// One source, one sink, or the data folder.
pub struct Part {
    pub kind: &'static str,
    /// Empty if there is only one of its kind.
    pub name: String,
    /// Type and address, for people.
    pub about: String,
    pub steps: UnboundedReceiver<Step>,
}

/// Destination and totals of the report.
pub struct Report<W> {
    out: W,
    format: CheckFormat,
    failed: usize,
    skipped: usize,
    exit: Exit,
}

/// A step as written by `--format json`.
#[derive(Serialize)]
struct Line<'a> {
    part: &'a str,
    name: &'a str,
    step: &'a str,
    result: &'a str,
    detail: &'a str,
    advice: Option<&'a str>,
    exit_code: Option<u8>,
}

impl<W: Write> Report<W> {
    pub fn new(out: W, format: CheckFormat) -> Self {
        Self { out, format, failed: 0, skipped: 0, exit: Exit::Done }
    }

    /// Reports all parts in order, each step as soon as it has finished; returns the worst of the exit codes.
    pub async fn tell(mut self, parts: Vec<Part>) -> Exit {
        match self.parts(parts).await {
            Ok(()) => self.exit,
            Err(_) => self.exit.or_worse(Exit::Io),
        }
    }

    async fn parts(&mut self, parts: Vec<Part>) -> io::Result<()> {
        for mut part in parts {
            if self.format == CheckFormat::Text {
                let Part { kind, name, about, .. } = &part;
                let heading = [kind, name.as_str(), about].into_iter().filter(|word| !word.is_empty());
                writeln!(self.out, "{}", heading.collect::<Vec<_>>().join(" "))?;
            }
            while let Some(step) = part.steps.recv().await {
                self.step(&part, &step)?;
            }
        }
        if self.format == CheckFormat::Text {
            match (self.failed, self.skipped) {
                (0, 0) => writeln!(self.out, "all checks passed")?,
                (0, skipped) => writeln!(self.out, "no failures, {skipped} skipped")?,
                (failed, skipped) => {
                    writeln!(self.out, "{failed} failed, {skipped} skipped; exit code {}", self.exit as u8)?;
                }
            }
        }
        self.out.flush()
    }

    fn step(&mut self, part: &Part, Step { what, outcome }: &Step) -> io::Result<()> {
        let (result, detail, failure) = match outcome {
            Outcome::Well(detail) => ("ok", detail, None),
            Outcome::Note(detail) => ("note", detail, None),
            Outcome::Skipped(why) => ("skipped", why, None),
            Outcome::Failed(failure) => ("failed", &failure.why, Some(failure)),
        };
        self.skipped += usize::from(matches!(outcome, Outcome::Skipped(_)));
        if let Some(Failure { exit, .. }) = failure {
            self.failed += 1;
            self.exit = self.exit.or_worse(*exit);
        }
        let advice = failure.and_then(|failure| failure.advice);
        if self.format == CheckFormat::Json {
            let exit_code = failure.map(|failure| failure.exit as u8);
            let line = Line { part: part.kind, name: &part.name, step: what, result, detail, advice, exit_code };
            serde_json::to_writer(&mut self.out, &line)?;
            return writeln!(self.out).and_then(|()| self.out.flush());
        }
        let mark = if failure.is_some() { "FAILED" } else { result };
        write!(self.out, "  {mark:<7} {:<NAME_WIDTH$} {}", plain(what), plain(detail))?;
        if let Some(advice) = advice {
            write!(self.out, "; {advice}")?;
        }
        writeln!(self.out).and_then(|()| self.out.flush())
    }
}

/// Replaces control characters: texts from servers must not control the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
