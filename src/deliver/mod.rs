//! When a mail may be settled, and what has to be sent again: the rules of delivery, without sockets or clocks.

pub mod busy;
pub mod tracker;
pub mod window;

#[cfg(test)]
mod tests;
