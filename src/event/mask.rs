//! Masks e-mail addresses: `***@domain` in place of `someone@domain`, anywhere in a text.

/// Names, or prefixes of names, of properties whose values are addresses: of Authentication-Results (RFC 8601 section 2.7),
/// of Received-SPF and of DKIM. Any other `name=` before an `@` may be part of the address.
const PROPERTIES: &[&str] = &["smtp.", "header.", "policy.", "body.", "envelope-from", "identity", "x-sender", "i"];

/// Masks the local part of every address in a text. Text before a local part that can't be distinguished from it is masked,
/// too.
pub(super) fn addresses(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut done = 0;
    for (at, _) in text.match_indices('@') {
        let before = text.get(done..at).unwrap_or_default();
        let start = local_part(before);
        masked.push_str(before.get(..start).unwrap_or_default());
        masked.push_str(if start < before.len() { "***@" } else { "@" });
        done = at + 1;
    }
    masked.push_str(text.get(done..).unwrap_or_default());
    masked
}

/// Masks a text that is a single address, possibly without a domain. `<>` is not masked.
pub(super) fn address(text: &str) -> String {
    if text.contains('@') || matches!(text, "" | "<>") { addresses(text) } else { "***".to_owned() }
}

/// Returns the offset of the local part in the text before an `@`.
fn local_part(before: &str) -> usize {
    if let Some(quoted) = before.strip_suffix('"') {
        return quoted.rfind('"').unwrap_or(0);
    }
    let ends = |c: char| c.is_whitespace() || "<>()[],;:\"\\".contains(c);
    let start = before.char_indices().rev().find(|(_, c)| ends(*c)).map_or(0, |(at, c)| at + c.len_utf8());
    let word = before.get(start..).unwrap_or_default();
    match word.split_once('=') {
        Some((name, _)) if is_property(name) => start + name.len() + 1,
        _ => start,
    }
}

fn is_property(name: &str) -> bool {
    PROPERTIES.iter().any(|property| match property.strip_suffix('.') {
        Some(kind) => name.split_once('.').is_some_and(|(before, _)| before == kind),
        None => name == *property,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_parts_are_masked_anywhere_in_a_text() {
        for (told, masked) in [
            ("ann@example.com", "***@example.com"),
            ("<ann@example.com>, bob@example.org", "<***@example.com>, ***@example.org"),
            ("rfc822;ann@example.com", "rfc822;***@example.com"),
            ("\"Ann, A.\"@example.com", "***@example.com"),
            ("Ann \"x@y\" <ann@example.com>", "Ann \"***@y\" <***@example.com>"),
            ("spf=pass smtp.mailfrom=b+ann=a.example@b.example;", "spf=pass smtp.mailfrom=***@b.example;"),
            ("bounce+ann=a.example@b.example", "***@b.example"),
            ("header.i=@example.com i=ann@example.com", "header.i=@example.com i=***@example.com"),
            ("smtp.mailfrom=\"ann b\"@example.com", "smtp.mailfrom=***@example.com"),
            ("jürgen@exämple.com", "***@exämple.com"),
            ("a@b@c", "***@***@c"),
            ("mail.example.com; dkim=fail", "mail.example.com; dkim=fail"),
        ] {
            assert_eq!(addresses(told), masked, "{told}");
        }
    }

    #[test]
    fn an_address_without_a_domain_is_masked_completely() {
        assert_eq!([address("ann"), address("<>"), address("ann@example.com")], ["***", "<>", "***@example.com"]);
    }
}
