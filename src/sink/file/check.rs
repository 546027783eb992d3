//! Steps of `check` on the way to a file.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::pattern::Pattern;
use crate::{
    config::sink::{File, SinkKind},
    exit::Exit,
    sink::{SinkError, registry::Probe},
    steps::{PROBE, Steps, local},
};

/// Checks the folder and today's file. The probe goes to a file beside it: a running instance may be writing to today's
/// file, and an event that it has half written must not be mistaken for the remains of a crash.
pub async fn check(config: &File, steps: &mut Steps) -> Option<Probe> {
    let pattern = async { Pattern::new(&config.path).map_err(|why| SinkError::Configuration(why, None)) };
    let today = steps.attempt("path", pattern).await?.path_at(Timestamp::now().as_second());
    steps.plan([local::FOLDER, local::FILE, PROBE]);
    let folder = local::written(&today, steps).await?;
    let scratch = folder.join(format!(".dmarc-shipper-check-{:08x}", rand::random::<u32>()));
    Some(Probe {
        kind: SinkKind::File(File { path: literal(&scratch), retention_days: None, ..config.clone() }),
        arrived: "was written to disk in a test file beside today's, which was deleted again",
        exit: Exit::Io,
        advice: "check whether the disk is full or failing",
        scratch: Some(scratch),
    })
}

/// Escapes the path, so that as a pattern it has no date.
fn literal(path: &Path) -> PathBuf {
    path.to_string_lossy().replace('%', "%%").into()
}
