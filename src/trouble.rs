//! Reasons why input could not be read: the closed list of reasons in `ingest_error` events.

use std::{fmt, io};

/// An error in reading input: the reason, a description, and the limit that was hit, if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub reason: Reason,
    /// Lower case: what broke, then what was expected. May quote a reporter: encoders escape it.
    pub detail: String,
    pub limit: Option<LimitHit>,
    /// True if only a checksum is wrong: every byte was read, and none is missing.
    pub is_checksum: bool,
}

/// The limit that was hit: the name and value of its setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitHit {
    /// Full key, such as `limits.document_bytes`.
    pub setting: &'static str,
    pub value: u64,
}

impl Trouble {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), limit: None, is_checksum: false }
    }

    /// Creates a trouble for data that was read to its end, and whose checksum is wrong.
    pub fn checksum(reason: Reason, detail: impl Into<String>) -> Self {
        Self { is_checksum: true, ..Self::new(reason, detail) }
    }

    /// Creates a trouble for a limit that was hit; the detail ends in the setting to raise.
    pub fn over(reason: Reason, what: impl fmt::Display, setting: &'static str, value: u64) -> Self {
        Self {
            limit: Some(LimitHit { setting, value }),
            ..Self::new(reason, format!("{what} exceeds {value}; raise {setting} to read it"))
        }
    }

    /// Returns the trouble that a reader passed up through [`io::Error`], or the I/O error itself with reason `otherwise`.
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

/// Wraps a trouble in an [`io::Error`], the only error that readers below quick-xml and the archive crates can return.
impl From<Trouble> for io::Error {
    fn from(trouble: Trouble) -> Self {
        io::Error::other(trouble)
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal,)*) => {
        /// Reason codes, a closed list; users alert on them, so codes are only ever added.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[doc = $doc])* $name,)* }

        impl Reason {
            /// All reasons, in the order of the documentation.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The code, as in the event.
            pub fn code(self) -> &'static str {
                match self { $(Reason::$name => $code,)* }
            }
        }
    };
}

reasons! {
    /// The mail is larger than `limits.mail_bytes` and was not fetched.
    MailTooLarge = "mail_too_large",
    /// The bytes are not a mail.
    MailUnreadable = "mail_unreadable",
    /// The mail has more parts than `limits.mail_parts`.
    TooManyParts = "too_many_parts",
    /// Mails or archives are nested deeper than `limits.nesting`.
    NestedTooDeep = "nested_too_deep",
    /// The report is encrypted with S/MIME or PGP.
    EncryptedMail = "encrypted_mail",
    /// The report is inside a Microsoft TNEF (winmail.dat) part.
    Tnef = "tnef",
    /// A damaged gzip stream.
    CorruptGzip = "corrupt_gzip",
    /// A damaged raw zlib stream.
    CorruptZlib = "corrupt_zlib",
    /// A damaged zip archive or entry.
    CorruptZip = "corrupt_zip",
    /// A damaged tar archive.
    CorruptTar = "corrupt_tar",
    /// A damaged S/MIME or Outlook message.
    CorruptMessage = "corrupt_message",
    /// A zip entry that needs a password.
    EncryptedZip = "encrypted_zip",
    /// An unsupported container or compression method (bzip2, xz, 7z, rar, …).
    UnsupportedContainer = "unsupported_container",
    /// The archives of a mail have more entries than `limits.archive_entries`.
    TooManyEntries = "too_many_entries",
    /// One document inflates to more than `limits.document_bytes`.
    DocumentTooLarge = "document_too_large",
    /// The decompressed data of one mail exceeds `limits.mail_inflated_bytes`, or the archives inside its archives exceed
    /// `limits.mail_bytes`.
    MailInflatesTooFar = "mail_inflates_too_far",
    /// A stream inflates to more than `limits.inflation_ratio` times its size.
    InflationRatio = "inflation_ratio",
    /// An empty attachment or file.
    Empty = "empty",
    /// Neither XML, JSON nor a feedback report.
    NotAReport = "not_a_report",
    /// A DOCTYPE, which no report needs and which entity bombs are made of.
    XmlDoctype = "xml_doctype",
    /// XML that could not be parsed even with repairs.
    XmlMalformed = "xml_malformed",
    /// The document ended before its end tag; the rows before that were shipped.
    XmlTruncated = "xml_truncated",
    /// XML elements are nested deeper than `limits.xml_depth`.
    XmlTooDeep = "xml_too_deep",
    /// A tag is larger than `limits.xml_token_bytes`, or sixteen times as many bytes come without a tag.
    XmlTokenTooLarge = "xml_token_too_large",
    /// JSON that could not be parsed; the rows before the error were shipped.
    JsonMalformed = "json_malformed",
    /// The JSON ended before its objects were closed; the rows before that were shipped.
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
    /// The reader panicked: a bug in this program.
    ReaderPanic = "reader_panic",
    /// The process crashed on this mail, the server could not send it, or a sink did not accept its events while it accepted
    /// those of others, `max_attempts` times.
    AttemptsExhausted = "attempts_exhausted",
    /// A report for a domain that is not in `domains`.
    UnwantedDomain = "unwanted_domain",
    /// The sender exceeds its daily quota (`limits.sender_…_per_day`); the mail is left for another day.
    SenderOverLimit = "sender_over_limit",
    /// No server of `trusted_authserv_ids` has authenticated the mail, and `require_authenticated` is set.
    SenderNotAuthenticated = "sender_not_authenticated",
    /// A sink rejected events of the mail, which it will never take, such as one that is too large for a UDP datagram; the
    /// other sinks got them.
    SinkRejected = "sink_rejected",
    /// The report was shipped, but not everything in it: `detail` and the `parse_warnings` say what was skipped or shortened.
    LeftOut = "left_out",
}
