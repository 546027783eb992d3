//! Reads the header of a mail or of a part: the few fields that matter, decoded.

use std::sync::Arc;

use mail_parser::{HeaderName, Message, MessageParser, MimeHeaders};

use crate::date;

use super::{
    auth_results,
    decode::Encoding,
    fields::{field_name, field_of, is_mailbox_line, lines},
    sniff,
    stream::PEEK_BYTES,
};

/// Maximum number of bytes read of one field: RFC 5322 limits a line to 998, and real names and subjects stay below.
const FIELD_BYTES: usize = 8 << 10;
/// Maximum size of a header with bare CRs, in bytes. Mail servers accept headers of up to some 100 KiB.
const HEADER_BYTES: usize = 256 << 10;
/// Typical size, in bytes, of the fields that are read of a mail.
const USUAL_BYTES: usize = 512;

/// Names of the fields that are read; of several with one name, the first is used.
const FIELDS: &[&str] = &[
    "content-type",
    "content-disposition",
    "content-transfer-encoding",
    "message-id",
    "from",
    "date",
    "subject",
    TLS_REPORT_DOMAIN,
    TLS_REPORT_SUBMITTER,
];
/// Fields of a mail with a TLS report (RFC 8460 section 5.3).
const TLS_REPORT_DOMAIN: &str = "tls-report-domain";
const TLS_REPORT_SUBMITTER: &str = "tls-report-submitter";

/// Fields of this name are kept unparsed, since a mail may have several.
const AUTH_RESULTS: &str = "authentication-results";
/// Number of these fields that are kept, from the top: fewer servers stand between the border and the mailbox, and fields
/// further down were written by others.
const AUTH_RESULTS_KEPT: usize = 32;

/// Header fields of a mail, unverified: anyone can write anything there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Without the angle brackets.
    pub message_id: Option<String>,
    /// The first address of `From`.
    pub from: Option<String>,
    pub date: Option<jiff::Timestamp>,
    pub subject: Option<String>,
    /// `TLS-Report-Domain` and `TLS-Report-Submitter`: the domain that a TLS report is about, and the reporter's.
    pub tls_report_domain: Option<String>,
    pub tls_report_submitter: Option<String>,
    /// Values that were not understood, or only by assumption: each as the event's key and an explanation.
    pub warnings: Vec<String>,
}

/// Values of a mail's or a part's header, in lower case where case is irrelevant.
#[derive(Debug, Clone, Default)]
pub(super) struct Header {
    /// `None` for a part.
    pub envelope: Option<Arc<Envelope>>,
    /// Values of `Authentication-Results`, the topmost first; empty for a part.
    pub auth_results: Vec<String>,
    /// `type/subtype`, or empty; at most 255 characters, and so is `report_type`.
    pub kind: String,
    pub boundary: Option<String>,
    pub report_type: Option<String>,
    /// The attachment's name; at most 255 characters.
    pub name: Option<String>,
    pub encoding: Encoding,
    /// Offset of the body.
    pub body: usize,
}

/// Reads the header at the start of a mail's `bytes`. Without a header, everything is body.
pub(super) fn read(bytes: &[u8]) -> Header {
    let mut header = parsed(bytes, |header, message| {
        fill(header, message);
        header.envelope = Some(Arc::new(envelope(message)));
    });
    header.auth_results = all_auth_results(&bytes[..header.body.min(bytes.len())]);
    header
}

/// Values of all `Authentication-Results` fields in a header, each cut off one byte above the maximum that is parsed. A line
/// that is not a properly folded continuation belongs to none of them: it may be the sender's first line.
fn all_auth_results(header: &[u8]) -> Vec<String> {
    let mut values: Vec<Vec<u8>> = Vec::new();
    let mut wanted = false;
    for line in lines(header) {
        if matches!(line, [b' ' | b'\t', ..]) {
            if let Some(value) = values.last_mut().filter(|_| wanted) {
                let room = (auth_results::FIELD_BYTES + 1).saturating_sub(value.len());
                value.extend_from_slice(&line[..line.len().min(room)]);
            }
            continue;
        }
        wanted = field_name(line).is_some_and(|name| name.eq_ignore_ascii_case(AUTH_RESULTS.as_bytes()));
        if wanted && values.len() == AUTH_RESULTS_KEPT {
            break;
        }
        if wanted {
            let colon = line.iter().position(|&byte| byte == b':').unwrap_or_default();
            let value = &line[colon + 1..];
            values.push(value[..value.len().min(auth_results::FIELD_BYTES + 1)].to_vec());
        }
    }
    values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// Reads the header of a part. An empty header ends in a blank line (RFC 2046 section 5.1); what looks like a header after it
/// belongs to the body, such as the fields of a failure report, unless it is one of a part.
pub(super) fn read_part(bytes: &[u8]) -> Header {
    let is_blank = |line: &&[u8]| line.trim_ascii().is_empty();
    let is_of_part = |name: &[u8]| name.to_ascii_lowercase().starts_with(b"content-");
    let first = lines(bytes).find(|line| !is_blank(line)).and_then(field_name);
    match lines(bytes).next().filter(is_blank) {
        Some(blank) if !first.is_some_and(is_of_part) => Header { body: blank.len(), ..Header::default() },
        _ => parsed(bytes, fill),
    }
}

fn parsed(bytes: &[u8], fill: impl FnOnce(&mut Header, &Message<'_>)) -> Header {
    let (block, body) = collect(bytes);
    let mut header = Header { body, ..Header::default() };
    if let Some(message) = MessageParser::default().parse_headers(&block) {
        fill(&mut header, &message);
    }
    header
}

/// Shortens a name for use in an event, to at most 255 characters.
pub(super) fn clip(name: &str) -> String {
    let end = name.char_indices().nth(255).map_or(name.len(), |(end, _)| end);
    name[..end].to_owned()
}

/// True if the bytes are a mail whose lines all end in a bare CR.
pub(super) fn has_carriage_returns(input: &[u8]) -> bool {
    let head = &input[..input.len().min(PEEK_BYTES)];
    head.contains(&b'\r') && !head.contains(&b'\n') && sniff::is_mail(&with_line_feeds(head))
}

/// Reads the header of a mail with bare CRs; the header is cut off at `HEADER_BYTES`.
pub(super) fn read_with_carriage_returns(mail: &[u8]) -> Header {
    read(&with_line_feeds(&mail[..mail.len().min(HEADER_BYTES)]))
}

fn with_line_feeds(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|&byte| if byte == b'\r' { b'\n' } else { byte }).collect()
}

/// Returns the lines of the wanted fields, each field cut off at `FIELD_BYTES`, and the offset of the body. Only these lines
/// are parsed, so the cost of a header is bounded whoever wrote it.
fn collect(bytes: &[u8]) -> (Vec<u8>, usize) {
    let mut block = Vec::with_capacity(USUAL_BYTES);
    let mut seen = [false; FIELDS.len()];
    let mut room = 0;
    let mut at = 0;
    let mut begun = false;
    let mut lines = lines(bytes).peekable();
    while let Some(line) = lines.next() {
        let is_blank = line.trim_ascii().is_empty();
        if is_blank && begun {
            at += line.len();
            break;
        } else if is_blank || (!begun && is_mailbox_line(line)) {
            at += line.len();
            continue;
        }
        let mut fold = "";
        if !begun || !matches!(line, [b' ' | b'\t', ..]) {
            match field_name(line) {
                Some(name) => {
                    begun = true;
                    let wanted = field_of(name, FIELDS).is_some_and(|field| !std::mem::replace(&mut seen[field], true));
                    room = if wanted { FIELD_BYTES } else { 0 };
                }
                // Some reporters fold a field without indenting the continuation line. Otherwise the blank line before the
                // body is missing.
                None if begun && lines.peek().is_some_and(|next| field_name(next).is_some()) => fold = " ",
                None => break,
            }
        }
        let kept = line.len().min(room);
        if kept > 0 {
            block.extend_from_slice(fold.as_bytes());
            block.extend_from_slice(&line[..kept]);
        }
        if kept > 0 && kept < line.len() {
            block.extend_from_slice(b"\r\n");
        }
        room -= kept;
        at += line.len();
    }
    if !begun {
        return (block, 0);
    }
    block.extend_from_slice(b"\r\n");
    (block, at)
}

fn fill(header: &mut Header, message: &Message<'_>) {
    if let Some(kind) = message.content_type() {
        header.kind = match kind.subtype() {
            Some(subtype) => clip(&[kind.ctype(), "/", subtype].concat()),
            None => clip(kind.ctype()),
        };
        header.kind.make_ascii_lowercase();
        header.boundary = kind.attribute("boundary").map(str::to_owned);
        header.report_type = kind.attribute("report-type").map(|told| clip(told).to_ascii_lowercase());
    }
    header.name = message.attachment_name().filter(|name| !name.trim().is_empty()).map(clip);
    header.encoding = message.content_transfer_encoding().map(Encoding::named).unwrap_or_default();
}

fn envelope(message: &Message<'_>) -> Envelope {
    let (date, warning) = date_of(message);
    Envelope {
        message_id: message.message_id().map(clip),
        from: message.from().and_then(|from| from.first()).and_then(|from| from.address()).map(clip),
        date,
        subject: message.subject().map(str::to_owned),
        tls_report_domain: raw(message, &HeaderName::Other(TLS_REPORT_DOMAIN.into())),
        tls_report_submitter: raw(message, &HeaderName::Other(TLS_REPORT_SUBMITTER.into())),
        warnings: warning.into_iter().collect(),
    }
}

/// Reads the Date field. Not mail-parser's value: that takes the offset of `GMT+01:00`, and unknown zones, for UTC.
fn date_of(message: &Message<'_>) -> (Option<jiff::Timestamp>, Option<String>) {
    let Some(told) = raw(message, &HeaderName::Date) else { return (None, None) };
    let (date, note) = match date::read(&told) {
        Ok(date) => (Some(date.time), date.note().map(|note| format!("{note}, is read as {}", date.time))),
        Err(fault) => (None, Some(fault.to_string())),
    };
    (date, note.map(|note| format!("mail_date: \"{told}\" {note}")))
}

/// Returns the text of a field, unfolded. `None` if it is missing or empty.
fn raw(message: &Message<'_>, name: &HeaderName<'_>) -> Option<String> {
    let field = message.headers().iter().find(|field| field.name.as_str().eq_ignore_ascii_case(name.as_str()))?;
    let place = field.offset_start() as usize..field.offset_end() as usize;
    let text = String::from_utf8_lossy(message.raw_message.get(place)?);
    let text = clip(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    (!text.is_empty()).then_some(text)
}
