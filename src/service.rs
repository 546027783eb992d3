//! The command `run`: one instance, one ledger, and the pipeline for as long as it is wanted; anew when asked to reload.

use std::{io, sync::Arc};

use tracing::{error, info, warn};

use crate::{
    config::Config,
    exit::Exit,
    ledger::{Ledger, LedgerError, View},
    ops::{
        lock::{InstanceLock, LockError},
        signals::{Signal, Signals, Stop},
    },
    pipeline::{self, Options},
};

/// Locks the data folder, opens the ledger, and lets the pipeline do the rest. `reload` reads the configuration again;
/// `None` when it can't be used, which it has said then.
pub fn run(config: Config, options: Options, reload: &dyn Fn() -> Option<Config>) -> Exit {
    // Held until the end: one instance per data_dir. A dry run writes nothing there and may run beside another.
    let _lock = match config.data_dir.as_deref().filter(|_| !options.dry_run).map(InstanceLock::acquire).transpose() {
        Ok(lock) => lock,
        Err(error) => {
            error!("{error}");
            // A run that ends will make room for this one: a schedule's next try may work.
            return if matches!(error, LockError::Held { .. }) { Exit::Undelivered } else { Exit::CannotCreate };
        }
    };
    let ledger = match open_ledger(&config, options) {
        Ok(ledger) => Arc::new(ledger),
        Err(exit) => return exit,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "can't start");
            return Exit::Internal;
        }
    };
    let exit = runtime.block_on(serve(config, ledger, options, reload));
    // A write to a pipe that nobody reads may never end.
    runtime.shutdown_background();
    exit
}

/// Runs the pipeline until it ends or a signal asks for that; after a reload, with the new configuration.
async fn serve(mut config: Config, ledger: Arc<Ledger>, options: Options, reload: &dyn Fn() -> Option<Config>) -> Exit {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            error!(%error, "can't listen for signals");
            return Exit::Internal;
        }
    };
    loop {
        let stop = Stop::default();
        let running = pipeline::run(config.clone(), ledger.clone(), options, stop.clone());
        tokio::pin!(running);
        let mut next = None;
        let exit = loop {
            let signal = tokio::select! {
                exit = &mut running => break exit,
                signal = signals.next() => signal,
            };
            match signal {
                // A terminal that was closed; a single pass will not be asked for anything else.
                Signal::Hangup if !options.once => {
                    if let Some(new) = reload().filter(|new| may_replace(new, &config)) {
                        info!("reloading: finishing what is in flight, then going on with the new configuration");
                        next = Some(new);
                        stop.gently.cancel();
                    } else {
                        warn!("the new configuration was not taken; going on with the old one");
                    }
                }
                signal => {
                    info!(signal = signal.name(), "asked to stop");
                    // What a reload has begun to finish is finished, and that is the end.
                    if next.take().is_none() {
                        stop.further();
                    }
                }
            }
        };
        match next {
            // What could not be delivered in time stays where it is, for the pipeline that follows.
            Some(new) if matches!(exit, Exit::Done | Exit::Undelivered) => config = new,
            _ => return exit,
        }
        info!("reloaded");
    }
}

/// The lock and the ledger are those of one folder for the life of the process.
fn may_replace(new: &Config, old: &Config) -> bool {
    if new.data_dir != old.data_dir {
        error!("data_dir can't be changed while running; stop this instance and start it anew");
        return false;
    }
    if new.log.format != old.log.format {
        warn!("log.format is changed by the next start");
    }
    true
}

fn open_ledger(config: &Config, options: Options) -> Result<Ledger, Exit> {
    let Some(data_dir) = &config.data_dir else { return Ok(Ledger::in_memory()) };
    let opened = if options.dry_run {
        Ledger::open_for_reading(data_dir).map(|(ledger, view)| {
            if view == View::Locked {
                warn!("a running instance holds the ledger; reports that were shipped before count as new here");
            }
            ledger
        })
    } else {
        Ledger::open(data_dir)
    };
    opened.map_err(|error| {
        error!("{error}");
        match error {
            LedgerError::Locked { .. } => Exit::Undelivered,
            LedgerError::OtherVersion { .. } => Exit::Configuration,
            LedgerError::Io { error: redb::Error::Io(error), .. } if needs_a_person(&error) => Exit::CannotCreate,
            LedgerError::Io { .. } | LedgerError::Corrupt { .. } => Exit::Io,
        }
    })
}

/// A path or a permission that is not right, as against a disk that fails or is full.
fn needs_a_person(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), IsADirectory | NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem)
}
