//! Ends of sources, readers and sinks: logs their errors, and maps them to exit codes.

use std::sync::Arc;

use tokio::task::JoinError;
use tracing::{error, warn};

use super::{options::Options, summary::Summary};
use crate::{
    exit::Exit,
    sink::SinkError,
    source::{Pass, SourceError},
};

/// Name of a source that has ended, and its result.
pub type SourceEnd = (Arc<str>, Result<Pass, SourceError>);

/// Name of a sink that has ended, and its result.
pub struct SinkEnd {
    pub name: Arc<str>,
    pub required: bool,
    pub result: Result<(), SinkError>,
}

/// Logs the end of a source and returns its exit code. A single pass that left mails unsettled is to be retried, as no
/// other pass follows.
pub fn source_ended(ended: Result<SourceEnd, JoinError>, options: Options, summary: &Summary) -> Exit {
    let (source, result) = match ended {
        Ok(ended) => ended,
        Err(panic) => {
            error!(%panic, "a source failed; this is a bug, please report it");
            return Exit::Internal;
        }
    };
    match result {
        Ok(pass) if pass.unsettled > 0 && options.once && !options.dry_run => {
            warn!(
                %source, mails = pass.unsettled,
                "mails could not be fetched, or were shipped and could not be moved; the next run tries again"
            );
            summary.leave(pass.unsettled);
            Exit::Undelivered
        }
        Ok(_) | Err(SourceError::Stopped) => Exit::Done,
        Err(error) => {
            error!(%source, "{error}");
            Exit::from(&error)
        }
    }
}

pub fn reader_ended(ended: &Result<(), JoinError>) -> Exit {
    match ended {
        Ok(()) => Exit::Done,
        Err(panic) => {
            error!(%panic, "reading failed; this is a bug, please report it");
            Exit::Internal
        }
    }
}

/// Logs the end of a sink and returns its exit code. `None`: the sink ended without an error, or the run continues without
/// it. `in_use`: events are still sent to it.
pub fn sink_ended(ended: Result<SinkEnd, JoinError>, in_use: bool) -> Option<Exit> {
    let SinkEnd { name: sink, required, result } = match ended {
        Ok(end) => end,
        Err(panic) => {
            error!(%panic, "a sink failed; this is a bug, please report it");
            return Some(Exit::Internal);
        }
    };
    let (error, exit) = match result {
        Ok(()) if in_use => {
            ("the sink ended although more events were to come; this is a bug, please report it".into(), Exit::Internal)
        }
        Ok(()) => return None,
        Err(error) => (error.to_string(), Exit::from(&error)),
    };
    if !required {
        error!(%sink, "{error}; continuing without this optional sink");
        return None;
    }
    error!(%sink, "{error}");
    Some(exit)
}
