//! Domain names, in the form of the DNS.

use serde_json::json;

use super::form::Form;

/// A domain name in lower case, without a trailing dot.
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
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.starts_with("*.") {
            return Err(format!("expected a domain name without *., since subdomains are included, not {text:?}"));
        }
        if !name.is_ascii() {
            return Err(format!("expected a domain name in ASCII form (xn--…), not {text:?}"));
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
        assert_eq!(DomainName::parse("_x.xn--mnchen-3ya.example").as_deref(), Ok("_x.xn--mnchen-3ya.example"));
    }

    #[test]
    fn invalid_domain_names_are_refused() {
        for text in ["", ".", "a..b", "a b", "user@example.com", "https://example.com", &"a".repeat(64)] {
            assert!(DomainName::parse(text).unwrap_err().contains("expected a domain name"), "{text}");
        }
        assert!(DomainName::parse("*.example.com").unwrap_err().contains("subdomains are included"));
        assert!(DomainName::parse("münchen.example").unwrap_err().contains("xn--"));
        assert!(DomainName::parse(&["abcdefg"; 32].join(".")).is_err());
    }
}
