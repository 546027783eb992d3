//! What a program that runs for years needs beside its work: logs, and one instance at a time.

pub mod lock;
pub mod log;
pub mod signals;
