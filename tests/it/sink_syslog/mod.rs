//! The syslog sink against receivers that follow a script, and against real ones, over good networks and bad.

mod network;
mod rsyslog;
mod running;
mod strict;
mod syslog_ng;
mod talking;
mod tcp;
mod tls;
mod udp;
