//! Words with which servers end a login that they had taken: no mail and no command is at fault.

/// What has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The login has run out: a new one helps.
    Login,
    /// The login stands, but opens no mailbox (any more).
    Mailbox,
}

/// What NO, BAD or BYE in a session that is logged in say about the login; `None`: nothing. `said`: the code in brackets
/// and the text.
pub fn ending(said: &str) -> Option<Ending> {
    let said = said.to_ascii_lowercase();
    ENDINGS.iter().find(|(words, _)| said.contains(words)).map(|(_, ending)| *ending)
}

const ENDINGS: &[(&str, Ending)] = &[
    // RFC 5530 section 3.
    ("[authenticationfailed]", Ending::Login),
    ("[expired]", Ending::Login),
    // Gmail: "BYE Session expired, please login again."
    ("session expired", Ending::Login),
    // Exchange Online: "BYE Session invalidated - AccessTokenExpired"
    ("session invalidated", Ending::Login),
    ("accesstokenexpired", Ending::Login),
    ("token expired", Ending::Login),
    // Exchange Online, to every command: "BAD User is authenticated but not connected."
    ("authenticated but not connected", Ending::Mailbox),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_login_is_told_apart_from_other_refusals() {
        for (said, means) in [
            ("Session expired, please login again.", Some(Ending::Login)),
            ("Session invalidated - AccessTokenExpired", Some(Ending::Login)),
            ("[AUTHENTICATIONFAILED] Invalid credentials (Failure)", Some(Ending::Login)),
            ("User is authenticated but not connected.", Some(Ending::Mailbox)),
            ("[NONEXISTENT] Unknown Mailbox: x (Failure)", None),
            ("Internal error occurred", None),
        ] {
            assert_eq!(ending(said), means, "{said}");
        }
    }
}
