//! Loads a checked configuration from a file, a text or the command line.

use std::{collections::BTreeMap, path::Path};

use super::{
    arguments::{self, Argument},
    decoder::Decoder,
    node::{At, Entry, Node, Value},
    problem::{Problem, Problems},
    secret,
    sink::SinkConfig,
    syntax::{self, Format},
    together,
    top_level::Config,
};
use crate::limits::Limits;

/// A valid configuration, and warnings for the user.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// One sentence each; none contains a secret.
    pub warnings: Vec<String>,
}

/// Context of loading.
pub struct Loader<'a> {
    /// The environment, for `${VAR}`.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Field names of events, which `encoding.only_fields` and `except_fields` may use; empty: they are not checked.
    pub fields: &'a [&'a str],
}

/// Configuration from the command line.
pub struct Arguments<'a> {
    /// The file, if there is one.
    pub file: Option<&'a Path>,
    /// Source URLs; they replace the file's sources.
    pub from: &'a [String],
    /// Sink URLs, or names of sinks in the file; they replace the file's sinks.
    pub to: &'a [String],
    /// Asks the user for the password of `user at host`; `None` if there is no user to ask.
    pub ask: &'a dyn Fn(&str) -> Option<String>,
}

/// Reads the file at `path`: YAML, TOML or JSON by its extension. Reports all problems at once.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    Loader::default().load(path)
}

/// Reads a configuration from a text; `file_name` is used in problems.
pub fn parse(text: &str, format: Format, file_name: &str) -> Result<Loaded, Problems> {
    Loader::default().parse(text, format, file_name)
}

/// Reads a configuration from file and URLs. See [`Arguments`].
pub fn from_arguments(arguments: &Arguments<'_>) -> Result<Loaded, Problems> {
    Loader::default().arguments(arguments)
}

/// Returns the limits of the configuration in `file`, changed by `changes`, each `NAME=VALUE`. Nothing else of the file is
/// decoded: its secrets need not be there.
pub fn limits(file: Option<&Path>, changes: &[String]) -> Result<Limits, Problems> {
    let name = file.map_or("command line".to_owned(), |file| file.display().to_string());
    let mut table = match file {
        Some(file) => read(file)?.0.child("limits").cloned(),
        None => None,
    }
    .filter(|table| !table.is_null())
    .unwrap_or_else(|| Node::table(At::File, Vec::new()));
    let mut problems = Vec::new();
    for change in changes {
        let at = At::Argument(format!("--limit {change}").into());
        match change.split_once('=') {
            Some((key, value)) => {
                let value = Node { value: Value::Literal(value.trim().to_owned()), at };
                let key = key.trim();
                table.replace(key.strip_prefix("limits.").unwrap_or(key), value);
            }
            None => {
                problems.push(Problem::new(at, "", "expected NAME=VALUE, such as archive_entries=1000"));
            }
        }
    }
    let decoder = Decoder::new(&|name| std::env::var(name).ok(), &[]);
    let limits = decoder.table::<Limits>(&table, "limits");
    problems.extend(decoder.into_parts().0);
    match limits {
        Some(limits) if problems.is_empty() => Ok(limits),
        _ => Err(Problems::new(&name, problems)),
    }
}

/// Uses the environment of the process; field names are not checked.
impl Default for Loader<'_> {
    fn default() -> Self {
        Self { variable: &|name| std::env::var(name).ok(), fields: &[] }
    }
}

impl Loader<'_> {
    /// See [`load`].
    pub fn load(&self, path: &Path) -> Result<Loaded, Problems> {
        let (root, exposed) = read(path)?;
        self.decode(&root, &path.display().to_string(), exposed)
    }

    /// See [`parse`].
    pub fn parse(&self, text: &str, format: Format, file_name: &str) -> Result<Loaded, Problems> {
        let root = syntax::parse(text, format).map_err(|problems| Problems::new(file_name, problems))?;
        self.decode(&root, file_name, false)
    }

    /// See [`from_arguments`].
    pub fn arguments(&self, arguments: &Arguments<'_>) -> Result<Loaded, Problems> {
        let name = arguments.file.map_or("command line".to_owned(), |file| file.display().to_string());
        let (mut root, exposed) = match arguments.file {
            Some(file) => read(file)?,
            None => (Node::table(At::File, Vec::new()), false),
        };
        if root.is_null() {
            root = Node::table(At::File, Vec::new());
        }
        let mut problems = Vec::new();
        let (mut unasked, mut left_out) = (Vec::new(), BTreeMap::new());
        if !arguments.from.is_empty() {
            let mut sources: Vec<Entry> = Vec::new();
            for argument in arguments.from {
                match arguments::source(argument, self.variable) {
                    Ok(Argument { name, node, password_of }) => {
                        let name = unused(name, &sources);
                        if let Some(who) = password_of {
                            unasked.push((name.clone(), who, node.at.clone()));
                        }
                        sources.push(Entry { key: name, at: node.at.clone(), value: node });
                    }
                    Err(problem) => problems.push(problem),
                }
            }
            root.replace("sources", Node::table(At::File, sources));
            forget_inputs(&mut root);
        }
        if !arguments.to.is_empty() {
            let mut sinks: Vec<Entry> = Vec::new();
            for argument in arguments.to {
                let of_file = root.child("sinks").map(Node::entries).unwrap_or_default();
                match (of_file.iter().find(|sink| sink.key == *argument), arguments::sink(argument, self.variable)) {
                    (Some(named), _) => sinks.push(asked_for(named)),
                    (None, Ok(Argument { name, node, .. })) => {
                        sinks.push(Entry { key: unused(name, &sinks), at: node.at.clone(), value: node });
                    }
                    (None, Err(mut problem)) => {
                        if let [first, others @ ..] = of_file {
                            let names = others.iter().fold(first.key.clone(), |names, sink| names + ", " + &sink.key);
                            problem.message += &format!("; sinks of the file: {names}");
                        }
                        problems.push(problem);
                    }
                }
            }
            // The file's sinks do not apply to sources of the command line.
            if arguments.from.is_empty() {
                left_out = self.left_out(&root, arguments.to);
            }
            root.replace("sinks", Node::table(At::File, sinks));
        }
        if !problems.is_empty() {
            return Err(Problems::new(&name, problems));
        }
        let mut loaded = self.decode(&root, &name, exposed)?;
        if !unasked.is_empty() {
            // Only now: nobody is asked for the password of a configuration that is refused.
            for (source, who, at) in unasked {
                let Some(password) = (arguments.ask)(&who) else {
                    let message = "no password is set and there is no terminal to prompt on; set \
                                   DMARC_SHIPPER_PASSWORD_FILE (a path) or DMARC_SHIPPER_PASSWORD, or use a configuration file";
                    return Err(Problems::one(&name, Problem::new(at, "", message)));
                };
                if let Some(source) = root.child_mut("sources").and_then(|sources| sources.child_mut(&source)) {
                    source.replace("password", Node { value: Value::Literal(password), at });
                }
            }
            loaded = self.decode(&root, &name, exposed)?;
        }
        loaded.config.left_out = left_out;
        Ok(loaded)
    }

    /// The sinks of the file that the command line does not name. Problems in them are ignored: they concern only runs with
    /// these sinks.
    fn left_out(&self, root: &Node, to: &[String]) -> BTreeMap<String, Option<SinkConfig>> {
        let of_file = root.child("sinks").map(Node::entries).unwrap_or_default();
        let others = of_file.iter().filter(|sink| !to.contains(&sink.key));
        others
            .map(|sink| {
                let decoder = Decoder::new(self.variable, self.fields);
                (sink.key.clone(), decoder.table(&sink.value, &sink.key))
            })
            .collect()
    }

    fn decode(&self, root: &Node, file: &str, exposed: bool) -> Result<Loaded, Problems> {
        let decoder = Decoder::new(self.variable, self.fields);
        if exposed && holds_a_secret(root) {
            decoder.warn(format!("{file} contains a secret and is world-readable; run chmod 0640 on it"));
        }
        let config = decoder.table::<Config>(root, "");
        together::check(root, config.as_ref(), &decoder);
        let (problems, warnings) = decoder.into_parts();
        match config {
            Some(config) if problems.is_empty() => Ok(Loaded { config, warnings }),
            _ => Err(Problems::new(file, problems)),
        }
    }
}

/// Reads a file; the second value is true if everyone may read it.
fn read(path: &Path) -> Result<(Node, bool), Problems> {
    let name = path.display().to_string();
    let problem = |message: String| Problems::one(&name, Problem::new(At::File, "", message));
    let format = Format::of(path)
        .ok_or_else(|| problem("unknown file format; the name must end in .yaml, .yml, .toml or .json".to_owned()))?;
    let text = std::fs::read_to_string(path).map_err(|error| problem(format!("can't be read: {error}")))?;
    let exposed = std::fs::metadata(path).is_ok_and(|metadata| secret::readable_by_all(&metadata));
    let root = syntax::parse(&text, format).map_err(|problems| Problems::new(&name, problems))?;
    Ok((root, exposed))
}

/// True if the file itself contains a secret, rather than a variable.
fn holds_a_secret(root: &Node) -> bool {
    let sources = root.child("sources").map(Node::entries).unwrap_or_default();
    sources.iter().any(|source| {
        let source = &source.value;
        let oauth = source.child("oauth");
        let secrets = [
            source.child("password"),
            oauth.and_then(|oauth| oauth.child("client_secret")),
            oauth.and_then(|oauth| oauth.child("refresh_token")),
        ];
        secrets.iter().flatten().any(|secret| match &secret.value {
            Value::Text(text) => !text.contains("${"),
            _ => false,
        })
    })
}

/// Removes `inputs` from the file's sinks: they refer to the file's sources, which URLs replace. The sinks then take all
/// sources.
fn forget_inputs(root: &mut Node) {
    let Value::Table(entries) = &mut root.value else { return };
    let sinks = entries.iter_mut().filter(|entry| entry.key == "sinks");
    for sink in sinks.flat_map(|sinks| match &mut sinks.value.value {
        Value::Table(sinks) => sinks.as_mut_slice(),
        _ => &mut [],
    }) {
        if let Value::Table(options) = &mut sink.value.value {
            options.retain(|option| option.key != "inputs");
        }
    }
}

/// A sink of the file that the command line names; it becomes required, whatever the file says.
fn asked_for(named: &Entry) -> Entry {
    let mut sink = named.clone();
    let required = Node { value: Value::Literal("true".to_owned()), at: sink.at.clone() };
    sink.value.replace("required", required);
    sink
}

/// Returns an unused name: `imap`, `imap_2`, `imap_3`, …
fn unused(kind: &str, taken: &[Entry]) -> String {
    match taken.iter().filter(|entry| entry.key.starts_with(kind)).count() {
        0 => kind.to_owned(),
        count => format!("{kind}_{}", count + 1),
    }
}
