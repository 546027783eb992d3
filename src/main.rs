//! Entry point: parses arguments, loads the configuration, runs the command; the only place that exits.

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
            usage.print().ok(); // ignored: if stderr is closed, there is nowhere to report that
            return Exit::Usage.into();
        }
        // `--help` or `--version`.
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
                info!(sources = config.sources.len(), sinks = config.sinks.len(), "the configuration is valid");
                Exit::Done
            }
            Ok(config) => check::run(config, check::Options { probe: !no_probe, format: *format }),
            Err(exit) => exit,
        },
        Command::Parse(parse) => {
            start_log(cli, None);
            match config::limits(parse.config.as_deref(), &parse.limits) {
                Ok(limits) => parse::run(&parse.paths, &limits),
                Err(problems) => {
                    problems.to_string().lines().for_each(|problem| error!("{problem}"));
                    Exit::Configuration
                }
            }
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
                        error!(
                            "api.address is not set in the configuration; set it, such as 127.0.0.1:9598, or use \
                             --address"
                        );
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

/// Loads the configuration and starts the log that it configures; logs every problem and warning. Only `run` logs to the
/// file: other commands may be run by another user, who could not write to its files.
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
                info!(
                    "data_dir is not set, so nothing is remembered after this run; set it in a configuration file \
                     to ship each report once"
                );
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
        // Without a ledger, it is not known what was shipped before.
        only_known: !run.config.to.is_empty() && config.data_dir.is_some(),
    })
}

/// Loads the configuration without its warnings: the running instance has logged them, and a health check runs every few seconds.
fn load_quietly(cli: &Cli, arguments: &cli::ConfigArgs) -> Option<Config> {
    start_log(cli, None);
    arguments.load(&|_| None).map(|loaded| loaded.config).map_err(|problems| error!("{problems}")).ok()
}

/// Reloads the configuration from its file, for a running process. `None`: it can't be used, which was logged.
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

/// Returns the data folder for the command `ledger`, from the command line or the configuration.
fn data_dir(cli: &Cli, of: &cli::LedgerArgs) -> Result<PathBuf, Exit> {
    if let Some(data_dir) = &of.data_dir {
        start_log(cli, None);
        return Ok(data_dir.clone());
    }
    let arguments = cli::ConfigArgs { config: of.config.clone(), ..cli::ConfigArgs::default() };
    load(cli, &arguments, false)?.data_dir.ok_or_else(|| {
        error!("data_dir is not set in the configuration, so there is no ledger; set it, or use --data-dir");
        Exit::Configuration
    })
}

/// Starts the log. The command line takes precedence over the configuration.
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
