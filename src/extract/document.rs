//! Documents, and other findings in a mail or file.

use std::{io::BufRead, sync::Arc};

use super::{budget::Budget, header::Envelope, split, stream::Stream};
use crate::trouble::Trouble;

/// Origin of the bytes, which decides whether content that is no report is reported as an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// A mailbox: the mail may be anyone's private mail.
    Mail,
    /// A file that the user named: it was meant as a report, unless it is a mail, which may again be private.
    File { name: &'a str },
}

/// A finding in a mail or file.
#[derive(Debug)]
pub enum Found<'a> {
    Document(Document<'a>),
    Unreadable(Unreadable),
    /// A report inside a mail that a bounce or a receipt returns to its sender: it was sent from here, and is not for here.
    Returned,
}

/// An attachment or archive member that should have been readable and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub attachment: Option<String>,
    /// SHA-256 of the attachment's bytes before decompression; for an archive member, of that hash followed by the member's
    /// name.
    pub sha256: [u8; 32],
    pub trouble: Trouble,
    /// Header of the mail that it was in, if that was in an archive or mbox.
    pub envelope: Option<Arc<Envelope>>,
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
    /// Header of the mail that it was in, if that was in an archive or mbox.
    pub envelope: Option<Arc<Envelope>>,
    pub(super) stream: &'a Stream<'a>,
    pub(super) budget: &'a Budget<'a>,
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

    /// Passes on the documents that follow one another in this one: concatenated XML or JSON, JSON lines, the elements of a
    /// JSON array. A trouble ends them. Returns false if there are no two.
    pub fn each_of_several(&self, each: &mut dyn FnMut(Result<Document<'_>, Trouble>)) -> bool {
        let (stream, most) = (self.stream.open(self.budget), self.budget.most_entries());
        let places = match self.format {
            Format::Xml => split::xml(stream, most),
            Format::Json => split::json(stream, most),
            Format::Feedback => Vec::new(),
        };
        if places.len() < 2 {
            return false;
        }
        for place in places {
            if let Err(trouble) = self.budget.entry() {
                each(Err(trouble));
                break;
            }
            let stream = &self.stream.slice(place);
            let (attachment, envelope) = (self.attachment.clone(), self.envelope.clone());
            each(Ok(Document { attachment, envelope, format: self.format, stream, budget: self.budget }));
        }
        true
    }

    /// Number of bytes that the mail has inflated to so far.
    pub fn inflated(&self) -> u64 {
        self.budget.inflated()
    }
}
