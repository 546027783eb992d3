//! Lists the mails of an mbox that is inside something else: an archive, an attachment. The `file` source reads mboxes from
//! disk, however large, on its own.

use std::ops::Range;

use super::fields::{field_name, lines};

/// A mail in an mbox.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MboxMail {
    pub range: Range<usize>,
    /// True if lines of it begin with `>From `, or with more quotes.
    pub is_quoted: bool,
}

/// Lists the first `most` mails. `None` if the bytes are no mbox: it begins with a line `From …`, and a line like that and
/// then a header begin each further mail, after an empty line.
pub(super) fn mails(bytes: &[u8], most: usize) -> Option<Vec<MboxMail>> {
    let mut mails: Vec<MboxMail> = Vec::new();
    let (mut at, mut blank) = (0, Some(0));
    let mut lines = lines(bytes).peekable();
    while let Some(line) = lines.next() {
        let begins = blank.is_some() && line.starts_with(b"From ");
        if begins && lines.peek().is_none_or(|next| field_name(next).is_some() || next.starts_with(b">From ")) {
            if let (Some(mail), Some(end)) = (mails.last_mut(), blank) {
                mail.range.end = end;
            }
            if mails.len() == most {
                return Some(mails);
            }
            mails.push(MboxMail { range: at + line.len()..bytes.len(), is_quoted: false });
        } else if let Some(mail) = mails.last_mut() {
            let quotes = line.iter().take_while(|&&byte| byte == b'>').count();
            mail.is_quoted |= quotes > 0 && line[quotes..].starts_with(b"From ");
        } else if !line.trim_ascii().is_empty() {
            return None;
        }
        // The writer added the empty line before the next mail.
        blank = line.trim_ascii().is_empty().then_some(at);
        at += line.len();
    }
    (!mails.is_empty()).then_some(mails)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Option<Vec<(&str, bool)>> {
        let mails = mails(text.as_bytes(), 3)?;
        Some(mails.into_iter().map(|mail| (&text[mail.range], mail.is_quoted)).collect())
    }

    #[test]
    fn mails_begin_at_from_lines_that_a_header_follows() {
        let two =
            "From a Mon\r\nSubject: 1\r\n\r\nhi\r\n\r\nFrom here on\r\n\r\nFrom b Tue\r\nSubject: 2\r\n\r\n>From x\r\n";
        let first = "Subject: 1\r\n\r\nhi\r\n\r\nFrom here on\r\n";
        assert_eq!(split(two), Some(vec![(first, false), ("Subject: 2\r\n\r\n>From x\r\n", true)]));
        assert_eq!(split("\nFrom a\nA: b\n"), Some(vec![("A: b\n", false)]));
        assert_eq!(split(&"From a\nA: b\n\n".repeat(9)).map(|mails| mails.len()), Some(3));
        for none in ["", "Subject: 1\n\nFrom a\nA: b\n", "From here on\nall is well\n"] {
            assert_eq!(split(none), None, "{none}");
        }
    }
}
