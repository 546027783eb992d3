//! Extracts failure reports (RFC 6591): the report's fields, from the machine-readable part or from human-readable text, and
//! two fields (From, Message-ID) of the original mail that the report is about, nothing else of it.

use super::{
    fields::{BYTE_ORDER_MARK, field_name, field_of, lines},
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

/// Fields of a report in human-readable text: the label in the text of Exim (and so of cPanel), and what others call it, in
/// lower case, longer names first. A report has the first two, and one of the last three. None is the name of a header
/// field, since the header of the original mail may follow.
const PROSE: &[(&str, &[&str])] = &[
    (
        "Sender Domain",
        &[
            "sender domain",
            "domain of sender",
            "domain of the sender",
            "sender s domain",
            "sending domain",
            "from domain",
            "header from domain",
            "header from",
            "rfc5322 from domain",
            "rfc5322 from",
            "author domain",
            "reported domain",
            "domain name",
            "domain",
        ],
    ),
    (
        "Sender IP Address",
        &[
            "sender ip address",
            "sender s ip address",
            "sender s ip",
            "sender ip",
            "sender host address",
            "sending ip address",
            "sending ip",
            "source ip address",
            "source ip",
            "source address",
            "client ip address",
            "client ip",
            "client address",
            "remote ip address",
            "remote ip",
            "connecting ip address",
            "connecting ip",
            "originating ip address",
            "originating ip",
            "ip address",
            "ip",
        ],
    ),
    (
        "Received date",
        &[
            "received date",
            "received at",
            "received on",
            "receive date",
            "receipt date",
            "date received",
            "date of receipt",
            "time received",
            "message received",
            "arrival date",
            "arrival time",
            "arrived at",
            "arrived on",
            "time of receipt",
            "time of arrival",
            "date of arrival",
        ],
    ),
    (
        "SPF Alignment",
        &["spf identifier alignment", "spf alignment", "spf aligned", "spf domain aligned", "aligned spf"],
    ),
    (
        "DKIM Alignment",
        &["dkim identifier alignment", "dkim alignment", "dkim aligned", "dkim domain aligned", "aligned dkim"],
    ),
    (
        "DMARC Results",
        &[
            "dmarc results",
            "dmarc result",
            "dmarc disposition",
            "dmarc policy applied",
            "dmarc action",
            "dmarc status",
            "delivery result",
            "policy applied",
            "applied policy",
            "action taken",
            "disposition",
            "dmarc verdict",
            "dmarc",
        ],
    ),
];

/// Signs between a label and its value: colons of several scripts, and lines of tables. A dash counts after a blank only.
const SEPARATORS: &[char] = &[':', '\u{ff1a}', '\u{fe55}', '=', '|', '\u{2502}', '\u{2503}'];
const DASHES: &[char] = &['-', '\u{2013}', '\u{2014}'];
/// Signs around a label or a value: bullets, lines of tables, Markdown. Not `>`, before which another mail is quoted.
const ORNAMENTS: &[char] = &['*', '-', '\u{2022}', '\u{b7}', '|', '\u{2502}', '\u{2503}', '`', '"', '#'];

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
    let lines =
        lines(head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head)).skip_while(|line| line.trim_ascii().is_empty());
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
    misplaced(head, text).or_else(|| prose(head, text))
}

/// Returns the fields of a machine-readable part within text, up to a blank line, and those of the original mail after it.
fn misplaced(head: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let is_type = |line: &[u8]| field_name(line).is_some_and(|name| field_of(name, &[TYPE]).is_some());
    let before: usize = lines(head).take_while(|line| !is_type(line.trim_ascii_start())).map(<[u8]>::len).sum();
    let fields: Vec<&[u8]> = lines(&head[before..]).take_while(|line| !line.trim_ascii().is_empty()).collect();
    let end = before + fields.iter().map(|line| line.len()).sum::<usize>();
    let blanks = |line: &[u8]| line.len() - line.trim_ascii_start().len();
    // As far as the first field is indented, all are.
    let indentation = fields.first().map_or(0, |line| blanks(line));
    let fields: Vec<&[u8]> = fields.iter().map(|line| &line[blanks(line).min(indentation)..]).collect();
    has_type(fields.iter().filter_map(|line| field_name(line))).then(|| with_original(fields.concat(), text, end))
}

fn prose(head: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let mut document = Vec::new();
    let mut told = [false; PROSE.len()];
    let (mut at, mut end) = (0, 0);
    // Fields whose values are in the next line: one without a value in its own, or the columns of a table.
    let mut expected: Vec<Option<usize>> = Vec::new();
    for line in lines(head) {
        at += line.len();
        let decoded = String::from_utf8_lossy(line);
        let columns = columns(&decoded);
        let names: Vec<Option<usize>> = columns.iter().map(|column| named(column)).collect();
        let is_head = names.iter().flatten().count() > 1;
        let found = match field_in(&decoded) {
            _ if columns.is_empty() => continue,
            Some((field, "")) if !is_head => {
                expected = vec![Some(field)];
                continue;
            }
            Some((field, value)) if !is_head => vec![(Some(field), value)],
            None if expected.len() == columns.len() => expected.iter().copied().zip(columns).collect(),
            _ => {
                expected = if is_head { names } else { Vec::new() };
                continue;
            }
        };
        expected.clear();
        for (field, value) in found {
            let Some(field) = field.filter(|field| !told[*field]) else { continue };
            told[field] = true;
            end = at;
            let label = PROSE[field].0;
            let trimmed = line.trim_ascii();
            // Exim's own lines are kept as they are: their hash identifies the report.
            match trimmed.strip_prefix(label.as_bytes()).map(<[u8]>::trim_ascii_start) {
                Some([b':', ..]) => document.extend_from_slice(trimmed),
                _ => document.extend_from_slice(format!("{label}: {value}").as_bytes()),
            }
            document.extend_from_slice(b"\r\n");
        }
    }
    let is_report = matches!(told, [true, true, _, spf, dkim, dmarc] if spf || dkim || dmarc);
    is_report.then(|| with_original(document, text, end))
}

/// Appends the fields of the original mail whose header is in the text after `end`.
fn with_original(mut document: Vec<u8>, text: &[u8], end: usize) -> Vec<u8> {
    let original = original_in(text.get(end..).unwrap_or_default());
    document.extend(appendix(document.ends_with(b"\n"), original));
    document
}

/// Returns the field that a line begins with, and its value, which may be empty.
fn field_in(line: &str) -> Option<(usize, &str)> {
    let line = line.trim_matches(is_ornament);
    let mut names =
        PROSE.iter().enumerate().flat_map(|(field, (_, names))| names.iter().map(move |name| (field, name)));
    names.find_map(|(field, name)| Some((field, value_after(line, name)?)))
}

/// Returns the value in a line that begins with a name, in any case and with any sign between its words.
fn value_after<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let mut rest = line;
    for (number, word) in name.split(' ').enumerate() {
        if number > 0 {
            rest = rest.strip_prefix([' ', '-', '_', '\'', '\u{2019}', '\u{a0}', '.'])?;
        }
        rest = rest.get(..word.len()).filter(|begin| begin.eq_ignore_ascii_case(word)).map(|_| &rest[word.len()..])?;
    }
    // **Sender Domain**:
    let rest = rest.trim_start_matches(['*', '`', '"']);
    let value = rest.trim_start();
    let gap = &rest[..rest.len() - value.len()];
    let dotted = value.trim_start_matches('.');
    let is_wide = gap.contains('\t') || gap.chars().count() > 1 || value.len() > dotted.len() + 1;
    let value = dotted.trim_start();
    let separated = value.strip_prefix(SEPARATORS).or_else(|| value.strip_prefix(DASHES).filter(|_| !gap.is_empty()));
    let value = separated.or((is_wide && !value.is_empty()).then_some(value))?;
    Some(value.trim_matches(is_ornament))
}

fn is_ornament(c: char) -> bool {
    c.is_whitespace() || ORNAMENTS.contains(&c)
}

/// Returns the field with this name.
fn named(column: &str) -> Option<usize> {
    let words = column.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let name = words.collect::<Vec<_>>().join(" ").to_lowercase();
    PROSE.iter().position(|(_, names)| names.contains(&name.as_str()))
}

/// Splits a line of a table into its columns. Lines that only draw the table have none.
fn columns(line: &str) -> Vec<&str> {
    let is_drawn = |c: char| is_ornament(c) || matches!(c, '+' | '=' | '\u{2500}'..='\u{257f}');
    let columns = line.split(['|', '\u{2502}', '\u{2503}', '\t']).flat_map(|column| column.split("  "));
    columns.map(|column| column.trim_matches(is_drawn)).filter(|column| !column.is_empty()).collect()
}

/// Returns the text from the header of the original mail on: from the first lines that have a field of mails.
fn original_in(text: &[u8]) -> &[u8] {
    let is_of_mail = |line: &[u8]| {
        field_name(line).is_some_and(|name| field_of(name, ABOUT).is_some() || field_of(name, TRANSPORT).is_some())
    };
    let before: usize = lines(text).take_while(|line| !is_of_mail(line)).map(<[u8]>::len).sum();
    text.get(before..).unwrap_or_default()
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
