//! Registry of the kinds of sinks: the half that runs. The half that the configuration knows is in
//! [`config::sink`](crate::config::sink).

use std::{path::PathBuf, sync::Arc};

use futures::future::BoxFuture;

use super::Sink;
use crate::{
    config::sink::{SinkConfig, SinkKind},
    exit::Exit,
    steps::Steps,
};

/// A kind of sink: implemented by its options, in its own folder.
pub trait Kind: Sync {
    /// Builds the sink; it does not run yet. `config` has the options that all kinds share.
    fn build(&self, name: Arc<str>, config: &SinkConfig) -> Box<dyn Sink>;

    /// Tests each step on the way to the sink, up to the probe event. `None`: one failed.
    fn check<'a>(&'a self, steps: &'a mut Steps) -> BoxFuture<'a, Option<Probe>>;
}

/// Settings with which `check` sends its probe event.
#[derive(Debug)]
pub struct Probe {
    /// Options of the sink that the event is sent to.
    pub kind: SinkKind,
    /// Statement of a confirmation's meaning, for the report of `check`.
    pub arrived: &'static str,
    /// Exit code and advice if the sink fails, and would try again.
    pub exit: Exit,
    pub advice: &'static str,
    /// File that the event is written to, and that is deleted afterwards. The probe is not interrupted meanwhile: a file that
    /// is being written at that moment could not be deleted.
    pub scratch: Option<PathBuf>,
}

/// Returns the kind of a configured sink: one line per kind.
pub fn kind(sink: &SinkKind) -> &dyn Kind {
    match sink {
        SinkKind::Syslog(syslog) => syslog,
        SinkKind::Forward(forward) => &**forward,
        SinkKind::Http(http) => &**http,
        SinkKind::File(file) => file,
        SinkKind::Stdout(stdout) => stdout,
    }
}
