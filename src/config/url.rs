//! Sources and sinks given as URLs. A URL becomes the same tree as a file, so its options are decoded and checked by the same
//! code.

use percent_encoding::percent_decode_str;

use super::{
    node::{At, Node, Value},
    problem::Problem,
};

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

/// The URLs of one kind of source or sink.
pub(crate) struct Urls {
    pub schemes: &'static [&'static str],
    /// Examples for an error message.
    pub examples: &'static str,
    /// Adds the URL's parts to the table of the source or sink, which has its `type` already. Returns `user at host` if the
    /// password has to be asked for; the table then contains a placeholder.
    pub read: fn(&Url<'_>, &mut Node) -> Result<Option<String>, Problem>,
}

/// A URL on the command line, in parts.
pub(crate) struct Url<'a> {
    pub scheme: &'a str,
    /// From the colon to the question mark.
    pub place: &'a str,
    /// After the question mark.
    pub query: &'a str,
    pub at: At,
    /// The environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Url<'_> {
    /// Adds the options of the query to the table, as a file would have them.
    pub(crate) fn options(&self, node: &mut Node) -> Result<(), Problem> {
        for option in self.query.split('&').filter(|option| !option.is_empty() && *option != "starttls") {
            let Some((name, value)) = option.split_once('=') else {
                return Err(self.problem(format!("expected name=value after ?, not {option:?}")));
            };
            let name = SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, full)| full);
            node.put(name, Value::Literal(self.decoded(value)?));
        }
        Ok(())
    }

    /// Path of `file:PATH` and `file:///PATH`; % is not decoded, since a sink's path has its own directives.
    pub(crate) fn path(&self) -> &str {
        self.place.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(self.place)
    }

    pub(crate) fn decoded(&self, text: &str) -> Result<String, Problem> {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map(Into::into).map_err(|_| self.problem("its percent-encoding is not UTF-8"))
    }

    pub(crate) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(self.at.clone(), "", message)
    }
}

/// Splits a host from its port, if it has one.
pub(crate) fn host_and_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    }
}
