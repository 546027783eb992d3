//! The IMAP source against a real Dovecot, and against scripted servers that misbehave in ways that Dovecot doesn't.

mod along_fetch;
mod alongside;
mod auth_log;
mod auth_scripts;
mod auth_servers;
mod broken;
mod certificates;
mod driver;
mod each_command;
mod folders;
mod hostile;
mod idle;
mod parts;
mod pipelined;
mod providers;
pub mod scripted;
mod search;
mod servers;
mod settling;
mod throttled;
mod with_dovecot;
mod with_scripts;
