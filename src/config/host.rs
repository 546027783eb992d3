//! Host names and addresses as values of options.

use super::form::Form;

/// A host name or address, IPv6 with or without brackets; stored without.
pub(crate) struct Host;

impl Form for Host {
    type Value = String;

    fn expected() -> String {
        "a host name or address".to_owned()
    }

    fn parse(text: &str) -> Result<String, String> {
        let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text);
        let port_after = |c: char| c == ':' && bare.parse::<std::net::Ipv6Addr>().is_err();
        if bare.is_empty() || bare.chars().any(|c| c.is_whitespace() || c.is_control() || "/@[]".contains(c)) {
            return Err(format!("expected {}, not {text:?}", Self::expected()));
        }
        if bare.contains(port_after) {
            return Err(format!("expected {} only, not {text:?}; set the port with the option port", Self::expected()));
        }
        Ok(bare.to_owned())
    }

    fn written(value: &String) -> String {
        value.clone()
    }
}
