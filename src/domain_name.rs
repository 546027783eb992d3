//! Domain names in the form in which they are compared: lower-case A-labels (RFC 5890), as reporters write one name as
//! `bücher.example` and as `xn--bcher-kva.example`.

use std::borrow::Cow;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// Returns a name in lower-case A-labels (UTS 46, non-transitional), without the root's dot; `None` if it is no domain name.
///
/// Labels are of letters, digits, hyphens and underscores. A-labels are not decoded: an invalid one is a name like any other.
pub fn ascii(name: &str) -> Option<Cow<'_, str>> {
    if is_plain(name) {
        return Some(name.into());
    }
    let name = if !name.is_ascii() {
        let hyphens = Hyphens::Allow;
        Uts46::new().to_ascii(name.as_bytes(), AsciiDenyList::EMPTY, hyphens, DnsLength::Ignore).ok()?
    } else if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    };
    let name = match name {
        Cow::Borrowed(name) => Cow::Borrowed(name.strip_suffix('.').unwrap_or(name)),
        Cow::Owned(mut name) => {
            name.truncate(name.strip_suffix('.').unwrap_or(&name).len());
            Cow::Owned(name)
        }
    };
    is_plain(&name).then_some(name)
}

/// True for a name that is in that form already, as most are.
pub fn is_plain(name: &str) -> bool {
    let mut is_label_empty = true;
    for byte in name.bytes() {
        match byte {
            b'.' if is_label_empty => return false,
            b'.' => is_label_empty = true,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => is_label_empty = false,
            _ => return false,
        }
    }
    !is_label_empty
}

/// Like [`ascii`]; a text that is no domain name is equal to itself only.
pub fn comparable(name: &str) -> Cow<'_, str> {
    ascii(name).unwrap_or(name.into())
}

/// Returns the organisational domain by the public suffix list, as told; `None` for a public suffix, and if `name` is no
/// domain name.
pub fn org_domain(name: &str) -> Option<&str> {
    let ascii = ascii(name)?;
    let dots = psl::domain_str(&ascii)?.matches('.').count();
    let name = name.trim_end_matches(is_dot);
    let before = name.char_indices().rev().filter(|(_, letter)| is_dot(*letter)).nth(dots);
    Some(before.map_or(name, |(at, dot)| &name[at + dot.len_utf8()..]))
}

/// The dots between labels (UTS 46 section 2.3).
fn is_dot(letter: char) -> bool {
    matches!(letter, '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u_labels_and_a_labels_are_one_name() {
        for (told, name) in [
            ("example.com", "example.com"),
            ("_Dmarc.Example.COM.", "_dmarc.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            // Decomposed, a full-width letter and dot, an ideographic dot.
            ("bu\u{308}cher.example", "xn--bcher-kva.example"),
            ("ｂücher．example", "xn--bcher-kva.example"),
            ("bücher。example。", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("_spf.bücher.example", "_spf.xn--bcher-kva.example"),
            // Non-transitional: another name than strasse.example.
            ("straße.example", "xn--strae-oqa.example"),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ] {
            assert_eq!(ascii(told).as_deref(), Some(name), "{told}");
        }
    }

    #[test]
    fn a_text_that_is_no_domain_name_has_no_such_form() {
        let no_names =
            ["", ".", "..", "a..b", ".com", "user@example.com", "a b.com", "a.com\0", "ü..b", "ü@b", "a\u{fffd}.com"];
        for no_name in no_names {
            assert_eq!(ascii(no_name), None, "{no_name:?}");
            assert_eq!(comparable(no_name), no_name);
        }
    }

    #[test]
    fn organisational_domains_are_as_told() {
        for (name, org) in [
            // RFC 7489 section 3.2: a.b.c.d.example.com with the suffix "com".
            ("a.b.c.d.example.com", Some("example.com")),
            ("www.example.co.uk", Some("example.co.uk")),
            ("co.uk", None),
            ("host.unlisted", Some("host.unlisted")),
            ("www.bücher.example", Some("bücher.example")),
            ("www.xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("www。bücher。example", Some("bücher。example")),
            // A suffix that has U-labels itself.
            ("www.食狮.公司.cn", Some("食狮.公司.cn")),
            ("www.xn--85x722f.xn--55qx5d.cn", Some("xn--85x722f.xn--55qx5d.cn")),
            ("公司.cn", None),
            ("xn--55qx5d.cn", None),
            ("a..b", None),
        ] {
            assert_eq!(org_domain(name), org, "{name}");
        }
    }
}
