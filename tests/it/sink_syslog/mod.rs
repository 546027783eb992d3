//! The syslog sink against receivers that follow a script, and against rsyslog.

mod rsyslog;
mod running;
mod strict;
mod tcp;
mod tls;
mod udp;
