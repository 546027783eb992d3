//! What delivery has to remember. Pure: numbers and bytes, no sockets and no clock.

pub mod window;
