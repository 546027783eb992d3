//! The IMAP source against a real Dovecot, and against servers that misbehave in ways that Dovecot doesn't.

#[path = "support/dovecot.rs"]
mod dovecot;
#[path = "source_imap/driver.rs"]
mod driver;
#[path = "source_imap/with_dovecot.rs"]
mod with_dovecot;
#[path = "source_imap/with_scripts.rs"]
mod with_scripts;
