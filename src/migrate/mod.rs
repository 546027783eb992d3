//! The command `migrate`: converts a config.ini of dmarc-ingest, or a parsedmarc.ini, to a configuration of this program.
//!
//! ```text
//! ini ─▶ a dialect takes its options ─▶ draft ─▶ YAML; options that nobody took have no equivalent
//! ```
//!
//! The configuration goes to stdout or into a file; differences and missing options go to the log. No password is ever shown.

mod dmarc_ingest;
mod draft;
mod ini;
mod parsedmarc;
mod processed;
#[cfg(test)]
mod tests;
mod yaml;

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use tracing::{error, info, warn};

use self::{
    draft::{Asked, Draft},
    ini::Ini,
    processed::Processed,
    yaml::Table,
};
use crate::{
    config::{Format, Loader},
    event::schema,
    exit::Exit,
    folder, stdio,
};

/// Command-line options of `migrate`.
#[derive(Debug)]
pub struct Migration<'a> {
    pub ini: &'a Path,
    /// `None` means stdout.
    pub output: Option<&'a Path>,
    /// Replace files that exist.
    pub force: bool,
    /// Folder of the ledger in the new configuration.
    pub data_dir: &'a Path,
    /// A `processed.json` to import into that ledger.
    pub processed: Option<&'a Path>,
}

/// Path of the password file if the configuration goes to stdout, so that there is no file to put it beside.
const PASSWORD_FILE: &str = "/etc/dmarc-shipper/imap-password";

/// Writes the configuration, and logs what the user should know about it.
pub fn run(migration: &Migration<'_>) -> Exit {
    let text = match fs::read_to_string(migration.ini) {
        Ok(text) => text,
        Err(error) => {
            error!("can't read {}: {error}; expected a config.ini in UTF-8", migration.ini.display());
            return if error.kind() == ErrorKind::InvalidData { Exit::Data } else { Exit::NoInput };
        }
    };
    // Before anything is written: a file that can't be read would leave half a migration behind.
    let processed = match migration.processed.map(read_processed).transpose() {
        Ok(processed) => processed,
        Err(exit) => return exit,
    };
    let password_file = match migration.output {
        Some(output) => beside(output, "imap-password"),
        None => PASSWORD_FILE.into(),
    };
    let made = match make(&text, migration.ini, migration.data_dir, &password_file) {
        Ok(made) => made,
        Err(why) => {
            error!("{}: {why}", migration.ini.display());
            return Exit::Data;
        }
    };
    if let Err(exit) = write(migration, &made, &password_file) {
        return exit;
    }
    made.say(migration, &password_file);
    let exit = processed.map_or(Exit::Done, |processed| import(processed, migration.data_dir));
    exit.or_worse(check(&made.yaml, migration.output))
}

/// The new configuration, and messages about it.
struct Made {
    yaml: String,
    password: Option<String>,
    logs_in: bool,
    processed: Option<PathBuf>,
    oddities: Vec<String>,
    missing: Vec<String>,
    differences: Vec<String>,
}

fn make(text: &str, file: &Path, data_dir: &Path, password_file: &Path) -> Result<Made, String> {
    let ini = Ini::parse(text).map_err(|error| error.to_string())?;
    let folder = std::path::absolute(file).ok().and_then(|file| file.parent().map(Path::to_owned)).unwrap_or_default();
    let mut asked = Asked { ini: &ini, folder: &folder, oddities: Vec::new() };
    let (name, no_equivalent, draft) = if is_parsedmarc(&ini) {
        if !ini.has("imap") && !ini.has("maildir") {
            return Err("has neither [imap] nor [maildir]; mailboxes are read over IMAP here, see docs/imap.md".into());
        }
        (parsedmarc::NAME, parsedmarc::NO_EQUIVALENT, parsedmarc::draft(&mut asked))
    } else if ini.has("imap") {
        (dmarc_ingest::NAME, dmarc_ingest::NO_EQUIVALENT, dmarc_ingest::draft(&mut asked))
    } else {
        return Err("has no [imap]; expected a config.ini of dmarc-ingest, or a parsedmarc.ini".into());
    };
    let oddities = asked.oddities;
    let yaml = compose(&draft, name, data_dir, password_file);
    let missing = ini.rest().map(|option| {
        let key = format!("{}.{}", option.section, option.key);
        let known = no_equivalent.iter().find(|(of, _)| *of == key || *of == option.section);
        let instead = known.map_or("see docs/configuration.md for all options", |(_, instead)| instead);
        format!("{option} has no equivalent: {instead}")
    });
    let missing = missing.collect();
    let Draft { password, logs_in, processed, differences, .. } = draft;
    Ok(Made { yaml, password, logs_in, processed, oddities, missing, differences })
}

/// True for a parsedmarc.ini. dmarc-ingest has sections and options of its own; both have `[imap]` and `[syslog]`.
fn is_parsedmarc(ini: &Ini) -> bool {
    ["general", "mailbox", "maildir", "msgraph", "gmail_api", "elasticsearch", "opensearch", "splunk_hec", "kafka"]
        .iter()
        .any(|section| ini.has(section))
        || ini.has_option("imap", "reports_folder")
        || ini.has_option("syslog", "server") && !ini.has_option("syslog", "host")
}

fn compose(draft: &Draft, of: &str, data_dir: &Path, password_file: &Path) -> String {
    let mut yaml = format!("# Converted from a configuration of {of} by `dmarc-shipper migrate`.\n");
    yaml.push_str("# Every option: docs/configuration.md. Try it: dmarc-shipper run --once --dry-run --config FILE\n");
    let mut top = Table::default();
    top.set("data_dir", &data_dir.display().to_string());
    top.write(&mut yaml, 0);
    yaml.push_str("sources:\n  rua:\n");
    let mut login = Table::default();
    if draft.logs_in {
        login.set("type", "imap");
        login.set("password_file", &password_file.display().to_string());
    }
    login.write(&mut yaml, 4);
    draft.source.write(&mut yaml, 4);
    yaml.push_str("sinks:\n");
    if draft.sinks.is_empty() {
        yaml.push_str("  # None of its outputs is supported here: events go to stdout until you configure a sink.\n");
        yaml.push_str("  stdout:\n    type: stdout\n");
    }
    for (name, sink) in &draft.sinks {
        yaml.push_str(&format!("  {name}:\n"));
        sink.write(&mut yaml, 4);
    }
    if !draft.log.is_empty() {
        yaml.push_str("log:\n");
        draft.log.write(&mut yaml, 2);
    }
    yaml
}

fn write(migration: &Migration<'_>, made: &Made, password_file: &Path) -> Result<(), Exit> {
    let Some(output) = migration.output else {
        return stdio::print(&made.yaml).map_err(|error| {
            error!("can't write to stdout: {error}");
            Exit::Io
        });
    };
    let secret = made.password.as_deref().map(|password| (password_file, password, 0o600));
    let files: Vec<_> = secret.into_iter().chain([(output, &*made.yaml, 0o640)]).collect();
    // All files or none, as far as that can be known beforehand.
    for (path, ..) in &files {
        if !migration.force && path.symlink_metadata().is_ok() {
            error!("{} already exists; use --force to overwrite it", path.display());
            return Err(Exit::CannotCreate);
        }
    }
    for (path, content, mode) in files {
        put(path, content, mode).map_err(|error| {
            error!("can't write {}: {error}", path.display());
            Exit::CannotCreate
        })?;
    }
    Ok(())
}

/// Writes a file under a temporary name first, so that nobody reads half of it, or reads it with another mode.
fn put(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    let folder = folder::or_here(path.parent().unwrap_or(Path::new(""))).to_owned();
    folder::create(&folder)?;
    let name = path.file_name().ok_or(ErrorKind::IsADirectory)?.to_string_lossy();
    let new = folder.join(format!(".{name}.{}", std::process::id()));
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new).and_then(|mut file| {
        file.write_all(content.as_bytes())?;
        file.sync_all()
    });
    let put = written.and_then(|()| fs::rename(&new, path)).and_then(|()| folder::sync(&folder));
    if put.is_err() {
        fs::remove_file(&new).ok(); // ignored: it may not exist
    }
    put
}

fn beside(file: &Path, name: &str) -> PathBuf {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    file.parent().unwrap_or(Path::new("/")).join(name)
}

impl Made {
    fn say(&self, migration: &Migration<'_>, password_file: &Path) {
        self.oddities.iter().chain(&self.missing).for_each(|what| warn!("{what}"));
        self.differences.iter().for_each(|what| info!("{what}"));
        match (&self.password, migration.output) {
            _ if !self.logs_in => {}
            (Some(_), Some(_)) => info!(
                "the password was written to {}, mode 0600: change its owner to the user that dmarc-shipper runs as",
                password_file.display()
            ),
            (Some(_), None) => warn!(
                "the password was not copied: write it to {}, mode 0600, or use --output, which does that",
                password_file.display()
            ),
            (None, _) => warn!("no password found: write it to {}, mode 0600", password_file.display()),
        }
        if let (Some(processed), None) = (&self.processed, migration.processed) {
            info!(
                "reports that are still in the folder are shipped again, unless you import the sent ones with \
                 --processed {}",
                processed.display()
            );
        }
    }
}

/// Checks the new configuration, so that errors are reported now and not at the first start; a value that was invalid in
/// the ini is invalid here.
fn check(yaml: &str, output: Option<&Path>) -> Exit {
    let fields: Vec<_> = schema::field_names().collect();
    let name = output.map_or("the new configuration".to_owned(), |output| output.display().to_string());
    match (Loader { fields: &fields, ..Loader::default() }).parse(yaml, Format::Yaml, &name) {
        Ok(_) => Exit::Done,
        Err(problems) => {
            problems.to_string().lines().for_each(|problem| error!("{problem}"));
            error!("correct the configuration by hand before using it");
            Exit::Configuration
        }
    }
}

fn read_processed(path: &Path) -> Result<Processed, Exit> {
    let failed = |error: &dyn std::fmt::Display, exit| {
        error!("can't read {}: {error}; expected the processed.json of dmarc-ingest", path.display());
        exit
    };
    let text = fs::read_to_string(path).map_err(|error| failed(&error, Exit::NoInput))?;
    Processed::parse(&text).map_err(|error| failed(&error, Exit::Data))
}

fn import(processed: Processed, data_dir: &Path) -> Exit {
    let (reports, others) = (processed.len(), processed.others);
    if others > 0 {
        warn!(
            entries = others,
            "entries of processed.json have no SHA-256 of a document; their reports are shipped again if they are \
             still in the folder"
        );
    }
    if reports == 0 {
        return Exit::Done;
    }
    match processed.import(data_dir, None) {
        Ok(()) => {
            info!(
                reports,
                "imported into the ledger in {}, which the user of dmarc-shipper must own",
                data_dir.display()
            );
            Exit::Done
        }
        Err(error) => {
            error!("{error}");
            Exit::CannotCreate
        }
    }
}
