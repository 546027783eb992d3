//! Finds reports by their first and last bytes: those that follow one another in one document, and those within text.
//!
//! This is no parser: it runs over a stream once, at the cost of a search for a few bytes, and holds the places found. What is
//! at a place is then read as any other document is, so a wrong place is an error of that document and never a loss.

use std::{io::BufRead, ops::Range};

use super::{
    decode::Encoding,
    fields::{BYTE_ORDER_MARK, is_base64_line},
};

/// A place in a stream where a report may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub content: Content,
    /// The end may be beyond that of the stream, if the report has none.
    pub range: Range<u64>,
    /// True if it has elements or keys that only a report has.
    is_report: bool,
    /// True for an element of a JSON array.
    is_element: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// An aggregate report.
    Xml,
    /// A TLS report.
    Json,
    /// Encoded data within text, and its name if it has one.
    Encoded(Encoding, Option<String>),
}

/// Places of the XML documents that follow one another in a stream, at most `most` of them. All its bytes are in one of them.
pub(super) fn xml(input: impl BufRead, most: usize) -> Vec<Range<u64>> {
    let mut xml = XmlScan::new(most);
    feed(input, |at, chunk| xml.feed(at, chunk));
    ranges(&xml.finish())
}

/// Like [`xml`], of the JSON objects. Of arrays, only the objects in them are in one of the places.
pub(super) fn json(input: impl BufRead, most: usize) -> Vec<Range<u64>> {
    let mut json = JsonScan::new(most, false);
    feed(input, |at, chunk| json.feed(at, chunk));
    ranges(&json.finish())
}

fn ranges(pieces: &[Piece]) -> Vec<Range<u64>> {
    let ends = pieces.iter().skip(1).map(|piece| piece.range.start).chain([u64::MAX]);
    let range = |(index, (piece, end)): (usize, (&Piece, u64))| match (piece.is_element, index) {
        (true, _) => piece.range.clone(),
        (false, 0) => 0..end,
        (false, _) => piece.range.start..end,
    };
    pieces.iter().zip(ends).enumerate().map(range).collect()
}

/// Places of reports within text for people, in their order, at most `most` of each kind.
pub(super) fn in_text(input: impl BufRead, most: usize) -> Vec<Piece> {
    let (mut xml, mut json, mut lines) = (XmlScan::new(most), JsonScan::new(most, true), LineScan::new(most));
    feed(input, |at, chunk| {
        xml.feed(at, chunk);
        json.feed(at, chunk);
        lines.feed(at, chunk);
    });
    let reports = xml.finish().into_iter().chain(json.finish()).filter(|piece| piece.is_report);
    let mut pieces: Vec<Piece> = reports.chain(lines.finish()).collect();
    pieces.sort_by_key(|piece| piece.range.start);
    pieces
}

/// Passes on `input` up to its end, or to an error, in chunks with their offsets.
fn feed(mut input: impl BufRead, mut each: impl FnMut(u64, &[u8])) {
    let mut at = 0;
    while let Ok(chunk @ [_, ..]) = input.fill_buf() {
        each(at, chunk);
        let length = chunk.len();
        at += length as u64;
        input.consume(length);
    }
}

/// Maximum length of a name that is looked at: of an element, or of a key.
const NAME_BYTES: usize = 80;

/// Elements that an aggregate report has and no other XML.
const ELEMENTS: &[&str] = &["report_metadata", "policy_published", "record"];

/// Search for `feedback` elements.
struct XmlScan {
    most: usize,
    pieces: Vec<Piece>,
    state: InXml,
    /// The last bytes of the chunks before.
    tail: Vec<u8>,
    /// Name of the current tag so far, as written, and the offset of its `<`, or of the byte order mark before it.
    name: Vec<u8>,
    tag_at: u64,
    /// Offset of an XML declaration that no report has followed yet.
    declared: Option<u64>,
    /// The report that is open.
    open: Option<(u64, bool)>,
}

enum InXml {
    Text,
    Name,
    /// Behind the name of the end tag of a report.
    Closing,
    /// With the number of dashes just read.
    Comment(u8),
}

impl XmlScan {
    fn new(most: usize) -> Self {
        let (name, pieces) = (Vec::new(), Vec::new());
        Self { most, pieces, state: InXml::Text, tail: Vec::new(), name, tag_at: 0, declared: None, open: None }
    }

    fn feed(&mut self, at: u64, chunk: &[u8]) {
        let mut next = 0;
        while let Some(&byte) = chunk.get(next) {
            let offset = at + next as u64;
            match self.state {
                InXml::Text => match memchr::memchr(b'<', &chunk[next..]) {
                    None => break,
                    Some(found) => {
                        next += found;
                        self.begin(at + next as u64);
                        if ends_in_mark(&self.tail, &chunk[..next]) {
                            self.tag_at -= BYTE_ORDER_MARK.len() as u64;
                        }
                    }
                },
                InXml::Name if byte == b'<' => self.begin(offset),
                InXml::Name => {
                    if self.name.is_empty() || !(byte.is_ascii_whitespace() || b"/>?".contains(&byte)) {
                        self.name.push(byte);
                        if self.name == b"!--" {
                            self.state = InXml::Comment(0);
                        } else if self.name.len() > NAME_BYTES {
                            self.state = InXml::Text;
                        }
                    } else {
                        self.state = InXml::Text;
                        self.tag();
                        // The `>` may be this byte.
                        continue;
                    }
                }
                InXml::Closing if byte == b'>' => {
                    self.state = InXml::Text;
                    self.close(offset + 1);
                }
                InXml::Closing => {}
                InXml::Comment(dashes) => {
                    self.state = match byte {
                        b'-' => InXml::Comment((dashes + 1).min(2)),
                        b'>' if dashes == 2 => InXml::Text,
                        _ => InXml::Comment(0),
                    };
                }
            }
            next += 1;
        }
        self.tail.extend_from_slice(&chunk[chunk.len().saturating_sub(BYTE_ORDER_MARK.len())..]);
        self.tail.drain(..self.tail.len().saturating_sub(BYTE_ORDER_MARK.len()));
    }

    fn begin(&mut self, offset: u64) {
        self.state = InXml::Name;
        self.name.clear();
        self.tag_at = offset;
    }

    fn tag(&mut self) {
        let name = std::mem::take(&mut self.name);
        let (is_end, local) = match name.strip_prefix(b"/") {
            Some(name) => (true, name),
            None => (false, name.as_slice()),
        };
        let local = local.rsplit(|&byte| byte == b':').next().unwrap_or(local);
        if name.eq_ignore_ascii_case(b"?xml") {
            // No document has a declaration inside: the one before is cut off.
            self.close(self.tag_at);
            self.declared = Some(self.tag_at);
        } else if local.eq_ignore_ascii_case(b"feedback") {
            match (is_end, self.open) {
                (false, None) => self.open = Some((self.declared.take().unwrap_or(self.tag_at), false)),
                (true, Some(_)) => self.state = InXml::Closing,
                _ => {}
            }
        } else if let Some((_, is_report)) = &mut self.open {
            *is_report |= ELEMENTS.iter().any(|element| local.eq_ignore_ascii_case(element.as_bytes()));
        }
        self.name = name;
    }

    fn close(&mut self, end: u64) {
        if let Some((start, is_report)) = self.open.take()
            && self.pieces.len() < self.most
        {
            let content = Content::Xml;
            self.pieces.push(Piece { content, range: start..end, is_report, is_element: false });
        }
    }

    fn finish(mut self) -> Vec<Piece> {
        self.close(u64::MAX);
        self.pieces
    }
}

/// True if the bytes before a place, which are in two pieces, end in a byte order mark.
fn ends_in_mark(before: &[u8], chunk: &[u8]) -> bool {
    let last = before.iter().chain(chunk).rev();
    last.take(BYTE_ORDER_MARK.len()).eq(BYTE_ORDER_MARK.iter().rev())
}

/// Keys that a TLS report has.
const KEYS: &[&str] = &["organization-name", "report-id", "policy-type", "result-type"];

/// Search for JSON objects that are no part of another, but of an array at most.
struct JsonScan {
    most: usize,
    /// True if an object has to begin a line, and is no part of an array.
    in_text: bool,
    at_line_start: bool,
    /// True right behind the `{` of an object within text, which only a key may follow.
    wants_key: bool,
    pieces: Vec<Piece>,
    /// True if the outermost value is an array.
    in_array: bool,
    depth: u64,
    /// The string that is open, as far as it can be a key.
    string: Option<Vec<u8>>,
    escaped: bool,
    /// Offset of the object that is open, and whether it is a report.
    open: Option<(u64, bool)>,
}

impl JsonScan {
    fn new(most: usize, in_text: bool) -> Self {
        Self {
            most,
            in_text,
            at_line_start: true,
            wants_key: false,
            pieces: Vec::new(),
            in_array: false,
            depth: 0,
            string: None,
            escaped: false,
            open: None,
        }
    }

    fn feed(&mut self, at: u64, chunk: &[u8]) {
        for (index, &byte) in chunk.iter().enumerate() {
            let offset = at + index as u64;
            if let Some(string) = &mut self.string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        let is_key = KEYS.iter().any(|key| string.eq_ignore_ascii_case(key.as_bytes()));
                        self.string = None;
                        if let Some((_, is_report)) = &mut self.open {
                            *is_report |= is_key;
                        }
                    }
                    _ if string.len() < NAME_BYTES => string.push(byte),
                    _ => {}
                }
                continue;
            }
            if self.wants_key && !byte.is_ascii_whitespace() {
                self.wants_key = false;
                if byte != b'"' {
                    (self.depth, self.open) = (0, None);
                }
            }
            match byte {
                b'{' if self.in_text && self.depth == 0 && self.at_line_start => {
                    (self.depth, self.open, self.wants_key) = (1, Some((offset, false)), true);
                }
                b'{' | b'[' if !self.in_text || self.depth > 0 => {
                    self.in_array = if self.depth == 0 { byte == b'[' } else { self.in_array };
                    if byte == b'{' && self.depth == self.outermost() {
                        self.open = Some((offset, false));
                    }
                    self.depth += 1;
                }
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if byte == b'}' && self.depth == self.outermost() {
                        self.close(offset + 1);
                        self.at_line_start = true;
                    }
                }
                b'"' if self.depth > 0 => self.string = Some(Vec::new()),
                _ => {}
            }
            let keeps = byte.is_ascii_whitespace() || b"[],}".contains(&byte);
            self.at_line_start = byte == b'\n' || (self.at_line_start && keeps);
        }
    }

    /// Number of arrays around a document.
    fn outermost(&self) -> u64 {
        u64::from(self.in_array)
    }

    fn close(&mut self, end: u64) {
        if let Some((start, is_report)) = self.open.take()
            && self.pieces.len() < self.most
        {
            let content = Content::Json;
            self.pieces.push(Piece { content, range: start..end, is_report, is_element: self.in_array });
        }
    }

    fn finish(mut self) -> Vec<Piece> {
        self.close(u64::MAX);
        self.pieces
    }
}

/// Search for encoded data among the lines of a text: uuencode (POSIX), and base64 of a gzip or zip.
struct LineScan {
    most: usize,
    pieces: Vec<Piece>,
    /// The current line so far, and its offset.
    line: Vec<u8>,
    line_at: u64,
    open: Option<(u64, Encoding, Option<String>)>,
}

/// Maximum bytes of a line that are looked at. Lines of encoded data are shorter, but for the name.
const LINE_BYTES: usize = 400;

/// Minimum length of a first line of base64: no gzip or zip is shorter.
const BASE64_BYTES: usize = 24;

impl LineScan {
    fn new(most: usize) -> Self {
        Self { most, pieces: Vec::new(), line: Vec::new(), line_at: 0, open: None }
    }

    fn feed(&mut self, at: u64, chunk: &[u8]) {
        let mut offset = at;
        for piece in chunk.split_inclusive(|&byte| byte == b'\n') {
            let room = LINE_BYTES - self.line.len();
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            offset += piece.len() as u64;
            if piece.ends_with(b"\n") {
                self.line(offset);
                self.line.clear();
                self.line_at = offset;
            }
        }
    }

    /// Takes a line that ends at an offset.
    fn line(&mut self, end: u64) {
        let line = self.line.trim_ascii();
        match &self.open {
            None => {
                let begun = begin(line);
                // The line before the data is part of uuencode only.
                let is_data = !matches!(begun, Some((Encoding::Base64, Some(_))));
                self.open = begun.map(|(encoding, name)| (if is_data { self.line_at } else { end }, encoding, name));
            }
            Some((_, Encoding::Uuencode, _)) if line == b"end" => self.close(end),
            Some((_, Encoding::Base64, Some(_))) if line == b"====" => self.close(self.line_at),
            Some((_, Encoding::Base64, None)) if !is_base64_line(line) => {
                self.close(self.line_at);
                self.line(end);
            }
            Some(_) => {}
        }
    }

    fn close(&mut self, end: u64) {
        if let Some((start, encoding, name)) = self.open.take()
            && self.pieces.len() < self.most
        {
            let content = Content::Encoded(encoding, name);
            self.pieces.push(Piece { content, range: start..end, is_report: false, is_element: false });
        }
    }

    fn finish(mut self) -> Vec<Piece> {
        if !self.line.is_empty() {
            self.line(u64::MAX);
        }
        self.close(u64::MAX);
        self.pieces
    }
}

/// Returns the encoding of the data that begins with a line, and its name.
fn begin(line: &[u8]) -> Option<(Encoding, Option<String>)> {
    if line.len() >= BASE64_BYTES
        && is_base64_line(line)
        && [b"H4sI".as_slice(), b"UEsDB"].iter().any(|magic| line.starts_with(magic))
    {
        return Some((Encoding::Base64, None));
    }
    let (encoding, rest) = match line.strip_prefix(b"begin-base64 ") {
        Some(rest) => (Encoding::Base64, rest),
        None => (Encoding::Uuencode, line.strip_prefix(b"begin ")?),
    };
    let (mode, name) = rest.split_at_checked(rest.iter().position(|&byte| byte == b' ')?)?;
    let is_mode = (3..=4).contains(&mode.len()) && mode.iter().all(|digit| (b'0'..=b'7').contains(digit));
    is_mode.then(|| (encoding, Some(String::from_utf8_lossy(name.trim_ascii()).into_owned())))
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    type Find<'t> = fn(BufReader<&'t [u8]>, usize) -> Vec<Range<u64>>;

    /// The documents in `text`, however it is chunked.
    fn split<'t>(find: Find<'t>, text: &'t str) -> Vec<&'t str> {
        let in_chunks = |length| find(BufReader::with_capacity(length, text.as_bytes()), 9);
        let whole = in_chunks(1 << 20);
        for length in [1, 2, 3, 7, 64] {
            assert_eq!(in_chunks(length), whole, "{length}");
        }
        whole.into_iter().map(|range| slice(text, &range)).collect()
    }

    fn slice<'t>(text: &'t str, range: &Range<u64>) -> &'t str {
        &text[range.start as usize..text.len().min(range.end as usize)]
    }

    fn found(text: &str) -> Vec<(Content, &str)> {
        let whole = in_text(text.as_bytes(), 9);
        assert_eq!(in_text(BufReader::with_capacity(3, text.as_bytes()), 9), whole);
        whole.into_iter().map(|piece| (piece.content, slice(text, &piece.range))).collect()
    }

    #[test]
    fn concatenated_xml_is_split_where_the_next_document_begins() {
        let (a, b, c) = (
            "<?xml version='1.0'?>\n<a:feedback x='>'>1</a:feedback >\n",
            "<FEEDBACK>2</FEEDBACK>",
            "<?xml?><feedback>3",
        );
        assert_eq!(split(xml, &[a, b, c].concat()), [a, b, c]);
        assert_eq!(split(xml, &[b, a].concat()), [b, a]);
        assert_eq!(split(xml, &[c, a].concat()), [c, a], "a document that is cut off ends at the next");
        let marked = "\u{feff}<?xml?><feedback>3</feedback>";
        assert_eq!(split(xml, &[b, marked, marked].concat()), [b, marked, marked], "with byte order marks");
        for one in [a, b, "<feedback><!-- </feedback><feedback> --></feedback>", "<feedback-form></feedback>"] {
            assert!(split(xml, one).len() < 2, "{one}");
        }
        assert_eq!(split(xml, &format!("<all>{b}{b}</all>")), [&format!("<all>{b}"), &format!("{b}</all>")]);
    }

    #[test]
    fn concatenated_json_json_lines_and_arrays_are_split_into_their_objects() {
        let (a, b) = ("{\"a\": [{\"}\\\"{\": {}}]}\n", "{\"b\": \"[\"} ");
        assert_eq!(split(json, &[a, b, a].concat()), [a, b, a]);
        assert_eq!(split(json, "[{\"a\":{}},\n{}]"), ["{\"a\":{}}", "{}"]);
        assert_eq!(split(json, "{} {\"a\""), ["{} ", "{\"a\""]);
        assert_eq!(split(json, a), [a]);
        assert_eq!(split(json, &b.repeat(20)).len(), 9, "at most that many");
    }

    #[test]
    fn reports_within_text_are_found_with_their_ends() {
        let xml = "<?xml version=\"1.0\"?>\n<feedback><record/></feedback>";
        let json = "{\"organization-name\": \"x\"}";
        let uu = "begin 644 a b.gz\n#0V%T\n`\nend\n";
        let base64 = format!("H4sI{}\nAAAA==\n", "A".repeat(56));
        let all = format!("Hello,\n{xml} bye\n{json}\n--\n{uu}\n{base64}\n{xml}");
        assert_eq!(
            found(&all),
            [
                (Content::Xml, xml),
                (Content::Json, json),
                (Content::Encoded(Encoding::Uuencode, Some("a b.gz".into())), uu),
                (Content::Encoded(Encoding::Base64, None), base64.as_str()),
                (Content::Xml, xml),
            ]
        );
        assert_eq!(found(&format!("{{ not json\n[{json},{json}]")).len(), 2);
        for none in [
            "see <feedback> below </feedback>",
            "if {\"report-id\": 1}",
            "begin 1 with\n",
            "begin at 10\nend\n",
            "H4sI",
        ] {
            assert_eq!(found(none), [], "{none}");
        }
    }
}
