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

<!-- Made from the declarations in src/config by `UPDATE_DOCS=1 cargo test`; a test fails when it is out of date. -->

One file, YAML, TOML or JSON by its ending. Nothing in it is guessed: an unknown option, a wrong type or options that do not go
together are refused at start, all at once, each with file, line, key and what was expected. `dmarc-shipper check --offline`
does that and nothing else; `dmarc-shipper schema config` prints a JSON Schema for editors.

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

Anyone can mail reports to the address in a DMARC record. `domains` names the domains whose reports are wanted; `limits` caps what one
mail, and one sender in a day, can cost. What is over a cap is quarantined, never lost: an `ingest_error` names the setting, and mails
that are moved back are read again. Senders are counted per source, from the start of the process or of the UTC day: `run --once` begins
anew with each run, and in a first run over the mails of many years they all count as of today. While a sender is over its rows,
reports of it that were shipped before are quarantined like new ones. `parse` counts nothing.

A dot in an option's name below is a table in the file: `tls.ca_file` is `tls:` with `ca_file:` under it.

## How values are written

* **Durations**: `500ms`, `30s`, `5m`, `1h30m`, `2d`, or a plain number of seconds.
* **Sizes**: `64KiB`, `8MiB`, `1GiB` (1,024), `10MB` (1,000), or a plain number of bytes.
* **Variables**: `${NAME}` in a value is replaced from the environment, `${NAME:-default}` has a default for one that is unset or
  empty. What a variable holds is only ever text in its place: it can't become structure. A variable that is not set is refused. Write
  `$$` for a literal `$` (in a password with `$$` or `${` in it, for instance).
* **Secrets** have a twin that ends in `_file`: the file is read again before every use. One that everyone may read is warned about.
* **Texts** may be written without quotes, even where they look like a number: `password: 0123` is the text `0123`.
* **Lists** may be written as one text, separated by commas.

## On the command line

`--from` and `--to` replace the sources and the sinks of the file, or do without a file:

```
dmarc-shipper run --from 'imaps://dmarc@example.com@imap.example.com/INBOX?archive=Processed' --to stdout:
dmarc-shipper run --once --from ./reports --to 'file:/var/log/dmarc/%Y%m%d.json'
dmarc-shipper run --from 'imap://dmarc@mail.example.com?starttls' --to 'syslog+tls://siem.example.com:6514?ca_file=/etc/ca.pem'
```

A run with `--to` that leaves out a sink which the file requires for a source ships what the named sinks lack of its mails, and
leaves the mails where they are, not remembered: a run with all sinks ships to the others, and settles them. Given both, `--from` and
`--to` say all of the way, whatever the file has.

Any option below may follow the `?`, under its full name (`tls.ca_file=…`), or short: `archive`, `quarantine`, `framing`, `codec`,
`fields`, and those of `tls`. Values are %-escaped; the path of a `file:` URL is taken as it stands. A URL source moves no mail unless it says
`archive=` or `quarantine=`. The password comes from the file that `DMARC_SHIPPER_PASSWORD_FILE` names, from `DMARC_SHIPPER_PASSWORD`, or
from a prompt on a terminal; a token (`oauth.token_file=…`) or a certificate needs none. [imap.md](imap.md) says how to get into mailboxes at
Microsoft 365, Gmail and others.
";

/// Returns the whole page.
pub fn page() -> String {
    let mut page = BEGINNING.to_owned();
    section(&mut page, "## Top level", "", &Config::options());
    page.push_str("\n## Sources\n\nEach is a table under `sources`, by a name of your own.\n");
    for Kind { name, about, options, .. } in SourceConfig::ALL {
        section(&mut page, &format!("### Source `type: {name}`"), &text(about), &options());
    }
    page.push_str("\n## Sinks\n\nEach is a table under `sinks`, by a name of your own.\n");
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
