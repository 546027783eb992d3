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

/// How a server builds names: what stands between their levels, and what before those of the user's own folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    pub delimiter: Option<char>,
    /// `INBOX.` or nothing, mostly; `None` where the server does not tell.
    personal: Option<String>,
    /// What folders of other users and of all begin with.
    foreign: Vec<String>,
}

impl Naming {
    /// Of a server without NAMESPACE.
    pub fn guessed(delimiter: Option<char>) -> Self {
        Self { delimiter, personal: None, foreign: Vec::new() }
    }

    /// From the response of RFC 2342, such as `(("INBOX." ".")) NIL (("shared." "."))`; `None` where it is none, or has no
    /// namespace for the user's own folders.
    pub fn told(response: &str) -> Option<Self> {
        let mut namespaces = namespaces(response);
        let (personal, delimiter) = namespaces.iter().position(|(kind, _, _)| *kind == 0).map(|at| {
            let (_, prefix, delimiter) = namespaces.remove(at);
            (prefix, delimiter)
        })?;
        let foreign = namespaces.into_iter().map(|(_, prefix, _)| prefix).filter(|prefix| !prefix.is_empty()).collect();
        Some(Self { delimiter: delimiter.chars().next(), personal: Some(personal), foreign })
    }

    /// The name with the server's own delimiter between its levels. Where the user wrote a `/`, that alone parts levels
    /// and a dot is part of a name; otherwise dots do.
    pub fn translated(&self, written: &str) -> String {
        let Some(delimiter) = self.delimiter else { return written.into() };
        let separator = if written.contains('/') { '/' } else { '.' };
        written.replace(separator, delimiter.encode_utf8(&mut [0; 4]))
    }

    /// Names under which a folder may be there: as written, else with the server's delimiter, else either among the user's
    /// own.
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

    /// Names under which a missing folder may be made, the best first.
    pub fn to_make(&self, written: &str) -> Vec<String> {
        let name = self.translated(written);
        match (self.own(&name), &self.personal) {
            (Some(own), Some(_)) => vec![own, name],
            (Some(guessed), None) => vec![name, guessed],
            (None, _) => vec![name],
        }
    }

    /// The name among the user's own folders: below INBOX on servers like Courier and Cyrus. `None` where it is there
    /// already, or among those of others.
    fn own(&self, name: &str) -> Option<String> {
        let below_inbox = || Some(format!("INBOX{}", self.delimiter?));
        let prefix = self.personal.clone().or_else(below_inbox)?;
        let is_within = |prefix: &String| {
            let (top, rest) = (prefix.len().min("INBOX".len()), prefix.len());
            // INBOX is the one part of a name that has no case (RFC 3501 section 5.1).
            let case = prefix.get(..top).is_some_and(|top| top.eq_ignore_ascii_case("INBOX"));
            name.get(..rest).is_some_and(|begin| begin == prefix || (case && begin.eq_ignore_ascii_case(prefix)))
        };
        let is_inbox = name.eq_ignore_ascii_case("INBOX");
        (!is_inbox && !is_within(&prefix) && !self.foreign.iter().any(is_within)).then(|| prefix + name)
    }
}

/// Kind (0: the user's own, 1: other users', 2: shared), prefix and delimiter of each namespace.
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
                // Deeper ones belong to extensions.
                if depth == 2 {
                    strings.push(string);
                }
            }
            _ => {}
        }
    }
    found
}

/// Names of the levels above `name`, from the top.
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
    fn what_is_no_modified_utf7_is_shown_as_it_is() {
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
        let courier = Naming::told(r##"(("INBOX." ".")) NIL (("#shared." ".")("shared." "."))"##).unwrap();
        assert_eq!(courier.delimiter, Some('.'));
        assert_eq!(courier.to_make("Done/2026"), ["INBOX.Done.2026", "Done.2026"]);
        assert_eq!(courier.to_make("Inbox/Done"), ["Inbox.Done"]);
        assert_eq!(courier.meant("shared.team"), ["shared.team"]);
        assert_eq!(courier.meant("INBOX"), ["INBOX"]);
        let cyrus = Naming::told(r#"(("INBOX." ".")) (("user." ".")) (("" "."))"#).unwrap();
        assert_eq!(cyrus.meant("Done"), ["Done", "INBOX.Done"]);
        assert_eq!(cyrus.meant("user.other.Reports"), ["user.other.Reports"]);
        let dovecot = Naming::told(r#"(("" "/")) NIL NIL"#).unwrap();
        assert_eq!(dovecot.to_make("Done.2026"), ["Done/2026"]);
        let odd = Naming::told(r#"(("mail\\" "\\" "X-PARAM" ("FLAG" "OTHER"))("old/" "/"))"#).unwrap();
        assert_eq!((odd.delimiter, odd.to_make("A/B")), (Some('\\'), vec!["mail\\A\\B".into(), "A\\B".into()]));
        let flat = Naming::told(r#"(("" NIL)) NIL NIL"#).unwrap();
        assert_eq!((flat.delimiter, flat.to_make("A/B")), (None, vec!["A/B".into()]));
    }

    #[test]
    fn what_is_no_namespace_response_tells_nothing() {
        for text in ["", "NIL NIL NIL", "NIL ((\"a\" \"/\")) NIL", "(((((", "\"unended", "))))"] {
            assert_eq!(Naming::told(text), None, "{text}");
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
