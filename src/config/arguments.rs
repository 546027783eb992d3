//! Sources and sinks of the command line: `--from` and `--to`.

use std::sync::Arc;

use super::{
    kinds::{Kind, Kinds},
    node::{At, Node, Value},
    problem::Problem,
    sink::SinkKind,
    source::SourceConfig,
    url::Url,
};

/// A source or sink as a tree.
pub(super) struct Argument {
    /// The beginning of its name.
    pub name: &'static str,
    pub node: Node,
    /// `user at host` if the password has to be asked for; the tree then contains a placeholder.
    pub password_of: Option<String>,
}

/// Parses the argument of `--from`: a URL, a path, or `-` for stdin.
pub(super) fn source(argument: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Argument, Problem> {
    let at = At::Argument(format!("--from {}", presentable(argument)).into());
    match scheme(argument) {
        Some((scheme, rest)) => from_url::<SourceConfig>(scheme, rest, at.clone(), variable)
            .unwrap_or_else(|| Err(unknown::<SourceConfig>("source", ", a path, or - for stdin", at))),
        None => {
            let mut node = typed("file", at);
            node.put("path", Value::Literal(argument.to_owned()));
            Ok(Argument { name: if argument == "-" { "stdin" } else { "file" }, node, password_of: None })
        }
    }
}

/// Parses the argument of `--to`: a URL, or `-` for stdout.
pub(super) fn sink(argument: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Argument, Problem> {
    let at = At::Argument(format!("--to {}", presentable(argument)).into());
    let url = scheme(if argument == "-" { "stdout:" } else { argument });
    url.and_then(|(scheme, rest)| from_url::<SinkKind>(scheme, rest, at.clone(), variable))
        .unwrap_or_else(|| Err(unknown::<SinkKind>("sink", "", at)))
}

/// Reads a URL; `None` if no kind has its scheme.
fn from_url<T: Kinds>(
    scheme: &str,
    rest: &str,
    at: At,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Option<Result<Argument, Problem>> {
    let kind = T::ALL.iter().find(|kind| kind.urls.schemes.contains(&scheme))?;
    let (place, query) = split_query(rest);
    let mut node = typed(kind.name, at.clone());
    let read = (kind.urls.read)(&Url { scheme, place, query, at, variable }, &mut node);
    Some(read.map(|password_of| Argument { name: kind.name, node, password_of }))
}

fn unknown<T: Kinds>(what: &str, others: &str, at: At) -> Problem {
    let known: Vec<_> = T::ALL.iter().map(|kind| kind.urls.examples).collect();
    Problem::new(at, "", format!("unknown kind of {what}; known: {}{others}", known.join(", ")))
}

fn typed(kind: &str, at: At) -> Node {
    let mut node = Node::table(at, Vec::new());
    node.put("type", Value::Literal(kind.to_owned()));
    node
}

/// Splits a URL into its scheme and the text after the colon; `None` for a plain path, such as `./a:b`.
fn scheme(argument: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = argument.split_once(':')?;
    let named = scheme.len() > 1 && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let known = has::<SourceConfig>(scheme) || has::<SinkKind>(scheme);
    (named && (known || rest.starts_with("//"))).then_some((scheme, rest))
}

fn has<T: Kinds>(scheme: &str) -> bool {
    T::ALL.iter().any(|Kind { urls, .. }| urls.schemes.contains(&scheme))
}

fn split_query(rest: &str) -> (&str, &str) {
    rest.split_once('?').unwrap_or((rest, ""))
}

/// The argument without its query, and without a possible password.
fn presentable(argument: &str) -> Arc<str> {
    let (scheme, rest) = argument.split_once("://").unwrap_or(("", argument));
    let before_host = rest.rsplit_once('@').map_or("", |(user, _)| user);
    let shown = match before_host.split_once(':') {
        Some((user, _)) if !scheme.is_empty() => format!("{scheme}://{user}:…"),
        _ => argument.to_owned(),
    };
    split_query(&shown).0.into()
}
