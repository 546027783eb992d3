//! Domain names, in the form of the DNS.

use serde_json::json;

use super::form::Form;
use crate::domain_name::ascii;

/// A domain name in lower-case A-labels (`xn--…`), without a trailing dot; also written in U-labels.
pub(crate) struct DomainName;

/// Maximum length of a name as text, in bytes (RFC 1035 section 2.3.4, without the root).
const MAX_BYTES: usize = 253;

impl Form for DomainName {
    type Value = String;

    fn expected() -> String {
        "a domain name such as example.com".to_owned()
    }

    fn kind() -> String {
        "domain name".to_owned()
    }

    fn parse(text: &str) -> Result<String, String> {
        let name = ascii(text).map_or(text.to_owned(), |name| name.into_owned());
        if name.starts_with("*.") {
            return Err(format!("expected a domain name without *., since subdomains are included, not {text:?}"));
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if name.len() > MAX_BYTES || !name.split('.').all(is_label) {
            return Err(format!("expected {}, not {text:?}", Self::expected()));
        }
        Ok(name)
    }

    fn written(value: &String) -> String {
        value.clone()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_names_are_normalised_to_lower_case_without_final_dot() {
        for text in ["example.com", "Example.COM.", "EXAMPLE.com"] {
            assert_eq!(DomainName::parse(text).as_deref(), Ok("example.com"));
        }
        for text in ["münchen.example", "MÜNCHEN.example.", "mu\u{308}nchen.example"] {
            assert_eq!(DomainName::parse(text).as_deref(), Ok("xn--mnchen-3ya.example"));
        }
        assert_eq!(DomainName::parse("_x.xn--mnchen-3ya.example").as_deref(), Ok("_x.xn--mnchen-3ya.example"));
    }

    #[test]
    fn invalid_domain_names_are_refused() {
        for text in
            ["", ".", "a..b", "a b", "user@example.com", "https://example.com", "m ünchen.example", &"a".repeat(64)]
        {
            assert!(DomainName::parse(text).unwrap_err().contains("expected a domain name"), "{text}");
        }
        assert!(DomainName::parse("*.example.com").unwrap_err().contains("subdomains are included"));
        assert!(DomainName::parse(&["abcdefg"; 32].join(".")).is_err());
    }
}
