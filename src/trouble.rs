//! Why something that arrived could not be read: the closed list of reasons that `ingest_error` events carry.

use std::{fmt, io};

/// One thing that could not be read in full: what broke, and the limit and setting where it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub reason: Reason,
    /// Lower case, what broke, then what was expected. May quote a reporter: encoders escape it.
    pub detail: String,
    pub limit: Option<LimitHit>,
}

/// The limit that was hit: its setting's name in the configuration, and the value it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitHit {
    /// Full key, such as `limits.document_bytes`.
    pub setting: &'static str,
    pub value: u64,
}

impl Trouble {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), limit: None }
    }

    /// A limit was hit: the detail ends in what to raise.
    pub fn over(reason: Reason, what: impl fmt::Display, setting: &'static str, value: u64) -> Self {
        Self {
            reason,
            detail: format!("{what} exceeds {value}; raise {setting} to read it"),
            limit: Some(LimitHit { setting, value }),
        }
    }

    /// The trouble that a reader passed up through [`io::Error`], or the I/O error itself as one of `otherwise`.
    pub fn from_io(error: &io::Error, otherwise: Reason) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Trouble>()) {
            Some(trouble) => trouble.clone(),
            None => Self::new(otherwise, error.to_string()),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.code(), self.detail)
    }
}

impl std::error::Error for Trouble {}

/// Readers below quick-xml and the archive crates can only fail with an [`io::Error`]; it carries the trouble.
impl From<Trouble> for io::Error {
    fn from(trouble: Trouble) -> Self {
        io::Error::other(trouble)
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal,)*) => {
        /// The closed list of reason codes; users alert on them, so codes are only ever added.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[doc = $doc])* $name,)* }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The code as it stands in the event.
            pub fn code(self) -> &'static str {
                match self { $(Reason::$name => $code,)* }
            }
        }
    };
}

reasons! {
    /// The mail is larger than `limits.mail_bytes` and was not fetched.
    MailTooLarge = "mail_too_large",
    /// The bytes are no mail at all.
    MailUnreadable = "mail_unreadable",
    /// The mail has more parts than `limits.mail_parts`.
    TooManyParts = "too_many_parts",
    /// Mails or archives inside each other, deeper than `limits.nesting`.
    NestedTooDeep = "nested_too_deep",
    /// S/MIME or PGP around the report.
    EncryptedMail = "encrypted_mail",
    /// A Microsoft TNEF (winmail.dat) part around the report.
    Tnef = "tnef",
    /// A damaged gzip stream.
    CorruptGzip = "corrupt_gzip",
    /// A damaged raw zlib stream.
    CorruptZlib = "corrupt_zlib",
    /// A damaged zip archive or entry.
    CorruptZip = "corrupt_zip",
    /// A damaged tar archive.
    CorruptTar = "corrupt_tar",
    /// A zip entry that needs a password.
    EncryptedZip = "encrypted_zip",
    /// A container or compression method that is not read (bzip2, xz, 7z, rar, …).
    UnsupportedContainer = "unsupported_container",
    /// An archive holds more entries than `limits.archive_entries`.
    TooManyEntries = "too_many_entries",
    /// One document inflates past `limits.document_bytes`.
    DocumentTooLarge = "document_too_large",
    /// All documents of one mail inflate past `limits.mail_inflated_bytes`.
    MailInflatesTooFar = "mail_inflates_too_far",
    /// A stream inflates to more than `limits.inflation_ratio` times its size.
    InflationRatio = "inflation_ratio",
    /// An attachment or file without a byte in it.
    Empty = "empty",
    /// Neither XML, JSON nor a feedback report.
    NotAReport = "not_a_report",
    /// A DOCTYPE, which no report needs and which is how entity bombs are made.
    XmlDoctype = "xml_doctype",
    /// XML that could not be followed even with repairs.
    XmlMalformed = "xml_malformed",
    /// The document ended before its end tag; the rows before that were shipped.
    XmlTruncated = "xml_truncated",
    /// Elements inside each other deeper than `limits.xml_depth`.
    XmlTooDeep = "xml_too_deep",
    /// A tag longer than `limits.xml_token_bytes`, or sixteen times as much without a tag.
    XmlTokenTooLarge = "xml_token_too_large",
    /// JSON that could not be followed; the rows before that were shipped.
    JsonMalformed = "json_malformed",
    /// The JSON ended before its objects did; the rows before that were shipped.
    JsonTruncated = "json_truncated",
    /// An abuse, opt-out or other feedback report (RFC 5965) that is not about authentication.
    NotDmarcFeedback = "not_dmarc_feedback",
    /// A report with more rows than `limits.rows`; the rows before that were shipped.
    TooManyRows = "too_many_rows",
    /// The events of a report, or of all reports of a mail, are larger than `limits.document_event_bytes` or
    /// `limits.mail_event_bytes`; the rows before that were shipped.
    TooManyEventBytes = "too_many_event_bytes",
    /// The events of a report are more than `limits.event_expansion` times its size; the rows before that were shipped.
    EventExpansion = "event_expansion",
    /// The reader itself failed; the report of it is a bug report.
    ReaderPanic = "reader_panic",
    /// The process died over this mail, the server could not send it, or a sink did not take its events while it took those of
    /// others, `max_attempts` times.
    AttemptsExhausted = "attempts_exhausted",
    /// A report for a domain that is not among `domains`.
    UnwantedDomain = "unwanted_domain",
    /// The sender is over its share of the day (`limits.sender_…_per_day`); the mail is left for another.
    SenderOverLimit = "sender_over_limit",
    /// No server of `trusted_authserv_ids` has authenticated the mail, and `require_authenticated` is set.
    SenderNotAuthenticated = "sender_not_authenticated",
}
