//! Folder names: quoting, modified UTF-7 (RFC 3501 section 5.1.3), and what a user may mean by `/` and `.`.

use base64::{
    Engine, alphabet,
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};

const UTF7: GeneralPurpose = GeneralPurpose::new(&alphabet::IMAP_MUTF7, NO_PAD);

/// A quoted string; `text` is printable ASCII.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What stood between the quotes: imap-proto leaves the escapes in.
pub fn unquoted(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            other => plain.push(other),
        }
    }
    plain
}

/// As names travel: printable ASCII stands for itself, runs of all else as base64 of UTF-16 between `&` and `-`.
pub fn to_utf7(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    let mut run: Vec<u8> = Vec::new();
    for character in name.chars() {
        if (' '..='~').contains(&character) {
            end_run(&mut run, &mut encoded);
            encoded.push(character);
            if character == '&' {
                encoded.push('-');
            }
        } else {
            run.extend(character.encode_utf16(&mut [0; 2]).iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    end_run(&mut run, &mut encoded);
    encoded
}

fn end_run(run: &mut Vec<u8>, encoded: &mut String) {
    if !run.is_empty() {
        *encoded += &format!("&{}-", UTF7.encode(&run));
        run.clear();
    }
}

/// For people; what is not modified UTF-7 stays as it is.
pub fn from_utf7(name: &str) -> String {
    let mut decoded = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('&') {
        decoded += before;
        let run = after.split_once('-').and_then(|(run, behind)| Some((run_text(run)?, behind)));
        let Some((text, behind)) = run else {
            return decoded + "&" + after;
        };
        decoded += &text;
        rest = behind;
    }
    decoded + rest
}

fn run_text(run: &str) -> Option<String> {
    if run.is_empty() {
        return Some("&".into());
    }
    let bytes = UTF7.decode(run).ok()?;
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    String::from_utf16(&units).ok()
}

/// The name with the server's own delimiter between its levels. Where the user wrote a `/`, that alone parts levels and a
/// dot is part of a name; otherwise dots do.
pub fn translated(written: &str, delimiter: Option<char>) -> String {
    let Some(delimiter) = delimiter else { return written.into() };
    let separator = if written.contains('/') { '/' } else { '.' };
    written.replace(separator, delimiter.encode_utf8(&mut [0; 4]))
}

/// The name below INBOX, where servers like Courier and Cyrus keep all folders; `None` where it already is.
pub fn below_inbox(name: &str, delimiter: Option<char>) -> Option<String> {
    let delimiter = delimiter?;
    let top = name.split(delimiter).next().unwrap_or_default();
    (!top.eq_ignore_ascii_case("INBOX")).then(|| format!("INBOX{delimiter}{name}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_beyond_ascii_travel_as_modified_utf7() {
        for (name, wire) in [
            ("Entwürfe", "Entw&APw-rfe"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("R&D", "R&-D"),
            ("📨", "&2D3c6A-"),
        ] {
            assert_eq!(to_utf7(name), wire);
            assert_eq!(from_utf7(wire), name);
        }
    }

    #[test]
    fn what_is_no_modified_utf7_is_shown_as_it_is() {
        assert_eq!(from_utf7("a&b"), "a&b");
        assert_eq!(from_utf7("&!-x"), "&!-x");
    }

    #[test]
    fn slash_parts_levels_where_there_is_one_and_dots_do_otherwise() {
        assert_eq!(translated("Reports/Done", Some('.')), "Reports.Done");
        assert_eq!(translated("Reports.Done", Some('/')), "Reports/Done");
        assert_eq!(translated("Reports/example.com", Some('/')), "Reports/example.com");
        assert_eq!(translated("Reports/Done", None), "Reports/Done");
    }

    #[test]
    fn inbox_is_put_in_front_only_once() {
        assert_eq!(below_inbox("Done", Some('.')).as_deref(), Some("INBOX.Done"));
        assert_eq!(below_inbox("inbox.Done", Some('.')), None);
        assert_eq!(below_inbox("Done", None), None);
    }

    proptest! {
        #[test]
        fn every_name_survives_the_way_there_and_back(name in any::<String>()) {
            let wire = to_utf7(&name);
            prop_assert!(wire.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{wire}");
            prop_assert_eq!(from_utf7(&wire), name.clone());
            let quoted = quoted(&wire);
            prop_assert_eq!(unquoted(&quoted[1..quoted.len() - 1]), wire);
        }
    }
}
