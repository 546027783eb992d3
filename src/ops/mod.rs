//! Operations: logs, metrics, health, signals, and one instance at a time.

pub mod allocator;
pub mod condition;
pub mod http;
pub mod lock;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod progress;
pub mod runtime;
pub mod signals;
