//! The IMAP source against a real Dovecot, and against servers that misbehave in ways that Dovecot doesn't.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't go on says so by failing")]

#[path = "support/dovecot.rs"]
mod dovecot;
#[path = "source_imap/driver.rs"]
mod driver;
#[path = "source_imap/scripted.rs"]
mod scripted;
#[path = "source_imap/with_dovecot.rs"]
mod with_dovecot;
#[path = "source_imap/with_scripts.rs"]
mod with_scripts;
