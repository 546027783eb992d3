//! Parsers for single values of a report; `None` if a value is not understood, so that the caller can report it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Values of `disposition` (`pass` is new in RFC 9990).
pub const DISPOSITIONS: &[&str] = &["none", "quarantine", "reject", "pass"];
/// Values of `p`, `sp` and `np`.
pub const POLICIES: &[&str] = &["none", "quarantine", "reject"];
/// Values of `policy_evaluated/dkim` and `spf`.
pub const VERDICTS: &[&str] = &["pass", "fail"];
/// Values of `auth_results/dkim/result`.
pub const DKIM_RESULTS: &[&str] = &["none", "pass", "fail", "policy", "neutral", "temperror", "permerror"];
/// Values of `auth_results/spf/result` (`policy` is new in RFC 9990).
pub const SPF_RESULTS: &[&str] = &["none", "neutral", "pass", "fail", "softfail", "temperror", "permerror", "policy"];
/// Values of `auth_results/spf/scope` (RFC 9990 has `mfrom` only).
pub const SPF_SCOPES: &[&str] = &["helo", "mfrom"];
/// Values of `adkim` and `aspf`.
pub const ALIGNMENTS: &[&str] = &["r", "s"];
/// Values of `reason/type` of both RFCs.
pub const REASON_TYPES: &[&str] =
    &["forwarded", "local_policy", "mailing_list", "other", "policy_test_mode", "sampled_out", "trusted_forwarder"];
/// Values of `testing`.
pub const TESTING: &[&str] = &["n", "y"];
/// Values of `discovery_method`.
pub const DISCOVERY_METHODS: &[&str] = &["psl", "treewalk"];

/// Values of `policy-type` (RFC 8460 section 4.4).
pub const TLS_POLICY_TYPES: &[&str] = &["no-policy-found", "sts", "tlsa"];
/// Values of `result-type` (RFC 8460 section 4.3).
pub const TLS_RESULT_TYPES: &[&str] = &[
    "starttls-not-supported",
    "certificate-host-mismatch",
    "certificate-expired",
    "certificate-not-trusted",
    "validation-failure",
    "tlsa-invalid",
    "dnssec-invalid",
    "dane-required",
    "sts-policy-fetch-error",
    "sts-policy-invalid",
    "sts-webpki-invalid",
];
/// Values of `Feedback-Type` of a failure report.
pub const FEEDBACK_TYPES: &[&str] = &["auth-failure"];
/// Values of `Auth-Failure` (RFC 6591 section 3.3, RFC 9991).
pub const AUTH_FAILURES: &[&str] = &["adsp", "bodyhash", "dmarc", "revoked", "signature", "spf"];
/// Values of `Identity-Alignment` (RFC 9991).
pub const IDENTITY_ALIGNMENTS: &[&str] = &["dkim", "none", "spf"];
/// Values of `Delivery-Result` (RFC 6591 section 3.2.2).
pub const DELIVERY_RESULTS: &[&str] = &["delivered", "other", "policy", "reject", "spam"];

/// Parses an address as reporters write it: in brackets, or followed by a port, a prefix length, a zone or a host name. An
/// IPv4 address mapped into IPv6 becomes that IPv4 address.
pub fn ip(text: &str) -> Option<IpAddr> {
    let text = blank_trimmed(text);
    let text = match text.strip_prefix('[') {
        Some(inner) => inner.split(']').next()?,
        None => text,
    };
    let text = text.split(|c: char| c.is_whitespace() || matches!(c, '(' | ',' | ';' | '/' | '%')).next()?;
    let text = match text.get(..5) {
        Some(prefix) if prefix.eq_ignore_ascii_case("ipv6:") => &text[5..],
        _ => text,
    };
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4));
    }
    let host = text.split_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(text, |(host, _)| host);
    ipv4(host).map(IpAddr::V4)
}

/// Parses an IPv4 address, also with leading zeros if every part has three digits: only then they must be padding, not
/// octal.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let mut parts = text.split('.').map(|part| (part.len() == 3 && digits(part)).then(|| part.parse::<u8>().ok())?);
    let octets = [parts.next()??, parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then(|| octets.into())
}

/// Parses a count of messages: `12`, `+12`, `12.0`, `1,234`. Not negative, and at most `i64::MAX`.
pub fn count(text: &str) -> Option<i64> {
    let text = blank_trimmed(text);
    let text = text.strip_prefix('+').unwrap_or(text);
    // Three zeros could be thousands.
    let whole = text.strip_suffix(".00").or_else(|| text.strip_suffix(".0")).unwrap_or(text);
    let mut groups = whole.split(',');
    let first = groups.next()?;
    let mut plain = first.to_owned();
    for group in groups {
        if group.len() != 3 || first.len() > 3 || first.is_empty() {
            return None;
        }
        plain.push_str(group);
    }
    digits(&plain).then(|| plain.parse().ok())?
}

/// Parses a list separated by commas or semicolons: each word once, normalised by [`keyword`], without comments in
/// parentheses.
pub fn keywords(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in without_comments(text).split([',', ';']).map(keyword) {
        if !word.is_empty() && !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

fn without_comments(text: &str) -> String {
    let mut depth = 0usize;
    text.chars()
        .filter(|c| {
            depth += usize::from(*c == '(');
            let outside = depth == 0;
            depth = depth.saturating_sub(usize::from(*c == ')'));
            outside
        })
        .collect()
}

/// Parses `pct`: 0 to 100, also as `50%` or `50.0`.
pub fn percent(text: &str) -> Option<i64> {
    let text = blank_trimmed(text);
    count(text.strip_suffix('%').unwrap_or(text)).filter(|percent| *percent <= 100)
}

/// Normalises a word of a closed list for comparison: trimmed and in lower case.
pub fn keyword(text: &str) -> String {
    blank_trimmed(text).to_lowercase()
}

/// Normalises a domain for comparison: trimmed, in lower case, without the root's dot.
pub fn domain(text: &str) -> String {
    let text = blank_trimmed(text);
    text.strip_suffix('.').unwrap_or(text).to_lowercase()
}

/// Trims white space of any kind, and invisible characters.
pub fn blank_trimmed(text: &str) -> &str {
    let ends = [text.as_bytes().first(), text.as_bytes().last()];
    // Fast path for nearly all input.
    if ends.into_iter().flatten().all(u8::is_ascii_graphic) { text } else { text.trim_matches(is_blank) }
}

/// True for white space of any kind, including NBSP, and for invisible characters.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200b}' | '\u{feff}')
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<String> {
        ip(text).map(|ip| ip.to_string())
    }

    #[test]
    fn an_ip_address_is_found_in_surrounding_text() {
        for text in [
            "192.0.2.7",
            " 192.0.2.7\u{a0}",
            "[192.0.2.7]",
            "192.0.2.7:25",
            "[192.0.2.7]:25",
            "192.0.2.7/32",
            "192.0.2.7 (mail.example.net)",
            "192.0.2.7(mail.example.net)",
            "192.0.2.7, 192.0.2.8",
            "192.000.002.007",
            "::ffff:192.0.2.7",
            "::FFFF:C000:207",
        ] {
            assert_eq!(address(text).as_deref(), Some("192.0.2.7"), "{text:?}");
        }
        for text in
            ["2001:DB8:0:0:0:0:0:1", "[IPv6:2001:db8::1]", "[2001:db8::1]:25", "2001:db8::1%eth0", "ipv6:2001:db8::1"]
        {
            assert_eq!(address(text).as_deref(), Some("2001:db8::1"), "{text:?}");
        }
    }

    #[test]
    fn ambiguous_ip_addresses_are_refused() {
        for text in [
            "",
            "unknown",
            "192.0.2",
            "192.0.2.256",
            "10.0.0.010",
            "192.0.2.7.5",
            "192.000.002.007.001",
            "999.0.2.7",
            "é",
        ] {
            assert_eq!(address(text), None, "{text:?}");
        }
    }

    #[test]
    fn counts_are_whole_and_not_negative() {
        let told = ["0", "12", " 12 ", "+12", "12.0", "12.00", "1,234", "1,234,567", "9223372036854775807", "007"];
        let meant = [0, 12, 12, 12, 12, 12, 1234, 1_234_567, i64::MAX, 7];
        for (text, value) in told.iter().zip(meant) {
            assert_eq!(count(text), Some(value), "{text:?}");
        }
        for text in [
            "",
            "-1",
            "1.5",
            "1.000",
            "1e3",
            "12,34",
            ",123",
            "1234,567",
            "1,234,56",
            "9223372036854775808",
            "0x10",
            "++1",
            "not-a-number",
        ] {
            assert_eq!(count(text), None, "{text:?}");
        }
    }

    #[test]
    fn percents_end_at_a_hundred() {
        assert_eq!(percent("100"), Some(100));
        assert_eq!(percent(" 50% "), Some(50));
        assert_eq!(percent("50.0"), Some(50));
        assert_eq!(percent("101"), None);
        assert_eq!(percent(""), None);
    }

    #[test]
    fn keywords_and_domains_are_normalised() {
        assert_eq!(keyword(" PASS\u{a0}\n"), "pass");
        assert_eq!(domain(" Example.ORG. "), "example.org");
        assert_eq!(domain("."), "");
    }

    #[test]
    fn keyword_lists_are_in_normal_form() {
        for word in [
            DISPOSITIONS,
            POLICIES,
            VERDICTS,
            DKIM_RESULTS,
            SPF_RESULTS,
            SPF_SCOPES,
            ALIGNMENTS,
            REASON_TYPES,
            TESTING,
            DISCOVERY_METHODS,
        ]
        .concat()
        {
            assert_eq!(keyword(word), word);
        }
    }
}
