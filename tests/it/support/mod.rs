//! Real servers on loopback, and generated mails for the tests. Every server has a folder and ports of its own, and ends
//! when its value is dropped.

pub mod ca;
pub mod cgroup;
pub mod courier;
pub mod cutter;
pub mod cyrus;
pub mod datagrams;
pub mod delivery;
pub mod disk;
pub mod dovecot;
pub mod forward_receiver;
pub mod http2_receiver;
pub mod http_receiver;
pub mod idp;
pub mod imap;
pub mod link;
pub mod maildir;
pub mod moments;
pub mod peer;
pub mod process;
pub mod received;
pub mod relay;
pub mod reports;
pub mod rsyslog;
pub mod server;
pub mod syslog_ng;
pub mod terminal;
pub mod tun;
pub mod unpacked;
pub mod wait;
pub mod workplace;
