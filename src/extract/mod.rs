//! Extracts report documents from the bytes of a mail or a file. Pure.
//!
//! Containers (mails, zip, gzip, zlib, tar) are recognised by their bytes, never by names or content types, and opened
//! recursively. Inflated data is held in memory only if it is small: otherwise a [`Document`] only describes how to inflate
//! it, and does so each time it is opened. An archive or mail inside an archive has to be in memory as a whole; one of these
//! is held at a time, in a [`Room`] that can be made to drop it.
//!
//! A mailbox may also be in use by people. So unrelated attachments (an invoice, a word processor's file, a zip with a
//! password) are ignored silently, unless the mail is marked as a report; see `report_hints.rs`.

mod auth_results;
mod budget;
mod decode;
mod failure;
mod header;
mod inflate;
mod mime;
mod report_hints;
mod room;
mod sniff;
mod stream;
mod tar;
mod walk;
mod zip;

#[cfg(test)]
mod tests;

use std::{io::BufRead, sync::Arc};

use crate::{limits::Limits, trouble::Trouble};

use budget::Budget;
use header::Header;
use stream::Stream;
use walk::Walk;

pub use auth_results::{AuthMethod, AuthResult, MailAuth};
pub use room::{FREE_BYTES, Reservation, Reserve, Room, Unshared};
pub use stream::SMALL_BYTES;

/// Reads the header of a mail or a bare report file without unpacking it, so that the envelope is known before the
/// documents.
pub fn open<'a>(input: &'a [u8], origin: Origin<'a>, limits: &'a Limits) -> Opened<'a> {
    let header = match origin {
        _ if header::has_carriage_returns(input) => header::read_with_carriage_returns(input),
        Origin::File { .. } if !sniff::is_mail(input) => Header::default(),
        Origin::Mail | Origin::File { .. } => header::read(input),
    };
    Opened { input, origin, limits, header, allowance: None }
}

/// Origin of the bytes, which decides whether content that is no report is reported as an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// A mailbox: the mail may be anyone's private mail.
    Mail,
    /// A file that the user named: it was meant as a report, unless it is a mail, which may again be private.
    File { name: &'a str },
}

/// A mail or file that has not been searched for documents yet.
#[derive(Debug)]
pub struct Opened<'a> {
    input: &'a [u8],
    origin: Origin<'a>,
    limits: &'a Limits,
    header: Header,
    allowance: Option<(u64, Trouble)>,
}

impl Opened<'_> {
    /// The envelope of the mail; empty for a bare file.
    pub fn envelope(&self) -> Arc<Envelope> {
        self.header.envelope.clone().unwrap_or_default()
    }

    /// Results of the servers with these authserv-ids (lower case) about the mail's sender; an empty id matches fields
    /// without an id. `None` if there are none, and for a bare file.
    pub fn mail_auth(&self, trusted: &[String]) -> Option<MailAuth> {
        MailAuth::of(&self.header.auth_results, trusted)
    }

    /// Limits the mail to `bytes` of inflated data if that is less than `limits.mail_inflated_bytes`; `beyond` is the
    /// trouble that is reported if the mail exceeds it.
    pub fn allow(&mut self, bytes: u64, beyond: Trouble) {
        self.allowance = Some((bytes, beyond));
    }

    /// Passes each finding to `found`, in the order of the mail. No finding means that the mail has no report, and that none
    /// was to be expected.
    ///
    /// The [`Limits`] per mail (bytes inflated, parts, archive entries) are counted over one call. `found` may make `room`
    /// release the container that it holds.
    pub fn walk(self, room: &Room<'_>, found: &mut dyn FnMut(Found<'_>)) -> Inflated {
        let budget = Budget::new(self.limits, room, self.allowance);
        Walk::new(&budget, found).start(self.input, self.origin, self.header);
        Inflated { bytes: budget.inflated(), is_cut: budget.is_exhausted() }
    }
}

/// Number of bytes that a mail inflated to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inflated {
    pub bytes: u64,
    /// True if the mail has more than its allowance.
    pub is_cut: bool,
}

/// Header fields of a mail, unverified: anyone can write anything there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Without the angle brackets.
    pub message_id: Option<String>,
    /// The first address of `From`.
    pub from: Option<String>,
    pub date: Option<jiff::Timestamp>,
    pub subject: Option<String>,
}

/// A finding in a mail or file.
#[derive(Debug)]
pub enum Found<'a> {
    Document(Document<'a>),
    Unreadable(Unreadable),
}

/// An attachment or archive member that should have been readable and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub attachment: Option<String>,
    /// SHA-256 of the attachment's bytes before decompression; for an archive member, of that hash followed by the member's
    /// name.
    pub sha256: [u8; 32],
    pub trouble: Trouble,
}

/// Format of a document, detected from its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An aggregate report (RFC 9990, RFC 7489).
    Xml,
    /// An SMTP TLS report (RFC 8460).
    Json,
    /// A failure report (RFC 6591, RFC 9991): its machine-readable part, followed by From and Message-ID of the original
    /// mail and nothing else of that. Without such a part, the report's fields found in the text.
    Feedback,
}

/// A report inside its containers; can be opened and read any number of times.
#[derive(Debug)]
pub struct Document<'a> {
    /// The attachment's name as declared, followed by the names of nested archive members: `report.zip/a.xml`. At most 255
    /// characters.
    pub attachment: Option<String>,
    pub format: Format,
    stream: &'a Stream<'a>,
    budget: &'a Budget<'a>,
}

impl Document<'_> {
    /// Opens the decompressed bytes from the start.
    ///
    /// Reading fails with a [`Trouble`] inside the [`std::io::Error`]. Damage (a bad checksum, a truncated stream) is
    /// reported after every byte that could be decompressed. `limits.document_bytes` applies to each reading; bytes count
    /// towards `limits.mail_inflated_bytes` once, however often the document is opened.
    pub fn open(&self) -> Box<dyn BufRead + '_> {
        self.stream.open_capped(self.budget)
    }

    /// Number of bytes that the mail has inflated to so far.
    pub fn inflated(&self) -> u64 {
        self.budget.inflated()
    }
}
