//! The syslog sink with scripted and with real receivers, over reliable and unreliable networks.

mod network;
mod rsyslog;
mod running;
mod strict;
mod syslog_ng;
mod talking;
mod tcp;
mod tls;
mod udp;
