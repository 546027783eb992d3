//! The syslog sink against receivers that follow a script, and against rsyslog.
#![allow(clippy::unwrap_used)] // A helper that fails fails its test.

#[path = "../support/receivers.rs"]
mod receivers;

mod rsyslog;
mod running;
mod strict;
mod tcp;
mod tls;
mod udp;
