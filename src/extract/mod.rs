//! Bytes of a mail or a file → the documents in them. Pure.
//!
//! Containers (mails, zip, gzip, zlib, tar) are recognised by their bytes, never by names or content types, and opened
//! inside each other. What is inflated is held only where it is small: else a [`Document`] is a recipe that inflates again
//! each time it is opened. An archive or mail inside an archive has to be seen at once; one such is held at a time, in a
//! [`Room`] that may be told to drop it.
//!
//! A mailbox may be one that people use. So what is foreign there (an invoice, a word processor's file, a zip with a
//! password) is passed over without a word, unless the mail says that it is a report; see `marks.rs`.

mod auth_results;
mod budget;
mod decode;
mod failure;
mod header;
mod inflate;
mod marks;
mod mime;
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

/// Looks at a mail or a bare report file without unpacking it: what it says of itself is known before its documents are.
pub fn open<'a>(input: &'a [u8], origin: Origin<'a>, limits: &'a Limits) -> Opened<'a> {
    let header = match origin {
        _ if header::has_carriage_returns(input) => header::read_with_carriage_returns(input),
        Origin::File { .. } if !sniff::is_mail(input) => Header::default(),
        Origin::Mail | Origin::File { .. } => header::read(input),
    };
    Opened { input, origin, limits, header, allowance: None }
}

/// Where the bytes come from, which decides what is said of things in them that are no report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// A mailbox: may be anyone's private mail.
    Mail,
    /// A file that the user pointed at: it was meant as a report, unless it is a mail, which may be anyone's as well.
    File { name: &'a str },
}

/// A mail or file whose documents have not been looked for yet.
#[derive(Debug)]
pub struct Opened<'a> {
    input: &'a [u8],
    origin: Origin<'a>,
    limits: &'a Limits,
    header: Header,
    allowance: Option<(u64, Trouble)>,
}

impl Opened<'_> {
    /// What the mail says of itself; empty for a bare file.
    pub fn envelope(&self) -> Arc<Envelope> {
        self.header.envelope.clone().unwrap_or_default()
    }

    /// What the servers with these authserv-ids, in lower case, have found of the mail's sender; an empty one stands for fields
    /// without an id. `None` when they have said nothing, and of a bare file.
    pub fn mail_auth(&self, trusted: &[String]) -> Option<MailAuth> {
        MailAuth::of(&self.header.auth_results, trusted)
    }

    /// Lets the mail inflate to `bytes` at the most, where that is less than `limits.mail_inflated_bytes`; `beyond` is the
    /// trouble of one that goes on.
    pub fn allow(&mut self, bytes: u64, beyond: Trouble) {
        self.allowance = Some((bytes, beyond));
    }

    /// Hands out what is found, in the order in which it stands in the mail. Nothing found means: no report, and none
    /// was to be expected.
    ///
    /// What [`Limits`] cap per mail (bytes inflated, parts, archive entries) is counted over one call. `found` may have
    /// `room` release what it holds.
    pub fn walk(self, room: &Room<'_>, found: &mut dyn FnMut(Found<'_>)) -> Inflated {
        let budget = Budget::new(self.limits, room, self.allowance);
        Walk::new(&budget, found).start(self.input, self.origin, self.header);
        Inflated { bytes: budget.inflated(), is_cut: budget.is_exhausted() }
    }
}

/// What came out of the compressed parts of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inflated {
    pub bytes: u64,
    /// There is more, beyond the allowance.
    pub is_cut: bool,
}

/// What a mail says of itself, as told: anyone can write anything there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Without the angle brackets.
    pub message_id: Option<String>,
    /// The first address of `From`.
    pub from: Option<String>,
    pub date: Option<jiff::Timestamp>,
    pub subject: Option<String>,
}

/// One thing found in a mail or file.
#[derive(Debug)]
pub enum Found<'a> {
    Document(Document<'a>),
    Unreadable(Unreadable),
}

/// An attachment, or a member of an archive, that was to be read and can't be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub attachment: Option<String>,
    /// SHA-256 of the attachment's bytes as they were attached; for a member of an archive, of that hash followed by
    /// the member's name.
    pub sha256: [u8; 32],
    pub trouble: Trouble,
}

/// What a document is written in, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An aggregate report (RFC 9990, RFC 7489).
    Xml,
    /// An SMTP TLS report (RFC 8460).
    Json,
    /// The machine-readable part of a failure report (RFC 6591, RFC 9991), and after it From and Message-ID of the mail that
    /// it is about, and nothing else of that. Of a report without such a part, its fields within the text.
    Feedback,
}

/// A report as it came out of its containers: a recipe to read its bytes, as often as wanted.
#[derive(Debug)]
pub struct Document<'a> {
    /// The attachment's name as told, and after it those of members inside archives: `report.zip/a.xml`. At most 255
    /// characters.
    pub attachment: Option<String>,
    pub format: Format,
    stream: &'a Stream<'a>,
    budget: &'a Budget<'a>,
}

impl Document<'_> {
    /// The decompressed bytes from their start.
    ///
    /// Reading fails with a [`Trouble`] inside the [`std::io::Error`]. Damage (a bad checksum, a cut-off stream) comes
    /// after every byte that could be decompressed. `limits.document_bytes` holds for each reading; what counts for
    /// `limits.mail_inflated_bytes` is counted once, however often the document is opened.
    pub fn open(&self) -> Box<dyn BufRead + '_> {
        self.stream.open_capped(self.budget)
    }

    /// Bytes that the mail has inflated to so far.
    pub fn inflated(&self) -> u64 {
        self.budget.inflated()
    }
}
