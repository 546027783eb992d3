//! Parses the MIME structure of a mail: its leaf parts, in order, with their offsets.
//!
//! Not mail-parser's: that decodes every part at once into lossy strings, takes quadratic time on boundaries that never
//! occur, and recurses without a bound into nested mails.

use std::ops::Range;

use crate::trouble::{Reason, Trouble};

use super::{
    actual_encoding,
    budget::Budget,
    decode::Encoding,
    fields,
    header::{self, Header},
    sniff::{self, Kind},
    split,
    stream::{PEEK_BYTES, Stream, read_up_to},
};

/// Maximum nesting of multiparts. A signed and forwarded mail with the footer of a mailing list is six deep.
const MULTIPART_DEPTH: u32 = 8;

/// Content types of mails inside others, or of their headers.
const MAILS: &[&str] = &["message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers"];

/// Content types of the part of a bounce (RFC 3464, RFC 6533) or receipt (RFC 8098) that software reads; the mail that it is
/// about follows.
const NOTIFICATIONS: &[&str] = &[
    "message/delivery-status",
    "message/global-delivery-status",
    "message/disposition-notification",
    "message/global-disposition-notification",
];

/// A leaf part of a mail.
#[derive(Debug)]
pub(super) struct Part {
    pub header: Header,
    /// Byte range of the body in the mail.
    pub body: Range<usize>,
    /// True for the machine-readable part of a failure report or of another feedback report.
    pub is_feedback: bool,
    /// The original mail that the report is about, or its header; only of the machine-readable part of a failure report.
    pub original: Option<Box<Part>>,
    /// True for the mail that a bounce or a receipt returns to its sender.
    pub is_returned: bool,
}

/// Leaf parts of one mail, without those of nested mails.
#[derive(Debug, Default)]
pub(super) struct Structure {
    pub parts: Vec<Part>,
    /// The exceeded limit because of which parts were left out.
    pub trouble: Option<Trouble>,
}

impl Part {
    /// True for a part that is labelled as a mail or its header.
    pub fn is_labelled_mail(&self) -> bool {
        MAILS.contains(&self.header.kind.as_str())
    }

    /// True for a multipart that is not taken apart.
    pub fn is_multipart(&self) -> bool {
        self.header.kind.starts_with("multipart/")
    }
}

impl Structure {
    /// Parses a mail that begins with `header`.
    pub fn of(header: Header, mail: &[u8], budget: &Budget<'_>) -> Self {
        let mut structure = Structure::default();
        let is_of_daemon =
            header.envelope.as_ref().and_then(|envelope| envelope.from.as_deref()).is_some_and(is_daemon);
        structure.section(mail, 0..mail.len(), header, "text/plain", MULTIPART_DEPTH, budget);
        if is_of_daemon {
            mark_returned(&mut structure.parts, mail, budget);
        }
        structure
    }

    fn section(
        &mut self,
        mail: &[u8],
        place: Range<usize>,
        mut header: Header,
        default_kind: &str,
        depth: u32,
        budget: &Budget<'_>,
    ) {
        if self.trouble.is_some() {
            return;
        }
        if let Err(trouble) = budget.part() {
            self.trouble = Some(trouble);
            return;
        }
        let place = place.start + header.body.min(place.len())..place.end;
        let body = mail.get(place.clone()).unwrap_or_default();
        let unlabelled = header.kind.is_empty();
        if unlabelled {
            header.kind = default_kind.to_owned();
        }
        let may_have_parts = header.kind.starts_with("multipart/") || unlabelled;
        let boundary = if may_have_parts { boundary(&header, body) } else { None };
        // An encrypted multipart is a leaf: nothing can be found in it.
        let Some(boundary) = boundary.filter(|_| header.kind != "multipart/encrypted") else {
            header.encoding = actual_encoding::of(body, header.encoding);
            header.boundary = None;
            let end = if header.encoding == Encoding::Base64 { footer(body) } else { body.len() };
            let place = place.start..place.start + end;
            let is_feedback = header.kind == "message/feedback-report";
            self.parts.push(Part { header, body: place, is_feedback, original: None, is_returned: false });
            return;
        };
        if depth == 0 {
            let detail = format!("multiparts are nested more than {MULTIPART_DEPTH} levels deep");
            self.trouble = Some(Trouble::new(Reason::NestedTooDeep, detail));
            return;
        }
        let inner_kind = if header.kind == "multipart/digest" { "message/rfc822" } else { "text/plain" };
        let first = self.parts.len();
        for Section { range, is_part } in Sections::new(body, &boundary) {
            let range = place.start + range.start..place.start + range.end;
            let bytes = mail.get(range.clone()).unwrap_or_default();
            if is_part {
                self.section(mail, range, header::read_part(bytes), inner_kind, depth - 1, budget);
            } else if !split::in_text(bytes, 1).is_empty() {
                let header = Header { kind: "text/plain".into(), ..Header::default() };
                self.parts.push(Part { header, body: range, is_feedback: false, original: None, is_returned: false });
            }
        }
        let mut parts = with_originals(self.parts.split_off(first), mail, budget);
        if let Some(at) = parts.iter().position(|part| NOTIFICATIONS.contains(&part.header.kind.as_str())) {
            mark_returned(&mut parts[at..], mail, budget);
        }
        self.parts.extend(parts);
    }
}

/// Returns the offset of the footer that a mailing list has appended to base64: an empty line, and a line of dashes or
/// underscores.
fn footer(body: &[u8]) -> usize {
    let (mut at, mut blank) = (0, None);
    for line in fields::lines(body) {
        match line.trim_ascii() {
            b"" => blank = blank.or(Some(at)),
            [b'-' | b'_', b'-' | b'_', ..] if blank.is_some_and(|blank| blank > 0) => return at,
            _ => blank = None,
        }
        at += line.len();
    }
    body.len()
}

/// Marks the mails among the parts of a bounce or receipt: they were sent from here, and are returned.
fn mark_returned(parts: &mut [Part], mail: &[u8], budget: &Budget<'_>) {
    for part in parts {
        part.is_returned |= part.is_labelled_mail() || kind_of(part, mail, budget) == Kind::Mail;
    }
}

/// True for the address that mail servers send bounces from.
fn is_daemon(address: &str) -> bool {
    address.split('@').next().is_some_and(|local_part| local_part.eq_ignore_ascii_case("mailer-daemon"))
}

/// Moves the original mail out of the parts: a failure report ends in the mail that it is about (RFC 5965 section 2), which
/// is someone else's and must not be searched for reports. Gateways change the content types of both to text/plain or
/// application/octet-stream, so these are also recognised by their content.
fn with_originals(parts: Vec<Part>, mail: &[u8], budget: &Budget<'_>) -> Vec<Part> {
    let is_labelled = parts.iter().any(|part| part.is_feedback);
    let mut kept: Vec<Part> = Vec::with_capacity(parts.len());
    let mut report = None;
    for mut part in parts {
        part.is_feedback |= !is_labelled && !part.is_labelled_mail() && kind_of(&part, mail, budget) == Kind::Feedback;
        if part.is_feedback {
            report = Some(kept.len());
        } else if let Some(report) = report.and_then(|at: usize| kept.get_mut(at))
            && report.original.is_none()
            && (part.is_labelled_mail() || kind_of(&part, mail, budget) == Kind::Mail)
        {
            report.original = Some(Box::new(part));
            continue;
        }
        kept.push(part);
    }
    kept
}

fn kind_of(part: &Part, mail: &[u8], budget: &Budget<'_>) -> Kind {
    let body = Stream::of(mail.get(part.body.clone()).unwrap_or_default()).decoded(part.header.encoding);
    sniff::kind(&read_up_to(body.open(budget), PEEK_BYTES).0)
}

/// Returns the boundary that is actually used in the body: the declared one or, if that never occurs, one guessed from the
/// first line that can be a delimiter; of a mail that doesn't say that it has parts, only if that is its first line.
fn boundary(header: &Header, body: &[u8]) -> Option<Vec<u8>> {
    if let Some(told) = header.boundary.as_deref().map(|told| told.trim_end().as_bytes())
        && !told.is_empty()
        && fields::lines(body).any(|line| delimiter(line, told).is_some())
    {
        return Some(told.to_vec());
    }
    let mut lines = fields::lines(body).skip_while(|line| line.trim_ascii().is_empty()).peekable();
    let is_multipart = header.kind.starts_with("multipart/");
    while let Some(line) = lines.next() {
        let guess = line.trim_ascii_end().strip_prefix(b"--").filter(|guess| (1..=70).contains(&guess.len()));
        let name = lines.peek().and_then(|next| fields::field_name(next)).unwrap_or_default();
        if let Some(guess) = guess.filter(|_| name.to_ascii_lowercase().starts_with(b"content-")) {
            return Some(guess.to_vec());
        }
        // Only a multipart can have a preamble.
        if !is_multipart {
            break;
        }
    }
    None
}

/// Returns `None` if the line is no delimiter of `boundary`, else true for the closing delimiter (RFC 2046 section 5.1.1).
fn delimiter(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?.trim_ascii_end();
    match rest {
        b"" => Some(false),
        b"--" => Some(true),
        _ => None,
    }
}

/// A section of a multipart body.
struct Section {
    range: Range<usize>,
    /// False for the preamble and the epilogue.
    is_part: bool,
}

/// Iterates over the sections in a multipart body. The closing delimiter may be missing, or be followed by more sections.
struct Sections<'a, 'b> {
    body: &'a [u8],
    boundary: &'b [u8],
    at: usize,
    /// True behind a delimiter that closes no multipart: what follows is a part.
    is_part: bool,
    ended: bool,
}

impl<'a, 'b> Sections<'a, 'b> {
    fn new(body: &'a [u8], boundary: &'b [u8]) -> Self {
        Sections { body, boundary, at: 0, is_part: false, ended: false }
    }
}

impl Iterator for Sections<'_, '_> {
    type Item = Section;

    fn next(&mut self) -> Option<Section> {
        if self.ended {
            return None;
        }
        let begin = self.at;
        let rest = &self.body[begin..];
        let mut end = 0;
        for line in fields::lines(rest) {
            if let Some(is_last) = delimiter(line, self.boundary) {
                let is_part = std::mem::replace(&mut self.is_part, !is_last);
                self.at += end + line.len();
                let section = &rest[..end];
                // The line end before a delimiter belongs to the delimiter.
                let section = section.strip_suffix(b"\n").unwrap_or(section);
                let section = section.strip_suffix(b"\r").unwrap_or(section);
                return Some(Section { range: begin..begin + section.len(), is_part });
            }
            end += line.len();
        }
        self.ended = true;
        Some(Section { range: begin..self.body.len(), is_part: self.is_part })
    }
}
