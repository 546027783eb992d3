//! Delivery: decides when a mail may be settled and which events have to be sent again, without sockets or clocks.

/// Number of a mail, unique in the process over all sources.
pub type MailId = u64;

pub mod busy;
pub mod low_water;
pub mod tracker;
pub mod window;

#[cfg(test)]
mod tests;
