//! Mailbox names: quoted strings, modified UTF-7 (RFC 3501 section 5.1.3), namespaces (RFC 2342), and the meaning of `/`
//! and `.` in names that users write.

use base64::{
    Engine, alphabet,
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};

const UTF7: GeneralPurpose = GeneralPurpose::new(&alphabet::IMAP_MUTF7, NO_PAD);

/// Returns `text`, which must be printable ASCII, as a quoted string.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Removes the escapes from the content of a quoted string: imap-proto leaves them in.
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

/// Encodes a name in modified UTF-7: printable ASCII is unchanged, runs of all else become base64 of UTF-16 between `&`
/// and `-`.
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

/// Decodes modified UTF-7, for people; returns the rest unchanged from the first part that is not valid.
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

/// Naming scheme of a server: hierarchy delimiter, and prefixes of the namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    pub delimiter: Option<char>,
    /// Prefix of the personal namespace, mostly `INBOX.` or empty; `None` if the server does not tell.
    personal: Option<String>,
    /// Prefixes of the other users' and shared namespaces.
    foreign: Vec<String>,
}

impl Naming {
    /// Naming scheme of a server without NAMESPACE.
    pub fn guessed(delimiter: Option<char>) -> Self {
        Self { delimiter, personal: None, foreign: Vec::new() }
    }

    /// Parses a NAMESPACE response (RFC 2342) such as `(("INBOX." ".")) NIL (("shared." "."))`; `None` if it is not valid,
    /// or has no personal namespace.
    pub fn from_namespaces(response: &str) -> Option<Self> {
        let mut namespaces = namespaces(response);
        let (personal, delimiter) = namespaces.iter().position(|(kind, _, _)| *kind == 0).map(|at| {
            let (_, prefix, delimiter) = namespaces.remove(at);
            (prefix, delimiter)
        })?;
        let foreign = namespaces.into_iter().map(|(_, prefix, _)| prefix).filter(|prefix| !prefix.is_empty()).collect();
        Some(Self { delimiter: delimiter.chars().next(), personal: Some(personal), foreign })
    }

    /// Replaces the level separators in a written name with the server's delimiter. If the name contains a `/`, only that
    /// separates levels and a dot is part of a name; otherwise dots separate them.
    pub fn translated(&self, written: &str) -> String {
        let Some(delimiter) = self.delimiter else { return written.into() };
        let separator = if written.contains('/') { '/' } else { '.' };
        written.replace(separator, delimiter.encode_utf8(&mut [0; 4]))
    }

    /// Returns the names under which an existing folder may be found: as written, then with the server's delimiter, then
    /// both in the personal namespace.
    pub fn meant(&self, written: &str) -> Vec<String> {
        let mut names = vec![written.to_owned()];
        let translated = self.translated(written);
        if translated != written {
            names.push(translated);
        }
        let own: Vec<String> = names.iter().filter_map(|name| self.own(name)).collect();
        names.extend(own);
        names
    }

    /// Returns the names under which a missing folder may be created, the best first.
    pub fn to_make(&self, written: &str) -> Vec<String> {
        let name = self.translated(written);
        match (self.own(&name), &self.personal) {
            (Some(own), Some(_)) => vec![own, name],
            (Some(guessed), None) => vec![name, guessed],
            (None, _) => vec![name],
        }
    }

    /// Returns the name in the personal namespace, such as below INBOX on servers like Courier and Cyrus. `None` if it is
    /// already in there, or in a namespace of others.
    fn own(&self, name: &str) -> Option<String> {
        let below_inbox = || Some(format!("INBOX{}", self.delimiter?));
        let prefix = self.personal.clone().or_else(below_inbox)?;
        let is_within = |prefix: &String| {
            let (top, rest) = (prefix.len().min("INBOX".len()), prefix.len());
            // INBOX is the only case-insensitive part of a name (RFC 3501 section 5.1).
            let case = prefix.get(..top).is_some_and(|top| top.eq_ignore_ascii_case("INBOX"));
            name.get(..rest).is_some_and(|begin| begin == prefix || (case && begin.eq_ignore_ascii_case(prefix)))
        };
        let is_inbox = name.eq_ignore_ascii_case("INBOX");
        (!is_inbox && !is_within(&prefix) && !self.foreign.iter().any(is_within)).then(|| prefix + name)
    }
}

/// Returns kind (0: personal, 1: other users', 2: shared), prefix and delimiter of each namespace.
fn namespaces(response: &str) -> Vec<(usize, String, String)> {
    let (mut found, mut kind, mut depth) = (Vec::new(), 0, 0_u32);
    let mut strings: Vec<String> = Vec::new();
    let mut characters = response.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '(' => depth += 1,
            ')' => {
                depth = depth.saturating_sub(1);
                if depth == 1 && !strings.is_empty() {
                    let mut strings = std::mem::take(&mut strings).into_iter();
                    let (prefix, delimiter) = (strings.next(), strings.next());
                    found.push((kind, prefix.unwrap_or_default(), delimiter.unwrap_or_default()));
                }
                kind += usize::from(depth == 0);
            }
            'N' if depth == 0 && characters.next_if_eq(&'I').is_some() => kind += 1,
            '"' => {
                let mut string = String::new();
                while let Some(character) = characters.next().filter(|next| *next != '"') {
                    string.extend(if character == '\\' { characters.next() } else { Some(character) });
                }
                // Strings at a deeper level belong to extensions.
                if depth == 2 {
                    strings.push(string);
                }
            }
            _ => {}
        }
    }
    found
}

/// Returns the names of the parent levels of `name`, the topmost first.
pub fn levels_above(name: &str, delimiter: Option<char>) -> impl Iterator<Item = &str> {
    let ends = delimiter.into_iter().flat_map(move |delimiter| name.match_indices(delimiter));
    ends.map(|(end, _)| &name[..end]).filter(|level| !level.is_empty() && !level.eq_ignore_ascii_case("INBOX"))
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
    fn invalid_modified_utf7_is_shown_unchanged() {
        assert_eq!(from_utf7("a&b"), "a&b");
        assert_eq!(from_utf7("&!-x"), "&!-x");
    }

    #[test]
    fn slash_parts_levels_where_there_is_one_and_dots_do_otherwise() {
        let (dots, slashes) = (Naming::guessed(Some('.')), Naming::guessed(Some('/')));
        assert_eq!(dots.translated("Reports/Done"), "Reports.Done");
        assert_eq!(slashes.translated("Reports.Done"), "Reports/Done");
        assert_eq!(slashes.translated("Reports/example.com"), "Reports/example.com");
        assert_eq!(Naming::guessed(None).translated("Reports/Done"), "Reports/Done");
    }

    #[test]
    fn without_namespaces_a_folder_may_be_below_inbox() {
        let naming = Naming::guessed(Some('.'));
        assert_eq!(naming.meant("A/B"), ["A/B", "A.B", "INBOX.A/B", "INBOX.A.B"]);
        assert_eq!(naming.to_make("A/B"), ["A.B", "INBOX.A.B"]);
        assert_eq!(naming.to_make("inbox.A"), ["inbox.A"]);
        assert_eq!(Naming::guessed(None).to_make("A"), ["A"]);
    }

    #[test]
    fn namespaces_say_where_the_users_own_folders_are() {
        let courier = Naming::from_namespaces(r##"(("INBOX." ".")) NIL (("#shared." ".")("shared." "."))"##).unwrap();
        assert_eq!(courier.delimiter, Some('.'));
        assert_eq!(courier.to_make("Done/2026"), ["INBOX.Done.2026", "Done.2026"]);
        assert_eq!(courier.to_make("Inbox/Done"), ["Inbox.Done"]);
        assert_eq!(courier.meant("shared.team"), ["shared.team"]);
        assert_eq!(courier.meant("INBOX"), ["INBOX"]);
        let cyrus = Naming::from_namespaces(r#"(("INBOX." ".")) (("user." ".")) (("" "."))"#).unwrap();
        assert_eq!(cyrus.meant("Done"), ["Done", "INBOX.Done"]);
        assert_eq!(cyrus.meant("user.other.Reports"), ["user.other.Reports"]);
        let dovecot = Naming::from_namespaces(r#"(("" "/")) NIL NIL"#).unwrap();
        assert_eq!(dovecot.to_make("Done.2026"), ["Done/2026"]);
        let odd = Naming::from_namespaces(r#"(("mail\\" "\\" "X-PARAM" ("FLAG" "OTHER"))("old/" "/"))"#).unwrap();
        assert_eq!((odd.delimiter, odd.to_make("A/B")), (Some('\\'), vec!["mail\\A\\B".into(), "A\\B".into()]));
        let flat = Naming::from_namespaces(r#"(("" NIL)) NIL NIL"#).unwrap();
        assert_eq!((flat.delimiter, flat.to_make("A/B")), (None, vec!["A/B".into()]));
    }

    #[test]
    fn invalid_namespace_responses_are_ignored() {
        for text in ["", "NIL NIL NIL", "NIL ((\"a\" \"/\")) NIL", "(((((", "\"unended", "))))"] {
            assert_eq!(Naming::from_namespaces(text), None, "{text}");
        }
    }

    #[test]
    fn the_levels_above_a_folder_are_made_from_the_top() {
        assert_eq!(levels_above("INBOX.A.B.C", Some('.')).collect::<Vec<_>>(), ["INBOX.A", "INBOX.A.B"]);
        assert_eq!(levels_above("A", Some('/')).count(), 0);
        assert_eq!(levels_above("A/B", None).count(), 0);
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
