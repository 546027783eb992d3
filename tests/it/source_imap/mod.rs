//! The IMAP source against a real Dovecot, and against servers that misbehave in ways that Dovecot doesn't.

mod auth_log;
mod auth_scripts;
mod auth_servers;
mod driver;
mod scripted;
mod servers;
mod settling;
mod with_dovecot;
mod with_scripts;
