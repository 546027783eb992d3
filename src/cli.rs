//! Command line: arguments and help.

use std::path::{Path, PathBuf};

use jiff::civil::Date;

use clap::{
    ArgAction, Args, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};

use crate::{
    config::{Arguments, CheckFormat, Format, Loaded, Loader, LogFormat, LogLevel, Problems},
    event::schema,
};

/// Read if no configuration is given and this file exists.
pub const DEFAULT_CONFIG: &str = "/etc/dmarc-shipper/config.yaml";

const EXAMPLES: &str = "\
Examples:
  Read a mailbox once and print its events (nothing is moved):
    dmarc-shipper run --once --from imaps://dmarc@example.com@imap.example.com/INBOX --to stdout:
  Read report files and print their events:
    dmarc-shipper parse report.xml.gz mails/
  Run as a service, with a configuration file:
    dmarc-shipper check --config /etc/dmarc-shipper/config.yaml
    dmarc-shipper run --config /etc/dmarc-shipper/config.yaml

Exit codes:
  0   done, or nothing to do
  64  wrong usage
  65  some input could not be read (parse, file sources, run --strict)
  69  a server is unreachable; health: the instance is unhealthy
  70  internal error
  73  an output can't be created      74  writing to an output failed
  75  not everything was delivered, or another instance is running; nothing is lost, the next run
      tries again
  77  the server refused the credentials
  78  the configuration is invalid";

const RUN_EXAMPLES: &str = "\
Sources:
  imaps://user@host[:port]/FOLDER?archive=Processed&quarantine=Unreadable
  imap://user@host/FOLDER?starttls
  ./dir, file:PATH, - for stdin: reports, mails, Maildirs, mboxes
  A URL source moves no mail unless archive= or quarantine= is set. Its password is read from
  the file that DMARC_SHIPPER_PASSWORD_FILE names, from DMARC_SHIPPER_PASSWORD, or from a
  prompt on a terminal.

Sinks:
  stdout:
  file:/var/log/dmarc/%Y%m%d.json
  syslog+tls://host:6514?ca_file=/etc/ca.pem
  syslog+tcp://host:601?framing=newline_delimited
  syslog+udp://host:514?format=rfc3164&codec=text

Every option of the configuration file may follow the ?, such as tls.server_name=…;
docs/configuration.md lists them.";

const CHECK_NOTES: &str = "\
Each step gives one line: ok; note (nothing is wrong, for information); FAILED, with what to do;
or skipped (a step that it needs has failed). A failure does not stop the other tests.
The exit code is that of the worst failure, in this order: 78, 77, 73, 74, 69, 66; 75 if the
command was stopped before the end.

No mail is changed, and a running instance is not disturbed. Each sink gets one event of type
probe, whatever its `events`. If a target folder of a mailbox does not exist, a test folder is
created beside it and deleted again. --no-probe turns both off.

The report goes to stdout, or to stderr if a probe goes to stdout.";

/// Ships DMARC and SMTP TLS reports from mailboxes to syslog, stdout and files, as flat, structured events.
#[derive(Debug, Parser)]
#[command(name = "dmarc-shipper", version, after_help = EXAMPLES, max_term_width = 110, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read reports from the sources and ship them to the sinks
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Read reports or mails from disk, and print one JSON line for each event
    Parse(Parse),
    /// Test the configuration and everything it names: log in, check folders, send a probe to each sink
    #[command(after_help = CHECK_NOTES)]
    Check(Check),
    /// List the shipped reports, or reset the ledger
    #[command(subcommand)]
    Ledger(Ledger),
    /// Print a JSON Schema
    Schema(Schema),
    /// Query the health of the running instance; for a container's HEALTHCHECK
    Health(Health),
    /// Convert a config.ini of dmarc-ingest, or a parsedmarc.ini, to a configuration file
    Migrate(Migrate),
}

#[derive(Debug, Args)]
pub struct Run {
    /// Make one pass over the existing mails and files, then exit
    #[arg(long)]
    pub once: bool,

    /// Change nothing: open mailboxes read-only, ship nothing, and log what would be done
    #[arg(long)]
    pub dry_run: bool,

    /// Ship again reports that were shipped before and still exist; with --since, only those shipped since that day (UTC);
    /// with --to, only to that sink, and no new reports
    #[arg(long, requires = "once")]
    pub reship: bool,

    /// With --reship: only reports shipped on or after this day (UTC), such as 2026-11-01
    #[arg(long, value_name = "DATE", requires = "reship")]
    pub since: Option<Date>,

    /// Exit with 65 if a mail could not be read in full, as with files
    #[arg(long)]
    pub strict: bool,

    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Arguments that select the configuration.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigArgs {
    /// Configuration file (.yaml, .toml or .json) [default: /etc/dmarc-shipper/config.yaml, if it exists]
    #[arg(long, value_name = "FILE", env = "DMARC_SHIPPER_CONFIG")]
    pub config: Option<PathBuf>,

    /// Source to read instead of those in the file; may be repeated
    #[arg(long, value_name = "SOURCE", action = ArgAction::Append)]
    pub from: Vec<String>,

    /// Sink to ship to instead of those in the file, or the name of one of those; may be repeated. Mails that another
    /// required sink of the file needs, too, stay where they are
    #[arg(long, value_name = "SINK", action = ArgAction::Append)]
    pub to: Vec<String>,

    /// File or folder to read; the same as --from PATH (for compatibility with dmarc-ingest)
    #[arg(long, value_name = "PATH", action = ArgAction::Append)]
    pub file: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Parse {
    /// Reports, mails, or folders with them; - for stdin
    #[arg(required = true, value_name = "FILE|DIR|-")]
    pub paths: Vec<PathBuf>,

    /// Configuration file (.yaml, .toml or .json) whose `limits` apply; nothing else of it is read
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Limit to change, as in the configuration's `limits`, such as archive_entries=1000; may be repeated
    #[arg(long = "limit", value_name = "NAME=VALUE", action = ArgAction::Append)]
    pub limits: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Check {
    /// Check only the configuration: open no connection, test no folder
    #[arg(long)]
    pub offline: bool,

    /// Send no probe to the sinks, and create no test folder
    #[arg(long)]
    pub no_probe: bool,

    /// Format of the report; json prints one object per step, one per line
    #[arg(long, value_name = "FORMAT", default_value = "text", ignore_case = true,
          value_parser = PossibleValuesParser::new(CheckFormat::NAMES).try_map(check_format))]
    pub format: CheckFormat,

    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Commands on the ledger in `data_dir`.
#[derive(Debug, Subcommand)]
pub enum Ledger {
    /// Print one JSON line for each shipped report: what, when, and from which mail
    List(LedgerArgs),
    /// Delete all records: reports that are still in the mailboxes are shipped again, with the same event_id
    Reset(LedgerArgs),
}

#[derive(Debug, Args)]
pub struct LedgerArgs {
    /// Configuration file that names the data_dir [default: /etc/dmarc-shipper/config.yaml, if it exists]
    #[arg(long, value_name = "FILE", env = "DMARC_SHIPPER_CONFIG", conflicts_with = "data_dir")]
    pub config: Option<PathBuf>,

    /// Path of the data_dir, instead of a configuration
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Health {
    /// Configuration file that names the instance's api.address [default: /etc/dmarc-shipper/config.yaml, if it exists]
    #[arg(long, value_name = "FILE", env = "DMARC_SHIPPER_CONFIG", conflicts_with = "address")]
    pub config: Option<PathBuf>,

    /// Host name or IP address, and port, instead of a configuration
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    pub address: Option<(String, u16)>,
}

#[derive(Debug, Args)]
pub struct Migrate {
    /// The config.ini of dmarc-ingest, or a parsedmarc.ini
    #[arg(value_name = "CONFIG.INI")]
    pub ini: PathBuf,

    /// File to write, ending in .yaml, instead of stdout; the password goes into `imap-password` beside it
    #[arg(long, value_name = "FILE", value_parser = yaml_file)]
    pub output: Option<PathBuf>,

    /// Overwrite these files if they exist
    #[arg(long, requires = "output")]
    pub force: bool,

    /// The data_dir of the configuration
    #[arg(long, value_name = "DIR", default_value = "/var/lib/dmarc-shipper")]
    pub data_dir: PathBuf,

    /// Import the reports recorded in this processed.json of dmarc-ingest into the ledger in the data_dir, so that they
    /// are not shipped again
    #[arg(long, value_name = "FILE")]
    pub processed: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Schema {
    /// Schema of the configuration file, or of the events
    #[arg(value_enum)]
    pub of: SchemaOf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SchemaOf {
    Config,
    Event,
}

/// If set, these take precedence over the configuration's `log`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log (on stderr)")]
pub struct LogArgs {
    /// Minimum level of the messages to log [default: info]
    #[arg(long, global = true, alias = "loglevel", value_name = "LEVEL", ignore_case = true,
          value_parser = PossibleValuesParser::new(LogLevel::NAMES).try_map(level))]
    pub log_level: Option<LogLevel>,

    /// Format of log messages; auto is text on a terminal and JSON otherwise [default: auto]
    #[arg(long, global = true, value_name = "FORMAT", ignore_case = true,
          value_parser = PossibleValuesParser::new(LogFormat::NAMES).try_map(format))]
    pub log_format: Option<LogFormat>,
}

/// Parses the arguments of the process. An error may also be `--help` or `--version`: `error.exit_code()` is 0 for these;
/// anything else means exit 64.
pub fn parse_args() -> Result<Cli, clap::Error> {
    parse_from(std::env::args_os())
}

/// Parses these arguments, the first of which is the program's name.
pub fn parse_from<T: Into<std::ffi::OsString> + Clone>(
    arguments: impl IntoIterator<Item = T>,
) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(arguments)
}

impl ConfigArgs {
    /// Loads the configuration from the given file and URLs; [`DEFAULT_CONFIG`] if neither is given. `ask` prompts a person
    /// for the password of a URL source, see [`ask_on_terminal`].
    pub fn load(&self, ask: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
        let from: Vec<String> = self.from.iter().cloned().chain(self.file.iter().map(|path| plain(path))).collect();
        let fields: Vec<_> = schema::field_names().collect();
        let arguments = Arguments { file: self.file_to_read(&from), from: &from, to: &self.to, ask };
        Loader { fields: &fields, ..Loader::default() }.arguments(&arguments)
    }

    /// True if the command line names the sources.
    pub fn names_sources(&self) -> bool {
        !self.from.is_empty() || !self.file.is_empty()
    }

    /// Returns the file to read. If both sources and sinks are on the command line, the default file is not needed; a file
    /// given by name is still read.
    fn file_to_read(&self, from: &[String]) -> Option<&Path> {
        let default = Path::new(DEFAULT_CONFIG);
        let complete = !from.is_empty() && !self.to.is_empty();
        self.config.as_deref().or((!complete && default.exists()).then_some(default))
    }
}

/// Prompts on the terminal, without echo, for the password of `who`; `None` if there is no terminal.
pub fn ask_on_terminal(who: &str) -> Option<String> {
    use std::io::IsTerminal;
    if !rustix::stdio::stdin().is_terminal() {
        return None;
    }
    rpassword::prompt_password(format!("Password of {who}: ")).ok().filter(|password| !password.is_empty())
}

/// Returns the path as a source that is not mistaken for a URL, whatever characters are in it.
fn plain(path: &str) -> String {
    if path == "-" || path.starts_with('/') { path.to_owned() } else { format!("./{path}") }
}

fn yaml_file(path: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(path);
    let yaml = Format::of(&path) == Some(Format::Yaml);
    if yaml { Ok(path) } else { Err("the output is YAML; expected a file name that ends in .yaml or .yml") }
}

/// Parses `HOST:PORT`. An IPv6 address may be written with brackets or without.
fn host_and_port(text: &str) -> Result<(String, u16), &'static str> {
    let expected = "expected a host and a port, such as localhost:9598 or [::1]:9598";
    let (host, port) = text.rsplit_once(':').ok_or(expected)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || host.contains(['/', '@']) {
        return Err(expected);
    }
    Ok((host.to_owned(), port.parse().ok().filter(|&port| port > 0).ok_or(expected)?))
}

fn level(name: String) -> Result<LogLevel, &'static str> {
    LogLevel::from_name(&name.to_ascii_lowercase()).ok_or("no such level")
}

fn check_format(name: String) -> Result<CheckFormat, &'static str> {
    CheckFormat::from_name(&name.to_ascii_lowercase()).ok_or("no such format")
}

fn format(name: String) -> Result<LogFormat, &'static str> {
    LogFormat::from_name(&name.to_ascii_lowercase()).ok_or("no such format")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        parse_from(std::iter::once("dmarc-shipper").chain(line.split_whitespace()))
    }

    #[test]
    fn clap_definitions_are_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn from_and_to_may_be_repeated_and_options_of_dmarc_ingest_are_accepted() {
        let cli = parsed("run --once --from a --from b --to stdout: --file reports --loglevel WARNING").unwrap();
        assert_eq!(cli.log.log_level, Some(LogLevel::Warn));
        let Command::Run(run) = cli.command else { panic!("expected run") };
        assert!(run.once && !run.dry_run && !run.strict);
        assert_eq!((run.config.from.join(","), run.config.to.join(",")), ("a,b".into(), "stdout:".into()));
        let loaded = run.config.load(&|_| None).unwrap();
        assert_eq!(loaded.config.sources.keys().collect::<Vec<_>>(), ["file", "file_2", "file_3"]);
    }

    #[test]
    fn log_options_are_accepted_before_and_after_the_command() {
        for line in ["--log-format json parse -", "parse - --log-format json"] {
            assert_eq!(parsed(line).unwrap().log.log_format, Some(LogFormat::Json), "{line}");
        }
    }

    #[test]
    fn usage_errors_name_the_expected_arguments() {
        for (line, part) in [
            ("parse", "FILE|DIR|-"),
            ("run --form x", "--from"),
            ("schema events", "event"),
            ("run --log-level loud", "debug"),
            ("migrate config.ini --output config.toml", ".yaml"),
            ("health --address localhost", "localhost:9598"),
            ("health --address http://localhost:9598", "localhost:9598"),
            ("health --address :9598", "localhost:9598"),
            ("", "Usage"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.use_stderr() && error.to_string().contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn help_and_version_succeed_and_help_lists_exit_codes_and_examples() {
        for line in ["--help", "--version", "run --help", "check --help"] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), 0, "{line}");
        }
        let help = parsed("--help").unwrap_err().to_string();
        for part in ["Exit codes:", "78", "Examples:", "--from imaps://"] {
            assert!(help.contains(part), "{help}");
        }
    }

    #[test]
    fn problems_in_the_given_config_file_are_reported() {
        let Command::Check(check) = parsed("check --offline --config /nowhere/x.yaml").unwrap().command else {
            panic!("expected check")
        };
        let told = check.config.load(&|_| None).unwrap_err().to_string();
        assert!(told.starts_with("/nowhere/x.yaml: can't be read"), "{told}");
    }
}
