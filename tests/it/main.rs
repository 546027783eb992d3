//! The program against real servers: one test binary, a module per area.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a helper that panics is a test that fails")]

mod servers;
#[expect(
    dead_code,
    unused_imports,
    reason = "bad_input, end_to_end and examples, which use it all, wait for the program"
)]
mod support;
