//! Reads the tags and texts of a clean document, which is in memory up to the end of the current element.

use std::borrow::Cow;

use quick_xml::events::BytesStart;

use crate::report::aggregate::open_elements::Tree;
use crate::report::aggregate::report::Text;
use crate::report::aggregate::text_room::NAME;
use crate::report::values::blank_trimmed;
use crate::report::xml::simple_tag;

/// The document is not clean.
#[derive(Debug)]
pub struct Unclean;

pub(super) type Read<T> = Result<T, Unclean>;

/// Position in the document.
pub struct Cursor<'w> {
    text: &'w str,
    at: usize,
    /// Position up to which bytes were counted, and the number of those since then that do not count.
    counted: usize,
    discount: usize,
}

/// A tag without attributes, with its name.
pub enum Tag<'w> {
    Start(&'w str),
    End(&'w str),
    Empty(&'w str),
}

/// Maximum length of white space between two tags, in bytes; reporters indent by some dozen.
const SPACE: usize = 1 << 10;

impl<'w> Cursor<'w> {
    pub fn new(text: &'w str, at: usize) -> Self {
        Self { text, at, counted: at, discount: 0 }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    /// Number of bytes read since the last call. Never more than [`Document`](crate::report::aggregate::Document) counts, so that
    /// whatever exceeds a ratio there does so here.
    pub fn counted(&mut self) -> usize {
        let read = self.at - std::mem::replace(&mut self.counted, self.at);
        read.saturating_sub(std::mem::take(&mut self.discount))
    }

    /// Reads up to the start tag of `feedback` and through it. Returns its namespace.
    pub fn root(&mut self) -> Read<Text<'static>> {
        self.space()?;
        if let Some(declaration) = self.rest().strip_prefix("<?xml ") {
            let (inside, _) =
                declaration.split_once("?>").filter(|(inside, _)| !inside.contains('<')).ok_or(Unclean)?;
            self.at += "<?xml ?>".len() + inside.len();
            self.space()?;
        }
        self.counted = self.at;
        let tag = self.rest().strip_prefix('<').ok_or(Unclean)?;
        let tag = match simple_tag(tag.as_bytes()) {
            Some(length) => &tag[..length - 1],
            None => attributes_end(tag).map(|end| &tag[..end]).ok_or(Unclean)?,
        };
        self.at += tag.len() + "<>".len();
        let name = "feedback";
        if !tag.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])) {
            return Err(Unclean);
        }
        Ok(Tree::default().namespace(&BytesStart::from_content(tag, name.len())).map(Cow::Owned))
    }

    /// Reads the next tag, before which there is only white space.
    pub fn tag(&mut self) -> Read<Tag<'w>> {
        self.space()?;
        let bytes = self.text.as_bytes();
        let name = match bytes.get(self.at..).unwrap_or_default() {
            [b'<', b'/', ..] => self.at + 2,
            [b'<', ..] => self.at + 1,
            _ => return Err(Unclean),
        };
        let mut end = name;
        while bytes.get(end).is_some_and(|byte| matches!(byte, b'a'..=b'z' | b'_')) {
            end += 1;
        }
        let (is_end_tag, name) = (name - self.at == 2, &self.text[name..end]);
        match bytes.get(end..).unwrap_or_default() {
            [b'>', ..] => {
                self.at = end + 1;
                Ok(if is_end_tag { Tag::End(name) } else { Tag::Start(name) })
            }
            [b'/', b'>', ..] if !is_end_tag => {
                self.at = end + 2;
                self.discount += 1;
                Ok(Tag::Empty(name))
            }
            _ => Err(Unclean),
        }
    }

    /// Reads the text of the element `name`, and its end tag.
    pub fn value(&mut self, name: &str) -> Read<Text<'w>> {
        let rest = self.rest();
        let (mut end, mut has_references) = (0, false);
        for byte in rest.bytes() {
            match byte {
                b'<' => break,
                b'>' => return Err(Unclean),
                b'&' => has_references = true,
                _ => {}
            }
            end += 1;
        }
        let (text, after) = rest.split_at(end);
        let end_tag = after.strip_prefix("</").and_then(|after| after.strip_prefix(name));
        if end > NAME || !end_tag.is_some_and(|after| after.starts_with('>')) {
            return Err(Unclean);
        }
        self.at += end + name.len() + "</>".len();
        let text = blank_trimmed(text);
        if !has_references {
            return Ok((!text.is_empty()).then_some(text.into()));
        }
        self.discount += text.len();
        let text = resolved(text)?;
        let text = blank_trimmed(&text);
        // It may be a broken end tag.
        if text.ends_with('>') {
            return Err(Unclean);
        }
        Ok((!text.is_empty()).then(|| text.to_owned().into()))
    }

    fn rest(&self) -> &'w str {
        &self.text[self.at..]
    }

    fn space(&mut self) -> Read<()> {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        let space = self.rest().bytes().take_while(is_space).count();
        self.at += space;
        if space > SPACE { Err(Unclean) } else { Ok(()) }
    }
}

/// Position of the `>` that ends a tag whose attributes are all quoted.
fn attributes_end(tag: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate().take(NAME) {
        match (quote, byte) {
            (_, b'<' | b'&') => return None,
            (None, b'>') => return (!tag[..at].ends_with('/')).then_some(at),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// Resolves the references to the five predefined entities; others are left to the tolerant reader.
fn resolved(text: &str) -> Read<String> {
    let mut parts = text.split('&');
    let mut resolved = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, after) = part.split_once(';').ok_or(Unclean)?;
        resolved.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => return Err(Unclean),
        });
        resolved.push_str(after);
    }
    Ok(resolved)
}
