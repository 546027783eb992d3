//! The program against real servers: one test binary, a module per area.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a helper that panics is a test that fails")]

mod servers;
#[allow(dead_code)]
mod support;
