//! Delivery: decides when a mail may be settled and which events have to be sent again, without sockets or clocks.

pub mod busy;
pub mod tracker;
pub mod window;

#[cfg(test)]
mod tests;
