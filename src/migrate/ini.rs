//! Parser for configuration files as Python's `configparser` reads them: `key = value` or `key: value` under `[sections]`,
//! comments that begin with `#` or `;`, values continued in indented lines, `%(name)s` for another option's value, `[DEFAULT]`.

use std::{cell::Cell, fmt};

/// All options of a file, in order. Remembers which of them were taken.
#[derive(Debug, Default)]
pub(super) struct Ini {
    sections: Vec<String>,
    options: Vec<IniOption>,
}

#[derive(Debug)]
pub(super) struct IniOption {
    pub section: String,
    /// In lower case, as names of options are compared.
    pub key: String,
    pub value: String,
    /// Counted from 1.
    pub line: usize,
    asked_for: Cell<bool>,
}

/// A line that `configparser` would refuse too. Does not quote the line, which may hold a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(super) struct IniError {
    line: usize,
    what: &'static str,
}

/// Formats the option as `[section] key (line n)`.
impl fmt::Display for IniOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {} (line {})", self.section, self.key, self.line)
    }
}

/// Section whose options are defaults for those of other sections.
const DEFAULT: &str = "DEFAULT";

/// Maximum depth of `%(name)s` from one value to the next, as in Python.
const MAX_DEPTH: usize = 10;

impl Ini {
    pub(super) fn parse(text: &str) -> Result<Self, IniError> {
        let mut ini = Self::default();
        let mut section: Option<String> = None;
        // The indentation of the option that an indented line would continue.
        let mut open: Option<usize> = None;
        for (number, raw) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let refuse = |what| Err(IniError { line: number + 1, what });
            let line = raw.trim();
            if line.starts_with(['#', ';']) {
                continue;
            }
            let indent = raw.len() - raw.trim_start().len();
            if let (Some(of), Some(option)) = (open, ini.options.last_mut())
                && (line.is_empty() || indent > of)
            {
                option.value.push('\n');
                option.value.push_str(line);
                continue;
            }
            if line.is_empty() {
                continue;
            }
            if let Some(name) = line.strip_prefix('[') {
                let Some((name, _)) = name.rsplit_once(']') else { return refuse("section name without ]") };
                open = None;
                if name != DEFAULT {
                    if ini.has(name) {
                        return refuse("duplicate section");
                    }
                    ini.sections.push(name.to_owned());
                }
                section = Some(name.to_owned());
                continue;
            }
            let Some(section) = &section else { return refuse("option before the first [section]") };
            let Some((key, value)) = line.split_once(['=', ':']) else {
                return refuse("neither = nor : found; expected key = value");
            };
            let (key, value) = (key.trim().to_lowercase(), value.trim().to_owned());
            if ini.options.iter().any(|option| option.section == *section && option.key == key) {
                return refuse("duplicate option in its section");
            }
            let asked_for = Cell::new(false);
            ini.options.push(IniOption { section: section.clone(), key, value, line: number + 1, asked_for });
            open = Some(indent);
        }
        for option in &mut ini.options {
            option.value.truncate(option.value.trim_end().len());
        }
        ini.interpolate();
        Ok(ini)
    }

    pub(super) fn has(&self, section: &str) -> bool {
        self.sections.iter().any(|name| name == section)
    }

    pub(super) fn has_option(&self, section: &str, key: &str) -> bool {
        self.find(section, key).is_some()
    }

    /// Takes the first of these options that has a value, each given as `section.key`. All of them count as taken.
    pub(super) fn take(&self, names: &[&str]) -> Option<&IniOption> {
        let mut first = None;
        for (section, key) in names.iter().filter_map(|name| name.split_once('.')) {
            if let Some(option) = self.find(section, key) {
                option.asked_for.set(true);
                first = first.or(Some(option).filter(|option| !option.value.is_empty()));
            }
        }
        first
    }

    /// Returns the options that were not taken.
    pub(super) fn rest(&self) -> impl Iterator<Item = &IniOption> {
        self.options.iter().filter(|option| !option.asked_for.get())
    }

    fn find(&self, section: &str, key: &str) -> Option<&IniOption> {
        let of = |section: &str| self.options.iter().find(|option| option.section == section && option.key == key);
        of(section).or_else(|| of(DEFAULT).filter(|_| self.has(section)))
    }

    fn interpolate(&mut self) {
        let values: Vec<Option<String>> =
            self.options.iter().map(|option| self.value_of(&option.section, &option.value, 0)).collect();
        for (option, value) in self.options.iter_mut().zip(values) {
            // A value that `configparser` could not interpolate was meant for a reader that doesn't interpolate.
            if let Some(value) = value {
                option.value = value;
            }
        }
    }

    /// Returns `raw` with `%%` and `%(name)s` replaced; `None` if a `%` is followed by anything else, or a name is unknown.
    fn value_of(&self, section: &str, raw: &str, depth: usize) -> Option<String> {
        let mut value = String::new();
        let mut rest = raw;
        while let Some((before, after)) = rest.split_once('%') {
            value.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                value.push('%');
                rest = after;
            } else {
                let (name, after) = after.strip_prefix('(')?.split_once(")s")?;
                let of = self.find(section, &name.to_lowercase()).filter(|_| depth < MAX_DEPTH)?;
                of.asked_for.set(true);
                value.push_str(&self.value_of(section, &of.value, depth + 1)?);
                rest = after;
            }
        }
        value.push_str(rest);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str, name: &str) -> Option<String> {
        Ini::parse(text).unwrap().take(&[name]).map(|option| option.value.clone())
    }

    #[test]
    fn keys_and_values_are_read_as_configparser_reads_them() {
        let text = "\u{feff}; a comment\n[imap]\nHost = mail.example.com\n  port: 993\n# another\nempty =\npassword = a=b:c ; no comment\n";
        let ini = Ini::parse(text).unwrap();
        let told: Vec<_> = ["imap.host", "imap.port", "imap.password"]
            .iter()
            .map(|name| ini.take(&[name]).map(|option| &*option.value))
            .collect();
        assert_eq!(told, [Some("mail.example.com\nport: 993"), None, Some("a=b:c ; no comment")]);
        assert!(ini.take(&["imap.empty"]).is_none());
    }

    #[test]
    fn continuation_lines_extend_the_value_across_comments() {
        assert_eq!(value("[a]\nx = 1\n  2\n# no\n  3\ny = 4\n", "a.x").unwrap(), "1\n2\n3");
        assert_eq!(value("[a]\n  x = 1\n  y = 2\n", "a.y").unwrap(), "2");
    }

    #[test]
    fn configparser_interpolation_uses_the_section_and_default() {
        let text = "[DEFAULT]\nroot = /srv\n\n[a]\nbase = %(root)s/dmarc\nfile = %(BASE)s/x_%%Y\nlone = 100%\nloop = %(loop)s\n";
        assert_eq!(value(text, "a.file").unwrap(), "/srv/dmarc/x_%Y");
        assert_eq!(value(text, "a.root").unwrap(), "/srv");
        assert_eq!(value(text, "a.lone").unwrap(), "100%");
        assert_eq!(value(text, "a.loop").unwrap(), "%(loop)s");
    }

    #[test]
    fn configparser_syntax_errors_are_reported_with_the_line_only() {
        for (text, line) in [
            ("x = secret\n", 1),
            ("[a]\nsecret\n", 2),
            ("[a]\nx = 1\nX = secret\n", 3),
            ("[a]\n[a]\n", 2),
            ("[secret\n", 1),
        ] {
            let error = Ini::parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn unread_options_are_reported() {
        let ini = Ini::parse("[a]\nx = 1\ny = 2\n[b]\nz = 3\n").unwrap();
        ini.take(&["b.none", "a.x"]);
        let rest: Vec<_> = ini.rest().map(ToString::to_string).collect();
        assert_eq!(rest, ["[a] y (line 3)", "[b] z (line 5)"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[\\[\\]a-c=:%()s# \n;]{0,200}") {
            if let Ok(ini) = Ini::parse(&text) {
                ini.take(&["a.a"]);
            }
        }
    }
}
