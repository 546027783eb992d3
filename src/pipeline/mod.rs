//! The pipeline: connects sources, readers, sinks and the ledger; the only module that knows every stage.
//!
//! ```text
//! source task ─mails▶ reader (on a blocking thread while mails wait) ─frames▶ sink task
//!      ▲                        │ mail_read                            │ confirm
//!      └────── verdict ◀── settling task (ledger) ◀────────────────────┘
//! ```
//!
//! Backpressure: mails, and what readers hold of them inflated, take their memory from the intake budget, frames from the
//! buffer of each sink. When a sink slows down, its queue fills, the readers block, the intake budget runs out, and the
//! source stops fetching.

pub mod admission;
pub mod build;
mod component_metrics;
mod deferred;
mod ends;
mod flights;
mod handover;
mod health;
mod look_ups;
mod missing;
mod options;
mod pool;
pub mod reading;
mod settlement;
mod sink_queue;
mod source_context;
mod source_reader;
mod stall_timer;
mod summary;
mod supervisor;

pub use self::{
    missing::{Missing, Recipients},
    options::{Options, Reship},
    settlement::Claimed,
    sink_queue::Stopped,
    supervisor::run,
};

#[cfg(test)]
mod tests;
