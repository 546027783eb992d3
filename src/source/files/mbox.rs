//! Reader for mboxes of any size, one mail at a time.
//!
//! A mail begins after a line `From …` that stands first or after an empty line. That line is left out, and lines that
//! a writer quoted (`>From `, `>>From `) lose one `>` (mboxrd; the same for mboxo, where no mail is quoted itself).

use std::io::{self, BufRead, Read};

use bytes::Bytes;

use crate::trouble::Trouble;

use super::too_large::too_large;

/// A line is read in pieces of at most this many bytes.
const PIECE_BYTES: u64 = 64 << 10;

/// The mails of an mbox. Holds one of them, at most `limit` bytes.
pub(super) struct Mbox<R> {
    input: R,
    limit: u64,
    has_begun: bool,
    has_ended: bool,
}

impl<R: BufRead> Mbox<R> {
    pub fn new(input: R, limit: u64) -> Self {
        Self { input, limit, has_begun: false, has_ended: false }
    }

    fn mail(&mut self) -> io::Result<Option<Result<Bytes, Trouble>>> {
        let mut mail = Vec::new();
        let mut bytes = 0u64;
        let mut line = Vec::new();
        let (mut at_start, mut after_empty) = (true, !self.has_begun);
        let mut in_separator = false;
        loop {
            line.clear();
            if self.input.by_ref().take(PIECE_BYTES).read_until(b'\n', &mut line)? == 0 {
                self.has_ended = true;
                break;
            }
            let is_separator = at_start && after_empty && line.starts_with(b"From ");
            let ends = line.ends_with(b"\n");
            if is_separator && self.has_begun {
                self.skip_line(ends)?;
                break;
            }
            if is_separator || in_separator {
                self.has_begun = true;
                in_separator = !ends;
            } else {
                let content = if at_start { unquoted(&line) } else { &line };
                bytes += content.len() as u64;
                if bytes <= self.limit {
                    mail.extend_from_slice(content);
                } else {
                    mail = Vec::new();
                }
            }
            after_empty = at_start && matches!(line.as_slice(), b"\n" | b"\r\n");
            at_start = ends;
        }
        if !self.has_begun {
            return Ok(None);
        }
        if bytes > self.limit {
            return Ok(Some(Err(too_large("the mail's size", self.limit))));
        }
        // The writer added the empty line before the next mail.
        if self.ends_in_empty_line(&mail) {
            let end = if mail.ends_with(b"\r\n") { 2 } else { 1 };
            mail.truncate(mail.len() - end);
        }
        Ok(Some(Ok(mail.into())))
    }

    fn ends_in_empty_line(&self, mail: &[u8]) -> bool {
        mail.ends_with(b"\n\n") || mail.ends_with(b"\n\r\n")
    }

    fn skip_line(&mut self, mut ends: bool) -> io::Result<()> {
        let mut piece = Vec::new();
        while !ends {
            piece.clear();
            let read = self.input.by_ref().take(PIECE_BYTES).read_until(b'\n', &mut piece)?;
            ends = read == 0 || piece.ends_with(b"\n");
        }
        Ok(())
    }
}

impl<R: BufRead> Iterator for Mbox<R> {
    /// A mail, or the trouble that it is too large; an I/O error ends the mbox.
    type Item = io::Result<Result<Bytes, Trouble>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let mail = self.mail();
        self.has_ended |= mail.is_err();
        mail.transpose()
    }
}

fn unquoted(line: &[u8]) -> &[u8] {
    let quotes = line.iter().take_while(|&&byte| byte == b'>').count();
    if quotes > 0 && line[quotes..].starts_with(b"From ") { &line[1..] } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mails(mbox: &str, limit: u64) -> Vec<Result<String, ()>> {
        Mbox::new(mbox.as_bytes(), limit)
            .map(|mail| mail.unwrap().map(|mail| String::from_utf8(mail.to_vec()).unwrap()).map_err(|_| ()))
            .collect()
    }

    #[test]
    fn mails_are_split_at_from_lines_after_an_empty_line() {
        let mbox = "From a Mon\nSubject: 1\n\nhi\nFrom here on\n\nFrom b Tue\r\nSubject: 2\r\n\r\nho\r\n\r\nFrom c Wed\nSubject: 3\n";
        let wanted = ["Subject: 1\n\nhi\nFrom here on\n", "Subject: 2\r\n\r\nho\r\n", "Subject: 3\n"];
        assert_eq!(mails(mbox, 100), wanted.map(|mail| Ok(mail.to_owned())));
        assert_eq!(mails("", 100), []);
    }

    #[test]
    fn quoted_from_lines_lose_one_quote() {
        let mbox = "From a\n\n>From x\n>>From y\n> From z\n";
        assert_eq!(
            mails(mbox, 100),
            [Ok("\n>From x\n>>From y\n> From z\n".replace(">From x", "From x").replace(">>", ">"))]
        );
    }

    #[test]
    fn an_oversized_mbox_mail_is_skipped_without_buffering() {
        let large = "x".repeat(300_000);
        let mbox = format!("From a\n\n{large}\n\nFrom b{large}\n\nhi\n\nFrom c\n\nho\n");
        assert_eq!(mails(&mbox, 1000), [Err(()), Ok("\nhi\n".into()), Ok("\nho\n".into())]);
    }
}
