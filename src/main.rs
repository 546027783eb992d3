//! Arguments → configuration → run → exit code; the only place that exits.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use dmarc_shipper::{
    check,
    cli::{self, Check, Cli, Command, Schema, SchemaOf},
    config::{self, Config, LogFormat, LogLevel, api::Api},
    event,
    exit::Exit,
    history,
    migrate::{self, Migration},
    ops::{allocator, log},
    parse,
    pipeline::{Options, Reship},
    service, stdio,
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use tracing::{error, info, warn};

fn main() -> ExitCode {
    allocator::give_back_large_blocks();
    let cli = match cli::parse_args() {
        Ok(cli) => cli,
        Err(usage) if usage.use_stderr() => {
            usage.print().ok(); // nobody is left to tell when stderr is closed
            return Exit::Usage.into();
        }
        // The help, or the version.
        Err(asked) => {
            let Err(error) = stdio::output().and_then(|_| asked.print()) else { return Exit::Done.into() };
            writeln!(io::stderr(), "error: can't write to stdout: {error}").ok();
            return Exit::Io.into();
        }
    };
    run(&cli).into()
}

fn run(cli: &Cli) -> Exit {
    match &cli.command {
        Command::Run(run) => match load(cli, &run.config, !run.dry_run) {
            Ok(config) => {
                let reship = reship(run, &config);
                let options = Options { once: run.once, dry_run: run.dry_run, strict: run.strict, reship };
                service::run(config, options, &|| load_again(cli, run))
            }
            Err(exit) => exit,
        },
        Command::Check(Check { config, offline, no_probe, format }) => match load(cli, config, false) {
            Ok(config) if *offline => {
                info!(sources = config.sources.len(), sinks = config.sinks.len(), "the configuration is right");
                Exit::Done
            }
            Ok(config) => check::run(config, check::Options { probe: !no_probe, format: *format }),
            Err(exit) => exit,
        },
        Command::Parse(parse) => {
            start_log(cli, None);
            parse::run(&parse.paths)
        }
        Command::Ledger(cli::Ledger::List(of)) => data_dir(cli, of).map_or_else(|exit| exit, |dir| history::list(&dir)),
        Command::Ledger(cli::Ledger::Reset(of)) => {
            data_dir(cli, of).map_or_else(|exit| exit, |dir| history::reset(&dir))
        }
        Command::Health(cli::Health { config, address }) => match address {
            Some((host, port)) => {
                start_log(cli, None);
                service::health(host, *port)
            }
            None => {
                match load_quietly(cli, &cli::ConfigArgs { config: config.clone(), ..cli::ConfigArgs::default() }) {
                    Some(Config { api: Api { address: Some(address), .. }, .. }) => {
                        service::health(&address.ip().to_string(), address.port())
                    }
                    Some(_) => {
                        error!("the configuration has no api.address to ask; set one, such as 127.0.0.1:9598");
                        Exit::Configuration
                    }
                    None => Exit::Configuration,
                }
            }
        },
        Command::Migrate(cli::Migrate { ini, output, force, data_dir, processed }) => {
            start_log(cli, None);
            let (output, processed) = (output.as_deref(), processed.as_deref());
            migrate::run(&Migration { ini, output, force: *force, data_dir, processed })
        }
        Command::Schema(Schema { of }) => {
            start_log(cli, None);
            print_json(&match of {
                SchemaOf::Config => config::schema::schema(),
                SchemaOf::Event => event::schema::json_schema(),
            })
        }
    }
}

/// Loads the configuration and starts the log as it says; every problem and warning is said. The log's file is for `run`: who
/// only looks may be another user, whose files it could not write to.
fn load(cli: &Cli, arguments: &cli::ConfigArgs, to_file: bool) -> Result<Config, Exit> {
    match arguments.load(&cli::ask_on_terminal) {
        Ok(loaded) => {
            start_log(cli, Some(&loaded.config));
            if to_file {
                log_to_file(cli, &loaded.config);
            }
            for warning in &loaded.warnings {
                warn!("{warning}");
            }
            if loaded.config.data_dir.is_none() && arguments.names_sources() {
                info!("nothing is remembered after this run; a configuration file with a data_dir changes that");
            }
            Ok(loaded.config)
        }
        Err(problems) => {
            start_log(cli, None);
            for problem in problems.to_string().lines() {
                error!("{problem}");
            }
            Err(Exit::Configuration)
        }
    }
}

fn reship(run: &cli::Run, config: &Config) -> Option<Reship> {
    let midnight = |day: Date| TimeZone::UTC.to_timestamp(day.into()).unwrap_or(Timestamp::MAX);
    run.reship.then(|| Reship {
        since: run.since.map_or(Timestamp::MIN, midnight),
        // Without a ledger nobody knows what was shipped before.
        only_known: !run.config.to.is_empty() && config.data_dir.is_some(),
    })
}

/// Without the warnings: whoever asks every few seconds has heard them from the instance that runs.
fn load_quietly(cli: &Cli, arguments: &cli::ConfigArgs) -> Option<Config> {
    start_log(cli, None);
    arguments.load(&|_| None).map(|loaded| loaded.config).map_err(|problems| error!("{problems}")).ok()
}

/// The configuration as it stands in its file now, for a process that runs. `None`: it can't be used, which was said.
fn load_again(cli: &Cli, run: &cli::Run) -> Option<Config> {
    match run.config.load(&|_| None) {
        Ok(loaded) => {
            loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
            log::set_level(cli.log.log_level.unwrap_or(loaded.config.log.level));
            if !run.dry_run {
                log_to_file(cli, &loaded.config);
            }
            Some(loaded.config)
        }
        Err(problems) => {
            problems.to_string().lines().for_each(|problem| error!("{problem}"));
            None
        }
    }
}

/// The folder that `ledger` is about, from the command line or the configuration.
fn data_dir(cli: &Cli, of: &cli::LedgerArgs) -> Result<PathBuf, Exit> {
    if let Some(data_dir) = &of.data_dir {
        start_log(cli, None);
        return Ok(data_dir.clone());
    }
    let arguments = cli::ConfigArgs { config: of.config.clone(), ..cli::ConfigArgs::default() };
    load(cli, &arguments, false)?.data_dir.ok_or_else(|| {
        error!("the configuration names no data_dir, so there is no ledger");
        Exit::Configuration
    })
}

/// The command line goes before the configuration.
fn start_log(cli: &Cli, config: Option<&Config>) {
    let of_config =
        |log: Option<&config::Log>| log.map_or((LogLevel::Info, LogFormat::Auto), |log| (log.level, log.format));
    let (level, format) = of_config(config.map(|config| &config.log));
    log::init(cli.log.log_level.unwrap_or(level), cli.log.log_format.unwrap_or(format))
        .expect("the log is started once");
    std::panic::set_hook(Box::new(|panic| error!("{panic}")));
}

fn log_to_file(cli: &Cli, config: &Config) {
    log::to_file(&config.log.file, cli.log.log_format.unwrap_or(config.log.format));
}

fn print_json(json: &serde_json::Value) -> Exit {
    match stdio::print(&format!("{json:#}\n")) {
        Ok(()) => Exit::Done,
        Err(error) => {
            error!("can't write to stdout: {error}");
            Exit::Io
        }
    }
}
