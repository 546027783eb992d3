//! Extracts report documents from the bytes of a mail or a file. Pure.
//!
//! Containers (mails, zip, gzip, zlib, tar, signed S/MIME, Outlook messages) are recognised by their bytes, never by names or content types, and opened
//! recursively. Inflated data is held in memory only if it is small: otherwise a [`Document`] only describes how to inflate
//! it, and does so each time it is opened. An archive or mail inside an archive has to be in memory as a whole; one of these
//! is held at a time, in a [`Room`] that can be made to drop it.
//!
//! Everything in a mail or file is read, or told, or of a kind that holds no report: what is passed over in silence, as no
//! report was expected there, is told after all if reports are found beside it.
//!
//! A mailbox may also be in use by people. So unrelated attachments (an invoice, a word processor's file, a zip with a
//! password) are ignored silently, unless the mail is marked as a report; see `report_hints.rs`.

mod actual_encoding;
mod auth_results;
mod budget;
mod buffered;
mod decode;
mod document;
mod failure;
mod fields;
mod header;
mod inflate;
mod json_string;
mod mbox;
mod mime;
mod outlook;
mod pem;
mod report_hints;
mod room;
mod signed_data;
mod sniff;
mod split;
mod stream;
mod tar;
mod walk;
mod zip;
mod zip_local;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use crate::{limits::Limits, trouble::Trouble};

use budget::Budget;
use header::Header;
use walk::Walk;

pub use auth_results::{AuthMethod, AuthResult, MailAuth};
pub use document::{Document, Format, Found, Origin, Unreadable};
pub use header::Envelope;
pub use room::{FREE_BYTES, Reservation, Reserve, Room, Unshared};
pub use stream::SMALL_BYTES;

/// Reads the header of a mail or a bare report file without unpacking it, so that the envelope is known before the
/// documents.
pub fn open<'a>(input: &'a [u8], origin: Origin<'a>, limits: &'a Limits) -> Opened<'a> {
    // Some tools save mails with a byte order mark.
    let input = input.strip_prefix(fields::BYTE_ORDER_MARK).filter(|mail| sniff::is_mail(mail)).unwrap_or(input);
    let header = match origin {
        _ if header::has_carriage_returns(input) => header::read_with_carriage_returns(input),
        Origin::File { .. } if !sniff::is_mail(input) => Header::default(),
        Origin::Mail | Origin::File { .. } => header::read(input),
    };
    Opened { input, origin, limits, header, allowance: None }
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
