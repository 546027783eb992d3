//! Parses sources and sinks given as URLs, to run without a file. A URL becomes the same tree as a file, so its options are
//! decoded and checked by the same code.

use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::{
    Problem,
    node::{At, Node, Value},
};

const SOURCES: &str = "imaps://user@host/FOLDER, imap://user@host/FOLDER?starttls, file:PATH, a path, or - for stdin";
const SINKS: &str =
    "stdout:, file:/PATH/%Y%m%d.json, syslog+tls://host:6514, syslog+tcp://host:601, syslog+udp://host:514";

/// Short names of options in a query, for sources and sinks; other options have their full names.
const SHORT: &[(&str, &str)] = &[
    ("archive", "archive_folder"),
    ("quarantine", "quarantine_folder"),
    ("framing", "framing.method"),
    ("codec", "encoding.codec"),
    ("fields", "encoding.fields"),
    ("ca_file", "tls.ca_file"),
    ("crt_file", "tls.crt_file"),
    ("key_file", "tls.key_file"),
    ("verify_certificate", "tls.verify_certificate"),
    ("verify_hostname", "tls.verify_hostname"),
    ("server_name", "tls.server_name"),
];

/// Options that are refused in a URL, since they are secrets.
const SECRETS: &[&str] = &["password=", "oauth.client_secret=", "oauth.refresh_token="];

/// A source as a tree.
pub(super) struct Source {
    pub kind: &'static str,
    pub node: Node,
    /// `user at host` if the password has to be asked for; the tree then contains a placeholder.
    pub password_of: Option<String>,
}

/// Parses the argument of `--from`.
pub(super) fn source(argument: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Source, Problem> {
    let at = At::Argument(format!("--from {}", presentable(argument)).into());
    match scheme(argument) {
        Some(("imaps", rest)) => imap(rest, true, at, variable),
        Some(("imap", rest)) => imap(rest, false, at, variable),
        Some(("file", rest)) => {
            let (path, query) = split_query(rest);
            let mut node = typed("file", at);
            node.put("path", Value::Literal(file_path(path).to_owned()));
            options(&mut node, query)?;
            Ok(Source { kind: "file", node, password_of: None })
        }
        Some(_) => Err(Problem::new(at, "", format!("unknown kind of source; known: {SOURCES}"))),
        None => {
            let mut node = typed("file", at);
            node.put("path", Value::Literal(argument.to_owned()));
            Ok(Source { kind: if argument == "-" { "stdin" } else { "file" }, node, password_of: None })
        }
    }
}

/// Parses the argument of `--to` to the type of sink, and its tree.
pub(super) fn sink(argument: &str) -> Result<(&'static str, Node), Problem> {
    let at = At::Argument(format!("--to {}", presentable(argument)).into());
    let unknown = || Problem::new(at.clone(), "", format!("unknown kind of sink; known: {SINKS}"));
    let (scheme, rest) = if argument == "-" { ("stdout", "") } else { scheme(argument).ok_or_else(unknown)? };
    let (place, query) = split_query(rest);
    let (kind, mut node) = match scheme {
        "stdout" if place.trim_start_matches('/').is_empty() => ("stdout", typed("stdout", at.clone())),
        "file" => {
            let mut node = typed("file", at.clone());
            node.put("path", Value::Literal(file_path(place).to_owned()));
            ("file", node)
        }
        "syslog+tls" | "syslog+tcp" | "syslog+udp" => {
            let mut node = typed("syslog", at.clone());
            node.put("mode", Value::Literal(scheme.trim_start_matches("syslog+").to_owned()));
            let address = place.trim_start_matches("//").trim_end_matches('/');
            node.put("address", Value::Literal(address.to_owned()));
            ("syslog", node)
        }
        _ => return Err(unknown()),
    };
    options(&mut node, query)?;
    Ok((kind, node))
}

fn imap(rest: &str, tls: bool, at: At, variable: &dyn Fn(&str) -> Option<String>) -> Result<Source, Problem> {
    let refuse = |message: &str| Problem::new(at.clone(), "", message);
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (place, query) = split_query(rest);
    let (authority, folder) = place.split_once('/').unwrap_or((place, ""));
    // Mailbox users are mail addresses: the last @ is the URL's own.
    let (user, host) = authority.rsplit_once('@').ok_or_else(|| {
        refuse("has no user; write imaps://user@host/FOLDER, with / and ? in the user as %2F and %3F")
    })?;
    if user.contains(':') || query.split('&').any(|option| SECRETS.iter().any(|secret| option.starts_with(secret))) {
        return Err(refuse(
            "contains a password or other credential, which every user of this machine can read in the process list; remove \
             it (write a colon in a user name as %3A), and set DMARC_SHIPPER_PASSWORD_FILE, set \
             DMARC_SHIPPER_PASSWORD, or answer the prompt on a terminal",
        ));
    }
    let starttls = query.split('&').any(|option| option == "starttls");
    let security = match (tls, starttls) {
        (true, true) => return Err(refuse("imaps is encrypted from the start; write imap:// for ?starttls")),
        (true, false) => "tls",
        (false, true) => "starttls",
        (false, false) => "none",
    };
    let user = decoded(user, &at)?;
    let mut node = typed("imap", at.clone());
    node.put("security", Value::Literal(security.to_owned()));
    node.put("user", Value::Literal(user.clone()));
    let (host, port) = host_and_port(host);
    node.put("host", Value::Literal(host.to_owned()));
    if let Some(port) = port {
        node.put("port", Value::Literal(port.to_owned()));
    }
    let folder = folder.trim_end_matches('/');
    if !folder.is_empty() {
        node.put("folder", Value::Literal(decoded(folder, &at)?));
    }
    options(&mut node, query)?;
    let mut password_of = None;
    let certificate_alone = query.split('&').any(|option| option == "auth=external");
    if node.child("password_file").is_none() && node.child("oauth").is_none() && !certificate_alone {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        if let Some(file) = variable("DMARC_SHIPPER_PASSWORD_FILE") {
            node.put("password_file", Value::Literal(file));
        } else if let Some(password) = variable("DMARC_SHIPPER_PASSWORD") {
            node.put("password", Value::Literal(password));
        } else {
            node.put("password", Value::Literal("not asked for yet".to_owned()));
            password_of = Some(format!("{user} at {host}"));
        }
    }
    Ok(Source { kind: "imap", node, password_of })
}

/// Adds the options of a query to the tree, as a file would have them.
fn options(node: &mut Node, query: &str) -> Result<(), Problem> {
    for option in query.split('&').filter(|option| !option.is_empty() && *option != "starttls") {
        let Some((name, value)) = option.split_once('=') else {
            let message = format!("expected name=value after ?, not {option:?}");
            return Err(Problem::new(node.at.clone(), "", message));
        };
        let name = SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, full)| full);
        let value = decoded(value, &node.at)?;
        node.put(name, Value::Literal(value));
    }
    Ok(())
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
    let known = ["imap", "imaps", "file", "stdout"].contains(&scheme);
    (named && (known || rest.starts_with("//"))).then_some((scheme, rest))
}

fn split_query(rest: &str) -> (&str, &str) {
    rest.split_once('?').unwrap_or((rest, ""))
}

/// Path of `file:PATH` and `file:///PATH`; % is not decoded, since a sink's path has its own directives.
fn file_path(path: &str) -> &str {
    path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path)
}

fn host_and_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    }
}

fn decoded(text: &str, at: &At) -> Result<String, Problem> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| Problem::new(at.clone(), "", "its percent-encoding is not UTF-8"))
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
