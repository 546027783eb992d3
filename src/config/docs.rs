//! Generates `docs/configuration.md` from the same declarations that decode the configuration.

use super::{
    decode::Options,
    kinds::{Kind, Kinds},
    option_doc::{Need, OptionDoc},
    sink::{SinkConfig, SinkKind},
    source::SourceConfig,
    top_level::Config,
};

const BEGINNING: &str = "\
# Configuration

<!-- Generated from the declarations in src/config by `UPDATE_DOCS=1 cargo test`; a test fails when it is out of date. -->

One file, YAML, TOML or JSON by its extension. Unknown options, wrong types and options that exclude each other are refused at
start: all problems are reported at once, each with file, line, key and what was expected. `dmarc-shipper check --offline`
only validates the file; `dmarc-shipper schema config` prints a JSON Schema for editors.

```yaml
data_dir: /var/lib/dmarc-shipper
sources:
  rua:
    type: imap
    host: imap.example.com
    user: dmarc@example.com
    password_file: /run/secrets/imap-password
    archive_folder: Processed
    quarantine_folder: Unreadable
sinks:
  siem:
    type: syslog
    address: siem.example.com:6514
  archive:
    type: file
    path: /var/lib/dmarc-shipper/reports/%Y%m%d_all.json
    retention_days: 30
```

Anyone can mail reports to the address in a DMARC record. `domains` lists the domains whose reports are accepted; `limits` bounds the cost of one
mail, and of one sender per day. Mails over a limit are quarantined, never lost: an `ingest_error` names the setting, and mails
that are moved back are read again. Senders are counted per source, from the start of the process or of the UTC day: `run --once` starts
from zero in each run, and in a first run over the mails of many years they all count as of today. While a sender is over its limit of
rows, reports of it that were shipped before are quarantined like new ones. `parse` has no limits per sender; its
limits are the defaults, those of a file (`--config FILE`), or given one by one (`--limit archive_entries=1000`).

A dot in an option's name stands for a nested table: `tls.ca_file` is `tls:` with `ca_file:` under it.

## Value formats

* **Durations**: `500ms`, `30s`, `5m`, `1h30m`, `2d`, or a plain number of seconds.
* **Sizes**: `64KiB`, `8MiB`, `1GiB` (1,024), `10MB` (1,000), or a plain number of bytes.
* **Variables**: `${NAME}` in a value is replaced by the environment variable, `${NAME:-default}` has a default if it is unset or
  empty. The value of a variable is inserted as text: it can't become structure. An unset variable is refused. Write
  `$$` for a literal `$` (in a password with `$$` or `${` in it, for instance).
* **Secrets** have a second option that ends in `_file`: the file is read again before every use. A world-readable file gives a warning. A byte
  order mark at its start and line ends at its end are no part of the secret.
* **Paths**: a relative path starts at the working directory of the process, not at the folder of the configuration file. A service
  has another working directory than your shell (under systemd it is `/` unless the unit sets `WorkingDirectory=`), so use absolute paths there.
* **Texts** may be written without quotes, even where they look like a number: `password: 0123` is the text `0123`.
* **Lists** may be written as one text, separated by commas.

## On the command line

`--from` and `--to` replace the sources and the sinks of the file; with both, no file is needed:

```
dmarc-shipper run --from 'imaps://dmarc@example.com@imap.example.com/INBOX?archive=Processed' --to stdout:
dmarc-shipper run --once --from ./reports --to 'file:/var/log/dmarc/%Y%m%d.json'
dmarc-shipper run --from 'imap://dmarc@mail.example.com?starttls' --to 'syslog+tls://siem.example.com:6514?ca_file=/etc/ca.pem'
```

If `--to` leaves out a sink that the file requires for a source, the run ships the mails of that source to the named sinks, as far as
they lack them, and leaves the mails in place: a later run with all sinks ships to the others, and archives them. With both `--from`
and `--to`, the sources and sinks of the file are ignored.

Any option below may follow the `?`, under its full name (`tls.ca_file=…`), or short: `archive`, `quarantine`, `framing`, `codec`,
`fields`, and those of `tls`. Values are %-escaped; the path of a `file:` URL is not decoded. A URL source moves no mail unless
`archive=` or `quarantine=` is set. The password comes from the file that `DMARC_SHIPPER_PASSWORD_FILE` names, from `DMARC_SHIPPER_PASSWORD`, or
from a prompt on a terminal; a token (`oauth.token_file=…`) or a certificate needs none. [imap.md](imap.md) describes how to log in
to Microsoft 365, Gmail and others.
";

/// Returns the whole page.
pub fn page() -> String {
    let mut page = BEGINNING.to_owned();
    section(&mut page, "## Top level", "", &Config::options());
    page.push_str("\n## Sources\n\nEach is a table under `sources`, with a name of your choice.\n");
    for Kind { name, about, options, .. } in SourceConfig::ALL {
        section(&mut page, &format!("### Source `type: {name}`"), &text(about), &options());
    }
    page.push_str("\n## Sinks\n\nEach is a table under `sinks`, with a name of your choice.\n");
    section(&mut page, "### Every sink", "", &SinkConfig::options());
    for Kind { name, about, options, .. } in SinkKind::ALL {
        let about = format!("{} Besides the options of every sink:", text(about));
        section(&mut page, &format!("### Sink `type: {name}`"), &about, &options());
    }
    page
}

/// Joins the lines of a doc comment.
fn text(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

fn section(page: &mut String, title: &str, about: &str, options: &[OptionDoc]) {
    page.push_str(&format!("\n{title}\n\n"));
    if !about.is_empty() {
        page.push_str(&format!("{about}\n\n"));
    }
    page.push_str("| option | value | default | |\n|---|---|---|---|\n");
    for option in options {
        let default = match &option.need {
            Need::Required => "**required**".to_owned(),
            Need::Default(default) if default.is_empty() => "none".to_owned(),
            Need::Default(default) if default.contains('`') || default.len() > 16 => default.clone(),
            Need::Default(default) => format!("`{default}`"),
        };
        let row =
            [&format!("`{}`", option.key), &option.kind, &default, &option.doc].map(|cell| cell.replace('|', "\\|"));
        page.push_str(&format!("| {} |\n", row.join(" | ")));
    }
}
