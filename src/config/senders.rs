//! `trusted_authserv_ids` and `require_authenticated`: authentication of senders, the same for every type of source.

use serde_json::json;

use super::{decode::View, form::Form, options::options};

options! {
    /// Servers trusted to authenticate senders, and whether authentication is required.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Senders: Default {
        /// Your own mail servers, by the authserv-ids (RFC 8601) that their `Authentication-Results` fields begin with:
        /// `mx.google.com`. The topmost field of each gives the results of authenticating a mail; see `mail_auth` and
        /// `reporter_aligned` in docs/events.md. All other such fields are ignored, since anyone can write them. `(none)`
        /// for fields without an id, as those of Microsoft 365.
        pub trusted_authserv_ids: Vec<String> as Vec<AuthservId> = Vec::new() => "none",
        /// Requires that these servers have authenticated a mail. Reports in other mails, and files that are no mails, are
        /// quarantined unread, with an `ingest_error` (`sender_not_authenticated`).
        pub require_authenticated: bool = false,
    }
}

impl Senders {
    pub(super) fn is_sensible(&self, view: &View<'_>) -> bool {
        if self.require_authenticated && self.trusted_authserv_ids.is_empty() {
            view.problem(
                "require_authenticated",
                "needs trusted_authserv_ids, the servers whose Authentication-Results are trusted; without them \
                 every mail would be refused",
            );
            return false;
        }
        true
    }
}

/// Value for fields without an authserv-id. A comment in the grammar of the field, so it can't be the id of a server.
const NAMELESS: &str = "(none)";

/// An authserv-id (the id of a server in `Authentication-Results`) in lower case; empty for [`NAMELESS`].
pub(crate) struct AuthservId;

impl Form for AuthservId {
    type Value = String;

    fn expected() -> String {
        format!("the name of a server in Authentication-Results such as mx.example.com, or {NAMELESS}")
    }

    fn kind() -> String {
        "authserv-id".to_owned()
    }

    fn parse(text: &str) -> Result<String, String> {
        let is_part = |c: char| !c.is_whitespace() && !c.is_control() && !"()<>;,=\"\\".contains(c);
        if text == NAMELESS {
            return Ok(String::new());
        }
        if text.is_empty() || !text.chars().all(is_part) {
            return Err(format!("expected {}, not {text:?}", Self::expected()));
        }
        Ok(text.to_ascii_lowercase())
    }

    fn written(value: &String) -> String {
        if value.is_empty() { NAMELESS.to_owned() } else { value.clone() }
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusted_authserv_ids_are_valid_authserv_ids() {
        assert_eq!(AuthservId::parse("MX.Google.com").as_deref(), Ok("mx.google.com"));
        assert_eq!(AuthservId::parse("(none)").as_deref(), Ok(""));
        for text in ["", "mx.example.com;", "mx.example.com 1", "(any)", "a=b", "<mx>", "spf=pass"] {
            assert!(AuthservId::parse(text).unwrap_err().contains("mx.example.com"), "{text}");
        }
    }
}
