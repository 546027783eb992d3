//! The IMAP source against a real Dovecot, and against servers that misbehave in ways that Dovecot doesn't.

mod auth_log;
mod auth_scripts;
mod auth_servers;
mod broken;
mod driver;
mod folders;
mod idle;
mod parts;
pub mod scripted;
mod search;
mod servers;
mod settling;
mod throttled;
mod with_dovecot;
mod with_scripts;
