//! Detects expired logins: status texts with which servers end an accepted login. Neither a mail nor a command is at
//! fault.

/// State of a login that a server has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The login has expired: a new login helps.
    Login,
    /// The login is valid, but gives no access to the mailbox (any more).
    Mailbox,
}

/// Interprets the text of a NO, BAD or BYE in an authenticated session; `None` if it does not concern the login. `said`:
/// the response code in brackets and the text.
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
