//! The emitter: rows that are queued together.
