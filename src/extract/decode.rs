//! Decoders of Content-Transfer-Encodings, as tolerant as mail gateways require, and of a few more layers around a report.
//! Only a signed mail that ends early makes decoding fail.

use std::io::{self, BufRead, Read};

use crate::trouble::Trouble;

use super::{buffered::read_buffered, json_string::JsonString, signed_data::SignedData};

/// Transfer encoding of a body (RFC 2045 section 6), or a change made to it in transit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Encoding {
    /// 7bit, 8bit, binary, or an unknown encoding.
    #[default]
    Identity,
    Base64,
    QuotedPrintable,
    /// Text whose lines all end in a bare CR.
    CarriageReturns,
    /// Lines between `begin` and `end` (POSIX uuencode).
    Uuencode,
    /// A mail in an mbox, in which lines that begin with `From ` are quoted.
    MboxQuoted,
    /// HTML, of which only the text is wanted.
    Html,
    /// An opaque-signed S/MIME mail, of which the signed content is read.
    SignedData,
    /// The text of a JSON string.
    JsonString,
}

impl Encoding {
    pub fn named(name: &str) -> Self {
        match name.trim().trim_matches('"').to_ascii_lowercase().as_str() {
            "base64" => Encoding::Base64,
            "quoted-printable" => Encoding::QuotedPrintable,
            "x-uuencode" | "uuencode" | "x-uue" | "uue" => Encoding::Uuencode,
            _ => Encoding::Identity,
        }
    }

    fn decoder(self) -> Decoder {
        match self {
            Encoding::Base64 => Decoder::Base64(Base64::default()),
            Encoding::QuotedPrintable => Decoder::QuotedPrintable(QuotedPrintable::default()),
            Encoding::CarriageReturns => Decoder::CarriageReturns,
            Encoding::Uuencode => Decoder::Lines(Lines::new(uudecoded)),
            Encoding::MboxQuoted => Decoder::Lines(Lines::new(unquoted)),
            Encoding::Html => Decoder::Html(Html::default()),
            Encoding::SignedData => Decoder::SignedData(SignedData::default()),
            Encoding::JsonString => Decoder::JsonString(JsonString::default()),
            Encoding::Identity => Decoder::Identity,
        }
    }
}

/// Maximum number of input bytes decoded in one step.
const CHUNK_BYTES: usize = 8 << 10;

/// Decodes a stream from a transfer encoding.
pub(super) struct Decode<'s> {
    input: Box<dyn BufRead + 's>,
    decoder: Decoder,
    out: Vec<u8>,
    at: usize,
    end: Option<io::Result<()>>,
}

enum Decoder {
    Identity,
    Base64(Base64),
    QuotedPrintable(QuotedPrintable),
    CarriageReturns,
    Lines(Lines),
    Html(Html),
    SignedData(SignedData),
    JsonString(JsonString),
}

impl<'s> Decode<'s> {
    pub fn new(input: Box<dyn BufRead + 's>, encoding: Encoding) -> Self {
        Self { input, decoder: encoding.decoder(), out: Vec::new(), at: 0, end: None }
    }

    fn step(&mut self) {
        self.out.clear();
        self.at = 0;
        match self.input.fill_buf() {
            Ok([]) => self.end = Some(Ok(())),
            Ok(chunk) => {
                let chunk = &chunk[..chunk.len().min(CHUNK_BYTES)];
                self.decoder.decode(chunk, &mut self.out);
                let taken = chunk.len();
                self.input.consume(taken);
            }
            Err(error) => self.end = Some(Err(error)),
        }
        if self.end.is_some()
            && let Err(trouble) = self.decoder.finish(&mut self.out)
        {
            self.end = Some(Err(trouble.into()));
        }
    }
}

impl BufRead for Decode<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.out.len() {
            match self.end.take() {
                None => self.step(),
                Some(Ok(())) => {
                    self.end = Some(Ok(()));
                    break;
                }
                // The next read asks the input again, which returns the same error.
                Some(Err(error)) => return Err(error),
            }
        }
        Ok(&self.out[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at = (self.at + amount).min(self.out.len());
    }
}

impl Read for Decode<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, into)
    }
}

impl Decoder {
    fn decode(&mut self, text: &[u8], out: &mut Vec<u8>) {
        match self {
            Decoder::Identity => out.extend_from_slice(text),
            Decoder::Base64(base64) => base64.decode(text, out),
            Decoder::QuotedPrintable(quoted) => quoted.decode(text, out),
            Decoder::Lines(lines) => lines.decode(text, out),
            Decoder::Html(html) => html.decode(text, out),
            Decoder::CarriageReturns => out.extend(text.iter().map(|&byte| if byte == b'\r' { b'\n' } else { byte })),
            Decoder::SignedData(signed) => signed.decode(text, out),
            Decoder::JsonString(string) => string.decode(text, out),
        }
    }

    /// Decodes what is left at the end of the input; fails if that is not the end of what is encoded.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Trouble> {
        match self {
            Decoder::QuotedPrintable(quoted) => quoted.finish(out),
            Decoder::Lines(lines) => lines.finish(out),
            Decoder::Html(html) if !html.in_tag => out.append(&mut html.name),
            Decoder::SignedData(signed) => return signed.finish(),
            _ => {}
        }
        Ok(())
    }
}

/// Lenient base64 decoder: bytes outside the alphabet are skipped, padding may be missing, and decoding continues after
/// padding. Gateways break lines with anything, and some reporters concatenate encoded pieces.
#[derive(Default)]
struct Base64 {
    bits: u32,
    have: u32,
}

impl Base64 {
    fn decode(&mut self, mut text: &[u8], out: &mut Vec<u8>) {
        let mut at = out.len();
        out.resize(at + text.len() / 4 * 3 + 3, 0);
        while let [letter, after @ ..] = text {
            // Fast path for nearly all input: four letters that make three bytes.
            if self.have == 0
                && let [a, b, c, d, after @ ..] = text
                && let [a, b, c, d] = [a, b, c, d].map(|&letter| u32::from(VALUES[usize::from(letter)]))
                && a | b | c | d < 64
            {
                let [_, three @ ..] = (a << 18 | b << 12 | c << 6 | d).to_be_bytes();
                out[at..at + 3].copy_from_slice(&three);
                at += 3;
                text = after;
                continue;
            }
            text = after;
            match VALUES[usize::from(*letter)] {
                PADDING => self.have = 0,
                value @ ..64 => {
                    self.bits = self.bits << 6 | u32::from(value);
                    self.have += 6;
                }
                _ => {}
            }
            if self.have >= 8 {
                self.have -= 8;
                out[at] = (self.bits >> self.have) as u8;
                at += 1;
            }
        }
        out.truncate(at);
    }
}

/// Decodes the start of a stream from base64, up to the first byte that is neither of its alphabet nor white space; also
/// returns the number of bytes up to there.
pub(super) fn base64_head(head: &[u8]) -> (Vec<u8>, usize) {
    let is_within = |byte: u8| byte.is_ascii_whitespace() || VALUES[usize::from(byte)] <= PADDING;
    let length = head.iter().position(|&byte| !is_within(byte)).unwrap_or(head.len());
    let mut decoded = Vec::new();
    Base64::default().decode(&head[..length], &mut decoded);
    (decoded, length)
}

/// Value of `=`. Larger values mean a letter outside the alphabet.
const PADDING: u8 = 64;

/// Value of each letter, in the alphabet of RFC 4648 section 4 and with the two alternative letters of section 5.
const VALUES: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value = 0;
    while value < alphabet.len() {
        values[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    values[b'-' as usize] = values[b'+' as usize];
    values[b'_' as usize] = values[b'/' as usize];
    values[b'=' as usize] = PADDING;
    values
};

/// Maximum number of bytes of a line that are decoded as a whole; RFC 2045 section 6.7 allows 76.
const LINE_BYTES: usize = 8 << 10;

/// Quoted-printable decoder. An `=` that begins no escape is literal (RFC 2045 section 6.7, note 1 of rule 5).
#[derive(Default)]
struct QuotedPrintable {
    /// A line without its line end so far.
    line: Vec<u8>,
}

impl QuotedPrintable {
    fn decode(&mut self, text: &[u8], out: &mut Vec<u8>) {
        for mut piece in text.split_inclusive(|&byte| byte == b'\n') {
            if self.line.is_empty() && piece.ends_with(b"\n") && piece.len() <= LINE_BYTES {
                quoted_line(piece, out);
                continue;
            }
            // A long line is split at the same offsets, however the input is chunked.
            while let Some(more) = piece.split_off(..piece.len().min(LINE_BYTES - self.line.len()))
                && !more.is_empty()
            {
                self.line.extend_from_slice(more);
                if self.line.ends_with(b"\n") {
                    quoted_line(&self.line, out);
                    self.line.clear();
                } else if self.line.len() == LINE_BYTES {
                    self.give_most(out);
                }
            }
        }
    }

    /// Decodes the part of a long line that doesn't depend on how the line ends; all of it if that part is empty.
    fn give_most(&mut self, out: &mut Vec<u8>) {
        let clear = match self.line.trim_ascii_end() {
            [before @ .., b'='] | [before @ .., b'=', _] => before.len(),
            all => all.len(),
        };
        let clear = if clear == 0 { self.line.len() } else { clear };
        unescape(&self.line[..clear], out);
        self.line.drain(..clear);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        quoted_line(&std::mem::take(&mut self.line), out);
    }
}

fn quoted_line(line: &[u8], out: &mut Vec<u8>) {
    let (content, end) = match line {
        [content @ .., b'\r', b'\n'] => (content, &b"\r\n"[..]),
        [content @ .., b'\n'] => (content, &b"\n"[..]),
        content => (content, &b""[..]),
    };
    // White space at the end of a line was added in transit.
    match content.trim_ascii_end() {
        // A soft line break.
        [content @ .., b'='] => unescape(content, out),
        content => {
            unescape(content, out);
            out.extend_from_slice(end);
        }
    }
}

fn unescape(mut text: &[u8], out: &mut Vec<u8>) {
    while let [first, tail @ ..] = text {
        text = match (first, tail) {
            (b'=', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(*high) << 4 | hex(*low));
                after
            }
            _ => {
                out.push(*first);
                tail
            }
        };
    }
}

fn hex(digit: u8) -> u8 {
    (digit as char).to_digit(16).map_or(0, |value| value as u8)
}

/// Decoder that looks at the begin of each line.
struct Lines {
    decode: fn(&[u8], &mut Vec<u8>),
    /// A line without its line end so far.
    line: Vec<u8>,
    /// True behind the first bytes of a line that is too long to be held.
    is_long: bool,
}

impl Lines {
    fn new(decode: fn(&[u8], &mut Vec<u8>)) -> Self {
        Self { decode, line: Vec::new(), is_long: false }
    }

    fn decode(&mut self, text: &[u8], out: &mut Vec<u8>) {
        for mut piece in text.split_inclusive(|&byte| byte == b'\n') {
            if !self.is_long {
                let more = piece.split_off(..piece.len().min(LINE_BYTES - self.line.len())).unwrap_or_default();
                self.line.extend_from_slice(more);
                self.is_long = self.line.len() == LINE_BYTES && !self.line.ends_with(b"\n");
                if self.is_long || self.line.ends_with(b"\n") {
                    (self.decode)(&self.line, out);
                    self.line.clear();
                }
            }
            out.extend_from_slice(piece);
            if self.is_long && piece.ends_with(b"\n") {
                self.is_long = false;
            }
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        (self.decode)(&std::mem::take(&mut self.line), out);
    }
}

/// Removes a `>` that the writer of an mbox put before a line that begins with `From `, or with `>From `.
fn unquoted(line: &[u8], out: &mut Vec<u8>) {
    let quotes = line.iter().take_while(|&&byte| byte == b'>').count();
    let is_quoted = quotes > 0 && line[quotes..].starts_with(b"From ");
    out.extend_from_slice(&line[usize::from(is_quoted)..]);
}

/// Decodes a line of uuencode: the number of bytes, then four characters for each three of them. Blanks at its end, which
/// mail servers remove, are zeros.
fn uudecoded(line: &[u8], out: &mut Vec<u8>) {
    let line = line.trim_ascii_end();
    let Some((&length, digits)) = line.split_first().filter(|_| !line.starts_with(b"begin ") && line != b"end") else {
        return;
    };
    let value = |digit: u8| digit.wrapping_sub(b' ') & 0x3f;
    let length = usize::from(value(length));
    // A longer line is no data: text around it, or a checksum in addition.
    if digits.len() > length.div_ceil(3) * 4 + 1 {
        return;
    }
    let decoded = digits.chunks(4).chain(std::iter::repeat(&b"    "[..])).take(length.div_ceil(3)).flat_map(|group| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| value(group.get(at).copied().unwrap_or(b' ')));
        [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]
    });
    out.extend(decoded.take(length));
}

/// Maximum bytes of an HTML tag's name, or of a character reference, that are looked at.
const HTML_NAME_BYTES: usize = 12;

/// Elements of HTML that begin a line.
const HTML_LINES: &[&str] = &["br", "p", "div", "tr", "li", "pre", "h1", "h2", "h3", "table", "blockquote"];

/// Converts HTML to its text: drops tags, and resolves the references that escaped XML consists of.
#[derive(Default)]
struct Html {
    in_tag: bool,
    /// Name of the tag, or the reference from its `&` on, so far.
    name: Vec<u8>,
}

impl Html {
    fn decode(&mut self, html: &[u8], out: &mut Vec<u8>) {
        for &byte in html {
            match byte {
                b'>' if self.in_tag => {
                    let name = String::from_utf8_lossy(&self.name).to_ascii_lowercase();
                    let name = name.trim_start_matches('/').split(|c: char| !c.is_ascii_alphanumeric()).next();
                    if name.is_some_and(|name| HTML_LINES.contains(&name)) {
                        out.push(b'\n');
                    }
                    self.name.clear();
                    self.in_tag = false;
                }
                _ if self.in_tag && self.name.len() < HTML_NAME_BYTES => self.name.push(byte),
                _ if self.in_tag => {}
                b'<' => {
                    out.append(&mut self.name);
                    self.in_tag = true;
                }
                b'&' => {
                    out.append(&mut self.name);
                    self.name.push(byte);
                }
                b';' if !self.name.is_empty() => {
                    self.name.push(byte);
                    reference(&self.name, out);
                    self.name.clear();
                }
                _ if self.name.is_empty() => out.push(byte),
                _ => {
                    self.name.push(byte);
                    if self.name.len() > HTML_NAME_BYTES || !(byte.is_ascii_alphanumeric() || byte == b'#') {
                        out.append(&mut self.name);
                    }
                }
            }
        }
    }
}

/// Resolves a character reference, with its `&` and `;`. One that needs a table stays as it is.
fn reference(whole: &[u8], out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(whole);
    let name = text.trim_matches(['&', ';']);
    let number = name.strip_prefix('#').and_then(|number| match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => number.parse().ok(),
    });
    let character = match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        _ => number.and_then(char::from_u32).map(|c| if c == '\u{a0}' { ' ' } else { c }),
    };
    match character {
        Some(character) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        None => out.extend_from_slice(whole),
    }
}

#[cfg(test)]
mod tests {
    use ::base64::prelude::{BASE64_STANDARD as STANDARD, Engine as _};

    use super::*;

    /// Decodes `text` from an input that returns `length` bytes at a time.
    fn in_pieces(encoding: Encoding, text: &[u8], length: usize) -> Vec<u8> {
        let input = io::BufReader::with_capacity(length, text);
        let mut bytes = Vec::new();
        Decode::new(Box::new(input), encoding).read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn base64(text: &[u8]) -> Vec<u8> {
        in_pieces(Encoding::Base64, text, 1 << 20)
    }

    fn quoted_printable(text: &[u8]) -> Vec<u8> {
        in_pieces(Encoding::QuotedPrintable, text, 1 << 20)
    }

    #[test]
    fn base64_needs_neither_padding_nor_clean_lines() {
        for text in ["aGVsbG8=", "aGVsbG8", "aG Vs\r\nbG!8=\r\n", "aGU=bGxv", "aGVs*****bG8=="] {
            assert_eq!(base64(text.as_bytes()), b"hello", "{text}");
        }
    }

    #[test]
    fn base64_is_the_same_wherever_its_lines_are_broken() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = STANDARD.encode(&bytes);
        for length in 1..=80 {
            let lines: Vec<u8> = text.as_bytes().chunks(length).flat_map(|line| [line, b"\r\n"].concat()).collect();
            assert_eq!(base64(&lines), bytes, "{length}");
        }
    }

    #[test]
    fn quoted_printable_keeps_invalid_escapes() {
        assert_eq!(quoted_printable(b"a=3Db=\r\nc \r\n=zz=4"), b"a=bc\r\n=zz=4");
        assert_eq!(quoted_printable(b"=1F=8b=08=00"), b"\x1f\x8b\x08\x00");
    }

    #[test]
    fn uuencode_is_decoded_with_and_without_its_blanks() {
        let text = "begin 644 x\n#0V%T\n$    \n$\n`\nend\n";
        assert_eq!(in_pieces(Encoding::Uuencode, text.as_bytes(), 7), b"Cat\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn quoted_lines_of_an_mbox_lose_one_quote() {
        let text = b">From x\n>>From y\n> From z\nFrom >From\n>From";
        assert_eq!(in_pieces(Encoding::MboxQuoted, text, 5), b"From x\n>From y\n> From z\nFrom >From\n>From");
    }

    #[test]
    fn html_is_reduced_to_its_text() {
        let text = b"<p class='&lt;'>a &lt;b&gt;&nbsp;&amp;lt; &#60;&#x3E; &copy; x&y;&<br/>c &quot;</p><!--x-->";
        assert_eq!(
            String::from_utf8(in_pieces(Encoding::Html, text, 4)).unwrap(),
            "\na <b> &lt; <> &copy; x&y;&\nc \"\n"
        );
    }

    #[test]
    fn decoding_does_not_depend_on_chunk_boundaries() {
        let long = [b"x=3D".repeat(5000).as_slice(), b"=", &b" ".repeat(9000), b"\ny=4", &b" \t".repeat(5000), b"z=\n"]
            .concat();
        let texts: [&[u8]; 4] = [b"a=3Db=\r\nc \r\n=zz=4", b"=1F=8B \n  =\n=", b"aGVsbG8= d29y\nbGQ", &long];
        for encoding in [
            Encoding::Base64,
            Encoding::QuotedPrintable,
            Encoding::CarriageReturns,
            Encoding::Uuencode,
            Encoding::MboxQuoted,
            Encoding::Html,
            Encoding::Identity,
        ] {
            for text in texts {
                let whole = in_pieces(encoding, text, 1 << 20);
                for length in [1, 2, 3, 5, 7, 4096, 8192] {
                    assert_eq!(in_pieces(encoding, text, length), whole, "{encoding:?} by {length}");
                }
            }
        }
    }
}
