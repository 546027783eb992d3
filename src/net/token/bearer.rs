//! Syntax of access tokens.

/// Returns the token in `text`, without surrounding whitespace; `None` if it is not a valid token (RFC 6750 section 2.1:
/// visible ASCII).
pub(super) fn sound(text: &str) -> Option<String> {
    let token = text.trim();
    (!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())).then(|| token.to_owned())
}
