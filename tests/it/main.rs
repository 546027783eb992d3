//! The program against real servers: one test binary, a module per area.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a helper that panics is a test that fails")]

mod bad_input;
mod bombs;
mod check;
mod deploy;
mod end_to_end;
mod event_schema;
mod examples;
mod faults;
mod files;
mod floods;
mod golden;
mod hostile_text;
mod layering;
mod log_file;
mod memory;
mod migrate;
mod observed;
mod operation;
mod progress;
mod receivers;
mod releases;
mod resume;
mod routes;
mod servers;
mod service;
mod sink_file;
mod sink_forward;
mod sink_http;
mod sink_syslog;
mod source_imap;
mod support;
mod systemd;
