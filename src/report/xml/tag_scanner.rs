//! Recognises one piece of markup byte by byte: whether a `<` starts a tag at all, and where that tag ends.

/// An incomplete tag: all bytes since its `<`.
#[derive(Debug, Default)]
pub struct Tag {
    bytes: Vec<u8>,
    part: Part,
    /// Length of `<` or `</` and the name.
    name_end: usize,
    /// Offset of the first `>` within the current quoted value.
    quoted_end: Option<usize>,
    /// Offsets of quotes that open no value.
    stray_quotes: Vec<usize>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Part {
    #[default]
    Start,
    Name,
    /// After the name of a start tag; `value` is true after an equals sign.
    Attributes {
        value: bool,
    },
    Quoted(u8),
    EndName,
    EndRest,
    /// `<!` and the bytes after it, until the kind of markup is known.
    Bang,
}

/// Result of one more byte.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    More,
    /// The tag is complete with this byte.
    Whole,
    Comment,
    Cdata,
    Instruction,
    Doctype,
    /// The tag ends before this byte, which starts something else: see [`Tag::cut`].
    Cut,
    /// The `<` starts no markup: all bytes before this one are text.
    Text,
}

/// A truncated tag, split into the intended tag and the text after it that was taken for a part of it.
pub struct Cut {
    pub tag: Vec<u8>,
    pub text: Vec<u8>,
}

impl Tag {
    /// Starts a tag at a `<`.
    pub fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.push(b'<');
        self.part = Part::Start;
        self.name_end = 0;
        self.quoted_end = None;
        self.stray_quotes.clear();
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes read so far, beginning with `<`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// True if [`Tag::whole`] removes something.
    pub fn mended(&self) -> bool {
        !self.stray_quotes.is_empty()
    }

    pub fn push(&mut self, byte: u8) -> Step {
        match self.part {
            Part::Start => self.start(byte),
            Part::Name => self.name(byte),
            Part::Attributes { value } => self.attributes(byte, value),
            Part::Quoted(quote) => self.quoted(byte, quote),
            Part::EndName => self.end_name(byte),
            Part::EndRest => match byte {
                b'>' => self.take(byte, Step::Whole),
                b'<' => Step::Cut,
                _ => self.take(byte, Step::More),
            },
            Part::Bang => self.bang(byte),
        }
    }

    /// Returns the tag in a normal form that every XML parser reads the same way.
    pub fn whole(&self) -> Vec<u8> {
        let name = &self.bytes[..self.name_end];
        let mut rest: Vec<u8> = self.bytes[self.name_end..].strip_suffix(b">").unwrap_or_default().to_vec();
        for at in &self.stray_quotes {
            rest[at - self.name_end] = b' ';
        }
        if name.starts_with(b"</") {
            return [name, b">"].concat();
        }
        match rest.trim_ascii_end().strip_suffix(b"/") {
            Some(attributes) => [name, attributes.trim_ascii_end(), b"/>"].concat(),
            None => [name, rest.as_slice(), b">"].concat(),
        }
    }

    /// Splits a tag that was truncated by a `<`.
    pub fn cut(&self) -> Cut {
        let text = self.quoted_end.map_or(&[][..], |end| &self.bytes[end + 1..]);
        Cut { tag: [&self.bytes[..self.name_end], b">"].concat(), text: text.to_vec() }
    }

    fn take(&mut self, byte: u8, step: Step) -> Step {
        self.bytes.push(byte);
        step
    }

    fn go(&mut self, byte: u8, part: Part) -> Step {
        self.part = part;
        self.take(byte, Step::More)
    }

    fn start(&mut self, byte: u8) -> Step {
        match byte {
            b'/' => self.go(byte, Part::EndName),
            b'!' => self.go(byte, Part::Bang),
            b'?' => self.take(byte, Step::Instruction),
            _ if starts_name(byte) => {
                self.name_end = 2;
                self.go(byte, Part::Name)
            }
            _ => Step::Text,
        }
    }

    fn name(&mut self, byte: u8) -> Step {
        match byte {
            b'>' => self.take(byte, Step::Whole),
            b'/' => self.go(byte, Part::Attributes { value: false }),
            _ if byte.is_ascii_whitespace() => self.go(byte, Part::Attributes { value: false }),
            _ if continues_name(byte) => {
                self.name_end += 1;
                self.take(byte, Step::More)
            }
            _ => Step::Text,
        }
    }

    fn attributes(&mut self, byte: u8, value: bool) -> Step {
        // A slash right after the name must end the tag, else this is no tag: `<and/or>`.
        if self.bytes.len() == self.name_end + 1 && self.bytes.ends_with(b"/") && byte != b'>' {
            return Step::Text;
        }
        match byte {
            b'>' => self.take(byte, Step::Whole),
            b'<' => Step::Text,
            b'=' => self.go(byte, Part::Attributes { value: true }),
            b'"' | b'\'' if value => {
                self.quoted_end = None;
                self.go(byte, Part::Quoted(byte))
            }
            // The XML parser would take a quote that opens no value for one, and the following text for the value.
            b'"' | b'\'' => {
                self.stray_quotes.push(self.bytes.len());
                self.take(byte, Step::More)
            }
            _ => self.go(byte, Part::Attributes { value: value && byte.is_ascii_whitespace() }),
        }
    }

    fn quoted(&mut self, byte: u8, quote: u8) -> Step {
        match byte {
            b'<' if self.quoted_end.is_some() => Step::Cut,
            b'<' => Step::Text,
            _ if byte == quote => self.go(byte, Part::Attributes { value: false }),
            b'>' => {
                self.quoted_end.get_or_insert(self.bytes.len());
                self.take(byte, Step::More)
            }
            _ => self.take(byte, Step::More),
        }
    }

    fn end_name(&mut self, byte: u8) -> Step {
        let named = self.name_end > 0;
        match byte {
            b'>' if named => self.take(byte, Step::Whole),
            b'<' if named => Step::Cut,
            _ if byte.is_ascii_whitespace() && named => self.go(byte, Part::EndRest),
            // `</ name>`
            _ if byte.is_ascii_whitespace() && self.bytes.len() == 2 => Step::More,
            _ if starts_name(byte) || (named && continues_name(byte)) => {
                self.bytes.push(byte);
                self.name_end = self.bytes.len();
                Step::More
            }
            _ => Step::Text,
        }
    }

    fn bang(&mut self, byte: u8) -> Step {
        self.bytes.push(byte);
        match self.bytes.as_slice() {
            b"<!--" => Step::Comment,
            b"<![CDATA[" => Step::Cdata,
            doctype if doctype.eq_ignore_ascii_case(b"<!DOCTYPE") => Step::Doctype,
            begun if b"<!--".starts_with(begun) || b"<![CDATA[".starts_with(begun) => Step::More,
            begun if b"<!DOCTYPE".get(..begun.len()).is_some_and(|d| d.eq_ignore_ascii_case(begun)) => Step::More,
            _ => {
                self.bytes.pop();
                Step::Text
            }
        }
    }
}

/// Length of a tag without attributes after its `<`, if it is complete in `after`: the fast path for nearly every tag of a
/// report.
pub fn simple(after: &[u8]) -> Option<usize> {
    let name = match after {
        [b'/', name @ ..] => name,
        name => name,
    };
    let length = name.iter().position(|&byte| !NAME[usize::from(byte)])?;
    let whole = name.get(length) == Some(&b'>') && name.first().copied().is_some_and(starts_name);
    whole.then_some(after.len() - name.len() + length + 1)
}

/// Lookup table of [`continues_name`].
const NAME: [bool; 256] = {
    let mut name = [false; 256];
    let mut byte = 0;
    while byte < name.len() {
        name[byte] = continues_name(byte as u8);
        byte += 1;
    }
    name
};

const fn starts_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte == b':' || byte >= 0x80
}

const fn continues_name(byte: u8) -> bool {
    starts_name(byte) || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
}
