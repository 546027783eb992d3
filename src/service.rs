//! The commands `run` and `health`: one instance, its ledger, reloads and signals, and the pipeline.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use crate::{
    config::Config,
    exit::Exit,
    ledger::{Ledger, LedgerError, View, backend},
    net::{connect::connect, token},
    ops::{
        condition::Condition,
        http,
        lock::{InstanceLock, LockError},
        metrics::{self, Exposition},
        notify::Notify,
        runtime::block_on,
        signals::{Signal, Signals, Stop},
    },
    pipeline::{self, Options},
};

/// Locks the data folder, opens the ledger, and runs the pipeline. `reload` reads the configuration again; `None` if it
/// can't be used, which it has logged.
pub fn run(config: Config, options: Options, reload: &dyn Fn() -> Option<Config>) -> Exit {
    // Held until the end: one instance per data_dir. A dry run writes nothing there and may run beside another instance.
    let _lock = match config.data_dir.as_deref().filter(|_| !options.dry_run).map(InstanceLock::acquire).transpose() {
        Ok(lock) => lock,
        Err(error) => {
            error!("{error}");
            // The other instance may be a run that ends: the next scheduled attempt may work.
            return if matches!(error, LockError::Held { .. }) { Exit::Undelivered } else { Exit::CannotCreate };
        }
    };
    let ledger = match open_ledger(&config, options) {
        Ok(ledger) => ledger,
        Err(exit) => return exit,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "can't start the async runtime");
            return Exit::Internal;
        }
    };
    let exit = runtime.block_on(serve(config, ledger, options, reload));
    // A write to a pipe that nobody reads may never return.
    runtime.shutdown_background();
    token::end_all();
    exit
}

/// The command `health`: asks the instance that listens on `host`, a name or an address, for its health.
pub fn health(host: &str, port: u16) -> Exit {
    match block_on(async { timeout(HEALTH_PATIENCE, ask(host, port)).await }) {
        Ok(Ok(Ok(()))) => return Exit::Done,
        Ok(Ok(Err(why))) => error!("the health check of {host}, port {port}, failed: {why}"),
        Ok(Err(_)) => error!("the health check of {host}, port {port}, timed out after {HEALTH_PATIENCE:?}"),
        Err(error) => {
            error!(%error, "can't start the async runtime");
            return Exit::Internal;
        }
    }
    Exit::Unavailable
}

async fn ask(host: &str, port: u16) -> Result<(), String> {
    let stream = connect(here(host), port, HEALTH_PATIENCE).await.map_err(|error| error.to_string())?;
    http::ask(stream, host).await
}

/// Time limit of a health check; a slower one is of no use.
const HEALTH_PATIENCE: Duration = Duration::from_secs(5);

/// Returns the address to ask: an instance that listens on all addresses is asked on the loopback interface.
fn here(host: &str) -> &str {
    match host.parse() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => "127.0.0.1",
        Ok(IpAddr::V6(address)) if address.is_unspecified() => "::1",
        _ => host,
    }
}

/// Interval at which `metrics_file` is written.
const WRITTEN_EVERY: Duration = Duration::from_secs(60);

/// Monitoring of the process: health, metrics and the metrics file, as far as they are configured.
struct Observed {
    condition: Arc<Condition>,
    exposition: Option<Exposition>,
    metrics_file: Option<PathBuf>,
    began: Instant,
}

impl Observed {
    async fn start(config: &Config, ledger: &Arc<dyn Ledger>, options: Options) -> Result<Self, Exit> {
        let condition: Arc<Condition> = Arc::default();
        let (address, metrics_file) = (config.api.address, config.metrics_file.clone());
        // A dry run may run beside another instance, and changes nothing.
        let wanted = !options.dry_run && (address.is_some() || metrics_file.is_some());
        let began = Instant::now();
        if !wanted {
            return Ok(Self { condition, exposition: None, metrics_file: None, began });
        }
        let sized = ledger.clone();
        let bytes = metrics::LEDGER_BYTES.with_label_values::<&str>(&[]);
        let exposition = metrics::exposition(move || bytes.set(sized.bytes() as f64));
        if let Some(address) = address {
            http::serve(address, condition.clone(), exposition.clone()).await.map_err(|error| {
                error!("can't listen on {address}: {error}; set api.address to a free address of this machine");
                Exit::Unavailable
            })?;
            info!(%address, "serving /livez, /readyz, /health and /metrics");
        }
        let observed = Self { condition, exposition: Some(exposition), metrics_file, began };
        observed.write_on();
        Ok(observed)
    }

    /// Writes `metrics_file` periodically until the process ends.
    fn write_on(&self) {
        let (Some(exposition), Some(path)) = (self.exposition.clone(), self.metrics_file.clone()) else { return };
        tokio::spawn(async move {
            let mut failing = false;
            loop {
                tokio::time::sleep(WRITTEN_EVERY).await;
                failing = write(exposition(), &path, failing).await;
            }
        });
    }

    /// Writes the final metrics, for readers of the file after the process has ended.
    async fn end(&self, exit: Exit) {
        let (Some(exposition), Some(path)) = (&self.exposition, &self.metrics_file) else { return };
        metrics::RUN_EXIT_CODE.with_label_values::<&str>(&[]).set(f64::from(exit as u8));
        metrics::RUN_DURATION.with_label_values::<&str>(&[]).set(self.began.elapsed().as_secs_f64());
        if exit == Exit::Done {
            metrics::RUN_LAST_SUCCESS.with_label_values::<&str>(&[]).set(Timestamp::now().as_second() as f64);
        }
        write(exposition(), path, false).await;
    }
}

/// Writes the metrics file; returns true if that failed. Logs the error the first time.
async fn write(text: String, path: &Path, failing: bool) -> bool {
    let to = path.to_owned();
    let written = tokio::task::spawn_blocking(move || metrics::write(&text, &to)).await;
    let error = match written {
        Ok(Ok(())) => return false,
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic.to_string(),
    };
    if !failing {
        warn!("can't write metrics_file {}: {error}; retrying every minute", path.display());
    }
    true
}

/// Runs the pipeline until it ends or a signal asks for that; after a reload, runs it with the new configuration.
async fn serve(
    mut config: Config,
    ledger: Arc<dyn Ledger>,
    options: Options,
    reload: &dyn Fn() -> Option<Config>,
) -> Exit {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            error!(%error, "can't install the signal handlers");
            return Exit::Internal;
        }
    };
    let observed = match Observed::start(&config, &ledger, options).await {
        Ok(observed) => observed,
        Err(exit) => return exit,
    };
    let notify = Arc::new(Notify::from_environment());
    tokio::spawn(notify.clone().attend(observed.condition.clone()));
    loop {
        notify.ready();
        let stop = Stop::default();
        let running = pipeline::run(config.clone(), ledger.clone(), options, stop.clone(), observed.condition.clone());
        tokio::pin!(running);
        let (mut next, mut stopping) = (None, false);
        let exit = loop {
            let signal = tokio::select! {
                exit = &mut running => break exit,
                signal = signals.next() => signal,
            };
            match signal {
                // The terminal was closed after the stop was requested.
                Signal::Hangup if stopping => {}
                // In a single pass, SIGHUP means that the terminal was closed: nobody asks it to reload.
                Signal::Hangup if !options.once => {
                    notify.reloading();
                    match (reload().filter(|new| may_replace(new, &config)), &next) {
                        (Some(new), _) => {
                            info!("reloading: finishing what is in flight, then applying the new configuration");
                            next = Some(new);
                            stop.for_reload();
                        }
                        (None, Some(_)) => {
                            warn!("the new configuration was rejected; reloading with the last valid one");
                        }
                        (None, None) => {
                            warn!("the new configuration was rejected; keeping the current one");
                            notify.ready();
                        }
                    }
                }
                signal => {
                    info!(signal = signal.name(), "asked to stop");
                    notify.stopping();
                    stopping = true;
                    // If a reload is finishing what is in flight, that is completed, and then the process ends.
                    if next.take().is_none() {
                        stop.further();
                    }
                }
            }
        };
        match next {
            // Reports that could not be delivered in time stay in place for the next pipeline; a file that could not be
            // read in full is no reason to end either.
            Some(new) if matches!(exit, Exit::Done | Exit::Data | Exit::Undelivered) => config = new,
            _ => {
                observed.end(exit).await;
                return exit;
            }
        }
        metrics::RELOADED.with_label_values::<&str>(&[]).inc();
        info!("reloaded");
    }
}

/// True if a reload may use the new configuration. The process holds the lock and the ledger of one data folder for its life.
fn may_replace(new: &Config, old: &Config) -> bool {
    if new.data_dir != old.data_dir {
        error!("data_dir can't be changed by a reload; restart to change it");
        return false;
    }
    for (option, changed) in [
        ("log.format", new.log.format != old.log.format),
        ("api.address", new.api.address != old.api.address),
        ("metrics_file", new.metrics_file != old.metrics_file),
    ] {
        if changed {
            warn!("{option} can't be changed by a reload; the new value takes effect at the next start");
        }
    }
    true
}

fn open_ledger(config: &Config, options: Options) -> Result<Arc<dyn Ledger>, Exit> {
    let Some(data_dir) = &config.data_dir else { return Ok(backend::in_memory()) };
    let opened = if options.dry_run {
        backend::open_copy(data_dir).map(|(ledger, view)| {
            if view == View::Locked {
                warn!(
                    "the ledger is locked by a running instance; reports shipped before count as new in this dry run"
                );
            }
            ledger
        })
    } else {
        backend::open(data_dir)
    };
    opened.map_err(|error| {
        error!("{error}");
        match error {
            LedgerError::Locked { .. } => Exit::Undelivered,
            LedgerError::OtherVersion { .. } => Exit::Configuration,
            LedgerError::Io { error, .. } if needs_a_person(&error) => Exit::CannotCreate,
            LedgerError::Io { .. } | LedgerError::Corrupt { .. } => Exit::Io,
        }
    })
}

/// True for a wrong path or permission; false for a disk that fails or is full.
fn needs_a_person(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), IsADirectory | NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem)
}
