//! Property tests with arbitrary files: loading terminates without a panic.

use proptest::prelude::*;

use super::*;

/// Tokens that parsers take for structure, so that random texts get past the parser.
const PIECES: &[&str] = &[
    "sources",
    "sinks",
    "type",
    "imap",
    "file",
    "syslog",
    "address",
    "encoding",
    "tls",
    "inputs",
    ": ",
    ":",
    "\n",
    "\n  ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\"",
    "'",
    "=",
    "\t",
    "&a ",
    "*a",
    "!x ",
    "|",
    ">",
    "#",
    "---\n",
    "%",
    "$",
    "${",
    "}",
    "\\u00e4",
    "\\ud800",
    "é",
    "\u{feff}",
    "\r\n",
    "0",
    "-1",
    "99999999999999999999",
    "1h",
    "8MiB",
    "null",
    "~",
    "true",
    ".",
    "@",
    "?",
    "<<",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_configuration_text_never_panics(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60)) {
        let text = pieces.concat();
        for format in [Format::Yaml, Format::Toml, Format::Json] {
            if let Err(problems) = load_as(&text, format, "f", &[]) {
                prop_assert!(problems.iter().count() > 0);
            }
        }
    }

    #[test]
    fn random_urls_never_panic(url in "(imaps?|file|syslog\\+(tls|udp)|stdout|x)?:?(//)?[a-z@:/?&=%\\[\\]é.0-9]{0,30}") {
        let given = [url];
        for (from, to) in [(&given[..], &[][..]), (&[], &given)] {
            let loaded = from_arguments(&Arguments { file: None, from, to, ask: &|_| None });
            prop_assert!(loaded.is_err(), "one end is missing");
        }
    }
}

#[test]
fn truncated_configuration_files_never_panic() {
    let json = r#"{"sources": {"r\u00e4": {"type": "file", "path": ["x", null, 1.5]}}, "sinks": {}}"#;
    let toml = "[sources.rua]\ntype = \"imap\"\ntls = { ca_file = 'x' }\n[[sinks]]\na.b.c = 1\n";
    for (text, format) in [(SMALL, Format::Yaml), (json, Format::Json), (json, Format::Yaml), (toml, Format::Toml)] {
        for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
            let _outcome = load_as(&text[..end], format, "f", &[]);
        }
    }
}
