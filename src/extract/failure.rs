//! Extracts failure reports (RFC 6591): the report's fields, from the machine-readable part or from human-readable text, and
//! two fields (From, Message-ID) of the original mail that the report is about, nothing else of it.

use super::{
    fields::{field_name, field_of, lines},
    stream::PEEK_BYTES,
};

/// Fields kept of the original mail: its claimed sender and its ID. Without them, two reports of the same second would be
/// the same document.
const ABOUT: &[&str] = &["from", "message-id"];

/// Every feedback report has this field (RFC 5965 section 3.1), and one of `BESIDE`.
const TYPE: &str = "feedback-type";
const BESIDE: &[&str] = &["auth-failure", "authentication-results", "source-ip", "user-agent", "version"];

/// Fields of mails that no feedback report has among its own fields.
const TRANSPORT: &[&str] = &["received", "return-path", "delivered-to", "mime-version", "content-type"];

/// Labels in the text of Exim (and so of cPanel): a report has the first two, and one of the alignments or results.
const PROSE: &[&str] =
    &["Sender Domain", "Sender IP Address", "Received date", "SPF Alignment", "DKIM Alignment", "DMARC Results"];

/// Bytes of the original mail that are searched for its header. Mail servers accept headers of up to some 100 KiB.
pub(super) const SEARCHED_BYTES: usize = 128 << 10;

/// Text that is appended to a report's fields to make its document: the fields of the original mail.
pub(super) fn appendix(ends_in_line_feed: bool, original: &[u8]) -> Vec<u8> {
    let about = about(original);
    match (about.is_empty(), ends_in_line_feed) {
        (true, _) => about,
        (false, true) => [b"\r\n".as_slice(), &about].concat(),
        (false, false) => [b"\r\n\r\n".as_slice(), &about].concat(),
    }
}

/// True if the bytes begin with the fields of a feedback report, outside any mail.
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

/// Returns the report document found in human-readable text, if it has a report's fields.
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

/// Returns the fields `ABOUT` of the first header in `original`.
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
