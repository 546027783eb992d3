//! Failure reports (RFC 6591): their fields, from the part that is made for it or from the text for people, and of the mail
//! that the report is about two fields and nothing else.

use super::{
    header::{field_name, field_of, lines},
    stream::PEEK_BYTES,
};

/// Of the mail that a report is about: whom it claims to be from, and its name. Two reports of the same second would
/// otherwise be one document.
const ABOUT: &[&str] = &["from", "message-id"];

/// Every feedback report has this field (RFC 5965 section 3.1), and one of those beside it.
const TYPE: &str = "feedback-type";
const BESIDE: &[&str] = &["auth-failure", "authentication-results", "source-ip", "user-agent", "version"];

/// Fields of mails that no feedback report has among its own.
const TRANSPORT: &[&str] = &["received", "return-path", "delivered-to", "mime-version", "content-type"];

/// What Exim (and so cPanel) writes: the first two always, and one of the others.
const PROSE: &[&str] =
    &["Sender Domain", "Sender IP Address", "Received date", "SPF Alignment", "DKIM Alignment", "DMARC Results"];

/// Bytes that are searched for the header of the mail that a report is about. Mail servers take headers up to some 100 KiB.
pub(super) const SEARCHED_BYTES: usize = 128 << 10;

/// What stands in the document of a report behind its fields: those of the mail that it is about.
pub(super) fn appendix(ends_in_line_feed: bool, original: &[u8]) -> Vec<u8> {
    let about = about(original);
    match (about.is_empty(), ends_in_line_feed) {
        (true, _) => about,
        (false, true) => [b"\r\n".as_slice(), &about].concat(),
        (false, false) => [b"\r\n\r\n".as_slice(), &about].concat(),
    }
}

/// Whether the bytes begin with the fields of a feedback report, outside any mail.
pub(super) fn is_fields(head: &[u8]) -> bool {
    let lines = lines(head).skip_while(|line| line.trim_ascii().is_empty());
    let names = lines.filter(|line| !matches!(line, [b' ' | b'\t', ..])).map_while(field_name);
    has_type(names.take_while(|name| field_of(name, TRANSPORT).is_none()))
}

fn has_type<'n>(names: impl Iterator<Item = &'n [u8]>) -> bool {
    let (mut kind, mut beside) = (false, false);
    for name in names {
        kind |= field_of(name, &[TYPE]).is_some();
        beside |= field_of(name, BESIDE).is_some();
    }
    kind && beside
}

/// The document within a text for people, if it really has a report's fields.
pub(super) fn in_text(text: &[u8]) -> Option<Vec<u8>> {
    let head = text.get(..PEEK_BYTES).unwrap_or(text);
    misplaced(head).or_else(|| prose(head, text))
}

fn misplaced(head: &[u8]) -> Option<Vec<u8>> {
    let begins = |line: &&[u8]| field_name(line).is_some_and(|name| field_of(name, &[TYPE]).is_some());
    let fields = lines(head).skip_while(|line| !begins(line)).take_while(|line| !line.trim_ascii().is_empty());
    let fields: Vec<&[u8]> = fields.collect();
    has_type(fields.iter().filter_map(|line| field_name(line))).then(|| fields.concat())
}

fn prose(head: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let mut document = Vec::new();
    let mut told = [false; PROSE.len()];
    let (mut at, mut end) = (0, 0);
    for line in lines(head) {
        at += line.len();
        let trimmed = line.trim_ascii();
        let label = PROSE.iter().position(|label| {
            trimmed.strip_prefix(label.as_bytes()).is_some_and(|rest| rest.trim_ascii_start().starts_with(b":"))
        });
        if let Some(told) = label.and_then(|label| told.get_mut(label)).filter(|told| !**told) {
            *told = true;
            document.extend_from_slice(trimmed);
            document.extend_from_slice(b"\r\n");
            end = at;
        }
    }
    let is_report = matches!(told, [true, true, _, spf, dkim, dmarc] if spf || dkim || dmarc);
    is_report.then(|| {
        document.extend(appendix(document.ends_with(b"\n"), text.get(end..).unwrap_or_default()));
        document
    })
}

/// The two fields, of the header that stands first in `original`.
fn about(original: &[u8]) -> Vec<u8> {
    let mut about = Vec::new();
    let header = lines(original).skip_while(|line| field_name(line).is_none());
    let mut wanted = false;
    for line in header.take_while(|line| !line.trim_ascii().is_empty()) {
        if !matches!(line, [b' ' | b'\t', ..]) {
            wanted = field_name(line).is_some_and(|name| field_of(name, ABOUT).is_some());
        }
        if wanted {
            about.extend_from_slice(line);
        }
    }
    about
}
