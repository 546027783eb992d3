//! `type: syslog`: a receiver over TLS, TCP or UDP.

use std::time::Duration;

use serde_json::json;

use super::kind_options::SinkOptions;
use crate::config::{
    decode::View,
    form::{Form, Whole},
    host::Host,
    kinds::KindOptions,
    node::Value,
    options::{choices, options},
    tls::Tls,
    units::{Size, Time},
    url::Urls,
};

options! {
    /// `type: syslog`.
    #[derive(Debug, Clone)]
    pub struct Syslog {
        /// Transport of frames. With UDP, delivery can't be confirmed.
        pub mode: SyslogMode = SyslogMode::Tls,
        /// Host and port of the receiver, `host:port`, IPv6 as `[::1]:6514`. Default ports: 6514 for tls, 601 for tcp, 514
        /// for udp.
        let address: Address = required,
        /// Host of `address`.
        pub host: String = from |_view| address.as_ref().map(|address| address.host.clone()),
        /// Port of `address`.
        pub port: u16 = from |_view| address.as_ref().map(|address| address.port.unwrap_or(default_port(mode))),
        /// TLS certificates, keys and verification; only with `mode: tls`.
        pub tls: Tls = nested,
        /// Syslog format. `rfc3164` is for receivers set up for dmarc-ingest, and for syslog-ng's `tcp()`.
        pub format: SyslogFormat = SyslogFormat::Rfc5424,
        /// Framing of a stream; not used with UDP.
        pub framing("framing.method"): Framing = Framing::OctetCounting,
        /// Condition for a frame to count as delivered.
        pub acknowledgements: Acknowledgements = Acknowledgements::Kernel,
        /// Facility in the frames' priority.
        pub facility: u8 as Facility = 16,
        /// APP-NAME of the frames.
        pub app_name: String as HeaderName<48> = "DMARC_DATA".to_owned(),
        /// HOSTNAME of the frames. None: this machine's.
        pub hostname: Option<String> as Option<HeaderName<255>> = None,
        /// Private enterprise number in the name of the structured data, `dmarc@PEN`. The default is the one reserved for
        /// examples (RFC 5612); set your own if you have one.
        pub enterprise_number: u32 as Whole<u32, 1, 4_294_967_295> = 32_473,
        /// Adds the short fields to RFC 5424 frames as structured data, too.
        pub structured_data: bool = true,
        /// Time in the frames' TIMESTAMP.
        pub event_time: EventTime = EventTime::Ingest,
        /// Maximum size of a frame; larger events are shrunk. rsyslog splits frames of more than 8,096 bytes by default.
        pub max_message_bytes: u32 as Size<u32, 480, 1_048_576> =
            if mode == SyslogMode::Udp { 1_400 } else { 8_000 } => "8000; 1400 with `mode: udp`",
        /// Maximum time for a connection to be established.
        pub connect_timeout: Duration as Time<100, 600_000> = Duration::from_secs(10),
        /// Maximum time for the peer to acknowledge written bytes; then the connection is closed (TCP_USER_TIMEOUT).
        pub send_timeout: Duration as Time<1_000, 3_600_000> = Duration::from_secs(30),
    }
}

choices! {
    /// Transport of frames.
    pub enum SyslogMode = Tls {
        /// Encrypted TCP, RFC 5425.
        Tls = "tls",
        /// Plain TCP, RFC 6587.
        Tcp = "tcp",
        /// One datagram per frame, RFC 5426.
        Udp = "udp",
    }
}

choices! {
    /// Syslog format.
    pub enum SyslogFormat = Rfc5424 {
        /// The syslog protocol of 2009.
        Rfc5424 = "rfc5424",
        /// The BSD syslog protocol.
        Rfc3164 = "rfc3164",
    }
}

choices! {
    /// Framing of a stream.
    pub enum Framing = OctetCounting {
        /// RFC 6587 octet counting: `LEN SP frame`.
        OctetCounting = "octet_counting",
        /// Each frame terminated by LF; Fluent Bit's default.
        NewlineDelimited = "newline_delimited",
    }
}

choices! {
    /// Condition for a frame to count as delivered.
    pub enum Acknowledgements = Kernel {
        /// The peer's kernel has acknowledged the bytes, and the connection was open and silent afterwards.
        Kernel = "kernel",
        /// Each batch ends the connection, and counts only after the peer has closed its side too.
        Strict = "strict",
    }
}

choices! {
    /// Time in the frames' TIMESTAMP.
    pub enum EventTime = Ingest {
        /// Time at which the event was created; for a SIEM that indexes by arrival.
        Ingest = "ingest",
        /// Start of the report's period.
        Begin = "begin",
        /// End of the report's period.
        End = "end",
    }
}

impl SinkOptions for Syslog {
    fn destination(&self) -> String {
        format!("{}:{}", self.host.to_ascii_lowercase(), self.port)
    }

    fn shown(&self) -> String {
        format!("{}, {}:{}", self.mode.name(), self.host, self.port)
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

impl KindOptions for Syslog {
    const URLS: Urls = Urls {
        schemes: &["syslog+tls", "syslog+tcp", "syslog+udp"],
        examples: "syslog+tls://host:6514, syslog+tcp://host:601, syslog+udp://host:514",
        read: |url, node| {
            let address = url.place.trim_start_matches("//").trim_end_matches('/');
            node.put("mode", Value::Literal(url.scheme.trim_start_matches("syslog+").to_owned()));
            node.put("address", Value::Literal(address.to_owned()));
            url.options(node)?;
            Ok(None)
        },
    };

    fn is_sensible(&self, view: &View<'_>) -> bool {
        fits(view, self)
    }
}

fn default_port(mode: SyslogMode) -> u16 {
    match mode {
        SyslogMode::Tls => 6514,
        SyslogMode::Tcp => 601,
        SyslogMode::Udp => 514,
    }
}

/// Maximum payload of a UDP datagram over IPv4, in bytes.
const MAX_DATAGRAM: u32 = 65_507;

/// Checks that the options are compatible.
fn fits(view: &View<'_>, syslog: &Syslog) -> bool {
    let Syslog { mode, acknowledgements, max_message_bytes, .. } = *syslog;
    let mut fits = true;
    let mut refuse = |key: &str, message: &str| {
        view.problem(key, message);
        fits = false;
    };
    if mode != SyslogMode::Tls && view.has("tls") {
        refuse("tls", "is only supported with mode: tls; remove it, or set mode: tls");
    }
    if mode == SyslogMode::Udp {
        if acknowledgements == Acknowledgements::Strict {
            refuse("acknowledgements", "strict can't be combined with mode: udp, which has no acknowledgements");
        }
        if view.has("framing.method") {
            refuse("framing.method", "is not used with mode: udp, where each datagram is a frame; remove it");
        }
        if max_message_bytes > MAX_DATAGRAM {
            refuse("max_message_bytes", "must not exceed 65507 with mode: udp, the maximum size of a datagram");
        }
    }
    fits
}

/// An address: `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(crate) struct Address {
    pub host: String,
    pub port: Option<u16>,
}

impl Form for Address {
    type Value = Self;

    fn expected() -> String {
        "host:port, such as siem.example.com:6514 or [2001:db8::1]:6514".to_owned()
    }

    fn kind() -> String {
        "host:port".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected {}, not {text:?}", Self::expected());
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(wrong)?) })
            }
            None if text.matches(':').count() > 1 => return Err(wrong()),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(|port| port.parse().ok().filter(|&port| port > 0).ok_or_else(wrong)).transpose()?;
        Ok(Self { host: Host::parse(host).map_err(|_| wrong())?, port })
    }

    fn written(value: &Self) -> String {
        value.host.clone()
    }
}

/// A syslog facility, by name or number.
struct Facility;

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

impl Form for Facility {
    type Value = u8;

    fn expected() -> String {
        "a facility: local0 to local7, user, daemon, mail, …, or its number from 0 to 23".to_owned()
    }

    fn parse(text: &str) -> Result<u8, String> {
        let named = FACILITIES.iter().position(|name| name.eq_ignore_ascii_case(text));
        let number = named.or_else(|| text.parse().ok().filter(|&number| number < FACILITIES.len()));
        number
            .and_then(|number| u8::try_from(number).ok())
            .ok_or_else(|| format!("expected {}, not {text:?}", Self::expected()))
    }

    fn written(value: &u8) -> String {
        FACILITIES.get(usize::from(*value)).map_or_else(|| value.to_string(), ToString::to_string)
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [
            {"enum": FACILITIES},
            {"type": "integer", "minimum": 0, "maximum": 23},
            {"type": "string", "pattern": r"\$\{"},
        ]})
    }
}

/// A field of the syslog header: printable ASCII without spaces, of at most `MAX` characters (RFC 5424, 6).
struct HeaderName<const MAX: usize>;

impl<const MAX: usize> Form for HeaderName<MAX> {
    type Value = String;

    fn expected() -> String {
        format!("at most {MAX} printable ASCII characters without spaces")
    }

    fn kind() -> String {
        format!("text, {}", Self::expected())
    }

    fn parse(text: &str) -> Result<String, String> {
        let fits = (1..=MAX).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
        if fits { Ok(text.to_owned()) } else { Err(format!("expected {}, not {text:?}", Self::expected())) }
    }

    fn written(value: &String) -> String {
        value.clone()
    }
}
