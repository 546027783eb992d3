//! `type: forward`: receivers of Fluent Forward (protocol version 1), such as Fluent Bit, Fluentd and Vector's `fluent` source.

use std::{path::PathBuf, time::Duration};

use super::{compression::Compression, kind_options::SinkOptions, requests::Requests, syslog::Address};
use crate::config::{
    decode::View,
    form::Form,
    kinds::KindOptions,
    node::Value,
    options::{choices, options},
    secret::{self, Secret},
    tls::Tls,
    units::Time,
    url::Urls,
};
use crate::event::EventType;

options! {
    /// `type: forward`.
    #[derive(Debug, Clone)]
    pub struct Forward {
        /// Receivers, each `host:port` (24224 by default) or `unix:/PATH`. The first is used for as long as it works, then the
        /// next one.
        pub endpoints: Vec<Endpoint> as Vec<Endpoint> = required,
        /// Transport; not used with `unix:`.
        pub mode: ForwardMode = ForwardMode::Tls,
        /// TLS certificates, keys and verification; only with `mode: tls`.
        pub tls: Tls = nested,
        /// Tag of the events; `{event_type}` is replaced.
        pub tag: Tag = Tag("dmarc.{event_type}".to_owned()),
        /// Key that sender and receiver share, for receivers that ask for it. Better: `shared_key_file`, or a variable.
        let key("shared_key"): Option<Secret> = None,
        /// File with the shared key; read again before every connection.
        let key_file("shared_key_file"): Option<PathBuf> = None,
        /// The shared key.
        pub shared_key: Option<Secret> = from |view| secret::at_most_one(view, "shared_key", key, key_file),
        /// User, for receivers that ask for one besides the shared key.
        pub user: Option<String> = None,
        /// Password of the user. Better: `password_file`, or a variable.
        let written("password"): Option<Secret> = None,
        /// File with the password; read again before every connection.
        let written_file("password_file"): Option<PathBuf> = None,
        /// Password of the user.
        pub password: Option<Secret> = from |view| secret::at_most_one(view, "password", written, written_file),
        /// Host name that the sender presents with the shared key. None: this machine's.
        pub self_hostname: Option<String> = None,
        /// Compression of the chunks. Vector takes `gzip` only.
        pub compression: Compression = Compression::None,
        /// Chunks, and the connections that carry one each at a time.
        pub requests: Requests = flattened,
        /// Maximum time for a connection to be established.
        pub connect_timeout: Duration as Time<100, 600_000> = Duration::from_secs(10),
    }
}

choices! {
    /// Transport.
    pub enum ForwardMode = Tls {
        /// Encrypted TCP.
        Tls = "tls",
        /// Plain TCP.
        Tcp = "tcp",
    }
}

/// A receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Host { host: String, port: u16 },
    Unix(PathBuf),
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Endpoint::Host { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Endpoint::Host { host, port } => write!(f, "{host}:{port}"),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Form for Endpoint {
    type Value = Self;

    fn expected() -> String {
        "host, host:port or unix:/PATH".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
            return match path.is_absolute() {
                true => Ok(Endpoint::Unix(path)),
                false => Err(format!("expected unix: and an absolute path, not {text:?}")),
            };
        }
        let Address { host, port } = Address::parse(text)?;
        Ok(Endpoint::Host { host, port: port.unwrap_or(24_224) })
    }

    fn written(value: &Self) -> String {
        value.to_string()
    }
}

/// Template of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// Returns the tag of events of this type.
    pub fn of(&self, event_type: EventType) -> String {
        self.0.replace(PLACEHOLDER, event_type.as_str())
    }
}

const PLACEHOLDER: &str = "{event_type}";

impl Form for Tag {
    type Value = Self;

    fn expected() -> String {
        "a tag such as dmarc or dmarc.{event_type}".to_owned()
    }

    fn kind() -> String {
        "text".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let rest = text.replace(PLACEHOLDER, "");
        let is_tag =
            !text.is_empty() && text.len() <= 256 && rest.chars().all(|c| c.is_ascii_graphic() && !"{}".contains(c));
        if is_tag { Ok(Self(text.to_owned())) } else { Err(format!("expected {}, not {text:?}", Self::expected())) }
    }

    fn written(value: &Self) -> String {
        value.0.clone()
    }
}

impl SinkOptions for Forward {
    fn destination(&self) -> String {
        let endpoints: Vec<_> =
            self.endpoints.iter().map(|endpoint| endpoint.to_string().to_ascii_lowercase()).collect();
        endpoints.join(",")
    }

    fn shown(&self) -> String {
        let endpoints: Vec<_> = self.endpoints.iter().map(ToString::to_string).collect();
        format!("{}, {}", self.mode.name(), endpoints.join(", "))
    }

    fn exclusive(&self) -> Option<(&'static str, String)> {
        None
    }

    fn takes_arrays(&self) -> bool {
        false
    }

    fn prints(&self) -> bool {
        false
    }
}

impl KindOptions for Forward {
    const URLS: Urls = Urls {
        schemes: &["forward+tls", "forward+tcp", "forward+unix"],
        examples: "forward+tls://host:24224, forward+tcp://host:24224, forward+unix:/PATH",
        read: |url, node| {
            let place = url.place.trim_end_matches('/');
            let endpoint = match url.scheme {
                "forward+unix" => format!("unix:{}", url.path()),
                _ => place.trim_start_matches("//").to_owned(),
            };
            let mode = if url.scheme == "forward+tls" { "tls" } else { "tcp" };
            node.put("mode", Value::Literal(mode.to_owned()));
            node.put("endpoints", Value::Literal(endpoint));
            url.options(node)?;
            Ok(None)
        },
    };

    fn is_sensible(&self, view: &View<'_>) -> bool {
        let mut fits = true;
        let mut refuse = |key: &str, message: &str| {
            view.problem(key, message);
            fits = false;
        };
        if self.endpoints.is_empty() {
            refuse("endpoints", "is empty; expected a list of receivers, each host:port or unix:/PATH");
        }
        if self.mode != ForwardMode::Tls && view.has("tls") {
            refuse("tls", "is only supported with mode: tls; remove it, or set mode: tls");
        }
        if self.user.is_some() != self.password.is_some() {
            refuse("user", "needs password or password_file, and they need user");
        }
        if self.user.is_some() && self.shared_key.is_none() {
            refuse("user", "needs shared_key or shared_key_file, without which no receiver asks for a user");
        }
        if view.has("encoding.codec") {
            refuse("encoding.codec", "is not used: the protocol has a codec of its own, MessagePack; remove it");
        }
        fits
    }
}
